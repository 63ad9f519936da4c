--- Forks and rewinding: sessions that share what they have read and never notice each other.
local support = require "spec.support"
support.internals()
local moonseek = require "moonseek.core"
local tiny = require "spec.lua.tiny"
local joined, first = tiny.joined, tiny.first
require "moonseek.session"

local engine

setup(function() engine = tiny.open { threads = 2 } end)
teardown(function() engine:close() end)

local function open(ids, context)
  local session = assert(engine:session { context = context or 2048 })
  if ids then assert(session:sync(ids)) end
  return session
end

local function generate(session, count, seed)
  return assert(session:generate { max_tokens = count, seed = seed or 11, temperature = 1, ignore_eos = true })
end

--- Logits after `ids` in a session that knows nothing else.
local function fresh(ids)
  local session = open(ids)
  local bytes = assert(session:logits()):bytes()
  session:close()
  return bytes
end

describe("a fork", function()
  it("holds and has read what the session has, and reads nothing again", function()
    local session = open(tiny.tokens(150))
    generate(session, 10)
    session:append { 1, 2, 3 }
    local fork = assert(session:fork())
    assert.same(session:tokens():totable(), fork:tokens():totable())
    assert.equal(session:room(), fork:room())
    local usage = generate(fork, 0).usage
    assert.same({ 159, 4, 0 }, { usage.cached, usage.read, usage.reread })
    assert.is_true(session:logits():bytes() == fork:logits():bytes())
    fork:close()
    session:close()
  end)

  it("has the logits at hand: the first token costs no step", function()
    local session = open(tiny.tokens(40))
    generate(session, 0)
    local steps = engine:stats().steps
    local fork = session:fork()
    assert.is_true(fork:logits():bytes() == session:logits():bytes())
    assert.equal(steps, engine:stats().steps)
    fork:close()
    session:close()
  end)

  it("and its session go their own ways, each equal to a fresh one", function()
    for _, count in ipairs { 1, 31, 64, 127, 128, 200, 257 } do
      local ids = tiny.tokens(count)
      local session = open(ids)
      generate(session, 0)
      local fork = session:fork()
      local second = fork:fork()
      local a, b = generate(session, 40, 1).tokens:totable(), generate(fork, 70, 2).tokens:totable()
      second:append { 5, 6, 7 }
      assert.is_true(fresh(joined(ids, a)) == session:logits():bytes())
      assert.is_true(fresh(joined(ids, b)) == fork:logits():bytes())
      assert.is_true(fresh(joined(ids, { 5, 6, 7 })) == second:logits():bytes())
      session:close()
      fork:close()
      second:close()
    end
  end)

  it("outlives its session, and the other way round", function()
    local session = open(tiny.tokens(100))
    generate(session, 0)
    local fork = session:fork()
    session:close()
    assert.is_true(fresh(tiny.tokens(100)) == fork:logits():bytes())
    local third = fork:fork()
    third:close()
    fork:append { 9 }
    assert.is_true(fresh(joined(tiny.tokens(100), { 9 })) == fork:logits():bytes())
    fork:close()
  end)

  it("of an empty session and of an unread one reads like any other", function()
    local session = open()
    local fork = assert(session:fork())
    fork:sync(tiny.tokens(20))
    assert.equal(0, session:position())
    local unread = fork:fork()
    assert.is_true(fresh(tiny.tokens(20)) == unread:logits():bytes())
    assert.equal(20, fork:fork():position())
    session:close()
  end)

  it("can go back to the session's marks", function()
    local session = open(tiny.tokens(100))
    local answer = generate(session, 30).tokens:totable()
    local fork = session:fork()
    session:close()
    assert(fork:rewind(100))
    local usage = generate(fork, 30).usage
    assert.same({ 100, 0 }, { usage.cached, usage.reread })
    assert.same(joined(tiny.tokens(100), answer), fork:tokens():totable())
    fork:close()
  end)

  it("is refused while a job runs, and the session is as it was", function()
    local session = open(tiny.tokens(60))
    local job = assert(session:start { max_tokens = 200, temperature = 0, ignore_eos = true })
    local fork, message, code = session:fork()
    assert.is_nil(fork)
    assert.equal("a job runs on the session", message)
    assert.equal("EBUSY", code)
    job:close()
    assert(session:fork()):close()
    session:close()
  end)

  it("in the middle of a cancelled read is exact", function()
    local ids = tiny.tokens(1500)
    for _ = 1, 5 do
      local session = open(ids)
      local job = session:start { max_tokens = 0 }
      while not job:wait(0) do end
      job:close()                        -- a step is in flight for nobody
      local fork = assert(session:fork())
      assert.is_true(session:logits():bytes() == fork:logits():bytes())
      fork:append { 3 }
      session:append { 3 }
      assert.is_true(fork:logits():bytes() == session:logits():bytes())
      fork:close()
      session:close()
    end
  end)

  it("F12: ten thousand of one prompt cost no memory until they change", function()
    local session = open(tiny.tokens(1000))
    generate(session, 0)
    support.collect()
    local pages, live, forks = engine:stats().session_bytes, moonseek.memory_live(), {}
    for i = 1, 10000 do forks[i] = assert(session:fork()) end
    assert.equal(pages, engine:stats().session_bytes)
    assert.is_true(moonseek.memory_live() - live < 10000 * 1024)
    for i = 1, 10000, 2500 do
      forks[i]:append { i % 50 }
      assert.is_true(fresh(joined(tiny.tokens(1000), { i % 50 })) == forks[i]:logits():bytes())
    end
    for i = 1, 10000 do forks[i]:close() end
    assert.is_true(fresh(tiny.tokens(1000)) == session:logits():bytes())
    session:close()
  end)

  it("a thousand side by side answer as one alone", function()
    local ids = tiny.tokens(130)
    local session = open(ids)
    generate(session, 0)
    local expected, forks, jobs = {}, {}, {}
    for seed = 1, 4 do
      local alone = open(ids)
      expected[seed] = generate(alone, 3, seed).tokens:totable()
      alone:close()
    end
    for i = 1, 1000 do
      forks[i] = session:fork()
      jobs[i] = assert(forks[i]:start { max_tokens = 3, seed = i % 4 + 1, temperature = 1, ignore_eos = true })
    end
    for i, job in ipairs(jobs) do
      while not job:finished() do
        job:wait(1000)
        job:poll()
      end
      assert.same(expected[i % 4 + 1], job:result().tokens:totable())
      forks[i]:close()
    end
    session:close()
  end)
end)

describe("rewind", function()
  it("to any position is exact", function()
    local ids = tiny.tokens(200)
    local session = open(ids)
    generate(session, 0)
    for position = 200, 0, -7 do
      assert.equal(position, session:rewind(position))
      session:append { 60, 61 }
      assert.is_true(fresh(joined(first(ids, position), { 60, 61 })) == session:logits():bytes())
      session:rewind(position)
    end
    session:close()
  end)

  it("reports what is read again, and reads nothing where a mark is", function()
    local session = open(tiny.tokens(100))
    local tokens = generate(session, 20).tokens:totable()
    session:rewind(110)
    local usage = generate(session, 0).usage
    assert.same({ 100, 10, 10 }, { usage.cached, usage.read, usage.reread })
    session:rewind(100)
    local again = generate(session, 20)
    assert.same({ 100, 0 }, { again.usage.cached, again.usage.reread })
    assert.same(tokens, again.tokens:totable())
    session:close()
  end)

  it("to where a reading was cancelled, read again under another policy, has rows of that policy alone", function()
    local hosted = tiny.open { threads = 0 }
    local session = assert(hosted:session { context = 1024 })
    local function cancel_behind_a_step()
      local job = assert(session:start { max_tokens = 0 })
      moonseek.step(job)
      job:cancel()
      while not job:finished() do
        job:wait(60000)
        job:poll()
      end
      return job:result().usage.read
    end
    session:sync(tiny.tokens(400))
    local part = first(tiny.tokens(400), cancel_behind_a_step())
    assert.is_true(#part < 400)
    session:rewind(#part)
    session:append { 1, 2 }
    generate(session, 0)                                 -- marks where it begins: a place without logits
    session:rewind(#part)
    session:routing { top_k = 1 }
    generate(session, 0)
    session:append { 3 }
    generate(session, 0)
    session:rewind(#part)
    assert.equal(#part, generate(session, 0).usage.cached)
    session:append { 4 }
    local alone = open(part)
    alone:routing { top_k = 1 }
    alone:append { 4 }
    assert.is_true(alone:logits():bytes() == session:logits():bytes())
    alone:close()
    hosted:close()
  end)

  it("to the present position changes nothing", function()
    local session = open(tiny.tokens(30))
    generate(session, 0)
    local steps = engine:stats().steps
    assert.equal(30, session:rewind(30))
    assert(session:logits())
    assert.equal(steps, engine:stats().steps)
    session:close()
  end)

  it("F12: outside what is held is refused, and the session is as it was", function()
    local session = open(tiny.tokens(30))
    for position, expected in pairs {
      [-1] = "position is -1: it must be from 0 on", [31] = "position is 31: the session holds 30 tokens",
      [2 ^ 53 - 1] = "position is 9007199254740991: the session holds 30 tokens",
    } do
      local done, message, code = session:rewind(position)
      assert.is_nil(done)
      assert.same({ expected, "EINVAL" }, { message, code })
    end
    for _, wrong in ipairs { 0 / 0, 1.5, math.huge, "x", {}, false } do
      assert.has_error(function() session:rewind(wrong) end)
    end
    assert.is_true(fresh(tiny.tokens(30)) == session:logits():bytes())
    local job = session:start { max_tokens = 100, temperature = 0, ignore_eos = true }
    assert.equal("EBUSY", select(3, session:rewind(0)))
    job:close()
    session:close()
  end)
end)
