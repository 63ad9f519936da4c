--- A GGUF model in several files, and GGUF files as checkpoints: which path opens them, and what is refused.
local support = require "spec.support"
local faults = require "spec.faults"
local refusals = require "spec.refusals"
local place = require "spec.place"
local gguf = require "spec.format.gguf_file"
local model = require "spec.format.gguf_model"
local internals = support.internals()
local put = place.put
local moonseek = require "moonseek"

local tensors = model.tensors(model.entries("tinystage"))
local keys = model.keys(model.config("tinystage"))
local folder

local function name(number, count) return gguf.part_name("tiny", number, count) end

--- The model in `count` files, each of which `change` may replace (number, bytes); the path of the first.
local function split(count, change)
  for number, bytes in ipairs(gguf.split(keys, tensors, count)) do
    local changed = bytes
    if change then changed = change(number, bytes) end
    if changed then put(name(number, count), changed) end
  end
  return folder .. "/" .. name(1, count)
end

local function refuses(path, code, part)
  refusals.check(path:match("^.*/"), code, part, internals.checkpoint_open(path))      -- whichever part it is
end

--- A part with these split keys (nil: left out) and two tensors of 4 bytes.
local function part(number, count, total, stem, more)
  local own = {}
  if number then own[#own + 1] = { "split.no", "u16", number } end
  if count then own[#own + 1] = { "split.count", "u16", count } end
  if total then own[#own + 1] = { "split.tensors.count", "i32", total } end
  for _, key in ipairs(more or {}) do own[#own + 1] = key end
  return gguf.encode(own, {
    { name = stem .. ".a", type = "F32", shape = { 1 }, bytes = "aaaa" },
    { name = stem .. ".b", type = "F32", shape = { 1 }, bytes = "bbbb" },
  })
end

describe("a GGUF checkpoint", function()
  before_each(function() folder = place.begin() end)
  after_each(place.finish)

  describe("in parts", function()
    it("has the tensors of all, whichever of them is named, mapped and read", function()
      local whole = assert(internals.checkpoint(put("tiny.gguf", gguf.encode(keys, tensors))))
      for count = 2, 3 do
        local first = split(count)
        for number = 1, count do
          for _, access in ipairs { "map", "read" } do
            local got, origin = assert(internals.checkpoint(folder .. "/" .. name(number, count), access))
            assert.equal(first, origin)
            for official, tensor in pairs(whole) do
              assert.is_true(tensor.data == got[official].data, official)
              got[official] = nil
            end
            assert.is_nil(next(got))
          end
        end
      end
    end)

    it("is a model with a tokenizer, whichever of them is named", function()
      split(2)
      for number = 1, 2 do
        local path = folder .. "/" .. name(number, 2)
        assert.equal(4, assert(moonseek.probe(path)).layers)
        local _, message = moonseek.tokenizer(path)          -- the vocabulary of tinystage has no room for all bytes
        assert.truthy(message:find(name(1, 2) .. ": tokenizer.ggml.tokens has no token for the byte", 1, true), message)
      end
    end)

    it("may have a first part without tensors, and be one part of one", function()
      put(name(1, 2), gguf.encode({ { "split.no", "u16", 0 }, { "split.count", "u16", 2 },
        { "split.tensors.count", "i32", 2 } }, {}))
      put(name(2, 2), part(1, 2, 2, "x"))
      assert.equal(2, internals.checkpoint_open(folder .. "/" .. name(1, 2)))
      assert.equal(2, internals.checkpoint_open(put(name(1, 1), part(0, 1, 2, "x"))))
      assert.equal(2, internals.checkpoint_open(put(name(1, 1), part(nil, nil, nil, "x"))))
    end)

    it("G23: names the missing part", function()
      split(3, function(number, bytes) return number ~= 2 and bytes or nil end)
      for number = 1, 3, 2 do
        refuses(folder .. "/" .. name(number, 3), "ENOENT", name(2, 3) .. ": is missing, part 2 of 3")
      end
    end)

    it("G23: refuses a part that is there twice", function()
      local parts = gguf.split(keys, tensors, 3)
      refuses(split(3, function(number, bytes) return number == 3 and parts[2] or bytes end), "EFORMAT",
        name(3, 3) .. ": split.no is 1, but by the file's name it must be 2")
    end)

    it("G23: refuses parts in another order", function()
      local parts = gguf.split(keys, tensors, 2)
      refuses(split(2, function(number) return parts[3 - number] end), "EFORMAT",
        name(1, 2) .. ": split.no is 1, but by the file's name it must be 0")
    end)

    local function two(first, second)
      put(name(1, 2), first)
      put(name(2, 2), second)
      return folder .. "/" .. name(1, 2)
    end

    it("G23: refuses a part of another model", function()
      refuses(two(part(0, 2, 4, "x"), part(1, 2, 5, "y")), "EFORMAT",
        name(2, 2) .. ": split.tensors.count is 5, in the first part it is 4")
      refuses(two(part(0, 2, 4, "x"), part(1, 2, 4, "x")), "EFORMAT", "'x.a' stands in")
      refuses(two(part(0, 2, 4, "x"), part(1, 3, 4, "y")), "EFORMAT",
        "split.count is 3, but by the file's name it must be 2")
    end)

    it("G23: refuses parts that do not hold as many tensors as they say", function()
      refuses(two(part(0, 2, 5, "x"), part(1, 2, 5, "y")), "EFORMAT", "split.tensors.count is 5, the 2 parts hold 4")
      refuses(two(part(0, 2, 3, "x"), part(1, 2, 3, "y")), "EFORMAT", "split.tensors.count is 3, the 2 parts hold 4")
      refuses(two(part(0, 2, 2 ^ 31 - 1, "x"), part(1, 2, 4, "y")), "EFORMAT",
        "split.tensors.count is 2147483647, allowed")
    end)

    it("G23: refuses a part that does not say which it is", function()
      refuses(two(part(nil, 2, 4, "x"), part(1, 2, 4, "y")), "EFORMAT", "split.no is missing")
      refuses(two(part(0, nil, 4, "x"), part(1, 2, 4, "y")), "EFORMAT", "split.count is missing")
      refuses(two(part(0, 2, nil, "x"), part(1, 2, 4, "y")), "EFORMAT", "split.tensors.count is missing")
    end)

    it("G23: refuses a part under another name, and a number out of range", function()
      refuses(put("renamed.gguf", part(0, 2, 4, "x")), "EFORMAT",
        "split.count is 2, but the file's name does not end with -00001-of-00002.gguf")
      refuses(put("tiny-00003-of-00002.gguf", part(2, 2, 4, "x")), "EFORMAT", "is part 3 of 2 by its name")
      refuses(put("tiny-00000-of-00002.gguf", part(0, 2, 4, "x")), "EFORMAT", "is part 0 of 2 by its name")
      refuses(put("tiny-00001-of-99999.gguf", part(0, 2, 4, "x")), "EUNSUPPORTED", "is one of 99999 parts")
    end)

    it("G23: looks for parts beside the file alone, whatever its text says", function()
      local other = { { "general.source", "string", "../../etc/passwd" }, { "split.name", "string", "../x" } }
      put(name(1, 2), part(0, 2, 4, "../x", other))
      put(name(2, 2), part(1, 2, 4, "/etc", other))
      assert.equal(4, internals.checkpoint_open(folder .. "/" .. name(1, 2)))
    end)
  end)

  describe("by its path", function()
    local function sound() return part(nil, nil, nil, "x") end

    it("is known by its content under any name, and by its name", function()
      assert.equal(2, internals.checkpoint_open(put("weights", sound())))
      refuses(put("x.gguf", "{}"), "EFORMAT", "x.gguf: is a JSON text")
      refuses(put("x.gguf", ("x"):rep(100)), "EFORMAT", 'x.gguf: is no GGUF file: it does not start with "GGUF"')
      refuses(put("x.gguf.part", sound():sub(1, 50)), "EFORMAT", "x.gguf.part: ")
    end)

    it("G02: says so when it lies where something else is looked for", function()
      put("model.safetensors", sound())
      refuses(folder, "EFORMAT", "model.safetensors: is a GGUF file: it is opened by its own path")
      os.remove(folder .. "/model.safetensors")
      put("model.safetensors.index.json", sound())
      refuses(folder, "EFORMAT", "is a GGUF file")
    end)

    it("G01: refuses what is no regular file without waiting", function()
      local path = folder .. "/x.gguf"
      refuses(path, "ENOENT", "x.gguf")
      os.execute(("mkfifo '%s'"):format(path))
      refuses(path, "EINVAL", "x.gguf")
      os.remove(path)
      os.execute(("ln -s nowhere.gguf '%s'"):format(path))
      refuses(path, "ENOENT", "x.gguf")
      os.remove(path)
      os.execute(("mkdir '%s'"):format(path))
      refuses(path, "ENOENT", "holds neither")
      refuses("/dev/zero", "EINVAL", "/dev/zero")
      refuses(put("y.gguf", ""), "EFORMAT", "is empty")
    end)

    it("G19: keeps working when it is replaced or removed, and says when it is changed", function()
      local path = put("x.gguf", sound())
      assert.is_true(internals.checkpoint_while(path, function()
        support.write_file(folder .. "/new", ("x"):rep(500))
        assert(os.rename(folder .. "/new", path))
      end))
      put("x.gguf", sound())
      assert.is_true(internals.checkpoint_while(path, function() os.remove(path) end))
      put("x.gguf", sound())
      local unchanged, message, code = internals.checkpoint_while(path, function()
        support.write_file(path, sound() .. "more")
      end)
      assert.is_nil(unchanged)
      assert.equal("EIO", code)
      assert.truthy(message:find("x.gguf: the file has changed", 1, true), message)
    end)
  end)

  it("survives the failure of any allocation", function()
    put(name(1, 2), part(0, 2, 4, "x"))
    put(name(2, 2), part(1, 2, 4, "y"))
    faults.each(internals.fail_allocation, function() return internals.checkpoint_open(folder .. "/" .. name(1, 2)) end,
      { least = 10, codes = { ENOMEM = true } })
  end)
end)
