--- Jobs in cqueues: a job is an object to poll (Debian: lua-cqueues).
local cqueues = require "cqueues"
local condition = require "cqueues.condition"
local program = require "spec.host.program"
local tiny = require "spec.lua.tiny"

describe("cqueues.poll", function()
  local engine

  setup(function() engine = tiny.open { threads = 2 } end)
  teardown(function() engine:close() end)

  it("wakes for each of several jobs, and only for events", function()
    local list, expected = program.jobs(engine, 4, 12)
    local loop = cqueues.new()
    for _, entry in ipairs(list) do
      loop:wrap(function()
        repeat assert(cqueues.poll(entry.job) == entry.job) until program.take(entry)
      end)
    end
    assert(loop:loop(60))
    program.check(list, expected)
    program.close(list)
  end)

  it("runs other coroutines meanwhile; one of them cancels", function()
    local session = tiny.session(7)
    local job = assert(session:start { ignore_eos = true })
    local enough, tokens, last = condition.new(), 0, nil
    local loop = cqueues.new()
    loop:wrap(function()
      repeat
        cqueues.poll(job)
        last = job:poll() or last
        if last.type == "token" then tokens = tokens + 1 end
        if tokens == 3 then enough:signal() end
      until job:finished()
    end)
    loop:wrap(function()
      enough:wait()
      job:cancel()
    end)
    assert(loop:loop(60))
    assert.equal("cancel", last.finish_reason)
    assert.is_true(tokens >= 3)
    job:close()
    session:close()
  end)
end)
