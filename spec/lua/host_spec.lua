--- The module inside programs: several states, threads, ends of every kind (L08, L10 to L12).
local support = require "spec.support"
local tiny = require "spec.lua.tiny"
local internals = support.internals()

local prelude = [[
  require "spec.support"
  local tiny = require "spec.lua.tiny"
]]

describe("the processor's floating-point modes", function()
  it("are the host's before and after opening and generating", function()
    local before = { internals.floating_point() }
    local engine = tiny.open { check = true }
    assert.same(before, { internals.floating_point() })
    tiny.scenario(engine)
    assert.same(before, { internals.floating_point() })
    engine:close()
    assert.same(before, { internals.floating_point() })
  end)
end)

describe("L10: several Lua states", function()
  it("in threads of their own get the same answers from the same file", function()
    local engine = tiny.open()
    local expected = tiny.scenario(engine)
    engine:close()
    local results = internals.in_states(prelude .. "return tiny.scenario(tiny.open())", 4)
    assert.same({ expected, expected, expected, expected }, results)
  end)
end)

describe("L11: a Lua state", function()
  it("may be closed while workers run, and its host goes on", function()
    local results = internals.in_states(prelude .. [[
      session, engine = tiny.session(2000)
      job = assert(session:start { ignore_eos = true })
      other = tiny.session()
      step = other:stream { ignore_eos = true }
      step()
      return "left"
    ]], 3)
    assert.same({ "left", "left", "left" }, results)
    local engine = tiny.open()
    assert.is_string(tiny.scenario(engine))
    engine:close()
  end)

  it("L05: finalises its objects in whatever order", function()
    for _, order in ipairs { "engine, session, job, step, logits", "step, job, session, logits, engine" } do
      local results = internals.in_states(prelude .. [[
        local session, engine = tiny.session()
        local logits = session:logits()
        local job = tiny.session():start { ignore_eos = true }
        local step = session:stream { ignore_eos = true }
        keep = { ]] .. order .. [[ }
        return "left"
      ]], 1)
      assert.same({ "left" }, results)
    end
  end)
end)

-- What a program is in the middle of when its end comes.
local busy = {
  prefill = [[
    tiny = require "spec.lua.tiny"
    session, engine = tiny.session(1, 300000)
    assert(session:sync(tiny.tokens(200000)))
    job = assert(session:start { max_tokens = 0 })
    local event
    repeat job:wait(10000) event = job:poll() until event and event.done > 0
  ]],
  decode = [[
    tiny = require "spec.lua.tiny"
    session, engine = tiny.session(7, 200000)
    job = assert(session:start { ignore_eos = true })
    local event
    repeat job:wait(10000) event = job:poll() until event and event.type == "token"
  ]],
}

describe("L12: a program", function()
  local ends = {
    { "os.exit(0, true)", "leaving() os.exit(0, true)", 0 },
    { "os.exit(3)", "leaving() os.exit(3)", 3 },
    { "an error at top level", "leaving() error('the end')", 1 },
    { "the last line", "leaving()", 0 },
    { "SIGTERM", "strike 'TERM' while true do job:poll() job:wait(50) end", 128 + 15 },
    { "Ctrl-C", "strike 'INT' while true do job:poll() job:wait(50) end", 1 },
    { "Ctrl-C in a blocking generate", [[
      job:close()
      strike "INT"
      session:generate { ignore_eos = true }
    ]], 1 },
    { "L08: os.exit in on_event", [[
      job:close()
      session:generate { ignore_eos = true, on_event = function() leaving() os.exit(4, true) end }
    ]], 4 },
    { "L08: os.exit in on_progress", "tiny.open { on_progress = function() leaving() os.exit(5, true) end }", 5 },
  }
  for moment, script in pairs(busy) do
    for _, case in ipairs(ends) do
      it(("ended by %s during %s is gone within a second"):format(case[1], moment), function()
        local status, output, seconds = tiny.run(script .. case[2])
        assert.equal(case[3], status, output)
        assert.equal(case[1]:match("Ctrl") and "interrupted" or nil, output:match("interrupted"))
        assert.is_true(seconds < tiny.patience, seconds)
      end)
    end
  end
end)
