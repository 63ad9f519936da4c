--- Job descriptors in poll(2): what every event loop rests on.
local support = require "spec.support"
local program = require "spec.host.program"
local tiny = require "spec.lua.tiny"
local internals = support.internals()

describe("poll(2)", function()
  local engine

  setup(function() engine = tiny.open { threads = 2 } end)
  teardown(function() engine:close() end)

  it("wakes for each of several jobs, and only for events", function()
    local list, expected = program.jobs(engine, 4, 12)
    local open, by_descriptor = {}, {}
    for i, entry in ipairs(list) do
      open[i] = assert(entry.job:pollfd())
      by_descriptor[open[i]] = entry
    end
    while #open > 0 do
      local left = {}
      local ready = internals.poll(open, 60000)
      assert.is_true(#ready > 0)
      for _, descriptor in ipairs(ready) do
        if program.take(by_descriptor[descriptor]) then by_descriptor[descriptor] = nil end
      end
      for _, descriptor in ipairs(open) do
        if by_descriptor[descriptor] then left[#left + 1] = descriptor end
      end
      open = left
    end
    program.check(list, expected)
    program.close(list)
  end)

  it("sleeps until a cancelled job tells its end", function()
    local session = tiny.session(7)
    local job = assert(session:start { ignore_eos = true })
    local descriptor = job:pollfd()
    assert.same({ descriptor }, internals.poll({ descriptor }, 60000))
    job:cancel()
    local last
    repeat
      assert.same({ descriptor }, internals.poll({ descriptor }, 60000))
      last = assert(job:poll())
    until job:finished()
    assert.equal("cancel", last.finish_reason)
    assert.same({}, internals.poll({ descriptor }, 0))
    job:close()
    session:close()
  end)
end)
