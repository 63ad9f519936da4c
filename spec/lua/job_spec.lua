local support = require "spec.support"
local tiny = require "spec.lua.tiny"

local session, engine

--- The events of a job, taken until it has finished.
local function take_all(job)
  local events = {}
  while not job:finished() do
    local event = job:poll()
    if event then events[#events + 1] = event else assert(job:wait(10000)) end
  end
  return events
end

--- Whether an eventfd is readable, which /proc tells without reading it.
local function is_readable(descriptor)
  local count = support.read_file(("/proc/self/fdinfo/%d"):format(descriptor)):match("eventfd%-count:%s*(%x+)")
  return tonumber(count, 16) > 0
end

describe("a job", function()
  before_each(function() session, engine = tiny.session() end)
  after_each(function()
    session:close()
    engine:close()
  end)

  it("tells what it reads, what it generates, and its result", function()
    local job = assert(session:start { max_tokens = 3, ignore_eos = true })
    local events = take_all(job)
    assert.equal("prefill", events[1].type)
    assert.is_true(events[1].done >= 1 and events[1].done <= 7)
    assert.equal(7, events[1].total)
    local last = events[#events]
    assert.equal("done", last.type)
    assert.equal("length", last.finish_reason)
    assert.is_nil(job:poll())
    assert.is_true(job:finished())
    assert.is_true(job:wait(0))
    assert.equal(last.tokens, assert(job:result()).tokens)
    assert.equal(last.tokens, assert(job:result()).tokens)
    job:close()
  end)

  it("only reads with max_tokens = 0", function()
    local job = assert(session:start { max_tokens = 0 })
    local events = take_all(job)
    assert.equal("done", events[#events].type)
    assert.equal(0, #events[#events].tokens)
    assert.equal(7, events[#events].usage.read)
    job:close()
  end)

  it("keeps its session busy until it has ended or is closed", function()
    local job = assert(session:start { ignore_eos = true })
    for _, call in ipairs { "start", "generate", "stream", "sync", "append", "logits" } do
      local result, message, code = session[call](session, {})
      assert.is_nil(result, call)
      assert.is_string(message)
      assert.equal("EBUSY", code)
    end
    assert.equal("EBUSY", select(3, job:result()))
    assert.is_false(job:finished())
    job:close()
    assert(session:append { 1 })
  end)

  it("ends early when cancelled; what was generated stays", function()
    local job = assert(session:start { ignore_eos = true })
    local tokens = 0
    while tokens < 3 do
      local event = job:poll()
      if event and event.type == "token" then tokens = tokens + 1 elseif not event then job:wait(1000) end
    end
    job:cancel()
    job:cancel()
    for _, event in ipairs(take_all(job)) do
      if event.type == "token" then tokens = tokens + 1 end
    end
    local result = assert(job:result())
    assert.equal("cancel", result.finish_reason)
    assert.equal(tokens, #result.tokens)
    assert.equal(7 + tokens, session:position())
    job:close()
  end)

  it("is pollable: by cqueues' protocol and by LuaSocket's", function()
    local job = assert(session:start { max_tokens = 3, ignore_eos = true })
    local descriptor = assert(job:pollfd())
    assert.equal(descriptor, job:getfd())
    assert.is_true(descriptor > 2)
    assert.equal("r", job:events())
    assert.is_nil(job:timeout())
    assert.is_true(job:wait(10000))
    assert.is_true(is_readable(descriptor))
    assert.is_true(job:dirty())
    take_all(job)
    assert.is_false(is_readable(descriptor))
    assert.is_false(job:dirty())
    job:close()
    local again = assert(session:start { max_tokens = 1, ignore_eos = true })
    assert.equal(descriptor, again:pollfd())
    again:close()
  end)

  it("waits no longer than it is told", function()
    local job = assert(session:start { max_tokens = 1, ignore_eos = true })
    take_all(job)
    assert.is_true(job:wait(100000))
    job:close()
  end)

  it("pauses while nobody reads, and goes on", function()
    local job = assert(session:start { max_tokens = 1000, ignore_eos = true })
    local before, last
    for _ = 1, 100 do
      before, last = session:position(), before
      if before == last and before > 7 then break end
      io.popen("sleep 0.05"):close()
    end
    assert.is_true(before > 7)
    assert.is_true(before < 1007)
    take_all(job)
    assert.equal(1007, session:position())
    job:close()
  end)

  it("outlives its session's and its engine's handles", function()
    local job = assert(session:start { max_tokens = 2, ignore_eos = true })
    engine:close()
    take_all(job)
    assert.equal(2, #assert(job:result()).tokens)
    job:close()
  end)

  it("L03: raises after close, which may come twice", function()
    local job = assert(session:start { ignore_eos = true })
    job:close()
    job:close()
    for name, method in pairs(tiny.methods(job)) do
      if name ~= "close" then
        local ok, message = pcall(method, job, 0)
        assert.is_false(ok, name)
        assert.matches("job is closed", message)
      end
    end
    assert.equal("moonseek.job (closed)", tostring(job))
  end)

  it("L05: has a locked metatable, and a finaliser that may be called by hand", function()
    local job = assert(session:start { ignore_eos = true })
    assert.is_false(getmetatable(job))
    local finaliser = debug.getmetatable(job).__gc
    for _, wrong in ipairs { session, engine, 1, {}, io.stdout } do assert.is_false((pcall(finaliser, wrong))) end
    finaliser(job)
    finaliser(job)
    assert(session:append { 1 })
  end)

  it("L09: may be started in one coroutine, polled in another, and outlive both", function()
    local job
    assert(coroutine.resume(coroutine.create(function()
      job = assert(session:start { max_tokens = 3, ignore_eos = true })
    end)))
    collectgarbage()
    local seen = coroutine.wrap(function()
      job:wait(10000)
      return job:poll().type
    end)()
    collectgarbage()
    assert.equal("prefill", seen)
    take_all(job)
    assert.equal(3, #assert(job:result()).tokens)
    job:close()
  end)
end)
