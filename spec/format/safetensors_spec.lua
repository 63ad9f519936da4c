local support = require "spec.support"
local faults = require "spec.faults"
local refusals = require "spec.refusals"
local files = require "spec.format.files"
local internals = support.internals()

local wrap, entry = files.wrap, files.entry

local function refuses(bytes, code, part)
  refusals.check("memory: ", code, part, internals.safetensors_parse(bytes))
end

local refused = refusals.rows(it, refuses)

local one = entry("a", "U8", { 4 }, 0, 4)          -- a sound tensor of four bytes
local function tensor(text, data) return wrap('{"a":' .. text .. "}", data or "abcd") end
local function shaped(shape) return tensor('{"dtype":"U8","shape":' .. shape .. ',"data_offsets":[0,4]}') end
local function placed(offsets) return tensor('{"dtype":"U8","shape":[4],"data_offsets":' .. offsets .. "}") end
local function typed(type, shape, data)
  return wrap("{" .. entry("a", type, shape, 0, #data) .. "}", data)
end

describe("safetensors_parse", function()
  it("gives type, shape, place and size of every tensor", function()
    local header = "{" .. '"__metadata__":{"format":"pt"},' .. entry("x.weight", "F32", { 2, 3 }, 0, 24) .. ","
      .. entry("\\u0079", "F8_E8M0", { 2 }, 24, 26) .. "}"
    header = header .. (" "):rep(-#header % 8)
    local tensors = assert(internals.safetensors_parse(wrap(header, ("d"):rep(26))))
    local x, y = tensors["x.weight"], tensors.y
    assert.same({ "F32", { 2, 3 }, 24, 8 + #header }, { x.type, x.shape, x.bytes, x.offset })
    assert.same({ "F8_E8M0", { 2 }, 2, 8 + #header + 24 }, { y.type, y.shape, y.bytes, y.offset })
    assert.is_nil(tensors.__metadata__)
  end)

  it("finds in a file of the oracle what numpy wrote", function()
    local bytes = support.read_file("spec/oracle/tinystage/model.safetensors")
    local tensors, count = assert(internals.safetensors_parse(bytes)), 0
    for name, expected in pairs(support.oracle("tinystage/model.safetensors")) do
      local got = tensors[name]
      assert.same({ expected.type, expected.shape }, { got.type, got.shape }, name)
      assert.is_true(expected.bytes == bytes:sub(got.offset + 1, got.offset + got.bytes), name)
      count = count + 1
    end
    assert.equal(count, internals.safetensors_count(bytes))
  end)

  it("takes quotes, brackets and backslashes inside names", function()
    local header = "{" .. entry('a\\"},{\\\\', "U8", { 4 }, 0, 4) .. "}"
    assert.equal(4, internals.safetensors_parse(wrap(header, "abcd"))['a"},{\\'].bytes)
  end)

  it("takes a file without tensors", function()
    assert.same({}, internals.safetensors_parse(wrap("{}")))
  end)

  describe("header length", function()
    local sound = wrap("{" .. one .. "}", "abcd")
    for size = 0, 7 do
      it(("S01: refuses a file of %d bytes"):format(size), function()
        refuses(sound:sub(1, size), "EFORMAT", size == 0 and "is empty" or ("has %d bytes"):format(size))
      end)
    end
    local rest = sound:sub(9)
    refused {
      { "S01: refuses a header of length 0", files.u64(0) .. rest, "starts with zeros" },
      { "S01: refuses a header of length 1", files.u64(1) .. rest, "header length is 1, allowed are 2 to 100000000" },
      { "S01: refuses a header longer than the file", files.u64(#sound - 7) .. rest,
        ("header length is %d, but only %d bytes follow"):format(#sound - 7, #sound - 8) },
      { "S01: refuses 10^8 + 1", files.u64(100000001) .. rest, "header length is 100000001" },
      { "S01: refuses 2^63", "\0\0\0\0\0\0\0\128" .. rest, "header length is 9223372036854775808" },
      { "S01: refuses 2^64 - 1, where 8 + N wraps", ("\255"):rep(8) .. rest, "header length is 18446744073709551615" },
    }
  end)

  describe("header text", function()
    refused {
      { "S02: refuses a list", wrap("[1,2]"), "starts with byte 0x5B" },
      { "S02: refuses a byte order mark", wrap("\239\187\191{" .. one .. "}", "abcd"), "starts with byte 0xEF" },
      { "S02: refuses a leading space", wrap(" {" .. one .. "}", "abcd"), "starts with byte 0x20" },
      { "S02: refuses text behind the object", wrap("{" .. one .. "}x", "abcd"), "byte 0x78 after" },
      { "S02: refuses a newline behind the object", wrap("{" .. one .. "}\n", "abcd"), "byte 0x0A after" },
      { "S02: refuses a NUL behind the object", wrap("{" .. one .. "}\0", "abcd"), "byte 0x00 after" },
      { "S02: refuses a second object", wrap("{" .. one .. "}{}", "abcd"), "byte 0x7B after" },
      { "S02: refuses a name that is no UTF-8", wrap("{" .. entry("\255", "U8", { 4 }, 0, 4) .. "}", "abcd"),
        "no string" },
      { "S02: refuses overlong UTF-8", wrap("{" .. entry("\192\128", "U8", { 4 }, 0, 4) .. "}", "abcd"), "no string" },
      { "S02: refuses a NUL in a name", wrap("{" .. one:gsub("a", "a\0b", 1) .. "}", "abcd"), "no string" },
      { "S02: refuses an escaped NUL in a name", wrap("{" .. entry("a\\u0000", "U8", { 4 }, 0, 4) .. "}", "abcd"),
        "no string" },
      { "S02: refuses an empty name", wrap("{" .. entry("", "U8", { 4 }, 0, 4) .. "}", "abcd"), "a name of 0 bytes" },
      { "S02: refuses a name of 512 bytes", wrap("{" .. entry(("n"):rep(512), "U8", { 4 }, 0, 4) .. "}", "abcd"),
        "a name of 512 bytes, allowed are 1 to 511" },
      { "S02: refuses an object that does not end", wrap("{" .. one, "abcd"), "',' or '}' expected" },
      { "S02: refuses a string that does not end", wrap('{"a'), "the end of a string expected" },
      { "S02: refuses a backslash as last byte", wrap('{"a\\'), "the end of a string expected" },
      { "S02: refuses a comma before the end", wrap("{" .. one .. ",}", "abcd"), "a name expected" },
      { "S02: refuses a comma at the start", wrap("{," .. one .. "}", "abcd"), "a name expected" },
      { "S02: refuses entries without a comma", wrap("{" .. one .. " " .. one .. "}", "abcd"), "',' or '}' expected" },
      { "S02: refuses a name without a colon", wrap('{"a" 1}'), "':' expected" },
      { "S02: refuses a name without a value", wrap('{"a":}'), "a whole value expected" },
      { "S02: refuses brackets that do not pair", tensor('{"dtype":"U8","shape":[4},"data_offsets":[0,4]]'), "'a'" },
    }

    it("S02: takes spaces behind the object", function()
      assert.equal(1, internals.safetensors_count(wrap("{" .. one .. "}     ", "abcd")))
    end)
  end)

  describe("header values", function()
    local nested = ("["):rep(100000) .. ("]"):rep(100000)
    refused {
      { "S03: refuses nesting of 10^5 in a tensor", tensor(nested), "takes 200000 bytes", "EUNSUPPORTED" },
      { "S03: refuses nesting of 65", tensor('{"a":' .. ("["):rep(64) .. ("]"):rep(64) .. "}"),
        "nested deeper than 64" },
      { "S03: refuses nesting of 10^5 in metadata", wrap('{"__metadata__":{"a":' .. nested .. "}}"),
        "takes 200006 bytes", "EUNSUPPORTED" },
      { "S03: refuses a name twice", wrap("{" .. one .. "," .. one .. "}", "abcd"), "'a': appears twice" },
      { "S03: refuses a name twice through an escape",
        wrap("{" .. one .. "," .. entry("\\u0061", "U8", { 0 }, 4, 4) .. "}", "abcd"), "'a': appears twice" },
      { "S03: refuses a key of a tensor twice", tensor('{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}'),
        "duplicate" },
      { "S03: refuses a key of a tensor twice through an escape",
        tensor('{"dtype":"U8","d\\u0074ype":"U8","shape":[4],"data_offsets":[0,4]}'), "duplicate" },
      { "S03: refuses metadata twice", wrap('{"__metadata__":{},"__metadata__":{}}'), "'__metadata__': appears twice" },
      { "S03: refuses a lone surrogate", wrap("{" .. entry("\\ud800", "U8", { 4 }, 0, 4) .. "}", "abcd"), "no string" },
      { "S03: refuses 1e3 as a size", shaped("[4e0]"), "shape[0] is no integer" },
      { "S03: refuses 4.0 as a size", shaped("[4.0]"), "shape[0] is no integer" },
      { "S03: refuses -4 as a size", shaped("[-4]"), "shape[0] is no integer" },
      { "S03: refuses 04 as a size", shaped("[04]"), "'a'" },
      { "S03: refuses 2^53 + 1 as a size", shaped("[9007199254740993]"), "take 9007199254740993 bytes" },
      { "S03: refuses 2^64 as a size", shaped("[18446744073709551616]"), "too big" },
      { "S03: refuses 10^500 as a size", shaped("[1" .. ("0"):rep(500) .. "]"), "too big" },
      { "S03: refuses a string as a size", shaped('["4"]'), "shape[0] is no integer" },
      { "S03: refuses a number as a shape", shaped("4"), "shape is missing or no list" },
      { "S03: refuses a number as a tensor", tensor("4"), "is no object" },
      { "S03: refuses a missing dtype", tensor('{"shape":[4],"data_offsets":[0,4]}'), "has 2 keys" },
      { "S03: refuses a missing shape", tensor('{"dtype":"U8","x":[4],"data_offsets":[0,4]}'), "shape is missing" },
      { "S03: refuses a key too many", tensor('{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}'), "has 4 keys" },
      { "S03: refuses a number as a dtype", tensor('{"dtype":8,"shape":[4],"data_offsets":[0,4]}'),
        "dtype is not a string" },
      { "S03: refuses metadata that is no object", wrap('{"__metadata__":"pt"}'), "'__metadata__': is no object" },
      { "S03: refuses metadata with a number", wrap('{"__metadata__":{"step":1}}'), "'step' is no string" },
      { "S03: refuses metadata with a list", wrap('{"__metadata__":{"step":["1"]}}'), "'step' is no string" },
    }
  end)

  describe("many entries", function()
    local function header(count)
      local texts = {}
      for i = 1, count do texts[i] = entry(("%x"):format(i), "U8", { 0 }, 0, 0) end
      return wrap("{" .. table.concat(texts, ",") .. "}")
    end
    local few, many = header(25000), header(100000)

    it("S04: takes time in proportion to their number", function()
      local function cost(bytes)
        local best = math.huge
        for _ = 1, 3 do
          local start = os.clock()
          assert(internals.safetensors_count(bytes))
          best = math.min(best, os.clock() - start)
        end
        return best
      end
      assert.is_true(cost(many) < 12 * cost(few), "four times the entries must not cost sixteen times the time")
    end)

    it("S04: needs less than 16 times the header's memory", function()
      local peak = internals.peak_memory(function() return internals.safetensors_count(many) end)
      assert.is_true(peak < 16 * #many, ("%d bytes for a header of %d"):format(peak, #many))
    end)

    it("S04: bounds what one entry and the metadata may take", function()
      local ones = ("1,"):rep(100000) .. "1"
      refuses(shaped("[" .. ones .. "]"), "EUNSUPPORTED", "at most 4096 are allowed")
      local pairs_of = {}
      for i = 1, 20000 do pairs_of[i] = ('"%d":""'):format(i) end
      refuses(wrap('{"__metadata__":{' .. table.concat(pairs_of, ",") .. "}}"), "EUNSUPPORTED",
        "at most 65536 are allowed")
    end)
  end)

  describe("sizes", function()
    refused {
      { "S05: refuses a shape whose product wraps to 4", shaped("[4194305,4194305,211106198978564]"),
        "too many values" },
      { "S05: refuses a shape whose product wraps to 4 before its last size",
        shaped("[4194305,4194305,211106198978564,1]"), "too many values" },
      { "S05: refuses a shape whose bytes wrap", typed("F64", { "2305843009213693953" }, "abcdefgh"),
        "too many values" },
      { "S06: refuses begin > end", placed("[4,0]"), "data_offsets are [4, 0]" },
      { "S06: refuses an end behind the data", placed("[0,5]"), "data_offsets are [0, 5], but the data has 4 bytes" },
      { "S06: refuses offsets near 2^63", placed("[9223372036854775803,9223372036854775807]"),
        "but the data has 4 bytes" },
      { "S06: refuses one offset", placed("[4]"), "data_offsets has 1 entries" },
      { "S06: refuses three offsets", placed("[0,2,4]"), "data_offsets has 3 entries" },
      { "S06: refuses a size that is not shape times dtype", typed("U8", { 5 }, "abcd"),
        "take 5 bytes, data_offsets give 4" },
      { "S06: refuses offsets around more than shape times dtype", typed("U8", { 3 }, "abcd"),
        "take 3 bytes, data_offsets give 4" },
      { "S06: refuses a hole", wrap("{" .. one .. "," .. entry("b", "U8", { 2 }, 6, 8) .. "}", "abcdefgh"),
        "'b' starts at byte 6 of the data, the one before it ends at 4" },
      { "S06: refuses a hole at the start", wrap("{" .. entry("b", "U8", { 2 }, 2, 4) .. "}", "abcd"),
        "'b' starts at byte 2" },
      { "S06: refuses overlap", wrap("{" .. one .. "," .. entry("b", "U8", { 4 }, 2, 6) .. "}", "abcdef"),
        "'b' starts at byte 2" },
      { "S06: refuses the same bytes twice", wrap("{" .. one .. "," .. entry("b", "U8", { 4 }, 0, 4) .. "}", "abcd"),
        "starts at byte 0" },
      { "S06: refuses data that no tensor covers", wrap("{" .. one .. "}", "abcdef"),
        "take 4 bytes of data, the file holds 6" },
      { "S06: refuses data without tensors", wrap("{}", "abcd"), "take 0 bytes of data, the file holds 4" },
    }
  end)

  it("S06: takes a tensor that starts inside an element, which the format allows", function()
    local header = "{" .. entry("a", "U8", { 1 }, 0, 1) .. "," .. entry("b", "F32", { 1 }, 1, 5) .. "}"
    assert.equal(8 + #header + 1, internals.safetensors_parse(wrap(header, "abcde")).b.offset)
  end)

  describe("types and ranks", function()
    refused {
      { "S07: refuses an unknown dtype", typed("Q9", { 4 }, "abcd"), "dtype 'Q9' is unknown", "EUNSUPPORTED" },
      { "S07: refuses a dtype of GGUF", typed("Q8_0", { 32 }, "abcd"), "dtype 'Q8_0' is unknown", "EUNSUPPORTED" },
      { "S07: refuses a dtype in lower case", typed("f32", { 1 }, "abcd"), "dtype 'f32' is unknown", "EUNSUPPORTED" },
      { "S07: refuses F4 with an odd count", typed("F4", { 7 }, "abcd"), "no whole number of F4 blocks of 2" },
      { "S07: refuses rows of F4 with an odd count", typed("F4", { 2, 3 }, "abc"),
        "no whole number of F4 blocks of 2" },
      { "S07: refuses rank 9", shaped("[4,1,1,1,1,1,1,1,1]"), "shape has 9 entries, at most 8" },
      { "S07: refuses rank 65", shaped("[" .. ("1,"):rep(64) .. "4]"), "shape has 65 entries, at most 8" },
    }

    local taken = {
      { "S07: takes rank 0 as one value", "U8", {}, 1 },
      { "S07: takes rank 8", "U8", { 2, 1, 1, 1, 1, 1, 1, 2 }, 4 },
      { "S07: takes a dimension 0 as no bytes", "F32", { 3, 0 }, 0 },
      { "S07: takes F4 with an even count", "F4", { 2, 4 }, 4 },
      { "takes six-bit floats, four to three bytes", "F6_E2M3", { 8 }, 6 },
    }
    for _, row in ipairs(taken) do
      it(row[1], function()
        local tensors = assert(internals.safetensors_parse(typed(row[2], row[3], ("x"):rep(row[4]))))
        assert.same({ row[2], row[3], row[4] }, { tensors.a.type, tensors.a.shape, tensors.a.bytes })
      end)
    end

    it("S07: takes a tensor without bytes between two others", function()
      local header = "{" .. entry("b", "U8", { 2 }, 4, 6) .. "," .. entry("e", "U8", { 0 }, 4, 4) .. "," .. one .. "}"
      assert.equal(3, internals.safetensors_count(wrap(header, "abcdef")))
    end)
  end)

  describe("damaged files", function()
    it("G18: refuses a file cut at any byte of its header, and at 1000 places of its data", function()
      local bytes = support.read_file("spec/oracle/tinystage/model.safetensors")
      local random, header = files.random(1), 0
      for i = 8, 1, -1 do header = header * 256 + bytes:byte(i) end
      local function refuses_cut(at)
        local tensors, _, code = internals.safetensors_count(bytes:sub(1, at))
        assert.is_nil(tensors, at)
        assert.equal("EFORMAT", code)
      end
      for at = 0, 8 + header do refuses_cut(at) end
      for _ = 1, 1000 do refuses_cut(8 + header + random(#bytes - 8 - header)) end
    end)

    local sound = files.encode {
      { name = "layers.0.attn.wq_a.weight", type = "F8_E4M3", shape = { 4, 8 }, bytes = ("w"):rep(32) },
      { name = "layers.0.attn.wq_a.scale", type = "F8_E8M0", shape = { 1, 1 }, bytes = "s" },
      { name = "norm.weight", type = "BF16", shape = { 8 }, bytes = ("n"):rep(16) },
      { name = "hc_head_base", type = "F32", shape = { 4 }, bytes = ("h"):rep(16) },
      { name = "e\\u006dbed", type = "I64", shape = {}, bytes = ("e"):rep(8) },
    }
    local spice = { "0", "9", "-", ".", "e", "[", "]", "{", "}", '"', ",", ":", "\\", "\\u0061", "\0", "\255", " ",
      "18446744073709551615", "__metadata__", "F32", "layers.0.attn.wq_a.weight" }

    --- One to four bytes of the first `limit` replaced, removed, or joined by something spicy.
    local function mutated(bytes, limit, random)
      for _ = 0, random(4) do
        local at, how = random(limit) + 1, random(4)
        local before, after = bytes:sub(1, at - 1), bytes:sub(at + 1)
        if how == 0 then bytes = before .. string.char(random(256)) .. after
        elseif how == 1 then bytes = before .. after
        elseif how == 2 then bytes = before .. spice[random(#spice) + 1] .. after
        else bytes = before .. spice[random(#spice) + 1] .. bytes:sub(at)
        end
      end
      return bytes
    end

    it("G18: refuses or takes whole any of 10^3 mutated headers", function()
      local random, header, taken = files.random(20240229), #sound - 73, 0
      for round = 1, 1000 * (support.fuzz > 1 and 10 or 1) do
        local bytes = mutated(sound, header, random)
        if round % 2 == 0 then    -- the length is made to fit again, so that the text is reached
          local text = bytes:sub(9, #bytes - 73)
          bytes = files.u64(#text) .. bytes:sub(9)
        end
        local tensors, message, code = internals.safetensors_parse(bytes)
        if tensors then
          taken = taken + 1
          local sum = 0
          for _, tensor_of in pairs(tensors) do
            assert.is_true(tensor_of.offset + tensor_of.bytes <= #bytes)
            sum = sum + tensor_of.bytes
          end
          assert.is_true(sum <= 73)
        else
          assert.truthy(code == "EFORMAT" or code == "EUNSUPPORTED", message)
        end
      end
      assert.is_true(taken > 0, "no mutation was harmless: the mutator is too rough to reach the parser")
    end)
  end)

  it("survives the failure of any allocation", function()
    local bytes = "{" .. '"__metadata__":{"format":"pt"}'
    for i = 1, 70 do bytes = bytes .. "," .. entry("tensor." .. i, "U8", { 1 }, i - 1, i) end
    bytes = wrap(bytes .. "}", ("x"):rep(70))
    -- where jansson runs out of memory it may blame the text instead
    faults.each(internals.fail_allocation, function() return internals.safetensors_count(bytes) end,
      { least = 100, codes = { ENOMEM = true, EFORMAT = true }, sound = 70 })
  end)
end)
