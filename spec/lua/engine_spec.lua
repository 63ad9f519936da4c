local moonseek = require "moonseek"
local tiny = require "spec.lua.tiny"
local core = require "moonseek.core"

describe("moonseek.open", function()
  it("fails with a message and a code", function()
    local failures = {
      { "ENOENT", "spec/oracle/nothing", { path = "spec/oracle/nothing" } },
      { "EINVAL", "quick", { path = tiny.path, numerics = "quick" } },
      { "EINVAL", "-1", { path = tiny.path, threads = -1 } },
    }
    for _, case in ipairs(failures) do
      local engine, message, code = moonseek.open(case[3])
      assert.is_nil(engine)
      assert.matches(case[2], message, 1, true)
      assert.equal(case[1], code)
    end
    assert.is_nil((moonseek.open { path = tiny.path, backend = "abacus" }))
    assert.is_nil((moonseek.open { path = tiny.path, kernels = "mmx" }))
  end)

  it("takes every numerics, every kernel level of this machine, and both ways to the weights", function()
    for _, numerics in ipairs { "fast", "reference", "exact" } do
      local engine = tiny.open { numerics = numerics, mmap = numerics == "fast", check = true }
      assert.equal(numerics, engine:info().numerics)
      engine:close()
    end
    for level in moonseek.version().cpu:gmatch("%S+") do
      local engine = tiny.open { kernels = level }
      assert.matches(level, engine:info().kernels)
      engine:close()
    end
  end)

  describe("on_progress", function()
    it("hears of phases that go from nothing to all", function()
      local last = {}
      local engine = tiny.open { check = true, on_progress = function(phase, done, total)
        assert.is_string(phase)
        assert.is_true(done >= (last[phase] or 0) and done <= total)
        last[phase] = done
      end }
      assert.is_not_nil(next(last))
      engine:close()
    end)

    it("hears of them whatever it returns", function()
      local function calls(result)
        local count = 0
        tiny.open { check = true, on_progress = function()
          count = count + 1
          return result
        end }:close()
        return count
      end
      local all = calls(nil)
      assert.is_true(all > 1)
      assert.same({ all, all }, { calls(false), calls(true) })
    end)

    local raised = {
      ["L06: a text"] = "stop", ["L06: nothing"] = false, ["L06: a table"] = { code = 7 },
    }
    for name, value in pairs(raised) do
      it(name .. " that it raises is raised by open, and nothing stays open", function()
        if not value then value = nil end
        local live = core.memory_live()
        local calls = 0
        local ok, problem = pcall(moonseek.open, { path = tiny.path, check = true, on_progress = function()
          calls = calls + 1
          error(value, 0)
        end })
        assert.is_false(ok)
        assert.equal(value, problem)
        assert.equal(1, calls)
        assert.equal(live, core.memory_live())
      end)
    end

    it("L06: may recurse until the stack is full", function()
      local function deeper() return 1 + deeper() end
      assert.is_false((pcall(moonseek.open, { path = tiny.path, on_progress = deeper })))
      tiny.open():close()
    end)

    it("L07: cannot yield, and open says so", function()
      local thread = coroutine.create(function()
        return moonseek.open { path = tiny.path, on_progress = function() coroutine.yield() end }
      end)
      local ok, message = coroutine.resume(thread)
      assert.is_false(ok)
      assert.matches("yield", message)
    end)

    it("L08: may open another engine, and collect", function()
      local inner
      local engine = tiny.open { on_progress = function()
        inner = inner or tiny.open()
        collectgarbage()
      end }
      assert.equal(tiny.vocabulary, engine:info().vocabulary)
      inner:close()
      engine:close()
    end)
  end)
end)

describe("an engine", function()
  local engine

  before_each(function() engine = tiny.open() end)
  after_each(function() engine:close() end)

  it("describes its model and how it computes", function()
    local info = engine:info()
    assert.equal(tiny.vocabulary, info.vocabulary)
    assert.equal("cpu", info.backend)
    assert.equal("fast", info.numerics)
    assert.equal(1, info.threads)
    assert.same(assert(moonseek.probe(tiny.path)).types, info.types)
  end)

  it("counts what has been done with it", function()
    local session = assert(engine:session { context = 100 })
    assert(session:sync(tiny.tokens(20)))
    assert(session:generate { max_tokens = 5, ignore_eos = true })
    local stats = engine:stats()
    assert.equal(20, stats.prefill_tokens)
    assert.is_true(stats.decode_tokens >= 4 and stats.steps >= 5 and stats.prefill_ms > 0)
    assert.equal(1, stats.sessions)
    assert.equal(0, stats.jobs)
    session:close()
    assert.equal(0, engine:stats().sessions)
  end)

  it("times the stages of the architecture, from the first time it is asked for them", function()
    local session = assert(engine:session { context = 200 })
    local function ask()
      local stages = {}
      for _, stage in ipairs(engine:stats { stages = true }.stages) do stages[stage.name] = stage end
      return stages
    end
    assert.is_nil(engine:stats().stages)
    assert(session:sync(tiny.tokens(150)))   -- enough for the indexer to have a choice
    assert(session:generate { max_tokens = 0 })
    for name, stage in pairs(ask()) do assert.equal(0, stage.calls, name) end
    local before = engine:stats().steps
    assert(session:generate { max_tokens = 3, ignore_eos = true })
    local steps, stages = engine:stats().steps - before, ask()
    local layers = engine:info().layers
    local calls = { embed = 1, hc_pre = 2 * layers, linear = 4 * layers, experts = layers, head = 1 }
    for name, count in pairs(calls) do assert.equal(steps * count, stages[name].calls, name) end
    for name, stage in pairs(stages) do
      assert.is_true(stage.calls > 0 and stage.ms > 0, name)
    end
    assert.has_error(function() engine:stats { stages = 1 } end)
    session:close()
  end)

  it("plans the memory of a session", function()
    local small, large = assert(engine:memory { context = 100 }), assert(engine:memory { context = 1000 })
    assert.is_true(large.session > small.session)
    assert.equal(small.weights, large.weights)
    assert.is_true(small.per_token > 0 and small.scratch >= 0)
  end)

  it("changes its number of threads between steps", function()
    assert.is_true(engine:set { threads = 2 })
    local session = assert(engine:session { context = 100 })
    assert(session:sync { 1, 2, 3 })
    assert(session:generate { max_tokens = 1 })
    assert.equal(2, engine:info().threads)
    session:close()
  end)

  it("without a tokenizer says so, and takes ids only", function()
    assert.equal("ENOENT", select(3, engine:tokenizer()))
    local session = assert(engine:session { context = 100 })
    for _, text in ipairs { "text", { "text" }, { { text = "text" } } } do
      local position, message, code = session:sync(text)
      assert.is_nil(position)
      assert.matches("tokenizer", message)
      assert.equal("ENOENT", code)
    end
    session:close()
  end)

  it("L03: raises after close, which may come twice, and keeps its sessions alive", function()
    local session = assert(engine:session { context = 100 })
    engine:close()
    engine:close()
    for _, method in ipairs { "info", "stats", "tokenizer", "session", "memory", "set" } do
      local ok, message = pcall(engine[method], engine, { context = 1 })
      assert.is_false(ok)
      assert.matches("engine is closed", message)
    end
    assert.equal("moonseek.engine (closed)", tostring(engine))
    assert(session:sync { 1, 2 })
    assert(session:generate { max_tokens = 1 })
    session:close()
  end)

  it("L05: locks its metatable and survives its finaliser by hand", function()
    assert.is_false(getmetatable(engine))
    assert.is_false((pcall(setmetatable, engine, {})))
    local metatable = debug.getmetatable(engine)
    for _, name in ipairs { "__gc", "__close", "__tostring" } do
      for _, wrong in ipairs { 1, "x", {}, io.stdout, print } do
        assert.is_false((pcall(metatable[name], wrong)), name)
      end
      assert.is_false((pcall(metatable[name])))
    end
    metatable.__gc(engine)
    metatable.__gc(engine)
    assert.matches("closed", tostring(engine))
  end)
end)

describe("a thousand engines", function()
  local function count(command)
    local pipe = io.popen("sleep 0.1; " .. command)    -- until this process has closed its copy of the pipe's other end
    local lines = 0
    for _ in pipe:lines() do lines = lines + 1 end
    pipe:close()
    return lines
  end

  local function measure()
    for _ = 1, 4 do collectgarbage() end                -- what earlier specs left is freed link by link
    return { memory = core.memory_live(), threads = count("ls /proc/$PPID/task"), files = count("ls /proc/$PPID/fd") }
  end

  local function cycle(i)
    local engine = tiny.open()
    if i % 10 == 0 then tiny.scenario(engine) end
    if i % 2 == 0 then engine:close() end
  end

  it("leave no memory, thread or descriptor behind", function()
    cycle(0)
    cycle(10)
    local before = measure()
    for i = 1, 1000 do cycle(i) end
    assert.same(before, measure())
  end)
end)
