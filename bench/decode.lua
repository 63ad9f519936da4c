--- Decoding against the memory's speed, from a checkpoint of four real layers of V4-Flash, FP8 and FP4 (shape `l4` of
-- bench/release.lua; random weights): `make bench-decode`, or decode.lua FOLDER PROBE [TOKENS] [THREADS]. FOLDER is
-- written when it is empty; PROBE is the program of bench/bandwidth.c. Memory is probed before and after; a run counts
-- if the two differ by less than 15 %. The head is no part of the figures: time is taken off, bytes not counted.
local moonseek = require "moonseek"
package.path = "./bench/?.lua;" .. package.path
local measure = require "measure"
local release = require "release"

local folder, probe, tokens, threads = arg[1], arg[2], tonumber(arg[3]) or 64, tonumber(arg[4])
local repetitions = 7

local function probed(count)
  local program = assert(io.popen(("'%s' %d"):format(probe, count)))
  local speed = tonumber(program:read("*l"))
  program:close()
  return speed
end

local function written()
  local file = io.open(folder .. "/config.json")
  return file ~= nil and file:close()
end

if not written() then
  assert(os.execute(("mkdir -p '%s'"):format(folder)))
  assert(release.write(release.l4, folder))
end

local engine = assert(moonseek.open { path = folder, threads = threads })
local info = engine:info()
local session = assert(engine:session { context = 8192 })
local prompt = {}
for i = 1, 32 do prompt[i] = i * 37 % info.vocabulary end
assert(session:append(prompt))
assert(session:generate { max_tokens = 4, ignore_eos = true, temperature = 0 })

local before = probed(info.threads)
local from, order = measure.stages(engine)
local speeds, cpu = {}, os.clock()
for i = 1, repetitions do
  local head = measure.stages(engine).head
  local result = assert(session:generate { max_tokens = tokens, ignore_eos = true, temperature = 1, seed = i })
  speeds[i] = #result.tokens / (result.timing.decode_ms - (measure.stages(engine).head - head)) * 1000
end
cpu = os.clock() - cpu
local to = measure.stages(engine)
local after = probed(info.threads)

table.sort(speeds)
local bytes, speed = release.bytes_a_token(release.l4), measure.median(speeds)
local probe_speed, all = (before + after) / 2, repetitions * tokens
print(("moonseek %s, %s kernels, %d threads; %d x %d tokens from position %d"):format(moonseek._VERSION, info.kernels,
  info.threads, repetitions, tokens, #prompt + 4))
print(("%.2f tokens/s (%.2f to %.2f), %.1f MB a token, %.3f CPU seconds a token"):format(speed, speeds[1],
  speeds[#speeds], bytes / 1e6, cpu / all))
print(("%.1f GB/s of %.1f and %.1f probed: %.0f %%"):format(speed * bytes / 1e9, before, after,
  100 * speed * bytes / 1e9 / probe_speed))
measure.print_stages(from, to, order, all)
