--- Encoders against their decoders (compute/cpu), and against the gguf package's (spec/oracle/encode.py).
local support = require "spec.support"
local internals = support.internals()

local oracle = support.oracle("encode.safetensors")
local forms = { "F32", "BF16", "F16", "F8_E4M3", "I8", "MXFP4", "Q8_0", "IQ4_NL", "Q4_K" }
local searched = { IQ4_NL = true, Q4_K = true }
local tiled = { F8_E4M3 = true, I8 = true }
local inf = math.huge

local seed = 3
local function random(low, high)      -- Park and Miller
  seed = seed * 16807 % 2147483647
  return low + seed % (high - low + 1)
end

--- About normal: what twelve uniform numbers add up to.
local function normal()
  local sum = -6
  for _ = 1, 12 do sum = sum + random(0, 1000000) / 1000000 end
  return sum
end

local function normals(count, factor)
  local out = {}
  for i = 1, count do out[i] = normal() * (factor or 1) end
  return internals.pack_floats(out)
end

--- As a weight of the kernels: columns of codes, two a byte for FP4.
local function weight_of(type, columns, data, scales)
  local size = assert(internals.encode_size(type, 1, columns))
  local shape = { #data / size, type == "I8" and columns / 2 or columns }
  return { type = type, shape = shape, bytes = data, scales = scales }
end

local function encode(type, values, columns)
  local data, scales = assert(internals.encode(type, values, columns))
  return weight_of(type, columns, data, scales)
end

local function decode(w) return internals.weight_values(w) end

local function squares(a, b)
  local sum = 0
  a, b = internals.floats(a), b and internals.floats(b)
  for i = 1, #a do sum = sum + (a[i] - (b and b[i] or 0)) ^ 2 end
  return sum
end

--- The error's root mean square over the values'.
local function relative(values, w) return math.sqrt(squares(values, decode(w)) / squares(values)) end

--- Not assert.equal, which shows what differs: bytes.
local function assert_same_bits(expected, got)
  assert.equal(#expected, #got)
  assert.is_true(expected == got, "other bits")
end

local function assert_same_values(expected, got)
  local a, b = internals.floats(expected), internals.floats(got)
  assert.equal(#a, #b)
  for i = 1, #a do
    if a[i] ~= b[i] and (a[i] == a[i] or b[i] == b[i]) then
      error(("value %d: expected %.9g, got %.9g"):format(i - 1, a[i], b[i]), 2)
    end
  end
end

describe("encode_size", function()
  it("counts bytes of data and of scales", function()
    local sizes = { F32 = { 4 * 3 * 256, 0 }, BF16 = { 2 * 3 * 256, 0 }, F16 = { 2 * 3 * 256, 0 },
      F8_E4M3 = { 3 * 256, 2 }, I8 = { 3 * 128, 24 }, MXFP4 = { 24 * 17, 0 }, Q8_0 = { 24 * 34, 0 },
      IQ4_NL = { 24 * 18, 0 }, Q4_K = { 3 * 144, 0 } }
    for _, type in ipairs(forms) do assert.same(sizes[type], { internals.encode_size(type, 3, 256) }, type) end
    assert.same({ 129 * 130, 4 }, { internals.encode_size("F8_E4M3", 129, 130) })
  end)

  it("refuses a row that is no whole number of blocks, by name", function()
    for type, name in pairs { I8 = "FP4", MXFP4 = "MXFP4", Q8_0 = "Q8_0", IQ4_NL = "IQ4_NL", Q4_K = "Q4_K" } do
      local size, message, code = internals.encode_size(type, 3, 48)
      assert.same({ nil, "EUNSUPPORTED" }, { size, code })
      local wanted = "tensor w has 48 columns; %s needs a multiple of %d: choose another type for it"
      assert.equal(wanted:format(name, type == "Q4_K" and 256 or 32), message)
    end
  end)

  it("refuses a form that has no encoder, and a size that wraps", function()
    local size, message, code = internals.encode_size("IQ1_S", 1, 256)
    assert.same({ nil, "EUNSUPPORTED" }, { size, code })
    assert.truthy(message:find("tensor w cannot be written", 1, true))
    size, message, code = internals.encode_size("F32", 2 ^ 40, 2 ^ 40)
    assert.same({ nil, "EUNSUPPORTED" }, { size, code })
    assert.truthy(message:find("too many", 1, true))
  end)
end)

describe("encoders", function()
  for _, type in ipairs { "BF16", "Q8_0" } do
    it("have the bits of the gguf package: " .. type, function()
      assert_same_bits(oracle[type].bytes, (assert(internals.encode(type, oracle.values.bytes, 256))))
    end)
  end

  it("have NumPy's bits: F16", function()
    assert_same_bits(oracle.F16.bytes, (assert(internals.encode("F16", oracle.values.bytes, 256))))
  end)

  it("have the oracle's tiles, ragged ones too: FP8", function()
    local codes, scales = assert(internals.encode("F8_E4M3", oracle.tiles.bytes, 160))
    assert_same_bits(oracle["FP8.codes"].bytes, codes)
    assert_same_bits(oracle["FP8.scales"].bytes, scales)
  end)

  it("are never farther off than the gguf package: MXFP4", function()
    local columns, better = 32, 0
    for i = 0, #oracle.values.bytes / 128 - 1 do
      local x = oracle.values.bytes:sub(128 * i + 1, 128 * i + 128)
      local theirs = weight_of("MXFP4", columns, oracle.MXFP4.bytes:sub(17 * i + 1, 17 * i + 17))
      local ours, limit = squares(x, decode(encode("MXFP4", x, columns))), squares(x, decode(theirs))
      assert.is_true(ours <= limit, i)
      if ours < limit then better = better + 1 end
    end
    assert.is_true(better > 20, better)
  end)

  it("FP4 and MXFP4 are the same numbers", function()
    local x = normals(32 * 64, 0.02)
    assert_same_values(decode(encode("I8", x, 64)), decode(encode("MXFP4", x, 64)))
  end)

  it("round ties to even: FP4 (vllm-project/vllm#41985)", function()
    local given = { 6, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, -0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5, 4 }
    for i = 17, 32 do given[i] = 6 end
    local x = internals.pack_floats(given)
    local got = internals.floats(decode(encode("I8", x, 32)))
    assert.same({ 6, 0, 1, 1, 2, 2, 4, 4, 0, -1, -1, -2, -2, -4, -4, 4 }, { (table.unpack or unpack)(got, 1, 16) })
  end)

  -- Of normal numbers; each form's own arithmetic: half a step of 8 or 11 bits, of 127 steps, of E4M3 and E2M1. What
  -- the searches find is compared with every scale there is, below.
  local bounds = { F32 = 0, BF16 = 0.0018, F16 = 0.00023, F8_E4M3 = 0.027, I8 = 0.115, MXFP4 = 0.115, Q8_0 = 0.0062,
    IQ4_NL = 0.0745, Q4_K = 0.0715 }
  for _, type in ipairs(forms) do
    it("keep normal numbers of any size: " .. type, function()
      for _, factor in ipairs { 1e-3, 0.02, 1, 300 } do
        local x = normals(32 * 256, factor)
        local off = relative(x, encode(type, x, 256))
        assert.is_true(off <= bounds[type] and off >= bounds[type] / 2, ("%g"):format(off))
      end
    end)

    it("keep zeros, and lose denormals at most: " .. type, function()
      local zeros = ("\0"):rep(4 * 512)
      assert_same_bits(zeros, decode(encode(type, zeros, 256)))
      local tiny = {}
      for i = 1, 512 do tiny[i] = normal() * 2 ^ -140 end
      tiny[7] = 2 ^ -149
      local got = internals.floats(decode(encode(type, internals.pack_floats(tiny), 256)))
      for i = 1, 512 do assert.is_true(math.abs(got[i]) <= 2 ^ -137, i) end
    end)

    it("give back what they held, whatever its scales: " .. type, function()
      for _, factor in ipairs { 1e-20, 0.03, 1e3 } do
        if factor > 1e-10 or type ~= "F16" and type ~= "Q8_0" and not searched[type] then
          local columns = type == "Q4_K" and 256 or 160
          local first = encode(type, normals(130 * columns, factor), columns)
          local second = encode(type, decode(first), columns)
          if searched[type] or type == "Q8_0" then     -- another scale, and its half
            local off = relative(decode(first), second)
            assert.is_true(off < (searched[type] and 0.02 or 0.0005), ("%g"):format(off))
          else                            -- a largest that was rounded down may have half the scale from then on
            local third = encode(type, decode(second), columns)
            assert_same_values(decode(first), decode(second))
            assert_same_bits(second.bytes, third.bytes)
            assert.is_true(second.scales == third.scales)
          end
        end
      end
    end)
  end

  it("give back the values of any codes and scales: FP8, FP4, MXFP4", function()
    for trial = 1, 40 do
      local codes, scales, blocks = {}, {}, {}
      local from, to = trial * 6 - 5, trial * 6       -- scale codes 1 .. 240
      for i = 1, 128 * 128 do
        local code = random(0, 255)
        codes[i] = string.char(code % 128 == 127 and 0 or code)
      end
      codes = table.concat(codes)
      local w = { type = "F8_E4M3", shape = { 128, 128 }, bytes = codes, scales = string.char(random(from, to)) }
      assert_same_values(decode(w), decode(encode("F8_E4M3", decode(w), 128)))
      for i = 1, 64 do scales[i] = string.char(random(from, to)) end
      for i = 1, 64 do blocks[i] = scales[i] .. codes:sub(16 * i - 15, 16 * i) end
      w = { type = "I8", shape = { 64, 16 }, bytes = codes:sub(1, 1024), scales = table.concat(scales) }
      assert_same_values(decode(w), decode(encode("I8", decode(w), 32)))
      w = { type = "MXFP4", shape = { 64, 32 }, bytes = table.concat(blocks) }
      assert_same_values(decode(w), decode(encode("MXFP4", decode(w), 32)))
    end
  end)

  it("bfloat16 holds FP8 exactly", function()
    local w = encode("F8_E4M3", normals(128 * 128, 0.05), 128)
    assert_same_bits(decode(w), decode(encode("BF16", decode(w), 128)))
  end)

  it("do the same for a band as for the whole", function()
    local all = normals(300 * 256, 0.1)
    for _, type in ipairs(forms) do
      local columns = type == "Q4_K" and 256 or 64
      local x, data, scales = all:sub(1, 300 * 4 * columns), {}, {}
      local whole = encode(type, x, columns)
      for first = 0, 299, 128 do
        local band = x:sub(first * 4 * columns + 1, (first + 128) * 4 * columns)
        local d, s = assert(internals.encode(type, band, columns, first))
        data[#data + 1], scales[#scales + 1] = d, s
      end
      assert_same_bits(whole.bytes, table.concat(data))
      if tiled[type] then assert_same_bits(whole.scales, table.concat(scales)) end
    end
  end)
end)

describe("the search for scales", function()
  local iq4 = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 }

  --- The least squared error of x[from .. from + 31] under any of `count` scales of either sign.
  local function best_iq4_nl(x, from, count)
    local largest, least = 0, inf
    for i = from, from + 31 do largest = math.max(largest, math.abs(x[i])) end
    for k = 1, 2 * count do
      local scale = (k % 2 == 0 and 1 or -1) * largest / (80 + 60 * k / (2 * count))
      local error = 0
      for i = from, from + 31 do
        local value, nearest = x[i] / scale, inf
        for _, level in ipairs(iq4) do nearest = math.min(nearest, math.abs(value - level)) end
        error = error + (nearest * scale) ^ 2
      end
      least = math.min(least, error)
    end
    return least
  end

  --- Of any line scale * q - least, the scales and leasts of a sub-block not being rounded to six bits.
  local function best_line(x, from, count)
    local low, high, best = 0, 0, inf
    for i = from, from + 31 do low, high = math.min(low, x[i]), math.max(high, x[i]) end
    for a = 1, count do
      for b = 1, count do
        local base, top, error = low * (0.7 + 0.4 * a / count), high * (0.7 + 0.4 * b / count), 0
        local scale = (top - base) / 15
        for i = from, from + 31 do
          local code = math.max(0, math.min(15, math.floor((x[i] - base) / scale + 0.5)))
          error = error + (x[i] - base - scale * code) ^ 2
        end
        best = math.min(best, error)
      end
    end
    return best
  end

  local function sum_of(best, x, count)
    local sum = 0
    for from = 1, #x, 32 do sum = sum + best(x, from, count) end
    return sum
  end

  it("finds for IQ4_NL what hundreds of scales give", function()
    local x = normals(256, 0.02)
    local ours, least = squares(x, decode(encode("IQ4_NL", x, 256))), sum_of(best_iq4_nl, internals.floats(x), 150)
    assert.is_true(ours < least * 1.01, ("%g"):format(ours / least))
    assert.is_true(ours > least * 0.98, ("%g"):format(ours / least))
  end)

  it("comes near to what hundreds of lines give for Q4_K, whose scales are rounded", function()
    local x = normals(512, 0.02)
    local ours, least = squares(x, decode(encode("Q4_K", x, 256))), sum_of(best_line, internals.floats(x), 24)
    assert.is_true(ours < least * 1.03, ("%g"):format(ours / least))
    assert.is_true(ours > least * 0.98, ("%g"):format(ours / least))
  end)

  it("uses Q4_K's leasts where all values are below 0", function()
    for spread, limit in pairs { [1] = 0.0135, [0.01] = 0.0005 } do      -- steps of a fifteenth: 0.0193 rms of it
      local x = {}
      for i = 1, 256 do x[i] = -1 - spread * random(0, 1000) / 1000 end
      local off = relative(internals.pack_floats(x), encode("Q4_K", internals.pack_floats(x), 256))
      assert.is_true(off < limit, ("%g"):format(off))
    end
  end)

  it("holds values of one sign, single ones and equal ones", function()
    for _, type in ipairs { "IQ4_NL", "Q4_K" } do
      for sign = -1, 1, 2 do
        local shapes = { {}, {}, {} }
        for i = 1, 256 do
          shapes[1][i] = sign * (1 + random(0, 1000) / 1000)
          shapes[2][i] = i == 77 and sign * 3 or 0
          shapes[3][i] = sign * 0.7
        end
        -- IQ4_NL has no level 0: 31 zeros beside -127 become 1.
        for k, limit in ipairs { 0.09, 0.045, 0.012 } do
          local off = relative(internals.pack_floats(shapes[k]), encode(type, internals.pack_floats(shapes[k]), 256))
          assert.is_true(off < limit, ("%s, shape %d, sign %d: %g"):format(type, k, sign, off))
        end
      end
    end
  end)
end)

describe("values that a form cannot hold", function()
  local function with(value, at, columns)
    local values = {}
    for i = 1, 3 * columns do values[i] = 0.5 end
    values[at] = value
    return internals.pack_floats(values)
  end

  for _, type in ipairs(forms) do
    local name = ({ F8_E4M3 = "FP8", I8 = "FP4" })[type] or type
    local special = type == "F32" or type == "BF16" or type == "F16"

    it((special and "not NaN and infinities: " or "NaN and infinities, by row and column: ") .. type, function()
      for _, value in ipairs { 0 / 0, inf, -inf } do
        local x = with(value, 256 + 78, 256)
        local data, message, code = internals.encode(type, x, 256, 128)
        if special then
          assert_same_values(x, decode(weight_of(type, 256, data)))
        else
          assert.same({ nil, "EUNSUPPORTED" }, { data, code })
          local wanted = "^tensor w has %%-?[naif]+ at row 129, column 77, which %s cannot hold: choose a wider type"
          assert.truthy(message:match(wanted:format(name)), message)
        end
      end
    end)
  end

  local limits = { { "F16", 65519.99, 65520 }, { "BF16", 0x1.fefffep127, 0x1.ffp127 },
    { "Q8_0", 127 * 65504, 127 * 65536 },
    { "IQ4_NL", 113 * 65504, 113 * 65536 }, { "Q4_K", 63 * 65504, 63 * 65536 }, { "F8_E4M3", 0x1.cp127, 0x1.dp127 },
    { "I8", 0x1.bffffep127, 0x1.cp127 }, { "MXFP4", 0x1.bffffep127, 0x1.cp127 }, { "F32", (2 - 2 ^ -23) * 2 ^ 127 } }
  for _, limit in ipairs(limits) do
    it("larger than the largest: " .. limit[1], function()
      for _, sign in ipairs { 1, -1 } do
        local held = internals.floats(decode(encode(limit[1], with(sign * limit[2], 700, 256), 256)))[700]
        assert.is_true(math.abs(held / (sign * limit[2]) - 1) < 0.26, held)
        if limit[3] then
          local data, message, code = internals.encode(limit[1], with(sign * limit[3], 700, 256), 256)
          assert.same({ nil, "EUNSUPPORTED" }, { data, code })
          assert.truthy(message:find("row 2, column 187", 1, true), message)
        end
      end
    end)
  end
end)

describe("encode_repack", function()
  local function random_bytes(count, low, high)
    local out = {}
    for i = 1, count do out[i] = string.char(random(low, high)) end
    return table.concat(out)
  end

  it("keeps every number of FP4, and its bits on the way back", function()
    local w = { type = "I8", shape = { 5, 48 }, bytes = random_bytes(5 * 48, 0, 255),
      scales = random_bytes(15, 0, 254) }
    local data = assert(internals.repack(w, "MXFP4"))
    local there = { type = "MXFP4", shape = { 5, 96 }, bytes = data }
    assert_same_values(decode(w), decode(there))
    local codes, scales = assert(internals.repack(there, "I8"))
    assert_same_bits(w.bytes, codes)
    assert_same_bits(w.scales, scales)
  end)

  it("refuses a scale that means one thing here and another there", function()
    local w = { type = "I8", shape = { 2, 32 }, bytes = ("\0"):rep(64), scales = "\1\2\3\255" }
    local data, message, code = internals.repack(w, "MXFP4", 256)
    assert.same({ nil, "EUNSUPPORTED" }, { data, code })
    assert.truthy(message:find("tensor w has a scale code 255 at row 257, column 32", 1, true), message)
    w = { type = "MXFP4", shape = { 1, 64 }, bytes = ("\255" .. ("\0"):rep(16)):rep(2) }
    data, message, code = internals.repack(w, "I8")
    assert.same({ nil, "EUNSUPPORTED" }, { data, code })
    assert.truthy(message:find("row 0, column 0", 1, true), message)
  end)

  it("refuses any other pair", function()
    local w = { type = "MXFP4", shape = { 1, 32 }, bytes = ("\0"):rep(17) }
    for _, to in ipairs { "MXFP4", "Q8_0" } do
      assert.same({ nil, "EUNSUPPORTED" }, { (internals.repack(w, to)), select(3, internals.repack(w, to)) })
    end
  end)
end)
