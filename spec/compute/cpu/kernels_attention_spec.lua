--- Kernels of attention: against arithmetic, and the same bits at every level.
local support = require "spec.support"
local internals = support.internals()

local levels = internals.kernel_levels()

local seed = 1
local function random()      -- Park and Miller: the same numbers under every Lua
  seed = seed * 16807 % 2147483647
  return seed / 2147483647
end

local function random_list(count, size)
  local out = {}
  for i = 1, count do out[i] = (2 * random() - 1) * size end
  return out
end

local function random_bytes(count)
  local out = {}
  for i = 1, count do out[i] = string.char(math.floor(random() * 256)) end
  return table.concat(out)
end

--- Values of the bf16 codes.
local function values_of(codes) return internals.floats((codes:gsub("..", "\0\0%0"))) end

local function assert_same_numbers(expected, got)
  if expected == got then return end
  local a, b = internals.floats(expected), internals.floats(got)
  for i = 1, #a do
    if not (a[i] == b[i] or a[i] ~= a[i] and b[i] ~= b[i]) then
      error(("value %d: expected %.9g, got %.9g"):format(i, a[i], b[i]), 2)
    end
  end
end

--- bf16 of random numbers: whole codes, `pairs` of them in order.
local function random_pairs(pairs, size)
  return internals.kernel_to_bf16("scalar", internals.pack_floats(random_list(2 * pairs, size)))
end

local shapes = { { 1, 1, 1 }, { 3, 5, 16 }, { 8, 32, 64 }, { 11, 33, 100 }, { 64, 7, 31 }, { 9, 64, 48 } }

describe("multiply_add", function()
  it("adds products of float32", function()
    for _, shape in ipairs(shapes) do
      local rows, steps, columns = shape[1], shape[2], shape[3]
      local a, b, out = random_list(rows * steps, 1), random_list(steps * columns, 1), random_list(rows * columns, 1)
      local pa, pb, po = internals.pack_floats(a), internals.pack_floats(b), internals.pack_floats(out)
      local expected = internals.kernel_multiply("scalar", "float", pa, pb, rows, steps, po)
      local got = internals.floats(expected)
      for r = 0, rows - 1 do
        for c = 1, columns do
          local sum = out[r * columns + c]
          for s = 1, steps do sum = sum + a[r * steps + s] * b[(s - 1) * columns + c] end
          assert.near(sum, got[r * columns + c], 1e-5)
        end
      end
      for _, level in ipairs(levels) do
        assert.is_true(expected == internals.kernel_multiply(level, "float", pa, pb, rows, steps, po), level)
      end
    end
  end)

  it("adds both products of a pair", function()
    for _, shape in ipairs(shapes) do
      local rows, steps, columns = shape[1], shape[2], shape[3]
      local pa, pb = random_pairs(rows * steps, 1), random_pairs(steps * columns, 1)
      local a, b, out = values_of(pa), values_of(pb), random_list(rows * columns, 1)
      local po = internals.pack_floats(out)
      local expected = internals.kernel_multiply("scalar", "pair", pa, pb, rows, steps, po)
      local got = internals.floats(expected)
      for r = 0, rows - 1 do
        for c = 1, columns do
          local sum = out[r * columns + c]
          for s = 0, steps - 1 do
            for i = 1, 2 do sum = sum + a[2 * (r * steps + s) + i] * b[2 * (s * columns + c - 1) + i] end
          end
          assert.near(sum, got[r * columns + c], 1e-4)
        end
      end
      for _, level in ipairs(levels) do
        assert.is_true(expected == internals.kernel_multiply(level, "pair", pa, pb, rows, steps, po), level)
      end
    end
  end)

  it("adds a pair's second product first, and rounds in between", function()
    local large = internals.pack_floats { 2 ^ 24 }
    local function sum(first, second)      -- 2^24 + second, then + first
      local a = internals.kernel_to_bf16("scalar", internals.pack_floats { first, second })
      local ones = internals.kernel_to_bf16("scalar", internals.pack_floats { 1, 1 })
      local got
      for _, level in ipairs(levels) do
        local value = internals.floats(internals.kernel_multiply(level, "pair", a, ones, 1, 1, large))[1]
        got = got or value
        assert.equal(got, value, level)
      end
      return got
    end
    assert.equal(2 ^ 24 - 2 ^ 23 + 1, sum(1, -2 ^ 23))     -- a 1 is lost beside 2^24 and survives below it
    assert.equal(2 ^ 24 - 2 ^ 23, sum(-2 ^ 23, 1))
  end)

  it("takes any code: NaN, infinities, and nothing below 2^-126", function()
    for _ = 1, 20 do
      local pa, pb, po = random_bytes(4 * 6 * 9), random_bytes(4 * 9 * 40), random_bytes(4 * 6 * 40)
      local expected = internals.kernel_multiply("scalar", "pair", pa, pb, 6, 9, po)
      for _, level in ipairs(levels) do
        assert_same_numbers(expected, internals.kernel_multiply(level, "pair", pa, pb, 6, 9, po))
      end
    end
    local tiny = internals.kernel_to_bf16("scalar", internals.pack_floats { 2 ^ -130, 2 ^ -70 })
    local other = internals.kernel_to_bf16("scalar", internals.pack_floats { 1, 2 ^ -60 })
    for _, level in ipairs(levels) do
      local zero = internals.pack_floats { 0 }
      assert.equal(0, internals.floats(internals.kernel_multiply(level, "pair", tiny, other, 1, 1, zero))[1], level)
    end
  end)
end)

describe("softmax", function()
  local heads, rows, factor = 32, 5, 0.25
  local function run(level, scores, largest, sum)
    return internals.kernel_softmax(level, internals.pack_floats(scores), heads, factor,
      internals.pack_floats(largest), internals.pack_floats(sum))
  end

  it("goes on from the state that it left", function()
    local first, second = random_list(rows * heads, 40), random_list(rows * heads, 40)
    local start, none = {}, {}
    for h = 1, heads do start[h], none[h] = -1 / 0, 0 end
    for _, level in ipairs(levels) do
      local p, largest, sum = run(level, first, start, none)
      local q, last, total, rescale = run(level, second, internals.floats(largest), internals.floats(sum))
      p, q, last = internals.floats(p), internals.floats(q), internals.floats(last)
      total, rescale = internals.floats(total), internals.floats(rescale)
      for h = 1, heads do
        local expected, most = 0, -1 / 0
        for i = 0, rows - 1 do
          most = math.max(most, first[i * heads + h] * factor, second[i * heads + h] * factor)
        end
        for i = 0, rows - 1 do
          local one = math.exp(first[i * heads + h] * factor - most)
          local two = math.exp(second[i * heads + h] * factor - most)
          assert.near(one, p[i * heads + h] * rescale[h], 1e-6)
          assert.near(two, q[i * heads + h], 1e-6)
          expected = expected + one + two
        end
        assert.near(most, last[h], 1e-5)
        assert.near(expected, total[h], 1e-5)
      end
    end
  end)

  it("has the same bits at every level, and keeps a NaN to its head", function()
    local scores, start, none = random_list(rows * heads, 100), {}, {}
    for h = 1, heads do start[h], none[h] = -1 / 0, 0 end
    scores[3], scores[heads + 4], scores[5] = 0 / 0, 1 / 0, -1 / 0
    local expected = { run("scalar", scores, start, none) }
    local sums = internals.floats(expected[3])
    for h = 1, heads do assert.equal(h == 3 or h == 4, sums[h] ~= sums[h]) end
    for _, level in ipairs(levels) do
      local got = { run(level, scores, start, none) }
      for i = 1, 4 do assert_same_numbers(expected[i], got[i]) end
    end
  end)
end)

describe("bf16", function()
  it("is rounded alike at every level", function()
    local bytes = random_bytes(4 * 1000)
    local rounded = internals.round_to("bf16", bytes)
    for _, level in ipairs(levels) do
      for _, count in ipairs { 1, 15, 33, 1000 } do
        local got = internals.kernel_to_bf16(level, bytes:sub(1, 4 * count))
        assert_same_numbers(rounded:sub(1, 4 * count), (got:gsub("..", "\0\0%0")))
      end
    end
  end)

  it("holds what E4M3 codes and their scale say", function()
    local codes = {}
    for i = 0, 255 do codes[i + 1] = string.char(i) end
    codes = table.concat(codes)
    local scales = string.char(100, 120, 127, 150)
    local values = internals.floats(internals.decode_codes("e4m3", codes))
    for i = 1, 256 do values[i] = values[i] * 2 ^ (scales:byte(math.ceil(i / 64)) - 127) end
    for _, level in ipairs(levels) do
      local got = internals.kernel_e4m3_to_bf16(level, codes, scales)
      assert_same_numbers(internals.pack_floats(values), (got:gsub("..", "\0\0%0")))
    end
  end)

  it("of two rows lie side by side", function()
    for _, level in ipairs(levels) do
      assert.equal("a1b2c3d4", internals.kernel_pair_rows(level, "a1c3", "b2d4"))
    end
  end)
end)
