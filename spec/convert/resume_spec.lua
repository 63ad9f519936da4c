--- A conversion that is stopped, killed, or whose disk or memory fails: nothing bears the target's name before it is
-- whole, and what is started again ends with the same bytes.
local support = require "spec.support"
local faults = require "spec.faults"
local moonseek = require "moonseek"
local core = require "moonseek.core"
local internals = support.internals()

local small = "spec/oracle/tinystage"
local folder, target, expected

setup(function()
  folder = support.temporary_folder()
  target = folder .. "/model.gguf"
end)
teardown(function() support.remove(folder) end)

local function convert(options)
  local all = { source = small, target = target, threads = 1, attention = "q8_0" }
  for name, value in pairs(options or {}) do all[name] = value end
  return moonseek.convert(all)
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

before_each(function()
  support.remove(folder)
  assert(os.execute(("mkdir '%s'"):format(folder)))
  if expected then return end
  assert(convert())
  expected = support.read_file(target)
  os.remove(target)
end)

--- The target is whole, and nothing lies beside it.
local function assert_whole()
  assert.is_true(support.read_file(target) == expected)
  assert.is_false(exists(target .. ".part") or exists(target .. ".part.journal"))
end

--- A conversion that stops at the n-th call of its progress function.
local function stopped_at(n, options)
  local calls, phases = 0, {}
  local all = { on_progress = function(phase)
    calls, phases[phase] = calls + 1, true
    return calls < n
  end }
  for name, value in pairs(options or {}) do all[name] = value end
  local done, message, code = convert(all)
  return done, message, code, phases
end

describe("a conversion that is stopped", function()
  it("says so, leaves no target, and goes on where it was, at every one of its steps", function()
    local n, checked = 0, 0
    repeat
      n = n + 7
      local done, message, code = stopped_at(n)
      if not done then
        assert.equal("ECANCELED", code)
        assert.truthy(message:find(target, 1, true))
        assert.is_false(exists(target))
        local again, _, _, phases = stopped_at(1 / 0)
        assert.is_true(again)
        if phases.check then checked = checked + 1 end
      end
      assert_whole()
      os.remove(target)
    until done
    assert.is_true(checked > 5, "most go on behind some tensor")
  end)

  it("announces every byte of the target in each phase, in order", function()
    local last = {}
    assert(convert { on_progress = function(phase, done, total)
      assert(done > (last[phase] or 0) and done <= total, phase)
      last[phase], last.total = done, total
    end })
    assert.same({ convert = last.total, verify = last.total, total = last.total }, last)
  end)

  it("raises what its progress function raises, and goes on like any other", function()
    local calls = 0
    local ok, message = pcall(convert, { on_progress = function()
      calls = calls + 1
      if calls == 20 then error("enough", 0) end
    end })
    assert.same({ false, "enough", 20 }, { ok, message, calls })
    assert.is_false(exists(target))
    assert(convert())
    assert_whole()
  end)

  it("goes on for its own kind only: other types and other sources are refused, with the cure", function()
    stopped_at(30)
    for _, options in ipairs { { attention = "f16" }, { source = "spec/oracle/tiny" } } do
      local done, message, code = convert(options)
      assert.same({ nil, "EINVAL" }, { done, code })
      assert.truthy(message:find(target .. ".part: is of another conversion", 1, true), message)
      assert.truthy(message:find("remove it and " .. target .. ".part.journal", 1, true), message)
    end
    assert(convert { threads = 2 })
    assert_whole()
  end)

  it("is not taken for a model, nor overwritten by another, while it lies there", function()
    stopped_at(30)
    assert.is_nil((moonseek.probe(target .. ".part")))
    os.remove(target .. ".part.journal")
    local done, _, code = convert()
    assert.same({ nil, "EINVAL" }, { done, code })
  end)

  it("does what was damaged since again, and all behind it", function()
    stopped_at(60)
    local bytes = support.read_file(target .. ".part")
    local at = math.floor(#bytes / 2)
    support.write_file(target .. ".part", bytes:sub(1, at) .. "damage" .. bytes:sub(at + 7))
    assert(convert())
    assert_whole()
  end)

  it("reads everything back: what the disk changed before that is found, by tensor, and done again", function()
    local done, message, code = convert { on_progress = function(phase, at)
      if phase ~= "verify" or at > 100000 then return end
      local bytes = support.read_file(target .. ".part")
      support.write_file(target .. ".part", bytes:sub(1, -1001) .. ("x"):rep(1000))
    end }
    assert.same({ nil, "EIO" }, { done, code })
    assert.matches("%.part: [%w_.]+ is not on the disk as it was written: check the disk", message)
    assert.is_false(exists(target))
    assert(convert())
    assert_whole()
  end)

  it("replaces no file that took the target's name meanwhile, and is whole when it is asked to", function()
    local done, message, code = convert { on_progress = function(phase)
      if phase == "verify" then support.write_file(target, "mine") end
    end }
    assert.same({ nil, "EINVAL" }, { done, code })
    assert.truthy(message:find(target .. ": exists already", 1, true), message)
    assert.equal("mine", support.read_file(target))
    assert(convert { overwrite = true })
    assert_whole()
  end)

  it("F10: replaces no file that takes the name right before the move", function()
    local taken, done, message = internals.fail_file(1, convert, "taken")
    assert.same({ true, nil }, { taken, done })
    assert.truthy(message:find(target .. ": cannot replace: ", 1, true), message)
    assert.equal("", support.read_file(target))
    os.remove(target)
    assert(convert())
    assert_whole()
  end)

  it("is in vain when its source changes meanwhile", function()
    local source = folder .. "/source"
    assert(os.execute(("cp -r %s '%s'"):format(small, source)))
    local done, message, code = convert { source = source, on_progress = function(phase)
      if phase ~= "convert" then return end
      local file = assert(io.open(source .. "/model.safetensors", "ab"))
      file:write(" ")
      file:close()
    end }
    assert.same({ nil, "EIO" }, { done, code })
    assert.truthy(message:find("the file has changed since it was opened", 1, true))
    assert.is_false(exists(target))
  end)

  it("is alone: another on the same target is told EBUSY", function()
    local asked
    assert(convert { on_progress = function()
      if asked then return end
      asked = true
      local done, message, code = convert()
      assert.same({ nil, "EBUSY" }, { done, code })
      assert.truthy(message:find("another process writes it", 1, true))
    end })
    assert_whole()
  end)
end)

describe("a folder of safetensors", function()
  it("appears as a whole, with what lies beside the weights", function()
    local path, calls = folder .. "/out", 0
    local done = moonseek.convert { source = "models/pocket", target = path, on_progress = function()
      calls = calls + 1
      assert.is_false(exists(path .. "/config.json"))
      return calls < 40
    end }
    assert.is_nil(done)
    assert.is_true(exists(path .. ".part/model.safetensors") and not exists(path))
    assert(moonseek.convert { source = "models/pocket", target = path .. "/" })
    for _, name in ipairs { "config.json", "generation_config.json", "tokenizer.json", "model.safetensors" } do
      assert.is_true(exists(path .. "/" .. name), name)
    end
    assert.is_false(exists(path .. ".part") or exists(path .. ".part.journal"))
  end)
end)

describe("what a killed process was writing beside the weights", function()
  it("F08: is not in the finished folder; what somebody else put there is", function()
    local path = folder .. "/out"
    local unfinished, other = "/.moonseek-0123456789abcdef", "/.moonseek-notes"
    assert(moonseek.convert { source = small, target = path, threads = 1, on_progress = function(phase)
      if phase ~= "verify" then return end
      support.write_file(path .. ".part" .. unfinished, "{")
      support.write_file(path .. ".part" .. other, "mine")
    end })
    assert.same({ false, true }, { exists(path .. unfinished), exists(path .. other) })
  end)
end)

describe("shards of safetensors", function()
  it("do not go into a folder that holds something else", function()
    local path = folder .. "/out"
    assert(os.execute(("mkdir '%s.part'"):format(path)))
    support.write_file(path .. ".part/model.safetensors.index.json", "{}")
    local done, message, code = moonseek.convert { source = small, target = path, threads = 1 }
    assert.same({ nil, "EINVAL" }, { done, code })
    assert.truthy(message:find("is of another conversion", 1, true), message)
  end)

  it("are resumed in the middle of a file, and end as in one go", function()
    local whole, path = folder .. "/whole", folder .. "/out"
    local options = { attention = "fp8", shared = "fp8", experts = "bf16", shard_bytes = 200000 }
    options.target = whole
    assert(convert(options))
    options.target = path
    local rounds = 0
    repeat
      local bands = 0
      rounds = rounds + 1
      options.on_progress = function(phase)
        if phase == "convert" then bands = bands + 1 end
        return bands < 17 + rounds                         -- ends between codes and scales, too
      end
      local done = convert(options)
    until done or rounds == 100
    assert.is_true(rounds > 5 and rounds < 100, tostring(rounds))
    assert(os.execute(("diff -r '%s' '%s'"):format(whole, path)))
  end)
end)

describe("a process that is killed while it converts", function()
  local rounds = tonumber(os.getenv("MOONSEEK_KILLS") or "") or 40

  it(("leaves what goes on to the same bytes, %d times"):format(rounds), function()
    local state, part = 7, 0
    for _ = 1, rounds do
      state = state * 16807 % 2147483647
      assert.is_true(internals.killed_after(1 + state % 30000 / 1000, function()
        assert(moonseek.convert { source = small, target = target, threads = 1 + state % 2, attention = "q8_0",
          overwrite = true })
      end))
      if exists(target .. ".part") then part = part + 1 end
      if exists(target) then assert.is_true(support.read_file(target) == expected) end
      if state % 3 == 0 then
        assert(convert { overwrite = true })
        assert_whole()
      end
    end
    assert(convert { overwrite = true })
    assert_whole()
    assert.is_true(part > 5, "some are killed while they write")
  end)
end)

describe("a disk that fails", function()
  for fault, expected_code in pairs { ENOSPC = "ENOSPC", EIO = "EIO" } do
    it("F09: with " .. fault .. " at some call is told with the file, and the next conversion goes on", function()
      local n, failures = 0, 0
      repeat
        n = n < 30 and n + 1 or n + 41
        local descriptors = internals.descriptors()
        local reached, done, message, code = internals.fail_file(n, function() return convert() end, fault)
        assert.equal(descriptors, internals.descriptors())
        if reached and not done then
          failures = failures + 1
          assert.equal(expected_code, code, message)
          assert.truthy(message:find(folder, 1, true) or message:find(small, 1, true), message)
          if not message:find("sync the folder", 1, true) then
            assert.is_false(exists(target))
            assert(convert())
          end
        end
        assert.is_true(support.read_file(target) == expected)
        os.remove(target)
      until not reached
      assert.is_true(failures > 20)
    end)
  end

  it("F09: that is full says how much room the rest takes", function()
    local _, done, message = internals.fail_file(200, function() return convert() end, "ENOSPC")
    assert.is_nil(done)
    assert.matches("make room for %d+ bytes and start the conversion again", message)
  end)
end)

describe("memory that runs out", function()
  it("R01: at any allocation is told, nothing leaks, and the conversion goes on", function()
    local live
    local function works()
      support.collect()
      assert.equal(live, core.memory_live())
    end
    support.collect()
    live = core.memory_live()
    local n = 0
    local function fail_later(k, for_ever)
      n = k <= 60 and k or k + (k - 60) * 50                -- all of the first, then some of the thousands of names
      return internals.fail_later(k == 0 and 0 or n, for_ever)
    end
    local failures = faults.sweep(fail_later, function()
      os.remove(target)
      return convert()
    end, works, function(message, code) assert.equal("ENOMEM", code, message) end)
    assert.is_true(failures > 60)
    assert(convert { overwrite = true })
    assert_whole()
  end)
end)
