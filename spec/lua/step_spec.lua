--- An engine without threads: the host computes, a step at a time, on its own thread.
local support = require "spec.support"
local internals = support.internals()
local tiny = require "spec.lua.tiny"

local function count_threads()
  local pipe = io.popen("ls /proc/$PPID/task | wc -l")
  local count = pipe:read("*n")
  pipe:close()
  return count
end

--- Steps until the last event; the types of all, and the ids of the tokens.
local function walk(session, options)
  local types, tokens = {}, {}
  repeat
    local event = assert(session:step(options) or { type = "nothing" })
    types[#types + 1] = event.type
    if event.type == "token" then tokens[#tokens + 1] = event.token end
  until event.type == "done" or event.type == "error"
  return types, tokens
end

describe("an engine with threads = 0", function()
  local engine, expected

  setup(function()
    local threaded = tiny.open()
    expected = tiny.scenario(threaded)
    threaded:close()
    engine = tiny.open { threads = 0 }
  end)
  teardown(function() engine:close() end)

  local options = { max_tokens = 5, seed = 3, temperature = 1, ignore_eos = true }

  it("starts none, and does whatever one with threads does", function()
    local before = count_threads()
    assert.equal(expected, tiny.scenario(engine))
    assert.equal(before, count_threads())
    assert.equal(1, engine:info().threads)
  end)

  it("computes one step a call of session:step, and nothing in between", function()
    local session = engine:session { context = 2048 }
    session:sync(tiny.tokens(600))
    local steps, types = engine:stats().steps, {}
    repeat
      local event = session:step(options)
      types[#types + 1] = event and event.type or "nothing"
      assert.is_true(engine:stats().steps <= steps + 1)
      steps = engine:stats().steps
    until event and event.type == "done"
    assert.equal("prefill prefill prefill token token token token token done", table.concat(types, " "))
    session:close()
  end)

  it("does not wait for a job that ends without a step", function()
    local status, output = tiny.run [[                   -- ended by force when it does wait
      local tiny = require "spec.lua.tiny"
      local session = tiny.open { threads = 0 }:session { context = 64 }
      session:sync { 1, 2, 3 }
      for _, options in ipairs { { max_tokens = 0 }, { max_tokens = 0 }, { deadline_ms = 0 } } do
        local job = assert(session:start(options))
        assert(job:wait(3600000))
        while not job:finished() do job:poll() end
      end
      print "passed"
    ]]
    assert.same({ 0, "passed\n" }, { status, output })
  end)

  it("gives the same tokens as generate, again after a rewind, and begins anew after the end", function()
    local session = engine:session { context = 512 }
    session:sync(tiny.tokens(20))
    local tokens = session:generate(options).tokens:totable()
    session:rewind(20)
    local _, stepped = walk(session, options)
    assert.same(tokens, stepped)
    session:rewind(20)
    assert.same(tokens, select(2, walk(session, options)))
    assert.equal(25, session:position())
    session:close()
  end)

  it("takes the jobs of other sessions along", function()
    local session, other = engine:session { context = 512 }, engine:session { context = 512 }
    session:sync(tiny.tokens(20))
    other:sync(tiny.tokens(20))
    local job = other:start(options)
    local _, tokens = walk(session, options)
    while job:dirty() do job:poll() end
    assert.is_true(job:finished())
    assert.same(tokens, job:result().tokens:totable())
    session:close()
    other:close()
  end)

  it("ends a generation that is left: by any call that changes the session, at collection and at close", function()
    local session = engine:session { context = 512 }
    session:sync(tiny.tokens(20))
    session:step(options)
    assert(session:append { 1 })
    session:step(options)
    assert(session:fork()):close()
    session:step(options)
    session:close()
    support.collect()
    assert.same({ 0, 0 }, { engine:stats().jobs, engine:stats().sessions })
  end)

  it("fails by an event, and goes on", function()
    local session = engine:session { context = 512 }
    local event, message, code = session:step(options)
    assert.is_nil(event)
    assert.equal("the session holds no token: append at least one, such as the beginning-of-text token", message)
    assert.equal("EINVAL", code)
    session:sync(tiny.tokens(3))
    assert.has_error(function() session:step { max_token = 1 } end)
    assert.equal(5, #select(2, walk(session, options)))
    session:close()
  end)

  it("cancel and deadline end a job at the next look, without a step", function()
    local session = engine:session { context = 512 }
    session:sync(tiny.tokens(20))
    local job = session:start(options)
    job:cancel()
    local event
    while job:dirty() do event = job:poll() end
    assert.equal("cancel", event.finish_reason)
    job = session:start { max_tokens = 5, deadline_ms = 0 }
    job:wait(10)
    while job:dirty() do event = job:poll() end
    assert.equal("deadline", event.finish_reason)
    session:close()
  end)

  it("ends a late job whose waiter has nothing to compute", function()
    local session = engine:session { context = 512 }
    session:sync(tiny.tokens(20))
    local job = session:start { max_tokens = 5, deadline_ms = 30 }
    job:pause()
    assert.is_true(job:wait(600000))
    assert.equal("deadline", job:poll().finish_reason)
    session:close()
  end)

  it("can neither get threads later nor be stepped when it has some", function()
    assert.equal("EINVAL", select(3, engine:set { threads = 2 }))
    local threaded = tiny.open()
    local session = threaded:session { context = 64 }
    session:sync(tiny.tokens(5))
    local event, message, code = session:step(options)
    assert.is_nil(event)
    assert.equal("the engine computes on threads of its own: open it with threads = 0", message)
    assert.equal("EINVAL", code)
    assert.equal(5, #session:generate(options).tokens)
    session:close()
    threaded:close()
  end)

  it("L16: leaves the host's floating-point modes as they were, and does not depend on them", function()
    local before = { internals.floating_point() }
    local session = engine:session { context = 64 }
    session:sync(tiny.tokens(5))
    walk(session, options)
    assert.same(before, { internals.floating_point() })
    session:close()
  end)
end)
