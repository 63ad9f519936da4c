--- The GGUF container: what a header says, and every way in which it can be wrong (specs/reliability.md 2.1).
local support = require "spec.support"
local faults = require "spec.faults"
local refusals = require "spec.refusals"
local files = require "spec.format.files"
local gguf = require "spec.format.gguf_file"
local model = require "spec.format.gguf_model"
local internals = support.internals()

local header, pair, info, wrap, u32, u64 = gguf.header, gguf.pair, gguf.info, gguf.wrap, gguf.u32, gguf.u64

local function refuses(bytes, code, part)
  refusals.check("memory: ", code, part, internals.gguf_parse(bytes))
end

local refused = refusals.rows(it, refuses)

local one = info("a", { 4 }, "F32", 0)                       -- a sound tensor of 16 bytes
local data = ("d"):rep(16)
local function keyed(...) return wrap({ ... }, {}) end
local function tensor(text, bytes, alignment) return wrap({}, { text }, bytes or data, alignment) end
local function aligned(kind, value) return wrap({ pair("general.alignment", kind, value) }, { one }, data,
  type(value) == "number" and value > 0 and value < 2 ^ 20 and value or 32) end

describe("gguf_parse", function()
  it("gives type, shape, place and size of every tensor", function()
    local bytes = gguf.encode({ { "general.name", "string", "x" }, { "k", "u8", 1 } }, {
      { name = "x.weight", type = "F32", shape = { 2, 3 }, bytes = ("x"):rep(24) },
      { name = "y.weight", type = "F16", shape = { 5 }, bytes = ("y"):rep(10) },
      { name = "z", type = "I32", shape = { 2, 1, 2, 3 }, bytes = ("z"):rep(48) },
    })
    local tensors, keys = assert(internals.gguf_parse(bytes))
    local x, y, z = tensors["x.weight"], tensors["y.weight"], tensors.z
    assert.equal(2, keys)
    assert.same({ "F32", { 2, 3 }, 24 }, { x.type, x.shape, x.bytes })
    assert.same({ "F16", { 5 }, 10 }, { y.type, y.shape, y.bytes })
    assert.same({ "I32", { 2, 1, 2, 3 }, 48 }, { z.type, z.shape, z.bytes })
    for letter, got in pairs { x = x, y = y, z = z } do
      assert.equal(letter:rep(got.bytes), bytes:sub(got.offset + 1, got.offset + got.bytes))
    end
  end)

  for _, version in ipairs { 2, 3 } do
    it("G03: reads version " .. version, function()
      local bytes = gguf.encode({}, { { name = "a", type = "F32", shape = { 4 }, bytes = data } },
        { version = version })
      assert.equal(1, internals.gguf_count(bytes))
    end)
  end

  it("takes a file without tensors and keys, also one that ends with its header", function()
    assert.same({}, internals.gguf_parse(header(0, 0)))
    assert.same({}, internals.gguf_parse(gguf.encode({}, {})))
  end)

  it("takes a value of every type", function()
    local keys = {}
    for _, kind in ipairs { "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64" } do
      keys[#keys + 1] = { kind, kind, 1 }
      keys[#keys + 1] = { kind .. "s", "array", { kind, { 1, 2, 3 } } }
    end
    keys[#keys + 1] = { "bool", "bool", true }
    keys[#keys + 1] = { "bools", "array", { "bool", { true, false } } }
    keys[#keys + 1] = { "string", "string", "any \0 bytes \255" }
    keys[#keys + 1] = { "strings", "array", { "string", { "", "a", "bc" } } }
    local _, count = assert(internals.gguf_parse(gguf.encode(keys, {})))
    assert.equal(#keys, count)
  end)

  describe("start", function()
    for size = 0, 23 do
      it(("G01: refuses a file of %d bytes"):format(size), function()
        refuses(header(0, 0):sub(1, size), "EFORMAT", size == 0 and "is empty" or size < 4 and "does not start with"
          or "a header takes at least 24")
      end)
    end
    refused {
      { "G02: refuses another magic", "GGUX" .. ("\0"):rep(40), 'does not start with "GGUF"' },
      { "G02: names the old magic", "lmgg" .. ("\0"):rep(40), "is an old ggml file", "EUNSUPPORTED" },
      { "G02: names a zip archive", "PK\3\4" .. ("\0"):rep(40), "is a zip archive", "EUNSUPPORTED" },
      { "G02: names an HTML page", "<!DOCTYPE html>" .. (" "):rep(40), "is an HTML page" },
      { "G02: names a git-LFS pointer", "version https://git-lfs.github.com/spec/v1\noid", "is a git-LFS pointer" },
      { "G02: names an unwritten download", ("\0"):rep(64), "starts with zeros" },
      { "G03: refuses version 0", header(0, 0, 0), "is GGUF version 0, read are 2 and 3", "EUNSUPPORTED" },
      { "G03: refuses version 1", header(0, 0, 1), "is GGUF version 1, read are 2 and 3", "EUNSUPPORTED" },
      { "G03: refuses version 4", header(0, 0, 4), "is GGUF version 4, read are 2 and 3", "EUNSUPPORTED" },
      { "G03: names a big-endian file", header(0, 0, 0x03000000), "is a big-endian GGUF file", "EUNSUPPORTED" },
      { "G03: names a big-endian file of version 2", header(0, 0, 0x02000000), "is a big-endian", "EUNSUPPORTED" },
    }
    local function counts(tensors, keys) return "GGUF" .. u32(3) .. tensors .. keys .. ("\0"):rep(1000) end
    local all = ("\255"):rep(8)
    refused {
      { "G04: refuses 2^31 keys", counts(u64(0), u64(2 ^ 31)), "states 2147483648 key/values, but only 1000 bytes" },
      { "G04: refuses 2^63 keys", counts(u64(0), u64(2 ^ 63)), "states 9223372036854775808 key/values" },
      { "G04: refuses 2^64-1 keys", counts(u64(0), all), "states 18446744073709551615 key/values" },
      { "G04: refuses more keys than fit", counts(u64(0), u64(1000)), "states 1000 key/values" },
      { "G04: refuses 2^31 tensors", counts(u64(2 ^ 31), u64(0)), "states 2147483648 tensors, but only 1000 bytes" },
      { "G04: refuses 2^63 tensors", counts(u64(2 ^ 63), u64(0)), "states 9223372036854775808 tensors" },
      { "G04: refuses 2^64-1 tensors", counts(all, u64(0)), "states 18446744073709551615 tensors" },
      { "G04: refuses more tensors than fit behind the keys",
        header(3, 1) .. pair("k", "string", ("x"):rep(100)) .. ("\0"):rep(98), "states 3 tensors, but only 98 bytes" },
    }

    it("G04: refuses more keys than names are kept, though they may all be there", function()
      local count = 2 ^ 21 + 1
      refuses(header(0, count) .. ("\0"):rep(14 * count), "EUNSUPPORTED",
        "states 2097153 key/values, at most 2097152 are allowed")
    end)

    it("G04: allocates next to nothing for a count that cannot be", function()
      local bytes = counts(u64(0), u64(2 ^ 31))
      assert.is_true(internals.peak_memory(function() return internals.gguf_count(bytes) end) < 4096)
    end)
  end)

  describe("keys", function()
    local function key_of(length, text) return header(0, 1) .. length .. (text or "") .. ("\0"):rep(40) end
    refused {
      { "G05: refuses an empty key", key_of(u64(0)), "key 0 is empty" },
      { "G05: refuses a key of 2^63 bytes", key_of(u64(2 ^ 63)), "key 0 has 9223372036854775808 bytes, but only 40" },
      { "G05: refuses a key of one byte too many", key_of(u64(41)), "key 0 has 41 bytes, but only 40 follow" },
      { "G05: refuses a key of 512 bytes", keyed(pair(("k"):rep(512), "u8", 1)), "at most 511 are allowed",
        "EUNSUPPORTED" },
      { "G05: refuses a key that is no UTF-8", keyed(pair("a\255", "u8", 1)), "key 0 holds the byte 0xFF" },
      { "G05: refuses a NUL in a key", keyed(pair("a\0b", "u8", 1)), "key 0 holds the byte 0x00" },
      { "G25: refuses an escape sequence in a key", keyed(pair("a\27[31m", "u8", 1)), "key 0 holds the byte 0x1B" },
      { "G06: refuses an unknown value type", keyed(pair("k", 13, nil, ("\0"):rep(16))),
        "k: has the type 13, known are 0 to 12" },
      { "G06: refuses the value type 2^32-1", keyed(pair("k", 2 ^ 32 - 1, nil, ("\0"):rep(16))),
        "has the type 4294967295" },
      { "G06: refuses a bool of 2", keyed(pair("k", "bool", nil, "\2")), "k: is the bool 2" },
      { "G06: refuses a bool of 2 in an array", keyed(pair("k", "array", nil, u32(7) .. u64(2) .. "\1\2")),
        "is the bool 2" },
      { "G06: refuses an alignment that is no u32", aligned("i32", 32), "general.alignment: is not of type u32" },
      { "G06: refuses an alignment that is a string", aligned("string", "32"),
        "general.alignment: is not of type u32" },
      { "G06: refuses an alignment that is an array", aligned("array", { "u32", { 32 } }), "is not of type u32" },
      { "G07: refuses 2^62 values", keyed(pair("k", "array", nil, u32(0) .. u64(2 ^ 62))),
        "4611686018427387904 values" },
      { "G07: refuses an array whose bytes wrap", keyed(pair("k", "array", nil,
        u32(10) .. u64(2 ^ 61) .. ("x"):rep(64))),
        "2305843009213693952 values of type u64 take at least 8 bytes each, but only 64 follow" },
      { "G07: refuses an array of arrays", keyed(pair("k", "array", nil, u32(9) .. u64(1) .. u32(0) .. u64(1) .. "x")),
        "k: is an array of arrays", "EUNSUPPORTED" },
      { "G07: refuses arrays nested 1000 deep", keyed(pair("k", "array", nil, (u32(9) .. u64(1)):rep(1000))),
        "k: is an array of arrays", "EUNSUPPORTED" },
      { "G07: refuses an array of an unknown type", keyed(pair("k", "array", nil, u32(99) .. u64(1) .. "xxxxxxxx")),
        "k: has the type 99" },
      { "G07: refuses strings whose lengths lead out of the file",
        keyed(pair("k", "array", nil, u32(8) .. u64(2) .. u64(1) .. "a" .. u64(2 ^ 63) .. ("x"):rep(16))),
          "k: its value ends" },
      { "G05: refuses a string of 2^64-1 bytes", keyed(pair("k", "string", nil, ("\255"):rep(8) .. "abc")),
        "k: its value ends behind the end of the file" },
      { "G10: refuses a key twice", keyed(pair("k", "u8", 1), pair("k", "u8", 1)), "k: the key appears twice" },
      { "G10: refuses a tensor twice", wrap({}, { one, one }, data), "'a' appears twice" },
      { "G10: refuses an empty name", tensor(info("", { 4 }, "F32", 0) .. " "), "has a name of 0 bytes" },
      { "G10: refuses a name of 64 bytes", tensor(info(("n"):rep(64), { 4 }, "F32", 0)),
        "has a name of 64 bytes, allowed are 1 to 63" },
      { "G10: refuses a name of 2^63 bytes", tensor(u64(2 ^ 63) .. ("\0"):rep(40)),
        "has a name of 9223372036854775808 bytes" },
      { "G25: refuses control bytes in a name", tensor(info("a\27[2J", { 4 }, "F32", 0)), "holds the byte 0x1B" },
    }

    it("G10: takes a name of 63 bytes", function()
      assert.equal(1, internals.gguf_count(tensor(info(("n"):rep(63), { 4 }, "F32", 0))))
    end)

    it("G07, G09: takes an array of 10^6 empty strings, in no memory", function()
      local bytes = keyed(pair("k", "array", nil, u32(8) .. u64(10 ^ 6) .. ("\0"):rep(8 * 10 ^ 6)))
      local peak = internals.peak_memory(function() return internals.gguf_count(bytes) end)
      assert.is_true(peak < 65536, peak .. " bytes")
    end)

    it("G10: takes time in proportion to the number of names", function()
      local function cost(count)
        local keys, infos = {}, {}
        for i = 1, count do
          keys[i] = pair(("key.%d"):format(i), "u8", 1)
          infos[i] = info(("tensor.%d"):format(i), { 4 }, "F32", 0)
        end
        local bytes, best = wrap(keys, infos, data), math.huge
        for _ = 1, 3 do
          local start = os.clock()
          assert.equal(count, internals.gguf_count(bytes))
          best = math.min(best, os.clock() - start)
        end
        return best
      end
      local few = cost(10000)
      assert.is_true(cost(40000) < 12 * few, "four times the names must not cost sixteen times the time")
    end)
  end)

  describe("alignment", function()
    refused {
      { "G11: refuses alignment 0", aligned("u32", 0), "general.alignment is 0, allowed are 1 to 1048576" },
      { "G11: refuses alignment 3", aligned("u32", 3), "is 3, which is no power of two" },
      { "G11: refuses alignment 13", aligned("u32", 13), "is 13, which is no power of two" },
      { "G11: refuses alignment 2^21", aligned("u32", 2 ^ 21), "general.alignment is 2097152, allowed" },
      { "G11: refuses alignment 2^31", aligned("u32", 2 ^ 31), "general.alignment is 2147483648, allowed" },
      { "G14: refuses an alignment that leads out of the file", aligned("u32", 2 ^ 20), "ends before its data" },
    }
    for _, alignment in ipairs { 1, 8, 64, 4096 } do
      it("G11: takes alignment " .. alignment, function()
        local bytes = gguf.encode({ { "general.alignment", "u32", alignment } }, {
          { name = "a", type = "F16", shape = { 3 }, bytes = "aaaaaa" }, { name = "b", type = "F32", shape = { 4 },
            bytes = data },
        }, { alignment = alignment })
        local b = assert(internals.gguf_parse(bytes)).b
        assert.equal(data, bytes:sub(b.offset + 1, b.offset + 16))
      end)
    end
  end)

  describe("shapes", function()
    local function shaped(rank, ...)
      local parts = { gguf.string("a"), u32(rank) }
      for _, size in ipairs { ... } do parts[#parts + 1] = type(size) == "string" and size or u64(size) end
      return tensor(table.concat(parts) .. u32(0) .. u64(0))
    end
    refused {
      { "G12: refuses no dimension", tensor(gguf.string("a") .. u32(0) .. u32(0) .. u64(0) .. ("\0"):rep(8)),
        "'a' has 0 dimensions, allowed are 1 to 4" },
      { "G12: refuses 5 dimensions", shaped(5, 1, 1, 1, 1, 4), "'a' has 5 dimensions" },
      { "G12: refuses 2^32-1 dimensions", shaped(2 ^ 32 - 1, 4), "'a' has 4294967295 dimensions" },
      { "G12: refuses a dimension 0", shaped(2, 4, 0), "'a': dimension 1 is 0" },
      { "G12: refuses a dimension 2^63", shaped(1, 2 ^ 63), "dimension 0 is 9223372036854775808" },
      { "G12: refuses a dimension 2^64-1", shaped(1, ("\255"):rep(8)), "dimension 0 is 18446744073709551615" },
      { "G12: refuses a product of 2^64", shaped(4, 2 ^ 16, 2 ^ 16, 2 ^ 16, 2 ^ 16),
        "more values than memory can number" },
      { "G12: refuses a product that wraps to 4", shaped(3, 4194305, 4194305, u32(0) .. u32(49152)), "more values" },
      { "G12: refuses 2^42+1 values", shaped(1, 2 ^ 42 + 1), "'a' takes 17592186044420 bytes from byte 0" },
      { "G13: refuses values that fit and bytes that wrap", shaped(1, 2 ^ 62), "more values than memory can number" },
      { "G13: refuses a size that rounding up would wrap", shaped(1, 2 ^ 61 + 2 ^ 60), "'a'" },
      { "G14: refuses sizes whose sum wraps", wrap({}, { info("a", { 2 ^ 60 }, "F32", 0), info("b", { 2 ^ 60 }, "F32",
        0) }, data),
        "but the data has 16 bytes" },
    }
  end)

  describe("types", function()
    refused {
      { "G16: refuses the type -1", tensor(info("a", { 4 }, 2 ^ 32 - 1, 0)),
        "'a' has the type 4294967295, read are F32, ",
        "EUNSUPPORTED" },
      { "G16: refuses a removed type", tensor(info("a", { 32 }, 4, 0)), "'a' has the type 4, read are F32, ",
        "EUNSUPPORTED" },
      { "G16: refuses another removed type", tensor(info("a", { 32 }, 36, 0)), "'a' has the type 36", "EUNSUPPORTED" },
      { "G16: refuses a future type", tensor(info("a", { 4 }, 1000, 0)), "'a' has the type 1000", "EUNSUPPORTED" },
    }
  end)

  describe("blocks", function()
    for name, block in pairs(gguf.blocks) do
      local values, bytes = block[2], block[3]
      it(("takes rows of whole blocks of %s"):format(name), function()
        local got = assert(internals.gguf_parse(tensor(info("a", { 3, 2 * values }, name, 0), ("b"):rep(6 * bytes)))).a
        assert.same({ name, { 3, 2 * values }, 6 * bytes }, { got.type, got.shape, got.bytes })
      end)

      it(("G15: refuses rows of %s that end inside a block"):format(name), function()
        for _, row in ipairs { 1, values - 1, values + 1, values / 2, 2 * values + 8 } do
          refuses(tensor(info("a", { values, row }, name, 0), ("b"):rep(4 * values * bytes)), "EFORMAT",
            ("'a' has rows of %d values, no whole number of blocks of %d as %s needs"):format(row, values, name))
        end
      end)

      it(("G13: refuses %s of more bytes than memory can number, and of more than the file has"):format(name),
        function()
        refuses(tensor(info("a", { 2 ^ 40, 2 ^ 23 }, name, 0)), "EFORMAT", "'a'")
        refuses(tensor(info("a", { 2 ^ 63 - 2 ^ 32 }, name, 0)), "EFORMAT", "'a'")
        refuses(tensor(info("a", { 1, values }, name, 0), ("b"):rep(bytes - 1)), "EFORMAT", "but the data has")
      end)
    end
  end)

  describe("places", function()
    local second = ("d"):rep(32)
    local function two(offset, shape) return wrap({}, { one, info("b", shape or { 4 }, "F32", offset) },
      second .. data) end
    refused {
      { "G17: refuses an offset off the alignment", tensor(info("a", { 4 }, "F32", 8)),
        "no multiple of the alignment, 32" },
      { "G17: refuses an offset behind the end", tensor(info("a", { 4 }, "F32", 64)),
        "from byte 64 of the data, but the data" },
      { "G17: refuses an offset near 2^64", tensor(info("a", { 4 }, "F32", 2 ^ 63)), "from byte 9223372036854775808" },
      { "G17: refuses an end one value behind the end", tensor(info("a", { 5 }, "F32", 0)),
        "takes 20 bytes from byte 0" },
      { "G17: refuses overlap", wrap({}, { info("a", { 16 }, "F32", 0), info("b", { 8 }, "F32", 32) }, ("d"):rep(64)),
        "'b' starts at byte 32 of the data, inside of a tensor that ends at 64" },
      { "G17: refuses two lengths at one place", two(0, { 8 }), "inside of a tensor that ends at 16" },
      { "G17: refuses a gap", wrap({}, { one, info("b", { 4 }, "F32", 64) }, ("d"):rep(80)),
        "48 bytes lie unused before 'b', padding to 32 takes fewer" },
      { "G17: refuses a gap at the start", tensor(info("a", { 4 }, "F32", 32), ("d"):rep(48)),
        "32 bytes lie unused before 'a'" },
      { "G17: refuses a file that goes on behind its tensors", tensor(one, ("d"):rep(48)),
        "32 bytes lie unused before the end of the file" },
    }

    it("G17: takes padding between tensors and behind the last, whole, in part or not at all", function()
      for rest = 0, 16 do assert.equal(2, internals.gguf_count(two(32) .. ("\0"):rep(rest - 1))) end
    end)

    it("G17: takes tensors that are the same bytes", function()
      local tensors = assert(internals.gguf_parse(wrap({}, { one, info("b", { 2, 2 }, "F32", 0), info("c", { 8 },
        "F16", 0) },
        data)))
      assert.equal(tensors.a.offset, tensors.b.offset)
      assert.equal(tensors.a.offset, tensors.c.offset)
    end)

    it("takes tensors in any order", function()
      local tensors = assert(internals.gguf_parse(wrap({}, { info("b", { 4 }, "F32", 32), one }, second .. data)))
      assert.equal(32, tensors.b.offset - tensors.a.offset)
    end)
  end)

  describe("damaged files", function()
    local sound = gguf.encode(model.keys(model.config("tinystage"), { tokenizer = false }), {
      { name = "output_norm.weight", type = "F32", shape = { 8 }, bytes = ("n"):rep(32) },
      { name = "blk.0.attn_q_a.weight", type = "BF16", shape = { 4, 16 }, bytes = ("w"):rep(128) },
      { name = "blk.0.ffn_gate_tid2eid.weight", type = "I32", shape = { 3, 4 }, bytes = ("i"):rep(48) },
    })
    local last = assert(internals.gguf_parse(sound))["blk.0.ffn_gate_tid2eid.weight"]

    it("G18: refuses a file cut at any byte of its header and data", function()
      for at = 0, last.offset + last.bytes - 1 do
        local count, message, code = internals.gguf_count(sound:sub(1, at))
        assert.is_nil(count, at)
        assert.equal("EFORMAT", code, message)
      end
      assert.equal(3, internals.gguf_count(sound:sub(1, last.offset + last.bytes)))
    end)

    local limit = last.offset - 160
    local spice = { u64(0), u64(1), u64(2 ^ 31), u64(2 ^ 63), ("\255"):rep(8), u32(9), u32(8), u32(2 ^ 31), "\0",
      "\255",
      u64(32), "general.alignment", "output_norm.weight" }

    --- One to four places of the header replaced, in place half of the time so that what follows stays where it was.
    local function mutated(bytes, random)
      for _ = 0, random(4) do
        local at, how = random(limit) + 1, random(4)
        local piece = spice[random(#spice) + 1]
        if how == 0 then bytes = bytes:sub(1, at - 1) .. string.char(random(256)) .. bytes:sub(at + 1)
        elseif how == 1 then bytes = bytes:sub(1, at - 1) .. piece .. bytes:sub(at + #piece)
        elseif how == 2 then bytes = bytes:sub(1, at - 1) .. piece .. bytes:sub(at)
        else bytes = bytes:sub(1, at - 1) .. bytes:sub(at + 1)
        end
      end
      return bytes
    end

    it("G18: refuses or takes whole any of 10^4 mutated headers", function()
      local random, taken = files.random(20261122), 0
      for _ = 1, 10000 * (support.fuzz > 1 and 5 or 1) do
        local bytes = mutated(sound, random)
        local tensors, message, code = internals.gguf_parse(bytes)
        if tensors then
          taken = taken + 1
          for _, got in pairs(tensors) do assert.is_true(got.offset + got.bytes <= #bytes) end
        else
          assert.truthy(code == "EFORMAT" or code == "EUNSUPPORTED", message)
        end
      end
      assert.is_true(taken > 0, "no mutation was harmless: the mutator is too rough to reach the parser")
    end)
  end)

  it("survives the failure of any allocation", function()
    local keys, tensors = {}, {}
    for i = 1, 70 do
      keys[i] = { "key." .. i, "array", { "string", { "a", "b" } } }
      tensors[i] = { name = "tensor." .. i, type = "F32", shape = { 4 }, bytes = data }
    end
    local bytes = gguf.encode(keys, tensors)
    faults.each(internals.fail_allocation, function() return internals.gguf_count(bytes) end,
      { least = 10, codes = { ENOMEM = true } })
  end)
end)
