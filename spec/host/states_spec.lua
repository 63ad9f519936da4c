--- Lua states that come and go with work in flight, and processes that do (L11, L13, L14, R03).
-- `make test-states` runs ten thousand of them.
local support = require "spec.support"
local core = require "moonseek.core"
local tiny = require "spec.lua.tiny"
local internals = support.internals()

local threads = 4
local rounds = tonumber(os.getenv "MOONSEEK_STATES" or "") or 40   -- in each of them

-- What every state does first; cheaper than spec.support, for there are many.
local prelude = ([[
  package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
  package.preload["moonseek.core"] = package.loadlib("%s/%s/moonseek_spec.so", "luaopen_moonseek_core")
  local moonseek = require "moonseek"
  local function busy(engine, count)
    local session = assert(engine:session { context = 4096 })
    local ids = {}
    for i = 1, count do ids[i] = i %% 500 end
    session:sync(ids)
    return session, assert(session:start { ignore_eos = true })
  end
]]):format(os.getenv "MOONSEEK_BUILD" or "build", support.abi)

local function count_threads()
  return tonumber(support.read_file("/proc/self/status"):match "Threads:%s*(%d+)")
end

local function measure()
  for _ = 1, 4 do collectgarbage() end
  return { memory = core.memory_live(), descriptors = internals.descriptors(), threads = count_threads() }
end

--- Many states in several threads at once; nothing of them is left, and the process has not grown.
local function storm(script)
  internals.in_states(prelude .. script, threads, 2)
  local before = measure()
  assert.same({ "left", "left", "left", "left" }, internals.in_states(prelude .. script, threads, rounds))
  assert.same(before, measure())
end

describe("L11, L14: states closed one after the other, in several threads at once,", function()
  it("with a job in flight that nobody closed", function()
    storm [[
      engine = assert(moonseek.open { path = "spec/oracle/tiny", threads = 1 })
      session, job = busy(engine, 3)
      return "left"
    ]]
  end)

  it("in the middle of a long reading, with a descriptor and a stream besides", function()
    storm [[
      engine = assert(moonseek.open { path = "spec/oracle/tiny", threads = 2 })
      session, job = busy(engine, 600)
      descriptor = job:pollfd()
      other = assert(engine:session { context = 64 })
      other:sync { 1, 2 }
      step = other:stream { ignore_eos = true }
      step()
      return "left"
    ]]
  end)

  it("with jobs that were collected before, some of them after events were seen", function()
    storm [[
      engine = assert(moonseek.open { path = "spec/oracle/tiny", threads = 1 })
      for i = 1, 4 do
        local session, job = busy(engine, 3)
        if i % 2 == 0 then
          job:wait(1000)
          job:poll()
        end
        session, job = nil, nil
        collectgarbage()
      end
      assert(engine:stats().jobs <= 4)
      return "left"
    ]]
  end)

  it("all attached to one engine, which works on", function()
    local before = measure()
    local engine = tiny.open { threads = 2 }
    local expected = tiny.scenario(engine)
    local script = prelude .. ("engine = assert(moonseek.attach(%d))\n"):format(engine:id()) .. [[
      session, job = busy(engine, 300)
      other, done = busy(engine, 3)
      done:wait(1000)
      return "left"
    ]]
    assert.same({ "left", "left", "left", "left" }, internals.in_states(script, threads, rounds))
    assert.equal(expected, tiny.scenario(engine))
    assert.same({ 0, 0 }, { engine:stats().sessions, engine:stats().jobs })
    engine:close()
    assert.same(before, measure())
  end)

  it("by an error in the middle", function()
    internals.in_states(prelude .. "error 'x'", threads, 2)
    local before = measure()
    for _ = 1, rounds / 10 do
      internals.in_states(prelude .. [[
        engine = assert(moonseek.open { path = "spec/oracle/tiny", threads = 1 })
        session, job = busy(engine, 300)
        error "the end"
      ]], threads)
    end
    assert.same(before, measure())
  end)
end)

describe("a job that nobody refers to", function()
  it("is cancelled when it is collected, and its session goes on", function()
    local session, engine = tiny.session(7)
    for _ = 1, 50 do
      assert(session:start { ignore_eos = true })
      support.collect()
      assert(session:append { 5 })
    end
    assert(session:generate { max_tokens = 1 })
    assert.equal(0, engine:stats().jobs)
    session:close()
    engine:close()
  end)
end)

describe("L13, L14, R03: a master process", function()
  it("opens the engine; workers that work and are killed in the middle disturb neither it nor each other", function()
    local engine = tiny.open { threads = 2 }
    local expected = tiny.scenario(engine)
    for i = 1, 4 do
      if i % 2 == 0 then                                 -- R03: ends without a word in the middle of a step
        assert.equal("died", internals.in_child(function()
          local session = assert(engine:session { context = 4096 })
          session:sync(tiny.tokens(3000))
          local job = assert(session:start { ignore_eos = true })
          job:wait(20)
          os.execute("kill -KILL $PPID")
        end))
      else
        assert.equal(expected, internals.in_child(function() return tiny.scenario(engine) end))
      end
      assert.equal(expected, tiny.scenario(engine))
    end
    engine:close()
  end)

  it("reloads: the old state works on while the new one opens the same files", function()
    local old = tiny.open { threads = 1 }
    local session = assert(old:session { context = 4096 })
    session:sync(tiny.tokens(300))
    local job = assert(session:start { max_tokens = 30, seed = 3, ignore_eos = true })
    local new = tiny.open { threads = 1 }
    local expected = tiny.scenario(new)
    while not job:finished() do
      job:wait(1000)
      job:poll()
    end
    assert.equal(30, #assert(job:result()).tokens)
    session:close()
    old:close()
    assert.equal(expected, tiny.scenario(new))
    new:close()
  end)

  it("checks its configuration (nginx -t): opens, starts nothing, and ends at once", function()
    local status, output = tiny.run [[
      local tiny = require "spec.lua.tiny"
      local engine = tiny.open { threads = 4 }
      print(engine:info().backend)
    ]]
    assert.same({ 0, "cpu\n" }, { status, output })
  end)
end)
