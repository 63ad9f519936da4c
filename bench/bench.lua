--- Reading and generating speed of the pocket model: `make bench`, or bench.lua [THREADS] [NUMERICS].
-- One process, one engine; a line of figures for every depth. CPU time is that of all threads of the process,
-- so it says what the machine paid, whatever else it was doing; compare runs by ratios within one run. Then what each
-- stage of the architecture takes of a generated token's time, at the first depth and at the last.
package.path = "./models/pocket/?.lua;" .. package.path
local moonseek = require "moonseek"
local tasks = require "tasks"

local threads, numerics = tonumber(arg[1]), arg[2] or "fast"
local depths, generated = { 256, 1024, 4096, 16384, 65536 }, 128

local function peak_memory()
  local status = io.open("/proc/self/status")
  if not status then return nil end
  local peak = status:read("*a"):match("VmHWM:%s*(%d+) kB")
  status:close()
  return peak and tonumber(peak) / 1024
end

local engine = assert(moonseek.open { path = "models/pocket", threads = threads, numerics = numerics })
local info = engine:info()
print(("moonseek %s, %s, %s kernels, %d threads, %s"):format(moonseek._VERSION, info.architecture, info.kernels,
  info.threads, info.numerics))
local profiles = {}

--- Adds to `profile` what the stages took between two readings of the stopwatches, in ms a token.
local function add_stages(profile, depth, before, after, count)
  for i, stage in ipairs(after) do
    profile[i] = profile[i] or { name = stage.name }
    profile[i][depth] = (stage.ms - before[i].ms) / count
  end
end

print(("%8s %14s %16s %14s %16s %12s"):format("tokens", "read tok/s", "CPU ms/token", "write tok/s", "CPU ms/token",
  "session MB"))

for _, depth in ipairs(depths) do
  local item = tasks.turns(tasks.item("needle", { tokens = depth, facts = 16, questions = 1, seed = depth }))[1]
  local session = assert(engine:session { context = depth * 2 + 4096 })
  assert(session:append(item.prompt))
  local clock = os.clock()
  local read = assert(session:generate { max_tokens = 0 })
  local read_cpu = os.clock() - clock
  clock = os.clock()
  local wrote = assert(session:generate { max_tokens = generated, temperature = 0, ignore_eos = true })
  local write_cpu = os.clock() - clock
  local before = engine:stats { stages = true }.stages
  local again = assert(session:generate { max_tokens = generated, temperature = 0, ignore_eos = true })
  add_stages(profiles, depth, before, engine:stats { stages = true }.stages, #again.tokens)
  local count, written = read.usage.read, #wrote.tokens
  print(("%8d %14.0f %16.3f %14.0f %16.3f %12.2f"):format(count, count / read.timing.prefill_ms * 1000,
    read_cpu / count * 1000, written / wrote.timing.decode_ms * 1000, write_cpu / written * 1000,
    engine:stats().session_bytes / 1e6))
  session:close()
end

local first, last = depths[1], depths[#depths]
print(("%-18s %20s %20s"):format("stage, us a token", ("at %d"):format(first), ("at %d"):format(last)))
for _, stage in ipairs(profiles) do
  print(("%-18s %20.1f %20.1f"):format(stage.name, stage[first] * 1000, stage[last] * 1000))
end

local peak = peak_memory()
if peak then print(("peak memory %.1f MB, the model's file %.1f MB of it mapped"):format(peak, info.bytes / 1e6)) end
engine:close()
