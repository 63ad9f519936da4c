--- Jobs: events, cancel, deadline, what stays after them, and how a generation ends.
local support = require "spec.support"
local internals = support.internals()
local tiny = require "spec.lua.tiny"

local engine

setup(function() engine = tiny.open { threads = 1 } end)
teardown(function() engine:close() end)

local prompt = internals.STEP_ROWS * 2 + 50              -- three steps of prefill

local function options(given)
  local all = { seed = 21, temperature = 1, ignore_eos = true }
  for name, value in pairs(given or {}) do all[name] = value end
  return all
end

local function open(count, context)
  local session = assert(engine:session { context = context or 4096 })
  assert(session:sync(tiny.tokens(count)))
  return session
end

local function next_event(job)
  while not job:finished() do
    job:wait(60000)
    local event = job:poll()
    if event then return event end
  end
end

local function drain(job)
  local events = {}
  for event in next_event, job do events[#events + 1] = event end
  return events
end

--- What a session of its own generates after tiny.tokens(count).
local function expected(count, max_tokens, given)
  local session = open(count)
  local all = options(given)
  all.max_tokens = max_tokens
  local ids = assert(session:generate(all)).tokens:totable()
  session:close()
  return ids
end

describe("events", function()
  it("are prefill up to all of it, then every token, then the end", function()
    local session = open(prompt)
    local job = assert(session:start(options { max_tokens = 4 }))
    local kinds, done, tokens, positions = {}, 0, {}, {}
    for _, event in ipairs(drain(job)) do
      if kinds[#kinds] ~= event.type then kinds[#kinds + 1] = event.type end
      if event.type == "prefill" then
        assert.equal(prompt, event.total)
        assert.is_true(event.done > done)
        done = event.done
      elseif event.type == "token" then
        tokens[#tokens + 1] = event.token
        positions[#positions + 1] = event.position
        assert.is_true(event.logprob <= 0)
      end
    end
    assert.same({ "prefill", "token", "done" }, kinds)
    assert.equal(prompt, done)
    assert.same(expected(prompt, 4), tokens)
    assert.same({ prompt, prompt + 1, prompt + 2, prompt + 3 }, positions)
    assert.is_true(job:finished())
    assert.is_nil(job:poll())
    session:close()
  end)

  it("R07: a slow reader gets one event for all progress, and its job pauses at a bounded number of tokens", function()
    local count = internals.EVENT_LIMIT + 40
    local session, other = open(300), open(5)
    local job = assert(session:start(options { max_tokens = count }))
    local before
    repeat                                               -- until it does not get on while another does
      before = session:position()
      assert(other:generate(options { max_tokens = 20 }))
    until session:position() == before and before > 300
    assert.equal(300 + internals.EVENT_LIMIT, session:position())
    local events, tokens = drain(job), {}
    assert.same({ "prefill", 300 }, { events[1].type, events[1].done })
    for i = 2, #events - 1 do tokens[i - 1] = events[i].token end
    assert.equal(count, #tokens)
    assert.same(expected(300, count), tokens)
    session:close()
    other:close()
  end)

  it("R07: a paused job can be cancelled, and can be late", function()
    for _, way in ipairs { "cancel", "deadline" } do
      local session = open(3)
      local job = assert(session:start(options { deadline_ms = way == "deadline" and 3600000 or nil }))
      while session:position() < 3 + internals.EVENT_LIMIT do job:wait(1) end
      if way == "cancel" then job:cancel() else internals.advance_clock(3600001) end
      local other = open(2)                              -- wakes the engine
      assert(other:generate(options { max_tokens = 1 }))
      local events = drain(job)
      assert.equal(internals.EVENT_LIMIT + 2, #events)
      assert.equal(way, events[#events].finish_reason)
      session:close()
      other:close()
    end
  end)

  it("log-probabilities come with every token when asked for", function()
    local session = open(20)
    local logits = assert(session:logits())
    local top = logits:top(3)
    local bias = { [top[2].id] = 100 }
    local job = assert(session:start(options { max_tokens = 1, logprobs = 3, temperature = 0, logit_bias = bias }))
    local event = next_event(job)
    assert.equal(top[2].id, event.token)                 -- chosen by the bias, told without it
    assert.equal(3, #event.logprobs)
    for i = 1, 3 do assert.equal(top[i].id, event.logprobs[i].id) end
    assert.equal(event.logprob, event.logprobs[2].logprob)
    session:close()
  end)
end)

describe("the descriptor", function()
  it("is readable exactly while an event waits", function()
    local session = open(10)
    local job = assert(session:start(options { max_tokens = 3 }))
    local descriptor = assert(job:pollfd())
    while not job:finished() do
      local waits = job:wait(60000)
      assert.is_true(waits)
      assert.is_true(internals.readable(descriptor))
      assert.truthy(job:poll())
    end
    assert.is_false(internals.readable(descriptor))
    assert.equal(descriptor, job:pollfd())
    session:close()
  end)

  it("made late tells of what waits already", function()
    local session = open(10)
    local job = assert(session:start(options { max_tokens = 3 }))
    while session:position() < 13 do job:wait(1) end
    assert.is_true(internals.readable(job:pollfd()))
    drain(job)
    assert.is_false(internals.readable(job:pollfd()))
    session:close()
  end)
end)

describe("cancel", function()
  it("R05: in prefill keeps what was read and takes it from there", function()
    local session = open(prompt)
    local job = assert(session:start(options { max_tokens = 4 }))
    assert.equal("prefill", next_event(job).type)
    job:cancel()
    local events = drain(job)
    local last = events[#events]
    assert.same({ "done", "cancel" }, { last.type, last.finish_reason })
    local read = last.usage.read
    assert.is_true(read >= internals.STEP_ROWS and read < prompt and read % internals.STEP_ROWS == 0)
    assert.equal(prompt, session:position())
    local result = assert(session:generate(options { max_tokens = 4 }))
    assert.same({ read, prompt - read, 0 }, { result.usage.cached, result.usage.read, result.usage.reread })
    assert.same(expected(prompt, 4), result.tokens:totable())
    session:close()
  end)

  it("R05: before anything is read leaves the session as it was", function()
    local session = open(prompt)
    local job = assert(session:start(options()))
    job:cancel()
    local events = drain(job)
    assert.equal("cancel", events[#events].finish_reason)
    assert.same(expected(prompt, 2), session:generate(options { max_tokens = 2 }).tokens:totable())
    session:close()
  end)

  it("R05: at any token keeps the tokens told of, and the next job goes on with the same text", function()
    local all = expected(20, 12)
    for stop = 1, 9 do
      local session = open(20)
      local job, kept = assert(session:start(options())), {}
      for event in next_event, job do
        if event.type == "token" then kept[#kept + 1] = event.token end
        if #kept == stop then job:cancel() end
      end
      local result = assert(job:result())
      assert.equal("cancel", result.finish_reason)
      assert.same(kept, result.tokens:totable())
      assert.equal(20 + #kept, session:position())
      for i = 1, math.min(#kept, 12) do assert.equal(all[i], kept[i]) end
      if #kept < 12 then
        local rest = assert(session:generate(options { max_tokens = 12 - #kept })).tokens:totable()
        for i = 1, #rest do assert.equal(all[#kept + i], rest[i]) end
      end
      session:close()
    end
  end)

  it("R05: waits for a stage at most, not for the step", function()
    local session = open(internals.STEP_ROWS)
    local job = assert(session:start(options()))
    while engine:stats().jobs == 0 do job:wait(1) end
    job:cancel()
    job:wait(60000)
    local event = next_event(job)
    assert.same({ "done", "cancel", 0 }, { event.type, event.finish_reason, event.usage.read })
    session:close()
  end)

  it("of a job that has ended changes nothing", function()
    local session = open(4)
    local job = assert(session:start(options { max_tokens = 2 }))
    drain(job)
    job:cancel()
    assert.equal("length", job:result().finish_reason)
    session:close()
  end)
end)

describe("deadline", function()
  it("of 0 ends the job before it works, and the session stays", function()
    local session = open(prompt)
    local result = assert(session:generate(options { deadline_ms = 0 }))
    assert.same({ "deadline", 0, 0 }, { result.finish_reason, #result.tokens, result.usage.read })
    assert.same(expected(prompt, 3), session:generate(options { max_tokens = 3 }).tokens:totable())
    session:close()
  end)

  it("R06: keeps what was generated until then; a clock that jumps is only late", function()
    local session = open(10)
    local job, kept = assert(session:start(options { deadline_ms = 100000 })), {}
    for event in next_event, job do
      if event.type == "token" then kept[#kept + 1] = event.token end
      if #kept == 5 then internals.advance_clock(100001) end
    end
    local result = assert(job:result())
    assert.equal("deadline", result.finish_reason)
    assert.same(kept, result.tokens:totable())
    assert.is_true(#kept >= 5)
    session:close()
  end)
end)

describe("one session", function()
  it("runs one job: a second is refused, and so are changes and logits", function()
    local session = open(prompt)
    local job = assert(session:start(options { max_tokens = 3 }))
    local calls = {
      function() return session:start(options()) end,
      function() return session:generate(options()) end,
      function() return session:sync { 1 } end,
      function() return session:append { 1 } end,
      function() return session:logits() end
    }
    for _, call in ipairs(calls) do
      local result, message, code = call()
      assert.is_nil(result)
      assert.equal("a job runs on the session", message)
      assert.equal("EBUSY", code)
    end
    local result, message, code = job:result()
    assert.is_nil(result)
    assert.equal("the job has not ended", message)
    assert.equal("EBUSY", code)
    drain(job)
    assert.same(expected(prompt, 3), job:result().tokens:totable())
    session:close()
  end)

  it("is free when the last event is queued, taken or not", function()
    local session = open(5)
    local job = assert(session:start(options { max_tokens = 2 }))
    while engine:stats().jobs ~= 0 do job:wait(1) end
    assert(session:append { 9 })
    assert.equal("length", job:result().finish_reason)
    session:close()
  end)

  it("L03: is free at once when its job is given up, wherever that is", function()
    local all = expected(prompt, 3)
    for delay = 0, 5 do
      local session = open(prompt)
      local job = assert(session:start(options()))
      job:wait(delay * 8)
      job:close()
      assert(session:sync(tiny.tokens(prompt)))
      assert.same(all, session:generate(options { max_tokens = 3 }).tokens:totable())
      session:close()
    end
  end)

  it("L03: given up in prefill may be sent elsewhere while the step goes on", function()
    local other = open(prompt)
    local company = assert(other:start(options { max_tokens = 2 }))    -- so that the step is not abandoned
    for delay = 0, 3 do
      local session = open(prompt)
      assert(session:generate(options { max_tokens = 0 }))
      session:append(tiny.tokens(300))
      local job = assert(session:start(options()))
      job:wait(delay * 2)
      job:close()
      local ids = tiny.tokens(prompt - 9)
      ids[#ids + 1] = 3
      assert(session:sync(ids))
      local again = assert(engine:session { context = 4096 })
      again:sync(ids)
      assert.is_true(again:logits():bytes() == session:logits():bytes())
      again:close()
      session:close()
    end
    drain(company)
    assert.same(expected(prompt, 2), company:result().tokens:totable())
    other:close()
  end)

  it("L03: closed while a job runs cancels it; the job's handle still tells", function()
    local session = open(prompt)
    local job = assert(session:start(options()))
    next_event(job)
    session:close()
    local events = drain(job)
    assert.equal("cancel", events[#events].finish_reason)
    job:close()
  end)

  it("L05: engine, session and job may be closed in any order", function()
    for _, order in ipairs { { 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 }, { 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 } } do
      local own = tiny.open()
      local session = assert(own:session { context = 1024 })
      session:sync(tiny.tokens(600))
      local job = assert(session:start(options()))
      job:wait(5)
      local objects = { own, session, job }
      for _, i in ipairs(order) do objects[i]:close() end
    end
  end)
end)

describe("the end of a generation", function()
  --- A session whose next token is surely `id`, by its bias.
  local function forced(id, given)
    local all = options(given)
    all.temperature, all.logit_bias = 0, { [id] = 10000 }
    return all
  end
  local eos = 1                                          -- of config.json

  it("is EOS, which stays in the session", function()
    local session = open(9)
    local result = assert(session:generate(forced(eos, { ignore_eos = false })))
    assert.same({ "stop", { eos }, "" }, { result.finish_reason, result.tokens:totable(), result.text })
    assert.equal(10, session:position())
    session:close()
  end)

  it("is not EOS when it is to be ignored", function()
    local session = open(9)
    local result = assert(session:generate(forced(eos, { max_tokens = 3 })))
    assert.same({ "length", { eos, eos, eos } }, { result.finish_reason, result.tokens:totable() })
    session:close()
  end)

  it("is a stop id like EOS", function()
    local session = open(9)
    local result = assert(session:generate(forced(77, { stop = { 12, 77 } })))
    assert.same({ "stop", { 77 }, 10 }, { result.finish_reason, result.tokens:totable(), session:position() })
    session:close()
  end)

  it("by a stop string needs a tokenizer", function()
    local session = open(9)
    local result, message, code = session:generate(options { stop = { "end" } })
    assert.is_nil(result)
    assert.truthy(message:find("tokenizer.json", 1, true))
    assert.equal("ENOENT", code)
    session:close()
  end)

  local refused = {
    { "temperature is -1: it must lie between 0 and 100", { temperature = -1 } },
    { "top_p is 2: it must lie between 0 and 1", { top_p = 2 } },
    { "stop: entry 1 is no UTF-8, and only raw = true gives such text", { stop = { "\200" } } },
    { "stop: token 512 does not exist: the vocabulary has 512", { stop = { 512 } } }
  }
  for _, case in ipairs(refused) do
    it("C08: refuses before it starts: " .. case[1], function()
      local session = open(9)
      local job, message, code = session:start(case[2])
      assert.is_nil(job)
      assert.truthy(message:find(case[1], 1, true), message)
      assert.equal("EINVAL", code)
      assert(session:append { 1 })
      session:close()
    end)
  end

  it("a seed is drawn and given back when none is asked for", function()
    local session = open(40)
    local one = assert(session:generate { max_tokens = 8, temperature = 1, ignore_eos = true })
    session:sync(tiny.tokens(40))
    local two = assert(session:generate { max_tokens = 8, temperature = 1, ignore_eos = true, seed = one.seed })
    assert.same(one.tokens:totable(), two.tokens:totable())
    session:sync(tiny.tokens(40))
    assert.not_equal(one.seed, session:generate { max_tokens = 1, temperature = 1 }.seed)
    session:close()
  end)
end)
