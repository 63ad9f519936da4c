local support = require "spec.support"
local tiny = require "spec.lua.tiny"

local session, engine

local function open()
  session, engine = tiny.session()
end

local function close()
  session:close()
  engine:close()
end

--- The session does its work again, and its answers have not changed.
local function assert_usable()
  assert.equal(3, assert(session:sync { 1, 2, 3 }))
  assert.equal(2, #assert(session:generate { max_tokens = 2, ignore_eos = true }).tokens)
end

describe("a session", function()
  before_each(open)
  after_each(close)

  it("holds the tokens it is given, and says how many more fit", function()
    assert.equal(7, session:position())
    assert.equal(4089, session:room())
    assert.same(tiny.tokens(7), session:tokens():totable())
    assert.equal(9, assert(session:append { 1, 2 }))
    assert.equal(2, assert(session:sync(session:tokens():sub(1, 2))))
    assert.equal(0, assert(session:sync {}))
  end)

  it("refuses what does not fit or does not exist, and holds what it held", function()
    local small = assert(engine:session { context = 4 })
    assert(small:sync { 1, 2, 3 })
    assert.equal("ECTXFULL", select(3, small:append { 4, 5 }))
    assert.equal("EINVAL", select(3, small:append { tiny.vocabulary }))
    assert.equal("EINVAL", select(3, small:sync { -1 }))
    assert.same({ 1, 2, 3 }, small:tokens():totable())
    small:close()
  end)

  it("has at most the model's context", function()
    assert.equal("EINVAL", select(3, engine:session { context = 2 ^ 31 }))
    local whole = assert(engine:session())
    assert.equal(engine:info().context, whole:room())
    whole:close()
  end)

  it("gives logits for every id, reading first", function()
    local logits = assert(session:logits())
    assert.equal(tiny.vocabulary, #logits)
    assert.is_number(logits[0])
    assert.is_number(logits[tiny.vocabulary - 1])
    for _, id in ipairs { -1, tiny.vocabulary, 1.5, 0 / 0, math.huge } do assert.is_nil(logits[id]) end
    assert.equal(4 * tiny.vocabulary, #logits:bytes())
    local sum, best = 0, logits:top(2 ^ 20)
    assert.equal(tiny.vocabulary, #best)
    for i, entry in ipairs(best) do
      assert.equal(logits[entry.id], entry.logit)
      assert.is_true(i == 1 or best[i - 1].logit >= entry.logit)
      sum = sum + math.exp(entry.logprob)
    end
    assert.near(1, sum, 1e-9)
    assert.same({ best[1], best[2], best[3] }, logits:top(3))
    assert.equal(logits:bytes(), assert(session:logits()):bytes())
  end)

  it("has no logits without a token", function()
    assert(session:sync {})
    local logits, message, code = session:logits()
    assert.is_nil(logits)
    assert.is_string(message)
    assert.equal("EINVAL", code)
  end)
end)

describe("session:generate", function()
  before_each(open)
  after_each(close)

  it("gives the tokens it added, why it ended, and what it cost", function()
    local result = assert(session:generate { max_tokens = 5, ignore_eos = true, temperature = 0 })
    assert.equal(5, #result.tokens)
    assert.same(result.tokens:totable(), session:tokens():sub(8):totable())
    assert.equal("length", result.finish_reason)
    assert.equal(result.text, tostring(result))
    assert.equal(7, result.usage.prompt)
    assert.equal(0, result.usage.cached)
    assert.equal(5, result.usage.completion)
    assert.is_true(result.timing.prefill_ms > 0 and result.timing.decode_ms >= 0)
    assert.is_nil(result.type)
  end)

  it("repeats itself with the seed it gave", function()
    local function sample(seed)
      assert(session:sync { 1, 2, 3 })
      return assert(session:generate { max_tokens = 8, ignore_eos = true, temperature = 1, seed = seed })
    end
    local first = sample()
    assert.equal("number", type(first.seed))
    assert.equal(first.tokens, sample(first.seed).tokens)
    local last = sample "18446744073709551615"
    assert.equal("18446744073709551615", last.seed)
    assert.equal(last.tokens, sample(last.seed).tokens)
    assert.equal(9007199254740991, sample(9007199254740991).seed)
  end)

  it("tells its events: prefill, tokens, done", function()
    local kinds, tokens = {}, {}
    local result = assert(session:generate { max_tokens = 4, ignore_eos = true, logprobs = 3, on_event = function(event)
      kinds[#kinds + 1] = event.type
      if event.type == "token" then
        tokens[#tokens + 1] = event.token
        assert.equal(7 + #tokens - 1, event.position)
        assert.equal(3, #event.logprobs)
        assert.is_true(event.logprobs[1].logprob >= event.logprob and event.logprob <= 0)
        assert.is_string(event.text)
      end
    end })
    assert.equal("prefill", kinds[1])
    assert.equal("done", kinds[#kinds])
    assert.same(result.tokens:totable(), tokens)
  end)

  it("ends at a token that stops, at a deadline, and when the context is full", function()
    local first = assert(session:generate { max_tokens = 1, ignore_eos = true, temperature = 0 }).tokens[1]
    assert(session:sync(tiny.tokens(7)))
    assert.equal("stop", assert(session:generate { stop = { first }, temperature = 0 }).finish_reason)
    assert(session:sync(tiny.tokens(7)))
    assert.equal("deadline", assert(session:generate { ignore_eos = true, deadline_ms = 0 }).finish_reason)
    local small = assert(engine:session { context = 5 })
    assert(small:sync { 1, 2, 3 })
    local result = assert(small:generate { ignore_eos = true })
    assert.equal("length", result.finish_reason)
    assert.equal(0, small:room())
    assert.equal("ECTXFULL", select(3, small:generate {}))
    small:close()
  end)

  it("C08: returns what is out of range as a failure", function()
    local refused = { { temperature = -1 }, { temperature = math.huge }, { top_p = 2 }, { top_p = -1 }, { min_p = 2 },
      { top_k = -1 }, { max_tokens = -1 }, { seed = -1 }, { seed = "18446744073709551616" }, { seed = "0x10" },
      { seed = 2 ^ 60 + 0.0 }, { logprobs = 21 }, { repetition_penalty = 0 }, { logit_bias = { [512] = 1 } },
      { stop = { 512 } }, { stop = { "" } }, { deadline_ms = -1 } }
    for _, options in ipairs(refused) do
      local name = next(options)
      if not (name == "seed" and math.type and math.type(options.seed) == "integer" and options.seed > 0) then
        local result, message, code = session:generate(options)
        assert.is_nil(result, name)
        assert.matches(name, message, 1, true)
        assert.equal("EINVAL", code)
      end
    end
    for _, options in ipairs { { temperature = 1e-30 }, { temperature = 0 }, { top_p = 0 }, { top_k = 100000 } } do
      options.max_tokens = 1
      assert(session:generate(options))
    end
  end)

  local raised = { ["a text"] = "stop it", ["a table"] = { 1 }, ["nothing"] = false }
  for name, value in pairs(raised) do
    it(("L06: %s raised by on_event ends it with EHOOK, and the session goes on"):format(name), function()
      if not value then value = nil end
      local calls = 0
      local result, problem, code = session:generate { ignore_eos = true, on_event = function(event)
        if event.type ~= "token" then return end
        calls = calls + 1
        error(value, 0)
      end }
      assert.is_nil(result)
      assert.equal(value or "on_event raised nil", problem)
      assert.equal("EHOOK", code)
      assert.equal(1, calls)
      assert.is_true(session:position() >= 7)
      assert_usable()
    end)
  end

  it("L06: on_event may fill the stack, or fail while it handles a failure", function()
    local function deeper() return 1 + deeper() end
    assert.equal("EHOOK", select(3, session:generate { on_event = deeper }))
    assert.equal("EHOOK", select(3, session:generate { on_event = function()
      xpcall(error, function() error("again") end)
      error("last")
    end }))
    assert_usable()
  end)

  it("L06: an error of a debug hook, as Ctrl-C raises, goes through and leaves the session free", function()
    local generating = false
    local function on_event(event) generating = generating or event.type == "token" end
    local function interrupt()
      if not generating or debug.getinfo(2, "f").func == on_event then return end
      debug.sethook()
      error("interrupted!", 0)
    end
    debug.sethook(interrupt, "", 1)
    local ok, message = pcall(session.generate, session, { ignore_eos = true, on_event = on_event })
    debug.sethook()
    assert.is_false(ok)
    assert.equal("interrupted!", message)
    assert_usable()
  end)

  it("L07: on_event may yield where Lua can (5.1: an error)", function()
    local thread = coroutine.create(function()
      return session:generate { max_tokens = 3, ignore_eos = true, on_event = coroutine.yield }
    end)
    local tokens = 0
    local ok, value, problem, code = coroutine.resume(thread)
    while coroutine.status(thread) ~= "dead" do
      if value.type == "token" then tokens = tokens + 1 end
      ok, value, problem, code = coroutine.resume(thread)
    end
    assert.is_true(ok, value)
    if value then assert.equal(3, tokens) else assert.same({ "EHOOK", "string" }, { code, type(problem) }) end
    assert_usable()
  end)

  it("L08: on_event may collect, open, generate elsewhere, and finds its own session busy", function()
    local codes
    -- a job pauses while its events wait: this one cannot end before the first is taken
    local _, problem = session:generate { ignore_eos = true, on_event = function(event)
      if event.type ~= "token" then return end
      collectgarbage()
      local other, another = tiny.session()
      assert(other:generate { max_tokens = 1 })
      other:close()
      another:close()
      codes = { (select(3, session:generate {})), (select(3, session:logits())), (select(3, session:sync {})) }
      error("enough", 0)
    end }
    assert.equal("enough", problem)
    assert.same({ "EBUSY", "EBUSY", "EBUSY" }, codes)
    assert_usable()
  end)

  it("L08: on_event may close the session and the engine", function()
    local result = session:generate { ignore_eos = true, on_event = function(event)
      if event.type == "token" then
        session:close()
        engine:close()
      end
    end }
    assert.is_true(result == nil or result.finish_reason == "cancel")
    assert.is_false((pcall(session.position, session)))
  end)
end)

describe("session:stream", function()
  before_each(open)
  after_each(close)

  it("iterates over events and ends with the result", function()
    local tokens, last = {}, nil
    for event in session:stream { max_tokens = 4, ignore_eos = true } do
      last = event
      if event.type == "token" then tokens[#tokens + 1] = event.token end
    end
    assert.equal("done", last.type)
    assert.equal("length", last.finish_reason)
    assert.same(last.tokens:totable(), tokens)
    assert.is_string(last.tail)
  end)

  it("fails with a message and a code", function()
    assert.equal("EINVAL", select(3, session:stream { top_p = 3 }))
    local job = assert(session:start { ignore_eos = true })
    assert.equal("EBUSY", select(3, session:stream {}))
    job:close()
  end)

  it("left early is cancelled by the next call on the session", function()
    for _, call in ipairs { "sync", "append", "logits", "generate", "stream", "start" } do
      for event in session:stream { ignore_eos = true } do
        if event.type == "token" then break end
      end
      local result, message = session[call](session, call:match("^[sa][yp]") and { 1 } or { max_tokens = 0 })
      assert.is_truthy(result, message)
      if type(result) == "userdata" and call == "start" then result:close() end
    end
  end)

  it("left to the collector is cancelled by the next call, also before its finaliser runs", function()
    support.amid_collection(function() session:stream({ ignore_eos = true })() end,
      function() assert(session:append { 1 }) end)
  end)

  it("left early is cancelled at once where the language tells", function()
    if not rawget(_G, "utf8") or _VERSION < "Lua 5.4" then return end
    for event in session:stream { ignore_eos = true } do
      if event.type == "token" then break end
    end
    for _ = 1, 100 do
      if engine:stats().jobs == 0 then break end
      io.popen("sleep 0.02"):close()
    end
    assert.equal(0, engine:stats().jobs)
  end)

  it("that another call has cancelled says so once and ends", function()
    local step = session:stream { ignore_eos = true }
    step()
    assert(session:append { 1 })
    local event = step()
    assert.equal("error", event.type)
    assert.equal("ECANCELED", event.code)
    assert.is_nil(step())
    assert.is_nil(step())
  end)

  it("L09: goes on in another coroutine when the first has died", function()
    local step
    local first = coroutine.create(function()
      step = session:stream { max_tokens = 5, ignore_eos = true }
      step()
    end)
    assert(coroutine.resume(first))
    first = nil
    collectgarbage()
    local second = coroutine.wrap(function()
      local last
      for event in step do last = event end
      return last, first
    end)
    assert.equal(5, #second().tokens)
  end)
end)

describe("L03: a closed session", function()
  it("raises, whichever the method; closing again is allowed", function()
    open()
    session:close()
    session:close()
    for name, method in pairs(tiny.methods(session)) do
      if name ~= "close" then
        local ok, message = pcall(method, session, {})
        assert.is_false(ok, name)
        assert.matches("session is closed", message)
      end
    end
    assert.equal("moonseek.session (closed)", tostring(session))
    engine:close()
  end)

  it("cancels its job, which ends", function()
    open()
    local job = assert(session:start { ignore_eos = true })
    job:wait(20)
    session:close()
    for _ = 1, 1000 do
      if job:finished() then break end
      job:poll()
      job:wait(10)
    end
    assert.equal("cancel", assert(job:result()).finish_reason)
    job:close()
    engine:close()
  end)
end)

describe("L04: the collector", function()
  after_each(function()
    debug.sethook()
    collectgarbage("setpause", 200)
    collectgarbage("setstepmul", 200)
    if _VERSION >= "Lua 5.4" then collectgarbage("incremental") end
  end)

  it("may run at every call and return", function()
    engine = tiny.open()
    local expected = tiny.scenario(engine)
    debug.sethook(function() collectgarbage() end, "cr")
    local ok, tokens = pcall(tiny.scenario, engine)
    debug.sethook()
    assert.is_true(ok, tokens)
    assert.equal(expected, tokens)
    engine:close()
  end)

  it("may run without a pause, or by generations", function()
    engine = tiny.open()
    local expected = tiny.scenario(engine)
    collectgarbage("setpause", 0)
    collectgarbage("setstepmul", 10000)
    assert.equal(expected, tiny.scenario(engine))
    if _VERSION >= "Lua 5.4" then
      collectgarbage("generational")
      assert.equal(expected, tiny.scenario(engine))
    end
    engine:close()
  end)

  it("keeps what only a running job, a stream or a session refers to", function()
    local job = assert(tiny.session():start { max_tokens = 0 })
    local step = tiny.session():stream { max_tokens = 3, ignore_eos = true }
    for _ = 1, 3 do collectgarbage() end
    job:wait(1000)
    repeat local event = job:poll() until job:finished() or not event
    assert.equal("length", assert(job:result()).finish_reason)
    local last
    for event in step do last = event end
    assert.equal("length", last.finish_reason)
    job:close()
  end)

  it("closes an object under the call that uses it, and nothing breaks", function()
    -- a finaliser that ends everything, at whatever moment the collector finds it
    local function arm(...)
      local doomed = { ... }
      support.with_finaliser(function() for _, object in ipairs(doomed) do object:close() end end)
    end
    collectgarbage("setpause", 0)
    collectgarbage("setstepmul", 10000)
    for _ = 1, 60 do
      open()
      local job = assert(session:start { max_tokens = 2, ignore_eos = true })
      arm(session, engine, job)
      pcall(function()
        while not job:finished() do
          job:poll()
          job:wait(1)
        end
        job:result()
        job:close()
        session:sync { 1, 2, { "x" } }
        session:sync(session:tokens())
        session:logits():top(20)
        session:generate { max_tokens = 1, stop = { 4 }, logit_bias = { [3] = 1 } }
        engine:session { context = 50 }:close()
      end)
      close()
    end
  end)
end)
