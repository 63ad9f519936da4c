--- What a host may have set, taken away or closed before it uses the module (L15 to L18, L20, L21), and what the
-- module leaves alone until the first token is asked for.
local support = require "spec.support"
local moonseek = require "moonseek"
local tiny = require "spec.lua.tiny"
local internals = support.internals()

local function answer(options)
  local engine = tiny.open(options)
  local ids = tiny.scenario(engine)
  engine:close()
  return ids
end

describe("before the first token is asked for", function()
  it("there is no thread more and no OpenBLAS, whatever was opened, made and appended", function()
    local status, output = tiny.run [[
      local support = require "spec.support"
      local tiny = require "spec.lua.tiny"
      local function threads() return tonumber(support.read_file("/proc/self/status"):match "Threads:%s*(%d+)") end
      local function libraries()
        local names, list = {}, {}
        for name in support.read_file("/proc/self/maps"):gmatch "[^\n]*/([^/\n]+%.so[^\n]*)" do names[name] = true end
        for name in pairs(names) do list[#list + 1] = name end
        table.sort(list)
        return table.concat(list, " ")
      end
      local before, at_first = threads(), libraries()
      local engine = tiny.open { threads = 4, numerics = "exact" }
      local sessions = {}
      for i = 1, 20 do
        sessions[i] = assert(engine:session { context = 4096 })
        assert(sessions[i]:append(tiny.tokens(500)))
        assert(sessions[i]:sync(tiny.tokens(400)))
      end
      engine:info() engine:stats() engine:memory { context = 100 } engine:tokenizer()
      assert(threads() == before, "threads")
      assert(libraries() == at_first, "libraries")
      assert(sessions[1]:generate { max_tokens = 1 })
      assert(threads() > before, "no threads")
      print(libraries():find "blas" and "OpenBLAS" or "none")
    ]]
    assert.same({ 0, "OpenBLAS\n" }, { status, output })
  end)
end)

describe("L15: signals", function()
  it("at 1 kHz reach the host's thread only, and change no result", function()
    local expected, given = answer { threads = 2 }, nil
    local here, elsewhere = internals.in_signal_storm(function()
      given = answer { threads = 2 }
      local session, engine = tiny.session(1500)         -- long enough for many
      assert(session:logits())
      session:close()
      engine:close()
    end)
    assert.equal(expected, given)
    assert.is_true(here > 10, here)
    assert.equal(0, elsewhere)
  end)

  it("have the host's handlers before and after", function()
    local function caught()
      return support.read_file("/proc/self/status"):match "SigBlk:.-SigCgt:[^\n]*"
    end
    local before = caught()
    answer { threads = 2 }
    assert.equal(before, caught())
  end)
end)

describe("L16: floating-point modes", function()
  for _, mode in ipairs { "round up", "traps", "flush" } do
    it(("of a host that uses %q change no result, and are its own afterwards"):format(mode), function()
      for _, numerics in ipairs { "fast", "reference", "exact" } do
        local expected = answer { numerics = numerics }
        local given, before, after
        internals.with_mode(mode, function()
          before = { internals.floating_point() }
          given = answer { numerics = numerics, check = true }
          after = { internals.floating_point() }
        end)
        assert.equal(expected, given)
        assert.same(before, after)
      end
    end)
  end
end)

describe("L17: the locale", function()
  it("with a decimal comma, or Turkish letters, changes nothing", function()
    local folder = support.temporary_folder()
    local expected, seen = answer(), 0
    internals.set_environment("LOCPATH", folder)
    for _, name in ipairs { "de_DE", "tr_TR" } do
      os.execute(("localedef -i %s -f UTF-8 '%s/%s.UTF-8' >/dev/null 2>&1"):format(name, folder, name))
      internals.with_locale(name .. ".UTF-8", function(point)
        seen = seen + 1
        assert.equal(",", point)
        assert.equal(expected, answer { numerics = "fast", backend = "cpu", kernels = "auto" })
        local engine = tiny.open { kernels = "scalar" }
        local session = assert(engine:session { context = 64 })
        session:sync { 1, 2 }
        assert(session:generate { max_tokens = 1, temperature = 0.5, top_p = 0.5 })
        engine:close()
      end)
    end
    internals.unset_environment "LOCPATH"
    support.remove(folder)
    if seen == 0 then pending "no locale with a decimal comma can be made here" end
  end)
end)

describe("L18: a program", function()
  local script = [[
    local support = require "spec.support"
    local tiny = require "spec.lua.tiny"
    local ok, result = pcall(function() return tiny.scenario(tiny.open { threads = 2 }) end)
    support.write_file(os.getenv "ANSWER", tostring(result))
    os.exit(ok and 0 or 1)
  ]]
  local circumstances = {
    { "whose standard files are closed, so that the model becomes number 0", "exec 3>&1; ", " <&- >&- 2>&-" },
    { "with 16 descriptors", "ulimit -n 16; " },
    { "with a stack of 256 KiB", "ulimit -s 256; " },
    { "without HOME and everything else in the environment but paths", "unset HOME LANG LC_ALL TMPDIR; " },
    { "on one processor", "taskset -p -c 0 $$ >/dev/null 2>&1; " },
  }
  for _, case in ipairs(circumstances) do
    it(case[1] .. " works", function()
      local folder = support.temporary_folder()
      support.write_file(folder .. "/script.lua", script)
      local command = ("%s ANSWER='%s/answer' %s '%s/script.lua' %s"):format(case[2], folder, support.interpreter(),
        folder, case[3] or "")
      os.execute("(" .. command .. ")")
      assert.equal(answer(), support.read_file(folder .. "/answer"))
      support.remove(folder)
    end)
  end

  it("may change its folder after it opened a model by a relative path", function()
    local status, output = tiny.run [[
      local support = require "spec.support"
      local moonseek = require "moonseek"
      local folder = support.temporary_folder()
      os.execute(("cp spec/oracle/tiny/* '%s'/ && cp spec/data/shuffled-tokenizer.json '%s/tokenizer.json'"):format(
        folder, folder))
      local internals = support.internals()
      assert(internals.change_folder(folder .. "/.."))
      local engine = assert(moonseek.open { path = folder:match "[^/]+$" })
      assert(internals.change_folder "/")
      local tokenizer, message = engine:tokenizer()
      print(message or #tokenizer > 0)
      local session = assert(engine:session { context = 16 })
      assert(session:sync { 5, 6, 7 })
      assert(session:generate { max_tokens = 1 })
      assert(session:save(folder .. "/saved"))
      local other = assert(moonseek.open { path = folder })
      print(assert(other:load_session(folder .. "/saved")):position())
      support.remove(folder)
    ]]
    assert.same({ 0, "true\n4\n" }, { status, output })
  end)
end)

describe("L20: a second copy of the module", function()
  it("from another path is refused in a state that has one, and works in a state of its own", function()
    local folder = support.temporary_folder()
    local object = ("%s/%s/moonseek_spec.so"):format(os.getenv "MOONSEEK_BUILD" or "build", support.abi)
    os.execute(("cp %s %s/copy.so"):format(object, folder))
    local load = assert(package.loadlib(folder .. "/copy.so", "luaopen_moonseek_core"))
    local expected = answer()
    local ok, message = pcall(load)
    assert.is_false(ok)
    assert.matches("another copy of moonseek.core is loaded already", message, 1, true)
    assert.equal(expected, answer())
    local results = internals.in_states(([[
      package.preload["moonseek.core"] = package.loadlib("%s/copy.so", "luaopen_moonseek_core")
      require "spec.support"
      local tiny = require "spec.lua.tiny"
      return tiny.scenario(tiny.open { threads = 2 })
    ]]):format(folder), 1)
    assert.same({ expected }, results)
    assert.equal(expected, answer())
    support.remove(folder)
  end)

  it("shows the host's other libraries nothing but its entry", function()
    local object = ("%s/%s/moonseek/core.so"):format(os.getenv "MOONSEEK_BUILD" or "build", support.abi)
    local file = io.open(object)
    if not file then return pending "the module itself is not built here" end
    file:close()
    local pipe = io.popen(("nm -D --defined-only '%s' 2>/dev/null"):format(object))
    local names = {}
    for line in pipe:lines() do names[#names + 1] = line:match "(%S+)$" end
    pipe:close()
    assert.same({ "luaopen_moonseek_core" }, names)
  end)
end)

describe("L21: the debug library", function()
  it("a hook that raises inside a call leaves objects that work", function()
    local session, engine = tiny.session()
    local expected = answer()
    local job
    for count = 1, 60 do
      local thread = coroutine.create(function()
        session:sync { 1, 2, 3 }
        job = session:start { max_tokens = 2, ignore_eos = true }
        job:wait(1000)
        job:poll()
        session:generate { max_tokens = 1, on_event = function() end }
        for _ in session:stream { max_tokens = 1 } do engine:info() end
      end)
      debug.sethook(thread, function()                   -- LuaJIT has one hook for all coroutines
        if coroutine.running() == thread then error "a hook" end
      end, "", count)
      assert.is_false((coroutine.resume(thread)))
      debug.sethook()
      if job then job:close() end
    end
    support.collect()
    assert(session:sync { 1, 2, 3 })
    assert(session:generate { max_tokens = 1 })
    assert.equal(expected, answer())
    session:close()
    engine:close()
  end)

  it("another metatable or user value makes an object useless, and harms nobody", function()
    local foreign = { __index = {}, __gc = function() end }
    for _, change in ipairs { function(object) debug.setmetatable(object, foreign) end,
                              function(object) debug.setmetatable(object, nil) end,
                              function(object) pcall(debug.setuservalue or debug.setfenv, object, {}) end } do
      local session, engine = tiny.session()
      local job = assert(session:start { ignore_eos = true })
      local methods = { tiny.methods(session), tiny.methods(engine), tiny.methods(job) }
      for i, object in ipairs { session, engine, job } do
        change(object)
        for _, method in pairs(methods[i]) do pcall(method, object, {}) end
      end
    end
    support.collect()
    assert.is_string(answer())
  end)

  it("metatables exchanged between types are noticed", function()
    local session, engine = tiny.session()
    local of_session, of_engine = debug.getmetatable(session), debug.getmetatable(engine)
    debug.setmetatable(session, of_engine)
    assert.is_false((pcall(tiny.methods(engine).position, session)))
    debug.setmetatable(session, of_session)
    assert.equal(7, session:position())
    session:close()
    engine:close()
    assert.is_function(moonseek.open)
  end)
end)
