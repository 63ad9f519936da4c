--- Kernels: codes and functions against the oracle and arithmetic, and the same bits at every level.
local support = require "spec.support"
local stages = require "spec.compute.cpu.stages"
local internals = support.internals()

local levels = internals.kernel_levels()
local vectors = support.oracle("vectors.safetensors")

local seed = 1
local function random()      -- Park and Miller: the same numbers under every Lua
  seed = seed * 16807 % 2147483647
  return seed / 2147483647
end

local function random_bytes(count, low, high)
  local out = {}
  for i = 1, count do out[i] = string.char(low + math.floor(random() * (high - low + 1))) end
  return table.concat(out)
end

local function random_floats(count, size)
  local out = {}
  for i = 1, count do out[i] = (2 * random() - 1) * (size or 1) end
  return internals.pack_floats(out)
end

--- FP8 codes without the two NaN.
local function finite_codes(count)
  return (random_bytes(count, 0, 255):gsub("[\127\255]", "\1"))
end

--- A random weight of every encoding; scales are 2^-7 .. 2^7.
local function weight_of(type, rows, columns)
  local w = { type = type, shape = { rows, columns } }
  if type == "F32" then w.bytes = random_floats(rows * columns)
  elseif type == "BF16" then w.bytes = (random_floats(rows * columns):gsub("..(..)", "%1"))
  elseif type == "F16" then w.bytes = random_bytes(2 * rows * columns, 0, 59)
  elseif type == "F8_E4M3" then
    w.bytes = finite_codes(rows * columns)
    w.scales = random_bytes(math.ceil(rows / 128) * math.ceil(columns / 128), 120, 134)
  else
    w.shape[2] = columns / 2
    w.bytes = random_bytes(rows * columns / 2, 0, 255)
    w.scales = random_bytes(rows * columns / 32, 120, 134)
  end
  return w
end

local row_of = stages.row_of

local function is_nan(x) return x ~= x end

--- Equal numbers, NaN equal to NaN: which of its bit patterns a NaN has is not promised.
local function assert_same_numbers(expected, got)
  if expected == got then return end
  local a, b = internals.floats(expected), internals.floats(got)
  assert.equal(#a, #b)
  for i = 1, #a do
    if not (a[i] == b[i] or is_nan(a[i]) and is_nan(b[i])) then
      error(("value %d: expected %.9g, got %.9g"):format(i, a[i], b[i]), 2)
    end
  end
end

local function assert_close(expected, got, tolerance)
  local a, b = internals.floats(expected), internals.floats(got)
  for i = 1, #a do
    local near = math.abs(a[i] - b[i]) <= tolerance * math.max(math.abs(a[i]), 1e-30)    -- false with a NaN
    if not near then
      error(("value %d: expected %.9g, got %.9g"):format(i, a[i], b[i]), 2)
    end
  end
end

describe("number formats", function()
  local every_code = {}
  for i = 0, 255 do every_code[i + 1] = string.char(i) end
  every_code = table.concat(every_code)

  for _, case in ipairs { { "e4m3", 256 }, { "e8m0", 256 }, { "e2m1", 16 } } do
    it("decode every code of " .. case[1], function()
      local format, count = case[1], case[2]
      assert_same_numbers(vectors[format .. ".table"].bytes, internals.decode_codes(format, every_code:sub(1, count)))
    end)
  end

  for _, format in ipairs { "e4m3", "e2m1", "bf16", "scale448", "scale6" } do
    it("round to " .. format .. " as the oracle", function()
      assert.equal(vectors[format .. ".out"].bytes, internals.round_to(format, vectors[format .. ".in"].bytes))
    end)
  end

  it("round activations to FP8 as the oracle", function()
    assert.equal(vectors["act_fp8.out"].bytes, internals.round_fp8(vectors["act_fp8.in"].bytes, 256))
  end)

  it("take a partial last block of activations as a block", function()
    local x = vectors["act_fp8.in"].bytes:sub(1, 4 * 160)
    local zeros = x .. ("\0"):rep(4 * 96)
    assert.equal(internals.round_fp8(zeros, 256):sub(1, 4 * 160), internals.round_fp8(x, 160))
  end)

  it("keep NaN and infinity visible in rounded activations", function()
    for _, odd in ipairs { 0 / 0, 1 / 0, -1 / 0 } do
      local x = { 1, odd, 3 }
      local got = internals.floats(internals.round_fp8(internals.pack_floats(x), 3))
      assert.is_true(is_nan(got[2]) or math.abs(got[2]) == 1 / 0)
    end
  end)
end)

describe("cpu_weight_row", function()
  it("decodes FP8 with partial tiles as the oracle", function()
    local w = { type = "F8_E4M3", shape = { 130, 160 }, bytes = vectors["fp8_weight.codes"].bytes,
      scales = vectors["fp8_weight.scale_codes"].bytes }
    assert_same_numbers(vectors["fp8_weight.values"].bytes, internals.weight_values(w))
  end)

  it("decodes FP4 as the oracle", function()
    local w = { type = "I8", shape = { 4, 64 }, bytes = vectors["fp4_weight.packed"].bytes,
      scales = vectors["fp4_weight.scale_codes"].bytes }
    assert_same_numbers(vectors["fp4_weight.values"].bytes, internals.weight_values(w))
  end)
end)

local types = { "F32", "BF16", "F16", "F8_E4M3", "I8" }
local columns_of = { F32 = { 1, 15, 16, 130, 300 }, BF16 = { 3, 17, 127, 256 }, F16 = { 16, 33, 129 },
  F8_E4M3 = { 1, 127, 128, 129, 160, 384, 500 }, I8 = { 32, 96, 128, 160, 544 } }

--- Sums in double precision over the decoded weight; |sum| and the sum of magnitudes.
local function exact_product(w, x, rows)
  local values, given = internals.floats(internals.weight_values(w)), internals.floats(x)
  local columns = #values / w.shape[1]
  local sums, sizes = {}, {}
  for r = 0, rows - 1 do
    for j = 0, w.shape[1] - 1 do
      local sum, size = 0, 0
      for i = 1, columns do
        local term = values[j * columns + i] * given[r * columns + i]
        sum, size = sum + term, size + math.abs(term)
      end
      sums[#sums + 1], sizes[#sizes + 1] = sum, size
    end
  end
  return sums, sizes
end

describe("product", function()
  for _, type in ipairs(types) do
    it("is the sum over decoded weights: " .. type, function()
      for _, columns in ipairs(columns_of[type]) do
        local w, x = weight_of(type, 5, columns), random_floats(2 * columns)
        local sums, sizes = exact_product(w, x, 2)
        local got = internals.floats(internals.kernel_product("scalar", w, x))
        for i = 1, #sums do assert.is_true(math.abs(sums[i] - got[i]) <= 1e-6 * sizes[i] + 1e-30) end
      end
    end)

    it("has the same bits at every level: " .. type, function()
      for _, columns in ipairs(columns_of[type]) do
        for _, rows in ipairs { 1, 2, 4, 7, 35 } do
          local w, x = weight_of(type, rows < 8 and 131 or 6, columns), random_floats(rows * columns)
          local expected = internals.kernel_product("scalar", w, x)
          for _, level in ipairs(levels) do assert.equal(expected, internals.kernel_product(level, w, x), level) end
        end
      end
    end)

    it("gives a row the same bits alone and in company: " .. type, function()
      for _, columns in ipairs(columns_of[type]) do
        local w, x = weight_of(type, 9, columns), random_floats(37 * columns)
        for _, level in ipairs(levels) do
          local all = internals.kernel_product(level, w, x)
          for row = 1, 37 do
            assert.equal(row_of(all, row, 9), internals.kernel_product(level, w, row_of(x, row, columns)), level)
          end
        end
      end
    end)
  end

  it("knows the lanes and the tree of a sum", function()
    -- 2^24 + 1 is no float32: a 1 survives only where the order keeps it from a large term's lane.
    local function sum(terms)
      local ones = {}
      for i = 1, #terms do ones[i] = 1 end
      local w = { type = "F32", shape = { 1, #terms }, bytes = internals.pack_floats(terms) }
      return internals.floats(internals.kernel_product("scalar", w, internals.pack_floats(ones)))[1]
    end
    local large, terms = 2 ^ 24, {}
    for i = 1, 32 do terms[i] = 0 end
    terms[1], terms[17], terms[9] = large, 1, -large    -- lane 0: 2^24 + 1 -> 2^24; joined with lane 8 first
    assert.equal(0, sum(terms))
    terms[17], terms[2] = 0, 1                          -- lane 1: joined after lanes 0 and 8 have cancelled
    assert.equal(1, sum(terms))
    terms[9], terms[5] = 0, -large                      -- lane 4 joins lane 0 before lane 1 does
    assert.equal(1, sum(terms))
    terms[5], terms[2], terms[3], terms[4] = 0, -large, 1, 1
    assert.equal(1, sum(terms))                         -- 0 + 2 is 2^24, 1 + 3 is 1 - 2^24; (0 + 1) first would give 2
  end)

  it("shows a NaN code, and only in its own output", function()
    for _, level in ipairs(levels) do
      for _, rows in ipairs { 1, 5 } do
        local w = weight_of("F8_E4M3", 6, 300)
        w.bytes = w.bytes:sub(1, 2 * 300 + 290) .. "\255" .. w.bytes:sub(2 * 300 + 292)
        local got = internals.floats(internals.kernel_product(level, w, random_floats(rows * 300)))
        for i = 1, #got do assert.equal((i - 1) % 6 == 2, is_nan(got[i])) end
      end
    end
  end)

  it("takes any scale code", function()
    for _, code in ipairs { 0, 1, 254, 255 } do
      for _, type in ipairs { "F8_E4M3", "I8" } do
        local w, x = weight_of(type, 6, 160), random_floats(2 * 160, 2 ^ -10)
        w.scales = string.char(code):rep(#w.scales)
        local expected = internals.kernel_product("scalar", w, x)
        for _, level in ipairs(levels) do assert_same_numbers(expected, internals.kernel_product(level, w, x)) end
        if code == 255 then assert.is_true(is_nan(internals.floats(expected)[1])) end
      end
    end
  end)

  it("lets NaN and infinite activations through", function()
    local w = weight_of("F8_E4M3", 4, 160)
    local x = random_floats(99) .. internals.pack_floats { 0 / 0 } .. random_floats(60)
    for _, level in ipairs(levels) do
      local got = internals.floats(internals.kernel_product(level, w, x))
      for i = 1, #got do assert.is_true(is_nan(got[i])) end
    end
  end)
end)

describe("product_int8", function()
  it("is the sum over doubled integers", function()
    for _, columns in ipairs(columns_of.I8) do
      local w, x = weight_of("I8", 5, columns), random_floats(columns)
      local codes, scales = internals.kernel_to_int8("scalar", x)
      scales = internals.floats(scales)
      local rounded = {}
      for i = 1, columns do
        local code = codes:byte(i)
        rounded[i] = (code > 127 and code - 256 or code) * scales[math.floor((i - 1) / 32) + 1]
      end
      local sums, sizes = exact_product(w, internals.pack_floats(rounded), 1)
      local got = internals.floats(internals.kernel_product("scalar", w, x, true))
      for i = 1, #sums do assert.is_true(math.abs(sums[i] - got[i]) <= 1e-6 * sizes[i] + 1e-30) end
    end
  end)

  it("has the same bits at every level, in any company", function()
    for _, columns in ipairs(columns_of.I8) do
      for _, rows in ipairs { 1, 3, 4, 9 } do
        local w, x = weight_of("I8", 11, columns), random_floats(rows * columns)
        local expected = internals.kernel_product("scalar", w, x, true)
        for _, level in ipairs(levels) do
          assert.equal(expected, internals.kernel_product(level, w, x, true), level)
          for row = 1, rows do
            assert.equal(row_of(expected, row, 11), internals.kernel_product(level, w, row_of(x, row, columns), true))
          end
        end
      end
    end
  end)

  it("shows NaN scales and activations", function()
    local w, x = weight_of("I8", 3, 64), random_floats(64)
    local odd = random_floats(40) .. internals.pack_floats { 1 / 0 } .. random_floats(23)
    local bad = { type = "I8", shape = w.shape, bytes = w.bytes, scales = "\255" .. w.scales:sub(2) }
    for _, level in ipairs(levels) do
      assert.is_true(is_nan(internals.floats(internals.kernel_product(level, w, odd, true))[3]))
      local got = internals.floats(internals.kernel_product(level, bad, x, true))
      assert.same({ true, false, false }, { is_nan(got[1]), is_nan(got[2]), is_nan(got[3]) })
    end
  end)
end)

describe("to_int8", function()
  it("rounds x / (largest / 127) to the nearest, ties to even", function()
    local x = { 127, -127, 0.5, 1.5, 2.5, -0.5, 63.49, 126.6 }
    local codes, scales = internals.kernel_to_int8("scalar", internals.pack_floats(x))
    assert.equal(1, internals.floats(scales)[1])
    for i, code in ipairs { 127, 129, 0, 2, 2, 0, 63, 127 } do assert.equal(code, codes:byte(i)) end
  end)

  it("sums the codes of half blocks", function()
    local codes, _, sums = internals.kernel_to_int8("scalar", random_floats(77))
    for half = 0, 5 do
      local sum, low, high = 0, sums:byte(2 * half + 1, 2 * half + 2)
      for i = 16 * half + 1, 16 * half + 16 do sum = sum + (codes:byte(i) + 128) % 256 - 128 end
      assert.equal(sum, (low + 256 * high + 32768) % 65536 - 32768)
    end
  end)

  it("has the same bits at every level, for odd blocks too", function()
    local blocks = { random_floats(32), random_floats(77), ("\0"):rep(128), random_floats(32, 1e-44),
      random_floats(32, 3e38), random_floats(31) .. internals.pack_floats { 0 / 0 }, random_floats(5) }
    for _, x in ipairs(blocks) do
      local codes, scales, sums = internals.kernel_to_int8("scalar", x)
      for _, level in ipairs(levels) do
        local got_codes, got_scales, got_sums = internals.kernel_to_int8(level, x)
        assert.equal(codes, got_codes)
        assert.equal(sums, got_sums)
        assert_same_numbers(scales, got_scales)
      end
    end
  end)
end)

describe("decode", function()
  it("gives every E4M3 code times the scale, NaN included, at every level", function()
    local codes = {}
    for i = 0, 255 do codes[i + 1] = string.char(i) end
    codes = table.concat(codes) .. "\1\2\3"
    for _, level in ipairs(levels) do
      assert_same_numbers(internals.decode_codes("e4m3", codes), internals.kernel_decode(level, "e4m3", codes, 1))
      assert_same_numbers(internals.kernel_elements("scalar", "scale", internals.decode_codes("e4m3", codes), 2 ^ -22),
        internals.kernel_decode(level, "e4m3", codes, 2 ^ -22))
    end
  end)

  it("gives bf16 rows", function()
    local packed = weight_of("BF16", 1, 35).bytes
    for _, level in ipairs(levels) do
      assert.equal(internals.widen(packed), internals.kernel_decode(level, "bf16", packed))
    end
  end)
end)

describe("functions", function()
  local arguments = {}
  for i = -1100, 900 do arguments[#arguments + 1] = i / 10 + 0.0123 end
  arguments = internals.pack_floats(arguments)

  it("exp: relative error below 2^-22", function()
    local x, got = internals.floats(arguments), internals.floats(internals.kernel_elements("scalar", "exp", arguments))
    for i = 1, #x do
      if x[i] > -87 and x[i] < 88.7 then
        assert.is_true(math.abs(got[i] / math.exp(x[i]) - 1) < 2 ^ -22, ("exp(%.9g)"):format(x[i]))
      elseif x[i] < -104 then
        assert.equal(0, got[i])
      elseif x[i] <= -87 then       -- denormal results: one unit in the last place
        assert.is_true(math.abs(got[i] - math.exp(x[i])) <= 2 ^ -149)
      elseif x[i] > 88.8 then
        assert.equal(1 / 0, got[i])
      end
    end
  end)

  it("exp: limits", function()
    local got = internals.floats(internals.kernel_elements("scalar", "exp",
      internals.pack_floats { 0, -0.0, 1 / 0, -1 / 0, 0 / 0, 1e30, -1e30 }))
    assert.same({ 1, 1, 1 / 0, 0 }, { got[1], got[2], got[3], got[4] })
    assert.is_true(is_nan(got[5]))
    assert.same({ 1 / 0, 0 }, { got[6], got[7] })
  end)

  it("sqrt(softplus): relative error below 2^-21, and the oracle's scores", function()
    local x = internals.floats(arguments)
    local got = internals.floats(internals.kernel_elements("scalar", "sqrt_softplus", arguments))
    for i = 1, #x do
      if x[i] > -80 then
        local e = math.exp(-math.abs(x[i]))
        local log1p = e > 1e-5 and math.log(1 + e) or e - e * e / 2
        assert.is_true(math.abs(got[i] / math.sqrt(math.max(x[i], 0) + log1p) - 1) < 2 ^ -21, ("at %.9g"):format(x[i]))
      end
    end
    assert_close(vectors["router.scores"].bytes,
      internals.kernel_elements("scalar", "sqrt_softplus", vectors["router.logits"].bytes), 1e-6)
    local odd = internals.pack_floats { 0 / 0, -1 / 0, 1 / 0 }
    got = internals.floats(internals.kernel_elements("scalar", "sqrt_softplus", odd))
    assert.is_true(is_nan(got[1]))
    assert.same({ 0, 1 / 0 }, { got[2], got[3] })
  end)

  it("swiglu: the oracle's values with limit 10", function()
    assert_close(vectors["swiglu.out_limit10"].bytes, internals.kernel_elements("scalar", "swiglu",
      vectors["swiglu.gate"].bytes, 10, vectors["swiglu.up"].bytes), 1e-6)
  end)

  it("swiglu: limit 0 bounds nothing, a NaN comes through", function()
    local gate, up = internals.pack_floats { 50, 1, 0 / 0, 1 }, internals.pack_floats { 30, -40, 1, 0 / 0 }
    local got = internals.floats(internals.kernel_elements("scalar", "swiglu", gate, 0, up))
    assert.equal(1500, got[1])
    assert.is_true(math.abs(got[2] + 40 / (1 + math.exp(-1))) < 1e-5)
    assert.is_true(is_nan(got[3]) and is_nan(got[4]))
    assert.equal(100, internals.floats(internals.kernel_elements("scalar", "swiglu", gate, 10, up))[1] > 99.99 and 100)
  end)

  for _, name in ipairs { "exp", "sqrt_softplus", "scale", "swiglu" } do
    it(name .. " has the same bits at every level and place", function()
      local odd = internals.pack_floats { 0 / 0, 1 / 0, -1 / 0, 0, 1e-40, -1e-40, 3e38 }
      for _, count in ipairs { 1, 15, 16, 47, 200 } do
        local x, y = random_floats(count, 60) .. odd .. arguments, random_floats(count, 60) .. odd .. arguments
        local expected = internals.kernel_elements("scalar", name, x, 1.7, y)
        for _, level in ipairs(levels) do
          assert_same_numbers(expected, internals.kernel_elements(level, name, x, 1.7, y))
        end
        local first = internals.kernel_elements("scalar", name, x:sub(1, 4), 1.7, y:sub(1, 4))
        assert.equal(first, expected:sub(1, 4))
      end
    end)
  end

  -- One row at a time, in double precision; the kernels round every step to float32.
  local sums = {
    add_rows = function(out, x, factor) return out + x * factor end,
    sum_relu = function(out, x, factor) return out + math.max(x, 0) * factor end,
  }
  for name, add in pairs(sums) do
    it(name .. " adds rows, with the same bits at every level and place", function()
      for _, count in ipairs(name == "sum_relu" and { 16, 48, 64, 208 } or { 1, 16, 47, 64, 200 }) do
        local rows = 7
        local x, factors, out = random_floats(rows * count), random_floats(rows), random_floats(count)
        local got = internals.kernel_rows("scalar", name, x, factors, out)
        local xs, fs, gots = internals.floats(x), internals.floats(factors), internals.floats(got)
        local sum = name == "sum_relu" and {} or internals.floats(out)
        for c = 1, count do
          for r = 0, rows - 1 do sum[c] = add(sum[c] or 0, xs[r * count + c], fs[r + 1]) end
          assert.near(sum[c], gots[c], 1e-5)
        end
        for _, level in ipairs(levels) do
          assert.is_true(got == internals.kernel_rows(level, name, x, factors, out), level)
        end
      end
    end)
  end

  it("sum_relu: a NaN stays one, whatever else is added", function()
    for _, level in ipairs(levels) do
      local x = internals.pack_floats { 0 / 0, -1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        5, 3, -4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
      local got = internals.floats(internals.kernel_rows(level, "sum_relu", x, internals.pack_floats { 1, 10 },
        x:sub(1, 64)))
      assert.is_true(is_nan(got[1]))
      assert.same({ 30, 2 }, { got[2], got[3] })
    end
  end)

  for _, name in ipairs { "dot", "sum_squares" } do
    it(name .. " has the same bits at every level", function()
      for _, count in ipairs { 1, 16, 31, 512, 1000 } do
        local a, b = random_floats(count), random_floats(count)
        local expected = internals.kernel_sum("scalar", name, a, b)
        for _, level in ipairs(levels) do assert.equal(expected, internals.kernel_sum(level, name, a, b)) end
      end
    end)
  end
end)

describe("backend_open", function()
  it("names the levels there are", function()
    for _, level in ipairs(levels) do
      local name, kernels, threads = internals.open_backend { kernels = level, threads = 3 }
      assert.same({ "cpu", level, 3 }, { name, kernels, threads })
    end
    local _, best = internals.open_backend {}
    assert.equal(levels[#levels], best)
  end)

  it("refuses what cannot run, with the reason", function()
    local _, message, code = internals.open_backend { kernels = "avx1024" }
    assert.equal("ENODEV", code)
    assert.is_truthy(message:find("avx1024", 1, true))
    assert.is_truthy(message:find("auto " .. table.concat(levels, " "), 1, true))
    _, message, code = internals.open_backend { backend = "ascend" }
    assert.equal("ENODEV", code)
    assert.is_truthy(message:find("ascend", 1, true))
    _, message, code = internals.open_backend { backend = "cuda" }
    assert.equal("EINVAL", code)
    assert.is_truthy(message:find("cuda", 1, true))
  end)

  it("takes as many threads as there are cores, at least one, and not more than 256", function()
    local _, _, threads = internals.open_backend { threads = 0 }
    assert.is_true(threads >= 1)
    _, _, threads = internals.open_backend { threads = 100000 }
    assert.equal(256, threads)
  end)
end)
