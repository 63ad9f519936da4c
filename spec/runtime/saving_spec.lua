--- Saving while things go wrong: the process is killed, the disk fails, memory runs out, others do the same.
local support = require "spec.support"
local internals = support.internals()
local core = require "moonseek.core"
local saved = require "spec.runtime.saved"
local tiny = require "spec.lua.tiny"

local folder, path, engine, one, two

setup(function()
  folder = support.temporary_folder()
  path = folder .. "/session"
  engine = tiny.open { threads = 2 }
  one, two = assert(engine:session { context = 600 }), assert(engine:session { context = 600 })
  assert(one:sync(tiny.tokens(40)))
  assert(two:sync(tiny.tokens(133)))
  assert(one:logits() and two:logits())
end)

teardown(function()
  engine:close()
  support.remove(folder)
end)

before_each(function()
  assert(one:save(path))
end)

--- Loads the file, which is the one that `expected` would save, and nothing lies beside it.
local function check_is(expected)
  local loaded = assert(engine:load_session(path))
  assert.equal(expected:position(), loaded:position())
  assert.is_true(expected:tokens() == loaded:tokens())
  assert.is_true(expected:logits():bytes() == loaded:logits():bytes())
  loaded:close()
  assert.same({ "session" }, saved.listing(folder))
end

describe("a process that is killed while it saves", function()
  local rounds = tonumber(os.getenv("MOONSEEK_KILLS") or "") or 200

  it(("F08: leaves the old file or the new one, %d times"):format(rounds), function()
    local state, seen, left = 7, {}, 0
    for _ = 1, rounds do
      state = state * 16807 % 2147483647
      assert.is_true(internals.killed_after(2 + state % 13000 / 1000, function()
        assert(core.save(one, path))
        assert(core.save(two, path))
      end))
      local loaded = assert(engine:load_session(path))
      local expected = loaded:position() == 40 and one or two
      assert.is_true(expected:tokens() == loaded:tokens())
      assert.is_true(expected:logits():bytes() == loaded:logits():bytes())
      seen[expected] = true
      loaded:close()
      for _, name in ipairs(saved.listing(folder)) do
        if name ~= "session" then
          assert.equal(26, #name:match("^%.moonseek%-%x+$"))
          os.remove(folder .. "/" .. name)
          left = left + 1
        end
      end
    end
    assert.is_true(seen[one] and seen[two], "both states are met")
    assert.is_true(left > 0, "some are killed while they write")
  end)
end)

describe("a disk that fails", function()
  --- Saves while the n-th call goes wrong, for every n there is.
  local function sweep(fault, check)
    local n = 0
    repeat
      n = n + 1
      assert(core.save(one, path))
      local descriptors = internals.descriptors()
      local reached, done, message, code = internals.fail_file(n, function() return core.save(two, path) end, fault)
      assert.equal(descriptors, internals.descriptors())
      if reached then check(done, message, code) end
    until not reached
    assert.is_true(n > 15, "calls were made to fail")
    check_is(two)
  end

  for fault, expected in pairs { ENOSPC = "ENOSPC", EDQUOT = "ENOSPC", EIO = "EIO" } do
    it("F09: with " .. fault .. " at any call is told, the old file intact, nothing left", function()
      sweep(fault, function(done, message, code)
        if done then return check_is(two) end         -- closing the folder tells nothing
        assert.equal(expected, code)
        assert.truthy(message:find(folder, 1, true), message)
        if message:find("sync the folder", 1, true) then check_is(two) else check_is(one) end
      end)
    end)
  end

  for _, fault in ipairs { "EINTR", "short" } do
    it("F09: with " .. fault .. ", of calls for which that is no failure, saves", function()
      sweep(fault, function(done, message)
        if done then check_is(two)
        else assert.equal("short", fault, message) end
      end)
    end)
  end

  it("F09: over another file system's border or in a folder that forbids it says which file", function()
    local done, message, code = two:save("/proc/session")
    assert.is_nil(done)
    assert.matches("/proc/session: cannot create: ", message, 1, true)
    assert.truthy(code == "EIO" or code == "ENOENT")
    done, message, code = two:save(folder .. "/none/session")
    assert.same({ nil, "ENOENT" }, { done, code })
    assert.matches(folder .. "/none/", message, 1, true)
    check_is(one)
  end)

  it("F09: while loading is told, and the session that was loaded before works", function()
    local live, n = assert(engine:load_session(path)), 0
    repeat
      n = n + 1
      local reached, loaded, message, code = internals.fail_file(n, function() return engine:load_session(path) end)
      if loaded then loaded:close()
      elseif reached then
        assert.truthy(code == "EIO" or code == "ENOMEM", code)
        assert.truthy(message:find(path, 1, true), message)
      end
    until not reached
    assert.is_true(one:logits():bytes() == live:logits():bytes())
    live:close()
  end)
end)

describe("memory that runs out", function()
  local function sweep(task, check)
    local n = 0
    repeat
      n = n + 1
      support.collect()
      local before, descriptors = core.memory_live(), internals.descriptors()
      local reached, done, message, code = internals.fail_allocation(n, task)
      if not done then assert.same({ true, "ENOMEM" }, { reached, code }, message) end
      if type(done) == "userdata" then done:close() end
      if not done then check() end
      support.collect()
      assert.equal(before, core.memory_live())
      assert.equal(descriptors, internals.descriptors())
    until not reached
    return n
  end

  it("R01: at any allocation of a save is told, the old file intact, nothing left", function()
    assert.is_true(sweep(function() return core.save(two, path) end, function() check_is(one) end) > 4)
    check_is(two)
  end)

  it("R01: at any allocation of a load is told, and nothing is left", function()
    assert.is_true(sweep(function() return engine:load_session(path) end, function() check_is(one) end) > 8)
    check_is(one)
  end)
end)

describe("saving at once", function()
  it("F10: to one file, by threads, while jobs run, are cancelled and let go: one wins whole", function()
    for seed = 1, 2 do assert(internals.crowd(tiny.path, seed, folder .. "/shared")) end
    assert(engine:load_session(folder .. "/shared")):close()
    os.remove(folder .. "/shared")
    check_is(one)
  end)

  it("F10: to one file, by two processes", function()
    for _ = 1, 10 do
      local answer = internals.in_child(function()
        for _ = 1, 5 do assert(core.save(two, path)) end
        return "saved"
      end)
      assert.equal("saved", answer)
      check_is(two)
      assert(one:save(path))
      check_is(one)
    end
  end)

  it("F10: is refused while a job runs on the session, and loads another meanwhile", function()
    local busy = assert(engine:session {})
    busy:sync(tiny.tokens(500))
    local job = assert(busy:start { max_tokens = 10, ignore_eos = true })
    local done, message, code = core.save(busy, path)
    assert.same({ nil, "EBUSY" }, { done, code })
    assert.equal("a job runs on the session", message)
    check_is(one)
    job:cancel()
    job:close()
    assert(busy:save(path))
    check_is(busy)
    busy:close()
  end)

  it("F10: waits for the step of a job that was let go, and saves what counts", function()
    for _, pause in ipairs { 0, 1, 5 } do
      local left = assert(engine:session { context = 600 })
      left:sync(tiny.tokens(550))
      local job = assert(left:start { max_tokens = 0 })
      job:wait(pause)
      job:close()
      assert(core.save(left, path))
      local loaded = assert(engine:load_session(path))
      assert.is_true(left:logits():bytes() == loaded:logits():bytes())
      left:close()
      loaded:close()
    end
  end)

  it("writes the session as it was, whatever it does meanwhile", function()
    local session = assert(engine:session { context = 600 })
    session:sync(tiny.tokens(40))
    assert(session:save(path))
    assert(session:generate { max_tokens = 20, ignore_eos = true })
    check_is(one)
    session:close()
  end)
end)

describe("the file that is replaced", function()
  it("F11: belongs to its owner alone, whatever the umask", function()
    local before = internals.umask(0)
    assert(two:save(folder .. "/open"))
    internals.umask(before)
    local pipe = io.popen(("stat -c %%a '%s/open'"):format(folder))
    assert.equal("600", pipe:read("*l"))
    pipe:close()
    os.remove(folder .. "/open")
  end)

  for what, make in pairs { ["a folder"] = "mkdir", ["a FIFO"] = "mkfifo" } do
    it(("F11: cannot be %s"):format(what), function()
      local other = folder .. "/other"
      os.execute(("%s '%s'"):format(make, other))
      local done, message, code = two:save(other)
      assert.is_nil(done)
      assert.equal(("%s: is %s, a regular file is needed"):format(other, what), message)
      assert.equal("EINVAL", code)
      local _, reason = engine:load_session(other)
      assert.equal(message, reason)
      support.remove(other)
    end)
  end

  it("F11: is not followed when it is a link: the link is replaced", function()
    support.write_file(folder .. "/victim", "precious")
    os.execute(("ln -s victim '%s/link'"):format(folder))
    assert(two:save(folder .. "/link"))
    assert.equal("precious", support.read_file(folder .. "/victim"))
    assert(engine:load_session(folder .. "/link")):close()
    os.remove(folder .. "/link")
    os.remove(folder .. "/victim")
  end)

  it("can be named without a folder", function()
    local name = (".spec-%d.saved"):format(os.time())
    assert(two:save(name))
    assert(engine:load_session(name)):close()
    os.remove(name)
  end)

  it("L01: raises for what is no path, and refuses a zero byte in one", function()
    for _, wrong in ipairs { 1, true, {}, engine } do
      assert.has_error(function() one:save(wrong) end)
      assert.has_error(function() engine:load_session(wrong) end)
    end
    assert.has_error(function() one:save() end, "session:save: path: string expected, got nil")
    assert.equal("EINVAL", select(3, one:save("a\0b")))
    assert.equal("EINVAL", select(3, engine:load_session("a\0b")))
    assert.equal("ENOENT", select(3, engine:load_session(folder .. "/none")))
    assert.equal("ENOENT", select(3, engine:load_session("")))
  end)
end)
