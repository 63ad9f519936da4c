--- One engine in several Lua states: its id, and handles made from it.
local support = require "spec.support"
local internals = support.internals()
local moonseek = require "moonseek"
local tiny = require "spec.lua.tiny"

describe("attach", function()
  it("gives another handle of the same engine, and either may be closed first", function()
    local engine = tiny.open()
    local other = assert(moonseek.attach(engine:id()))
    assert.equal(engine:id(), other:id())
    assert.equal(tiny.scenario(engine), tiny.scenario(other))
    engine:close()
    local session = other:session { context = 64 }
    other:close()
    assert(session:sync(tiny.tokens(8)))
    assert(session:logits())
    session:close()
  end)

  it("finds no engine that was closed, and none that never was", function()
    local engine = tiny.open()
    local id = engine:id()
    engine:close()
    for _, gone in ipairs { id, 0, 2 ^ 52 } do
      local other, message, code = moonseek.attach(gone)
      assert.is_nil(other)
      assert.equal(("no engine of this process has the id %.0f: it was closed, or belongs to another"):format(gone),
        message)
      assert.equal("ENOENT", code)
    end
    for _, wrong in ipairs { -1, 1.5, "x", {}, false } do
      assert.has_error(function() moonseek.attach(wrong) end)
    end
  end)

  it("keeps the engine while only a session is left", function()
    local engine = tiny.open()
    local id, session = engine:id(), engine:session { context = 64 }
    engine:close()
    local other = assert(moonseek.attach(id))
    session:close()
    assert.equal("cpu", other:info().backend)
    other:close()
    assert.equal("ENOENT", select(3, moonseek.attach(id)))
  end)

  it("L10: sixteen states on threads of their own share one engine, and each answers as one alone", function()
    local engine = tiny.open { threads = 2 }
    local expected = tiny.scenario(engine)
    local script = ([[
      require "spec.support"
      local tiny = require "spec.lua.tiny"
      return tiny.scenario(assert(require "moonseek".attach(%d)))
    ]]):format(engine:id())
    for _, given in ipairs(internals.in_states(script, 16)) do assert.equal(expected, given) end
    assert.equal(0, engine:stats().sessions)
    engine:close()
  end)
end)
