--- Sessions: what is held, what is read, going back; all of it equal, bit for bit, to a fresh session.
local support = require "spec.support"
local internals = support.internals()
local tiny = require "spec.lua.tiny"
local joined, first = tiny.joined, tiny.first

local engine

setup(function() engine = tiny.open { threads = 2 } end)
teardown(function() engine:close() end)

local function open(context)
  return assert(engine:session { context = context or 2048 })
end

--- The first `count` of other tokens than tiny.tokens gives.
local function others(count)
  local ids = {}
  for i = 1, count do ids[i] = (i * 53 + 3) % tiny.vocabulary end
  return ids
end

--- Logits after `ids`, read in one go by a session that knows nothing else.
local function fresh(ids)
  local session = open()
  assert(session:sync(ids))
  local bytes = assert(session:logits()):bytes()
  session:close()
  return bytes
end

local function generate(session, count, options)
  local given = { max_tokens = count, seed = 11, temperature = 1, ignore_eos = true }
  for name, value in pairs(options or {}) do given[name] = value end
  return assert(session:generate(given))
end

local function read(session)
  return generate(session, 0)
end

describe("reading", function()
  it("gives the same logits however a text is cut into syncs and appends", function()
    local ids, expected = tiny.tokens(300), fresh(tiny.tokens(300))
    for _, cuts in ipairs { { 1, 2, 3 }, { 128 }, { 129, 256, 257 }, { 299 }, { 40, 80, 120, 160, 200, 240, 280 } } do
      local session = open()
      for i, cut in ipairs(joined(cuts, { #ids })) do
        local from = i == 1 and 1 or cuts[i - 1] + 1
        if i % 2 == 0 then
          local part = {}
          for j = from, cut do part[#part + 1] = ids[j] end
          assert(session:append(part))
        else
          assert(session:sync(first(ids, cut)))
        end
        assert.equal(cut - from + 1, read(session).usage.read)
      end
      assert.is_true(expected == session:logits():bytes())
      session:close()
    end
  end)

  it("counts what was held read, read, and read again", function()
    local session = open()
    session:sync(tiny.tokens(30))
    local usage = generate(session, 5).usage
    assert.same({ 0, 30, 0, 5 }, { usage.cached, usage.read, usage.reread, usage.completion })
    assert.equal(35, session:position())
    session:append { 1, 2, 3 }
    usage = generate(session, 1).usage
    assert.same({ 34, 4, 0, 1 }, { usage.cached, usage.read, usage.reread, usage.completion })
    session:close()
  end)

  it("of a text that is held already computes nothing", function()
    local session = open()
    session:sync(tiny.tokens(50))
    read(session)
    local steps = engine:stats().steps
    assert(session:sync(tiny.tokens(50)))
    assert.equal(0, read(session).usage.read)
    assert(session:logits())
    assert.equal(steps, engine:stats().steps)
    session:close()
  end)

  it("a token generated is what reading it would have made", function()
    local session = open()
    session:sync(tiny.tokens(140))
    local result = generate(session, 20)
    read(session)
    assert.is_true(fresh(joined(tiny.tokens(140), result.tokens:totable())) == session:logits():bytes())
    session:close()
  end)
end)

describe("sync backwards", function()
  it("equals a fresh session bit for bit and reports what is read again", function()
    local session, ids = open(), tiny.tokens(200)
    session:sync(ids)
    local answer = generate(session, 40).tokens:totable()
    session:append(others(30))
    generate(session, 3)
    -- tokens kept, the mark before them: the last token of an answer is unread when the next job starts
    for _, case in ipairs { { 240, 239 }, { 239, 239 }, { 220, 200 }, { 200, 200 }, { 150, 0 }, { 1, 0 } } do
      local keep, mark = case[1], case[2]
      local wanted = joined(first(joined(ids, answer), keep), first(ids, 7))
      assert(session:sync(wanted))
      local usage = read(session).usage
      assert.same({ mark, keep + 7 - mark, keep - mark }, { usage.cached, usage.read, usage.reread })
      assert.is_true(fresh(wanted) == session:logits():bytes())
    end
    session:close()
  end)

  it("goes back to where an answer began without reading: an answer can be had again at once", function()
    local session = open()
    session:sync(tiny.tokens(300))
    local result = generate(session, 30)
    local logits = fresh(tiny.tokens(300))
    session:sync(tiny.tokens(300))
    assert.is_true(logits == session:logits():bytes())
    local again = generate(session, 30)
    assert.same(result.tokens:totable(), again.tokens:totable())
    assert.same({ 300, 0, 0 }, { again.usage.cached, again.usage.read, again.usage.reread })
    session:close()
  end)

  it("reads again what lies behind the newest mark", function()
    local session, ids = open(), tiny.tokens(100)
    session:sync(ids)
    read(session)                                      -- a mark at 100
    session:append(others(60))
    read(session)                                      -- and at 160
    session:sync(joined(ids, first(others(60), 59), { 7 }))
    local usage = read(session).usage
    assert.same({ 100, 60, 59 }, { usage.cached, usage.read, usage.reread })
    session:close()
  end)

  it("to a prefix whose logits are gone reads at least one token again", function()
    local session, ids = open(), tiny.tokens(internals.STEP_ROWS + 40)
    session:sync(ids)
    local job = assert(session:start { max_tokens = 0 })
    while job:wait(60000) and job:poll().type ~= "prefill" do end
    job:cancel()
    while not job:finished() do
      job:wait(60000)
      job:poll()
    end
    job:close()
    for _, count in ipairs { internals.STEP_ROWS, 100 } do
      assert(session:sync(first(ids, count)))
      assert.is_true(fresh(first(ids, count)) == session:logits():bytes())
    end
    session:close()
  end)

  it("to nothing and to another text starts anew", function()
    local session = open()
    session:sync(tiny.tokens(150))
    generate(session, 3)
    assert(session:sync {})
    assert.equal(0, session:position())
    assert(session:sync(others(140)))
    assert.equal(140, read(session).usage.read)
    assert.is_true(fresh(others(140)) == session:logits():bytes())
    session:close()
  end)

  it("keeps a bounded number of marks, the newest", function()
    local session, ids = open(), {}
    for turn = 1, 3 * internals.MARK_LIMIT do
      ids[turn] = turn
      session:sync(ids)
      read(session)
    end
    local bytes = engine:stats().session_bytes
    for turn = #ids + 1, 6 * internals.MARK_LIMIT do
      ids[turn] = turn
      session:sync(ids)
      read(session)
    end
    assert.is_true(engine:stats().session_bytes < 2 * bytes)
    local newest = #ids - 1
    session:sync(joined(first(ids, newest), { 99 }))
    assert.equal(newest, read(session).usage.cached)
    session:sync { 1, 2, 3, 99 }
    assert.equal(0, read(session).usage.cached)
    assert.is_true(fresh { 1, 2, 3, 99 } == session:logits():bytes())
    session:close()
  end)
end)

describe("the context", function()
  local limit = 1048576                                -- of config.json

  for _, context in ipairs { limit + 1, 2 ^ 31, 2 ^ 40 } do
    it(("R02: refuses a context of %.0f"):format(context), function()
      local session, message, code = engine:session { context = context }
      assert.is_nil(session)
      assert.equal(("context is %.0f: the model allows from 1 to %d"):format(context, limit), message)
      assert.equal("EINVAL", code)
    end)
  end

  it("R02: refuses more tokens than fit, and holds what it held", function()
    local session = open(8)
    assert(session:sync(tiny.tokens(5)))
    local done, message, code = session:sync(tiny.tokens(9))
    assert.is_nil(done)
    assert.equal("9 tokens: the session's context is 8", message)
    assert.equal("ECTXFULL", code)
    done, message, code = session:append { 1, 2, 3, 4 }
    assert.is_nil(done)
    assert.equal("5 tokens and 4 more: the session's context is 8", message)
    assert.equal("ECTXFULL", code)
    assert.same(tiny.tokens(5), session:tokens():totable())
    assert.equal(3, session:room())
    session:close()
  end)

  it("R02: a full session reads, but is refused before it works for a token", function()
    local session = open(6)
    session:sync(tiny.tokens(6))
    local result, message, code = session:generate { max_tokens = 1 }
    assert.is_nil(result)
    assert.equal("the session holds 6 tokens, all that its context has: none can be generated", message)
    assert.equal("ECTXFULL", code)
    assert.is_true(fresh(tiny.tokens(6)) == session:logits():bytes())
    session:close()
  end)

  it("R02: ends a generation that fills it, with reason length", function()
    local session = open(12)
    session:sync(tiny.tokens(7))
    local result = generate(session, nil)
    assert.same({ "length", 5, 12, 0 }, { result.finish_reason, #result.tokens, session:position(), session:room() })
    session:close()
  end)

  it("R02: of one token holds one", function()
    local session = open(1)
    assert(session:sync { 5 })
    assert.is_true(fresh { 5 } == session:logits():bytes())
    assert.equal("ECTXFULL", select(3, session:append { 6 }))
    session:close()
  end)

  it("R02: an empty session can neither generate nor give logits", function()
    local session = open()
    local result, message, code = session:generate { max_tokens = 1 }
    assert.is_nil(result)
    assert.equal("the session holds no token: append at least one, such as the beginning-of-text token", message)
    assert.equal("EINVAL", code)
    result, message = session:logits()
    assert.is_nil(result)
    assert.equal("the session holds no token, so there are no logits", message)
    session:close()
  end)

  it("refuses ids outside the vocabulary and holds what it held", function()
    local session = open()
    session:sync { 1, 2 }
    for _, id in ipairs { tiny.vocabulary, 2 ^ 31 - 1 } do
      local done, message, code = session:append { 3, id }
      assert.is_nil(done)
      assert.truthy(message:find(("%d"):format(id), 1, true))
      assert.equal("EINVAL", code)
    end
    assert.same({ 1, 2 }, session:tokens():totable())
    session:close()
  end)
end)
