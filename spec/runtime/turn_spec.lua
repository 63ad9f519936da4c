--- Whose turn it is: pauses, priorities, slices of reading beside answers, the limit on jobs. None of it changes a bit.
local support = require "spec.support"
support.internals()
local tiny = require "spec.lua.tiny"

local engine

before_each(function() engine = tiny.open { threads = 1 } end)
after_each(function() engine:close() end)

local function open(count, context)
  local session = assert(engine:session { context = context or 4096 })
  assert(session:sync(tiny.tokens(count)))
  return session
end

--- Takes the job's events until it has finished, or until `enough(event)`; the last event.
local function follow(job, enough)
  local event
  while not job:finished() do
    assert.is_true(job:wait(60000))
    event = job:poll()
    if event and enough and enough(event) then return event end
  end
  return event
end

local function answer(count, seed)
  return { max_tokens = count, seed = seed, temperature = 1, ignore_eos = true }
end

describe("a paused job", function()
  it("computes nothing until it is resumed, and then as if nothing had been", function()
    local session = open(30)
    local expected = session:generate(answer(40, 9)).tokens:totable()
    session:rewind(30)
    local job = assert(session:start(answer(40, 9)))
    follow(job, function(event) return event.type == "token" end)
    job:pause()
    while job:wait(20) do job:poll() end                 -- the step in flight, and what had been queued
    local steps = engine:stats().steps
    assert.is_false(job:wait(20))
    assert.equal(steps, engine:stats().steps)
    job:resume()
    follow(job)
    assert.same(expected, job:result().tokens:totable())
    session:close()
  end)

  it("holds nobody up", function()
    local held, other = open(500), open(40)
    local job = held:start { max_tokens = 0 }
    job:pause()
    assert.equal(20, #other:generate(answer(20, 1)).tokens)
    job:resume()
    assert.equal("done", follow(job).type)
    held:close()
    other:close()
  end)

  it("can be cancelled, closed, late, and paused twice", function()
    local session = open(30)
    local job = session:start(answer(400, 1))
    job:pause()
    job:pause()
    job:cancel()
    assert.equal("cancel", follow(job).finish_reason)
    job = session:start { max_tokens = 1000, ignore_eos = true, deadline_ms = 5 }
    job:pause()
    assert.equal("deadline", follow(job).finish_reason)
    job:resume()
    job = session:start(answer(400, 1))
    job:pause()
    job:close()
    assert(session:append { 1 })
    session:close()
  end)
end)

describe("priority", function()
  it("is served first when texts are read", function()
    local low, high = open(3000), open(1500)
    local first, second = low:start { max_tokens = 0, priority = -1 }, high:start { max_tokens = 0, priority = 3 }
    follow(second)
    local progress
    while first:wait(0) and not first:finished() do progress = first:poll() or progress end
    assert.is_true(progress == nil or progress.done < 1500, "the lower one had read as much")
    assert.equal("done", follow(first).type)
    low:close()
    high:close()
  end)

  it("is shared by equals: both end with the same progress", function()
    local a, b = open(1200), open(1200)
    local one, two = a:start { max_tokens = 0, priority = 1 }, b:start { max_tokens = 0, priority = 1 }
    one:pause()
    two:pause()
    one:resume()
    two:resume()
    follow(one)
    local progress = 0
    repeat
      local event = two:poll()
      if event and event.type == "prefill" then progress = event.done end
    until not event
    assert.is_true(progress > 600, progress)
    follow(two)
    a:close()
    b:close()
  end)

  it("changes no bit of an answer", function()
    local session = open(200)
    local expected = session:generate(answer(15, 4)).tokens:totable()
    session:close()
    local jobs, sessions = {}, {}
    for i = 1, 6 do
      sessions[i] = open(200)
      local options = answer(15, 4)
      options.priority = i % 3 - 1
      jobs[i] = sessions[i]:start(options)
    end
    for i, job in ipairs(jobs) do
      follow(job)
      assert.same(expected, job:result().tokens:totable())
      sessions[i]:close()
    end
  end)

  it("outside its limits is refused", function()
    local session = open(3)
    local job, message, code = session:start { priority = 1001 }
    assert.is_nil(job)
    assert.same({ "priority is 1001: it must lie between -1000 and 1000", "EINVAL" }, { message, code })
    session:close()
  end)
end)

describe("a long text beside an answer", function()
  it("is read in slices: the answer goes on between them, and a shorter slice means more of its tokens", function()
    local function tokens_meanwhile(slice_ms)
      assert(engine:set { slice_ms = slice_ms })
      local reader, talker = open(400), open(20)
      local talking = talker:start(answer(700, 2))
      follow(talking, function(event) return event.type == "token" end)
      local reading, count = reader:start { max_tokens = 0 }, 0
      while not reading:finished() do
        if reading:wait(1) then reading:poll() end
        while talking:dirty() do count = count + (talking:poll().type == "token" and 1 or 0) end
      end
      reader:close()
      talker:close()
      return count
    end
    local fine, coarse = tokens_meanwhile(0), tokens_meanwhile(60000)
    assert.is_true(fine > 2 * coarse, fine .. " and " .. coarse)
    assert.is_true(coarse > 0, coarse)
  end)

  it("ends with the same bits as alone", function()
    local reader, talker = open(900), open(20)
    local expected = { reader:logits():bytes(), talker:generate(answer(200, 2)).tokens:totable() }
    reader:rewind(0)
    reader:sync(tiny.tokens(900))
    talker:rewind(20)
    engine:set { slice_ms = 1 }
    local talking = talker:start(answer(200, 2))
    assert.is_true(expected[1] == reader:logits():bytes())
    follow(talking)
    assert.same(expected[2], talking:result().tokens:totable())
    reader:close()
    talker:close()
  end)

  it("slice_ms outside its limits is refused", function()
    for _, wrong in ipairs { -1, 60001, math.huge } do
      local done, message, code = engine:set { slice_ms = wrong }
      assert.is_nil(done)
      assert.matches("^slice_ms is .*: it must lie between 0 and 60000$", message)
      assert.equal("EINVAL", code)
    end
    assert.has_error(function() engine:set { slice_ms = 0 / 0 } end)
  end)
end)

describe("more answers than a step has rows", function()
  it("leave room for first tokens: none waits until others have ended", function()
    local parent = open(30)
    assert(parent:generate { max_tokens = 0 })
    local forks, jobs, given = {}, {}, {}
    for i = 1, 300 do
      forks[i] = assert(parent:fork())
      jobs[i], given[i] = assert(forks[i]:start(answer(20, i))), 0
    end
    local late = 0
    repeat
      local running = 0
      for i, job in ipairs(jobs) do
        while job:dirty() do
          local event = job:poll()
          if event.type == "token" then given[i] = given[i] + 1 end
          if event.type == "done" then
            for j = 1, #jobs do late = late + (given[j] == 0 and not jobs[j]:dirty() and 1 or 0) end
          end
        end
        running = running + (job:finished() and 0 or 1)
      end
    until running == 0
    assert.equal(0, late)
    for _, fork in ipairs(forks) do fork:close() end
    parent:close()
  end)
end)

describe("the limit on jobs", function()
  it("R07: refuses one more, and lets it in when another has ended", function()
    assert(engine:set { max_jobs = 3 })
    local sessions, jobs = {}, {}
    for i = 1, 3 do
      sessions[i] = open(10)
      jobs[i] = assert(sessions[i]:start(answer(5, i)))
      jobs[i]:pause()
    end
    local late = open(10)
    local job, message, code = late:start(answer(5, 4))
    assert.is_nil(job)
    assert.equal("3 jobs run or wait, which is the engine's limit (engine:set{ max_jobs = n })", message)
    assert.equal("EBUSY", code)
    assert.equal(10, late:position())
    jobs[2]:resume()
    follow(jobs[2])
    assert.equal(5, #assert(late:generate(answer(5, 4))).tokens)
    for _, session in ipairs(sessions) do session:close() end
    late:close()
  end)

  it("counts no job that was closed", function()
    assert(engine:set { max_jobs = 1 })
    local session = open(10)
    for i = 1, 20 do
      local job = assert(session:start(answer(50, i)))
      job:wait(5)
      job:close()
    end
    session:close()
  end)

  it("is at least one", function()
    assert.equal("EINVAL", select(3, engine:set { max_jobs = 0 }))
  end)
end)
