--- moonseek beside llama.cpp and ik_llama.cpp on the same file of bench/flash_gguf.lua, in turns:
--
--   make bench-compare ARGS="KIND FILE --llama PROGRAM --ik PROGRAM [--own KIND FILE] [--rounds 5] [--threads 2]
--     [--generate 16] [--read 512]"
--
-- PROGRAM is an engine's llama-bench. `--own` is a file that moonseek alone runs, too.
-- 0 tokens leave a kind of work out. A round is a probe, every engine's turn (a process of its own), a probe; it counts
-- if the two probes differ by less than 15 %. The table has medians over the rounds that count, ratios within a round.
--
-- CPU time is that of a whole process, less that of one that does the same with one token: loading and warming up go
-- out. Memory is the most that was held besides mapped files; bandwidth, the share of what the probes read a second.
local uv = require "luv"
local json = require "moonseek.json"
package.path = "./bench/?.lua;" .. package.path
local flash_gguf = require "flash_gguf"
local median = require("measure").median

-- {== Options ====================================================================================

local usage = "usage: lua5.4 bench/compare.lua PROBE KIND FILE [--llama PROGRAM] [--ik PROGRAM] [--own KIND FILE] "
  .. "[--rounds N] [--threads N] [--generate N] [--read N]\n"

local function quit()
  io.stderr:write(usage)
  os.exit(2)
end

local options = { rounds = 5, threads = 2, generate = 16, read = 512 }

local function read_options()
  options.probe, options.kind, options.file = arg[1], arg[2], arg[3]
  local i = 4
  while arg[i] do
    local name = arg[i]:match "^%-%-(%l+)$"
    if name == "own" then
      options.own = { kind = arg[i + 1], file = arg[i + 2] }
      i = i + 1
    elseif name == "llama" or name == "ik" then options[name] = arg[i + 1]
    elseif options[name] then options[name] = math.tointeger(arg[i + 1]) or quit()
    else quit() end
    i = i + 2
  end
  if not options.file then quit() end
end

read_options()

-- {== Running a process ===========================================================================

local ticks = 100                         -- a second, of /proc/PID/stat (USER_HZ)

local function line_of(path, pattern)
  local file = io.open(path)
  local found = file and file:read "a":match(pattern)
  if file then file:close() end
  return found
end

--- Runs it -> what it printed, CPU seconds, the most bytes of memory of its own. Both are looked at every 20 ms.
local function run(command)
  local output, cpu, own, status, ended = {}, 0, 0, nil, false
  local out, timer = uv.new_pipe(false), uv.new_timer()
  local process, pid = uv.spawn(command[1], { args = { table.unpack(command, 2) }, stdio = { nil, out, nil } },
    function(code) status = code end)
  assert(process, ("cannot run %s: %s"):format(command[1], pid))
  timer:start(0, 20, function()
    local user, system = (line_of(("/proc/%d/stat"):format(pid), "%)(.*)") or ""):match(
      ("%s+%S+"):rep(11) .. "%s+(%d+)%s+(%d+)")
    if user then cpu = math.max(cpu, (user + system) / ticks) end
    own = math.max(own, (line_of(("/proc/%d/status"):format(pid), "RssAnon:%s*(%d+)") or 0) * 1024)
  end)
  out:read_start(function(_, data) output[#output + 1], ended = data, data == nil end)
  while status == nil or not ended do uv.run "once" end
  timer:close()
  out:close()
  process:close()
  uv.run "nowait"
  assert(status == 0, ("%s ended with status %d"):format(table.concat(command, " "), status))
  return table.concat(output), cpu, own
end

local function probed()
  return assert(tonumber((run { options.probe, tostring(options.threads) })))
end

-- {== The engines =================================================================================

local function moonseek_on(name, kind, file)
  return { name = name, kind = kind,
    command = function(work, count)
      return { "lua5.4", "bench/turn.lua", file, tostring(options.threads), work, tostring(count) }
    end,
    speed = tonumber }
end

--- llama-bench warms up by reading the whole prompt first: `cold` leaves that out.
local function llama_bench(name, program, cold)
  return { name = name, kind = options.kind,
    command = function(work, count)
      local reads = work == "read"
      local command = { program, "-m", options.file, "-t", tostring(options.threads), "-r", "1", "-o", "json", "-p",
        tostring(reads and count or 0), "-n", tostring(reads and 0 or count), "-fa", "1" }
      if reads then table.move(cold, 1, #cold, #command + 1, command) end
      return command
    end,
    speed = function(printed) return assert(json.decode(printed:match "%[.*%]"))[1].avg_ts end }
end

local engines = { moonseek_on("moonseek", options.kind, options.file) }
if options.own then
  engines[#engines + 1] = moonseek_on("moonseek, " .. options.own.kind, options.own.kind, options.own.file)
end
if options.llama then engines[#engines + 1] = llama_bench("llama.cpp", options.llama, { "--no-warmup" }) end
if options.ik then engines[#engines + 1] = llama_bench("ik_llama.cpp", options.ik, { "-w", "0" }) end

-- {== Rounds ======================================================================================

--- One engine's turn: { speed =, cpu = a token, own = bytes }.
local function turn(engine, work, count)
  local printed, cpu, own = run(engine.command(work, count))
  local _, idle = run(engine.command(work, 1))
  return { speed = assert(engine.speed(printed)), cpu = (cpu - idle) / (count - 1), own = own }
end

--- Rounds of a kind of work: each a list of turns in the order of `engines`, and its `probe`.
local function rounds_of(work, count)
  local rounds = {}
  for i = 1, options.rounds do
    local round, before = {}, probed()
    for k = 1, #engines do                -- nobody always comes behind the same one
      local e = (i + k) % #engines + 1
      round[e] = turn(engines[e], work, count)
      io.stderr:write(("%s %d, %s: %.3f tokens/s\n"):format(work, i, engines[e].name, round[e].speed))
    end
    local after = probed()
    local counts = math.abs(before - after) < 0.15 * math.min(before, after)
    round.probe = (before + after) / 2
    io.stderr:write(("%s %d: %.1f and %.1f GB/s probed%s\n"):format(work, i, before, after,
      counts and "" or "; does not count"))
    if counts then rounds[#rounds + 1] = round end
  end
  return rounds
end

local function column(rounds, value)
  local list = {}
  for i, round in ipairs(rounds) do list[i] = value(round) end
  return list
end

local function report(work, count, rounds)
  print(("\n%s %d tokens; %d of %d rounds count\n"):format(work, count, #rounds, options.rounds))
  if #rounds == 0 then return end
  print "| engine | tokens/s (from, to) | the first's ratio | CPU s a token | memory of its own | bandwidth |"
  print "|---|---|---|---|---|---|"
  for e, engine in ipairs(engines) do
    local speeds = column(rounds, function(round) return round[e].speed end)
    local bytes = flash_gguf.bytes_a_token(engine.kind)
    print(("| %s | %.2f (%.2f to %.2f) | %.2f | %.3f | %.0f MiB | %s |"):format(engine.name, median(speeds),
      math.min(table.unpack(speeds)), math.max(table.unpack(speeds)),
      median(column(rounds, function(round) return round[1].speed / round[e].speed end)),
      median(column(rounds, function(round) return round[e].cpu end)),
      math.max(table.unpack(column(rounds, function(round) return round[e].own end))) / 2^20,
      work == "read" and "" or ("%.0f %%"):format(100 * median(column(rounds, function(round)
        return round[e].speed * bytes / 1e9 / round.probe
      end)))))
  end
end

if options.generate > 1 then report("generate", options.generate, rounds_of("generate", options.generate)) end
if options.read > 1 then report("read", options.read, rounds_of("read", options.read)) end
