--- Sessions of a million tokens: `make bench-million`, or million.lua [READ] [narrow|pocket].
-- The pocket model and a narrow model of two layers with the rows of V4-Flash (bench/release.lua) are brought to 2^20
-- tokens, and measured on the way. The first READ tokens (65536) and the last 256 or more before each line are read.
-- What lies between is filled in: compressed rows copied from those of the 8192 tokens before, as if these were said
-- again and again. Everything is computed by this thread (threads = 0), so that CPU time tells what it took.
package.path = "./?.lua;./bench/?.lua;./models/pocket/?.lua;" .. package.path
local internals = require("spec.support").internals()
local moonseek, core = require "moonseek", require "moonseek.core"
local release = require "release"
local tasks = require "tasks"
local Draw = require "draw"
local Random = require "random"

local real = tonumber(arg[1]) or 65536
local million, period, tail, generated, forks = 2 ^ 20, internals.FILL_PERIOD, 256, 32, 1000
local depths = { 4096, 16384, 65536, 100000, 262144, million - 256 }

--- The most memory that the process ever had, in MB; 0 where the system does not tell.
local function peak_memory()
  local status = io.open("/proc/self/status")
  if not status then return 0 end
  local peak = status:read("*a"):match("VmHWM:%s*(%d+) kB")
  status:close()
  return (tonumber(peak) or 0) / 1000
end

-- {== Texts =======================================================================================

--- A text whose first 4096 tokens hold 16 facts, and a list of questions about them: { pieces, answer }.
local function pocket_text(engine, size)
  local turns = tasks.turns(tasks.item("needle", { tokens = 3600, facts = 16, questions = 16, seed = 7,
    held_out = true }))
  local document, first = turns[1].prompt[3].text:match("^(.*\n)(.-)$")
  local draw, lines, questions = Draw.new(Random.new(11)), { document }, {}
  for i, turn in ipairs(turns) do
    local pieces = turn.prompt
    local ask = { text = "\n" .. (i == 1 and first or pieces[#pieces - 2].text) }
    questions[i] = { pieces = { ask, pieces[#pieces - 1], pieces[#pieces] }, answer = turn.text }
  end
  for _ = 1, size / 4 do lines[#lines + 1] = draw:filler() .. "\n" end
  local ids = engine:tokenizer():encode { turns[1].prompt[1], turns[1].prompt[2], { text = table.concat(lines) } }
  return ids:sub(1, size), questions
end

local function random_text(_, size)
  local random, ids = Random.new(3), {}
  for i = 1, size do ids[i] = random:range(2, 511) end
  return moonseek.tokens(ids), {}
end

-- {== Growing =====================================================================================

--- Makes the session hold `size` tokens of `text`, whose last `period` tokens go on for ever.
local function append(session, text, size)
  local position = session:position()
  while position < size do
    local from = position < #text and position or #text - period + (position - #text) % period
    local count = math.min(size - position, #text - from)
    assert(session:append(text:sub(from + 1, from + count)))
    position = position + count
  end
end

--- Brings `trunk` to the last full period before `depth`, read or filled in, and reads the rest on a fork. Returns it,
-- how many tokens it read, and the CPU seconds of that.
local function grow(trunk, text, depth)
  local base = math.floor((depth - tail) / period) * period
  if trunk:position() < #text and base > 0 then
    append(trunk, text, math.min(base, #text))
    assert(trunk:generate { max_tokens = 0 })
  end
  append(trunk, text, base)
  if base > #text then assert(internals.fill(trunk)) end
  local session, start = assert(trunk:fork()), os.clock()
  append(session, text, depth)
  local read = assert(session:generate { max_tokens = 0 }).usage.read
  return session, read, os.clock() - start
end

-- {== Measuring ===================================================================================

--- Generates on a fork: milliseconds of CPU a token, ascending; and what the first took, which copies shared pages.
local function decode(session)
  local fork, steps, last = assert(session:fork()), {}, os.clock()
  assert(fork:generate { max_tokens = generated, temperature = 0, ignore_eos = true, on_event = function(event)
    if event.type ~= "token" then return end
    local now = os.clock()
    steps[#steps + 1], last = (now - last) * 1000, now
  end })
  fork:close()
  table.remove(steps, 1) -- drawn from the logits at hand
  local first = table.remove(steps, 1)
  table.sort(steps)
  return steps, first
end

--- Microseconds of CPU and bytes (of all allocations) that a fork takes before anything is appended.
local function fork_cost(session)
  local list, start, bytes = {}, os.clock(), core.memory_live()
  for i = 1, forks do list[i] = assert(session:fork()) end
  local seconds, taken = os.clock() - start, core.memory_live() - bytes
  for _, fork in ipairs(list) do fork:close() end
  return seconds / forks * 1e6, taken / forks
end

local function retrieval(session, questions)
  local right = 0
  for _, question in ipairs(questions) do
    local fork = assert(session:fork())
    assert(fork:append(question.pieces))
    local answer = assert(fork:generate { max_tokens = 40, temperature = 0 }).text
    if answer == question.answer then right = right + 1 end
    fork:close()
  end
  return #questions == 0 and "-" or ("%d/%d"):format(right, #questions)
end

local columns = { -- name, format
  { "tokens", "%7d" }, { "read/s", "%7.0f" }, { "write/s", "%8.0f" }, { "median", "%7.2f" }, { "worst", "%7.2f" },
  { "first", "%7.2f" }, { "session MB", "%11.2f" }, { "plan MB", "%8.2f" }, { "B/token", "%8.1f" },
  { "scratch MB", "%11.2f" }, { "peak MB", "%8.0f" }, { "fork us", "%8.1f" }, { "fork bytes", "%11.0f" },
  { "right", "%6s" },
}

local function print_head()
  local names = {}
  for i, column in ipairs(columns) do names[i] = ("%" .. column[2]:match("%d+") .. "s"):format(column[1]) end
  print(table.concat(names, " "))
end

local function print_line(values)
  local cells = {}
  for i, column in ipairs(columns) do cells[i] = column[2]:format(values[i]) end
  print(table.concat(cells, " "))
  io.flush()
end

--- `read` tokens were read last, in so many seconds; `before`: the tokens and session bytes of the line before.
local function measure_at(engine, session, read, seconds, questions, before)
  local depth, stats = session:position(), engine:stats()
  local steps, first = decode(session)
  local total = 0
  for _, step in ipairs(steps) do total = total + step end
  local fork_us, fork_bytes = fork_cost(session)
  print_line { depth, read / seconds, #steps / total * 1000, steps[math.ceil(#steps / 2)], steps[#steps], first,
    stats.session_bytes / 1e6, assert(engine:memory { context = depth }).session / 1e6,
    (stats.session_bytes - before.bytes) / (depth - before.depth), stats.scratch_bytes / 1e6, peak_memory(),
    fork_us, fork_bytes, retrieval(session, questions) }
  return { depth = depth, bytes = stats.session_bytes }
end

--- Brings a session to a million tokens; the first `limit` tokens of what make_text(engine, limit) gives are read.
local function measure(title, path, make_text, limit)
  local engine = assert(moonseek.open { path = path, threads = 0 })
  local text, questions = make_text(engine, limit)
  local trunk, session, before = assert(engine:session { context = million }), nil, { depth = 0, bytes = 0 }
  print(("\n%s: %d layers, %s kernels, plan %d bytes a token, %d of them ids; %d tokens read at first"):format(title,
    engine:info().layers, engine:info().kernels, engine:memory().per_token, 4, limit))
  print_head()
  for _, depth in ipairs(depths) do
    if session then session:close() end
    local read, seconds
    session, read, seconds = grow(trunk, text, depth)
    before = measure_at(engine, session, read, seconds, questions, before)
  end
  trunk:close()
  local start = os.clock()
  local result = assert(session:generate { temperature = 0, ignore_eos = true })
  print(("then to the end: %d tokens held, %d generated, %.2f ms each, \"%s\""):format(session:position(),
    #result.tokens, (os.clock() - start) / #result.tokens * 1000, result.finish_reason))
  session:close()
  engine:close()
end

local function measure_narrow()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute(("mkdir '%s'"):format(folder)))
  local ok, message = pcall(function()
    assert(release.write(release.narrow, folder))
    measure("narrow model", folder, random_text, period)
  end)
  os.execute(("rm -r '%s'"):format(folder))
  if not ok then error(message, 0) end
end

print(("moonseek %s; speeds in tokens a CPU second of one thread, times in CPU ms"):format(moonseek._VERSION))
if arg[2] ~= "pocket" then measure_narrow() end
if arg[2] ~= "narrow" then measure("pocket model", "models/pocket", pocket_text, real) end
