--- Routine decisions: log-probabilities of given continuations, scored on forks in one step.
local support = require "spec.support"
support.internals()
local tiny = require "spec.lua.tiny"
local joined = tiny.joined
local core = require "moonseek.core"

local engine

setup(function() engine = tiny.open { threads = 2 } end)
teardown(function() engine:close() end)

local function open(ids, context)
  local session = assert(engine:session { context = context or 1024 })
  if ids then assert(session:sync(ids)) end
  return session
end

--- log softmax of the logits after `ids`, at `id`: the definition, from a session that knows nothing else.
local function logprob(ids, id)
  local session = open(ids)
  local logits = assert(session:logits())
  local highest, sum = -math.huge, 0
  for i = 0, #logits - 1 do highest = math.max(highest, logits[i]) end
  for i = 0, #logits - 1 do sum = sum + math.exp(logits[i] - highest) end
  session:close()
  return logits[id] - highest - math.log(sum)
end

local function definition(ids, text)
  local scores = {}
  for i, id in ipairs(text) do
    local before = joined(ids, {})
    for j = 1, i - 1 do before[#before + 1] = text[j] end
    scores[i] = logprob(before, id)
  end
  return scores
end

local function near(expected, given)
  assert.equal(#expected, #given)
  for i, value in ipairs(expected) do
    assert.is_true(math.abs(value - given[i]) < 1e-5, ("%d: %.7f, not %.7f"):format(i, given[i], value))
  end
end

describe("score", function()
  it("is the log-probability of each token after those before it", function()
    local session, text = open(tiny.tokens(40)), { 7, 300, 2, 511, 0 }
    near(definition(tiny.tokens(40), text), assert(session:score(text)))
    near(definition(tiny.tokens(40), { 9 }), assert(session:score { 9 }))
    session:close()
  end)

  it("leaves the session as it was, except that what was unread is read", function()
    local session = open(tiny.tokens(100))
    local sessions = engine:stats().sessions
    assert(session:score { 1, 2, 3 })
    assert.equal(100, session:position())
    assert.same(tiny.tokens(100), session:tokens():totable())
    assert.equal(sessions, engine:stats().sessions)
    local usage = assert(session:generate { max_tokens = 2, seed = 3, ignore_eos = true }).usage
    assert.same({ 100, 0 }, { usage.cached, usage.reread })
    session:close()
  end)

  it("of a long text equals that of its parts, whatever the rows of a step", function()
    local session, text = open(tiny.tokens(20)), tiny.tokens(700)
    local whole = assert(session:score(text))
    local first = {}
    for i = 1, 300 do first[i] = text[i] end
    local part = assert(session:score(first))
    for i = 1, 300 do assert.equal(whole[i], part[i]) end
    assert(session:append(first))
    local rest = {}
    for i = 301, 700 do rest[i - 300] = text[i] end
    part = assert(session:score(rest))
    for i = 1, 400 do assert.equal(whole[300 + i], part[i]) end
    session:close()
  end)

  it("beside a generation has the same bits, and does not change it", function()
    local alone, text = open(tiny.tokens(60)), tiny.tokens(90)
    local expected = assert(alone:score(text))
    local tokens = alone:generate { max_tokens = 60, seed = 5, ignore_eos = true }.tokens:totable()
    alone:close()
    local session, other = open(tiny.tokens(60)), open(tiny.tokens(60))
    local job = assert(other:start { max_tokens = 60, seed = 5, ignore_eos = true })
    assert.same(expected, session:score(text))
    while not job:finished() do
      job:wait(100)
      job:poll()
    end
    assert.same(tokens, job:result().tokens:totable())
    session:close()
    other:close()
  end)

  it("needs a token before the first", function()
    local session = open()
    local scores, message, code = session:score { 1, 2 }
    assert.is_nil(scores)
    assert.equal("2 tokens are to be scored: the session holds 2, and its first follows none", message)
    assert.equal("EINVAL", code)
    session:close()
  end)

  it("fails for want of room and for unknown ids, and raises for nothing to score", function()
    local session = open({ 1, 2, 3 }, 5)
    assert.same({ nil, "3 tokens and 3 more: the session's context is 5", "ECTXFULL" }, { session:score { 1, 2, 3 } })
    assert.equal("EINVAL", select(3, session:score { 512 }))
    assert.has_error(function() session:score {} end)
    assert.has_error(function() session:score(7) end)
    assert.has_error(function() session:score() end)
    assert.equal(3, session:position())
    session:close()
    assert.has_error(function() session:score { 1 } end)
  end)
end)

describe("choose", function()
  it("takes the choice of the highest sum", function()
    local session, choices = open(tiny.tokens(50)), { { 4 }, { 8, 15 }, { 16, 23, 42 } }
    local best, sums = assert(session:choose(choices))
    local highest = 1
    for i, choice in ipairs(choices) do
      local sum = 0
      for _, value in ipairs(definition(tiny.tokens(50), choice)) do sum = sum + value end
      near({ sum }, { sums[i] })
      if sums[i] > sums[highest] then highest = i end
    end
    assert.equal(highest, best)
    session:close()
  end)

  it("scores all choices in one step, and single tokens in none", function()
    local session = open(tiny.tokens(50))
    session:logits()
    local before = engine:stats().steps
    assert(session:choose { { 1 }, { 2 }, { 3 } })
    assert.equal(before, engine:stats().steps)
    assert(session:choose { { 1, 2, 3 }, { 2, 3 }, { 3, 4, 5, 6 }, { 9, 9 } })
    assert.equal(before + 1, engine:stats().steps)
    session:close()
  end)

  it("takes the first of equals, whatever their order", function()
    local session = open(tiny.tokens(30))
    local _, sums = session:choose { { 1, 2 }, { 3, 4 } }
    local _, turned = session:choose { { 3, 4 }, { 1, 2 } }
    assert.same({ sums[2], sums[1] }, turned)
    session:close()
  end)

  it("raises when there is nothing to choose, or no difference", function()
    local session = open(tiny.tokens(10))
    local wrongs = { {}, { {} }, { { 1 }, {} }, { { 1 }, { 1 } }, { { 1, 2 }, { 3 }, { 1, 2 } }, 7, "yes", false }
    for _, wrong in ipairs(wrongs) do
      assert.has_error(function() session:choose(wrong) end)
    end
    local _, message = pcall(session.choose, session, { { 1, 2 }, { 3 }, { 1, 2 } })
    assert.matches("choices 1 and 3 are equal", message, 1, true)
    assert.equal(10, session:position())
    assert(session:choose { { 1 }, { 2 } })
    session:close()
  end)

  it("fails while a job runs, and when a choice does not fit", function()
    local session = open(tiny.tokens(10), 12)
    assert.equal("ECTXFULL", select(3, session:choose { { 1 }, { 1, 2, 3 } }))
    session:close()
    session = open(tiny.tokens(10))
    local job = session:start { max_tokens = 1000, ignore_eos = true }
    assert.equal("EBUSY", select(3, session:choose { { 1 }, { 2 } }))
    job:close()
    session:close()
  end)

  it("leaves no memory behind, whether it works or not", function()
    local session = open(tiny.tokens(64))
    local function work()
      session:choose { { 1 }, { 2, 3 } }
      pcall(session.choose, session, { { 1 }, { 1 } })
      session:choose { { 1 }, tiny.tokens(1000) }
      session:score { 5, 6 }
    end
    work()
    support.collect()
    local before = core.memory_live()
    for _ = 1, 20 do work() end
    support.collect()
    assert.equal(before, core.memory_live())
    session:close()
  end)
end)
