--- Jobs in libuv's loop: a descriptor to watch (Debian: lua-luv).
local uv = require "luv"
local program = require "spec.host.program"
local tiny = require "spec.lua.tiny"

describe("uv.new_poll", function()
  local engine

  setup(function() engine = tiny.open { threads = 2 } end)
  teardown(function() engine:close() end)

  --- Calls `step` whenever an event waits, until it returns true.
  local function watch(job, step)
    local handle = assert(uv.new_poll(job:pollfd()))
    handle:start("r", function(trouble)
      assert(not trouble, trouble)
      if step() then handle:close() end
    end)
  end

  it("wakes for each of several jobs, and only for events", function()
    local list, expected = program.jobs(engine, 4, 12)
    for _, entry in ipairs(list) do
      watch(entry.job, function() return program.take(entry) end)
    end
    uv.run()
    program.check(list, expected)
    program.close(list)
  end)

  it("runs timers meanwhile; one of them cancels", function()
    local session = tiny.session(7)
    local job = assert(session:start { ignore_eos = true })
    local tokens, last = 0, nil
    local timer = uv.new_timer()
    watch(job, function()
      last = job:poll() or last
      if last.type == "token" then tokens = tokens + 1 end
      return job:finished()
    end)
    timer:start(1, 1, function()
      if tokens < 3 then return end
      job:cancel()
      timer:close()
    end)
    uv.run()
    assert.equal("cancel", last.finish_reason)
    assert.is_true(tokens >= 3)
    job:close()
    session:close()
  end)
end)
