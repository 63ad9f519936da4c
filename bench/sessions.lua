--- Sessions that generate at once, on the pocket model: `make bench`, or sessions.lua [THREADS] [TOKENS] [LONG].
-- Total tokens a second and the gaps between two tokens of an answer: alone, beside a text of LONG tokens that is being
-- read, and how far a slice of that reading (slice_ms) lengthens a gap. THREADS is 0 when not given: the bench computes
-- every step itself, so that CPU time tells what a step took whatever else the machine does. Compare within one run.
package.path = "./models/pocket/?.lua;" .. package.path
local moonseek = require "moonseek"
local tasks = require "tasks"

local threads, tokens, long = tonumber(arg[1]) or 0, tonumber(arg[2]) or 200, tonumber(arg[3]) or 65536
local crowds, slices, short = { 1, 2, 4, 8, 16 }, { 10, 50, 200 }, 256

local has_luv, uv = pcall(require, "luv")
local clocks = { cpu = os.clock, wall = has_luv and function() return uv.hrtime() * 1e-9 end or os.clock }

local engine = assert(moonseek.open { path = "models/pocket", threads = threads })

--- A session that holds a document of about `size` tokens and a question.
local function ask(size, seed)
  local item = tasks.turns(tasks.item("needle", { tokens = size, facts = 8, questions = 1, seed = seed }))[1]
  local session = assert(engine:session { context = size + math.floor(size / 4) + 300000 })
  assert(session:append(item.prompt))
  return session
end

--- `count` sessions that have read their questions, each with its job begun.
local function answers(count, max_tokens)
  local sessions, jobs = {}, {}
  for i = 1, count do
    sessions[i] = ask(short, i)
    assert(sessions[i]:generate { max_tokens = 0 })
  end
  for i, session in ipairs(sessions) do
    jobs[i] = assert(session:start { max_tokens = max_tokens, temperature = 0, ignore_eos = true })
  end
  return sessions, jobs
end

-- {== Gaps between tokens =========================================================================

--- Follows answers until all have finished or `over()`: seconds and gaps by each clock, and how many tokens came.
local function follow(jobs, over)
  local seen = { tokens = 0, gaps = { cpu = {}, wall = {} }, seconds = {} }
  local start, last = { cpu = clocks.cpu(), wall = clocks.wall() }, {}
  local function take(i)
    local now = { cpu = clocks.cpu(), wall = clocks.wall() }
    seen.tokens = seen.tokens + 1
    for clock, list in pairs(seen.gaps) do
      if last[i] then list[#list + 1] = now[clock] - last[i][clock] end
    end
    last[i] = now
  end
  local waiting
  repeat
    waiting = nil
    for i, job in ipairs(jobs) do
      local event = job:poll()
      while event do
        if event.type == "error" then error(event.message) end
        if event.type == "token" then take(i) end
        event = job:poll()
      end
      if not job:finished() then waiting = job end
    end
    if waiting then waiting:wait(1000) end
  until not waiting or over and over()
  for clock, read in pairs(clocks) do
    seen.seconds[clock] = read() - start[clock]
    table.sort(seen.gaps[clock])
  end
  return seen
end

--- In milliseconds, the gap that a share of all gaps does not exceed; 1: the worst.
local function gap(seen, clock, share)
  local list = seen.gaps[clock]
  return (list[math.max(1, math.ceil(share * #list))] or 0) * 1000
end

local function close(list)
  for _, object in ipairs(list) do object:close() end
end

-- {== What is measured ============================================================================

--- `count` answers, beside an unread text or not: what was seen, and how many tokens of the text were read meanwhile.
local function crowd(count, text)
  local sessions, jobs = answers(count, tokens)
  local reader = text and text:fork()
  local reading = reader and assert(reader:start { max_tokens = 0 })
  local before = engine:stats().prefill_tokens
  local seen = follow(jobs)
  local read = engine:stats().prefill_tokens - before
  close { reading, reader }
  close(jobs)
  close(sessions)
  return seen, read
end

local function print_crowds(text)
  print(("\n%8s %10s %12s %8s %8s %8s %8s %10s %12s"):format("answers", "tok/s", "tok/CPU s", "ratio", "median", "99 %",
    "worst", "worst wall", "read tok/s"))
  local one
  for _, count in ipairs(crowds) do
    local seen, read = crowd(count, text)
    local speed = seen.tokens / seen.seconds.cpu
    one = one or speed
    print(("%8d %10.0f %12.0f %8.2f %8.2f %8.2f %8.2f %10.2f %12.0f"):format(count, seen.tokens / seen.seconds.wall,
      speed, speed / one, gap(seen, "cpu", 0.5), gap(seen, "cpu", 0.99), gap(seen, "cpu", 1), gap(seen, "wall", 1),
      read / seen.seconds.wall))
    io.flush()
  end
end

--- One answer while a whole text is read.
local function print_slices()
  print(("\n%8s %10s %8s %8s %8s %8s %8s %8s %8s %12s"):format("slice_ms", "tokens", "alone", "median", "99 %",
    "worst", "wall 50%", "wall 99%", "worst", "tok/CPU s"))
  for _, slice in ipairs(slices) do
    assert(engine:set { slice_ms = slice })
    local alone = crowd(1)
    local sessions, jobs = answers(1)
    local reader = ask(long, slice)
    local reading, size = assert(reader:start { max_tokens = 0 }), reader:position()
    local seen = follow(jobs, function()
      repeat until not reading:poll()
      return reading:finished()
    end)
    print(("%8d %10d %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f %12.0f"):format(slice, size, gap(alone, "cpu", 0.5),
      gap(seen, "cpu", 0.5), gap(seen, "cpu", 0.99), gap(seen, "cpu", 1), gap(seen, "wall", 0.5),
      gap(seen, "wall", 0.99), gap(seen, "wall", 1), size / seen.seconds.cpu))
    io.flush()
    close(jobs)
    close(sessions)
    close { reading, reader }
  end
end

local info = engine:info()
print(("moonseek %s, %s, %s kernels, %d threads, %s; %d tokens an answer; gaps in ms of CPU or wall time"):format(
  moonseek._VERSION, info.architecture, info.kernels, threads, info.numerics, tokens))
print("\nanswers alone")
print_crowds()
print(("\nanswers while another session reads %d tokens"):format(long))
local text = ask(long, 99)
print_crowds(text)
text:close()
print(("\none answer while %d tokens are read"):format(long))
print_slices()
engine:close()
