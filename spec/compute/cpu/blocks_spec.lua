--- GGML's block types against the values that the gguf package gives (spec/oracle/blocks.py), bit by bit.
local support = require "spec.support"
local stages = require "spec.compute.cpu.stages"
local internals = support.internals()
local row_of = stages.row_of

local vectors = support.oracle("blocks.safetensors")
local types = {}
for key in pairs(vectors) do types[#types + 1] = key:match("^(.+)%.blocks$") end
table.sort(types)

local seed = 7
local function random(low, high)      -- Park and Miller
  seed = seed * 16807 % 2147483647
  return low + seed % (high - low + 1)
end

local function random_floats(count)
  local out = {}
  for i = 1, count do out[i] = random(-1000000, 1000000) / 1000000 end
  return internals.pack_floats(out)
end

local function block_bytes(type) return vectors[type .. ".blocks"].shape[2] end
local function block_values(type) return vectors[type .. ".values"].shape[2] end

--- A weight of random ones among the first eight blocks of the oracle, whose scales are of a usual size.
local function weight_of(type, rows, columns, blocks)
  local from, size, parts = vectors[type .. ".blocks"].bytes, block_bytes(type), {}
  for i = 1, rows * columns / block_values(type) do
    local at = random(0, (blocks or 8) - 1) * size
    parts[i] = from:sub(at + 1, at + size)
    if type == "MXFP4" and not blocks then parts[i] = string.char(random(120, 134)) .. parts[i]:sub(2) end
  end
  return { type = type, shape = { rows, columns }, bytes = table.concat(parts) }
end

--- Equal bits, but that a NaN is equal to any NaN.
local function assert_same_bits(expected, got, what)
  if expected == got then return end
  assert.equal(#expected, #got)
  local a, b = internals.floats(expected), internals.floats(got)
  for i = 1, #a do
    local same = expected:sub(4 * i - 3, 4 * i) == got:sub(4 * i - 3, 4 * i) or (a[i] ~= a[i] and b[i] ~= b[i])
    if not same then error(("value %d: expected %.9g, got %.9g (%s)"):format(i - 1, a[i], b[i], what or ""), 2) end
  end
end

describe("blocks of GGML's types", function()
  it("are of twenty types", function() assert.equal(20, #types) end)

  for _, type in ipairs(types) do
    it("decode as the gguf package has it, at every level: " .. type, function()
      local blocks, expected = vectors[type .. ".blocks"], vectors[type .. ".values"]
      local count = blocks.shape[1]
      local w = { type = type, shape = { count, expected.shape[2] }, bytes = blocks.bytes }
      assert_same_bits(expected.bytes, internals.weight_values(w))
      for _, level in ipairs(internals.kernel_levels()) do
        assert_same_bits(expected.bytes, internals.kernel_blocks(level, w))
      end
    end)
  end
end)

describe("products of blocks", function()
  local levels = internals.kernel_levels()

  for _, type in ipairs(types) do
    local one = block_values(type)
    local widths = { one, 3 * one, 256 + one, 512 }

    it("are the sum over decoded weights: " .. type, function()
      for _, columns in ipairs(widths) do
        local w, x = weight_of(type, 5, columns), random_floats(2 * columns)
        local plain = { type = "F32", shape = w.shape, bytes = internals.weight_values(w) }
        assert.equal(internals.kernel_product("scalar", plain, x), internals.kernel_product("scalar", w, x))
      end
    end)

    it("have the same bits at every level and in any company: " .. type, function()
      for _, columns in ipairs(widths) do
        for _, rows in ipairs { 1, 2, 7, 35 } do
          local outputs = rows == 35 and 6 or 13
          local w, x = weight_of(type, outputs, columns), random_floats(rows * columns)
          local expected = internals.kernel_product("scalar", w, x)
          for _, level in ipairs(levels) do
            assert.equal(expected, internals.kernel_product(level, w, x), level)
            local row = random(1, rows)
            assert.equal(row_of(expected, row, outputs), internals.kernel_product(level, w, row_of(x, row, columns)))
          end
        end
      end
    end)

    it("take extreme blocks: " .. type, function()
      local all = vectors[type .. ".blocks"]
      local w = { type = type, shape = { all.shape[1], one }, bytes = all.bytes }
      local x = random_floats(3 * one)
      local expected = internals.kernel_product("scalar", w, x)
      for _, level in ipairs(levels) do assert_same_bits(expected, internals.kernel_product(level, w, x), level) end
    end)
  end
end)

local integer_types = { "Q8_0", "MXFP4", "Q4_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S", "IQ1_M",
  "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS" }

--- x as its int8 codes have it, in numbers.
local function rounded(x, columns)
  local out = {}
  for row = 1, #x / 4 / columns do
    local codes, scales = internals.kernel_to_int8("scalar", row_of(x, row, columns))
    scales = internals.floats(scales)
    for i = 1, columns do
      out[#out + 1] = ((codes:byte(i) + 128) % 256 - 128) * scales[math.floor((i - 1) / 32) + 1]
    end
  end
  return out
end

describe("integer products of blocks", function()
  local levels = internals.kernel_levels()

  for _, type in ipairs(integer_types) do
    local one = block_values(type)
    local widths = one == 32 and { 32, 96, 128, 224, 256, 288, 544 } or { 256, 768 }

    it("are the sum over decoded weights and rounded activations: " .. type, function()
      for _, columns in ipairs(widths) do
        local w, x = weight_of(type, 6, columns), random_floats(2 * columns)
        local values, given = internals.floats(internals.weight_values(w)), rounded(x, columns)
        local got = internals.floats(internals.kernel_product("scalar", w, x, true))
        for r = 0, 1 do
          for j = 0, 5 do
            local sum, size, largest = 0, 0, 0
            for i = 1, columns do
              local value, by = values[j * columns + i], given[r * columns + i]
              sum, size, largest = sum + value * by, size + math.abs(by), math.max(largest, math.abs(value))
            end
            assert.near(sum, got[r * 6 + j + 1], 1e-6 * size * largest)
          end
        end
      end
    end)

    it("have the same bits at every level and in any company: " .. type, function()
      for _, columns in ipairs(widths) do
        for _, outputs in ipairs { 1, 4, 11, 16, 35 } do
          local w, x = weight_of(type, outputs, columns), random_floats(9 * columns)
          for _, rows in ipairs { 1, 3, 9 } do
            local some = x:sub(1, 4 * rows * columns)
            local expected = internals.kernel_product("scalar", w, some, true)
            for _, level in ipairs(levels) do
              assert.equal(expected, internals.kernel_product(level, w, some, true), level)
              local row = random(1, rows)
              assert.equal(row_of(expected, row, outputs),
                internals.kernel_product(level, w, row_of(x, row, columns), true), level)
            end
          end
        end
      end
    end)

    it("have them in companies of 1 to 40 rows, and of more than a tile has: " .. type, function()
      local columns = widths[#widths]          -- the last superblock of the smaller types is a partial one
      local w, x, expected, counts = weight_of(type, 19, columns), random_floats(73 * columns), {}, { 64, 65, 73 }
      for row = 1, 73 do
        expected[row] = internals.kernel_product("scalar", w, row_of(x, row, columns), true)
        if row <= 40 then counts[#counts + 1] = row end
      end
      for _, rows in ipairs(counts) do
        for _, level in ipairs(levels) do
          local got = internals.kernel_product(level, w, x:sub(1, 4 * rows * columns), true)
          assert.is_true(table.concat(expected, "", 1, rows) == got, ("%d rows, %s"):format(rows, level))
        end
      end
    end)

    it("take extreme blocks and the largest activations: " .. type, function()
      local all = vectors[type .. ".blocks"]
      local largest = {}
      for i = 1, one do largest[i] = random(0, 1) == 0 and 1 or -1 end
      for _, x in ipairs { random_floats(5 * one), internals.pack_floats(largest) } do
        local w = { type = type, shape = { all.shape[1], one }, bytes = all.bytes }
        local expected = internals.kernel_product("scalar", w, x, true)
        for _, level in ipairs(levels) do
          assert_same_bits(expected, internals.kernel_product(level, w, x, true), level)
        end
        for _, level in ipairs(levels) do      -- every kind of block beside every other in a row
          local mixed = weight_of(type, 9, 4 * one, all.shape[1])
          assert_same_bits(internals.kernel_product("scalar", mixed, x:sub(1, 4 * one):rep(4), true),
            internals.kernel_product(level, mixed, x:sub(1, 4 * one):rep(4), true), level)
        end
      end
    end)

    it("show a NaN among the activations: " .. type, function()
      local w = weight_of(type, 3, 2 * one)
      local x = random_floats(one + 5) .. internals.pack_floats { 0 / 0 } .. random_floats(one - 6)
      for _, level in ipairs(levels) do
        for _, value in ipairs(internals.floats(internals.kernel_product(level, w, x, true))) do
          assert.is_true(value ~= value)
        end
      end
    end)
  end
end)

describe("one row times IQ2_XXS", function()
  it("has the same bits with more columns and outputs than a level takes at once", function()
    for _, columns in ipairs { 8192, 8448 } do
      local w, x = weight_of("IQ2_XXS", 135, columns), random_floats(columns)
      local expected = internals.kernel_product("scalar", w, x, true)
      for _, level in ipairs(internals.kernel_levels()) do
        assert.equal(expected, internals.kernel_product(level, w, x, true), level)
      end
    end
  end)
end)

describe("experts in blocks", function()
  local width, hidden, rows = 512, 256, 9

  --- Routed experts of one pair of types, the shared one of another; converted: what becomes of each weight.
  local function given(convert)
    local function expert(up, down)
      return { w1 = convert(weight_of(up, hidden, width)), w3 = convert(weight_of(up, hidden, width)),
        w2 = convert(weight_of(down, width, hidden)) }
    end
    seed = 11
    local experts = { expert("IQ2_XXS", "Q2_K"), expert("MXFP4", "Q4_K"), expert("Q4_K", "Q6_K"),
      expert("Q8_0", "Q8_0") }
    local chosen, weights = {}, {}
    for row = 1, rows do
      chosen[2 * row - 1], chosen[2 * row] = row % 2, 2
      weights[2 * row - 1], weights[2 * row] = 0.25, 0.5
    end
    return { experts = experts, limit = 10, top_k = 2, x = random_floats(rows * width),
      chosen = internals.pack_ids(chosen), weights = internals.pack_floats(weights) }
  end

  local function decoded(w) return { type = "F32", shape = w.shape, bytes = internals.weight_values(w) } end

  local function same(w) return w end

  it("in exact and reference are experts of decoded weights", function()
    for _, numerics in ipairs { "exact", "reference" } do
      assert.equal(internals.dense_stage("experts", { numerics = numerics }, given(decoded)),
        assert(internals.dense_stage("experts", { numerics = numerics }, given(same))))
    end
  end)

  it("in fast stay near exact, with the same bits for any kernels, threads and company", function()
    local all = given(same)
    local expected = assert(internals.dense_stage("experts", { numerics = "fast", kernels = "scalar" }, all))
    local off = internals.agreement(assert(internals.dense_stage("experts", { numerics = "exact" }, all)), expected)
    assert.is_true(off > 1e-5 and off < 0.05, ("%g rms"):format(off))
    for _, kernels in ipairs(internals.kernel_levels()) do
      for threads = 1, 3 do
        local options = { numerics = "fast", kernels = kernels, threads = threads }
        assert.equal(expected, internals.dense_stage("experts", options, all))
      end
      for row = 1, rows, 4 do
        local alone = { experts = all.experts, limit = 10, top_k = 2, x = row_of(all.x, row, width),
          chosen = row_of(all.chosen, row, 2), weights = row_of(all.weights, row, 2) }
        assert.equal(row_of(expected, row, width),
          internals.dense_stage("experts", { numerics = "fast", kernels = kernels }, alone))
      end
    end
  end)
end)

describe("stages with blocks", function()
  for _, type in ipairs(types) do
    it("a row that is no whole number of blocks is refused by name: " .. type, function()
      local w = weight_of(type, 1, block_values(type))
      w.shape[2] = block_values(type) - 16
      local ok, message, code = internals.dense_stage("linear", { numerics = "fast", threads = 1 },
        { w = w, x = random_floats(w.shape[2]) })
      assert.same({ nil, "EUNSUPPORTED" }, { ok, code })
      local wanted = ("%d columns of %s; a multiple of %d"):format(w.shape[2], type, block_values(type))
      assert.truthy(message:find(wanted, 1, true))
    end)

    it("in exact and reference are products of decoded weights: " .. type, function()
      local w, x = weight_of(type, 70, 512), random_floats(3 * 512)
      local plain = { type = "F32", shape = w.shape, bytes = internals.weight_values(w) }
      for _, numerics in ipairs { "exact", "reference" } do
        local options = { numerics = numerics, threads = 2 }
        for _, stage in ipairs { "linear", "head" } do
          assert.equal(assert(internals.dense_stage(stage, options, { w = plain, x = x })),
            assert(internals.dense_stage(stage, options, { w = w, x = x })))
        end
      end
    end)

    it("in fast are the kernels' products, for any number of threads, level and groups: " .. type, function()
      local w, x = weight_of(type, 70, 512), random_floats(3 * 512)
      local integers = false
      for _, name in ipairs(integer_types) do integers = integers or name == type end
      local expected = internals.kernel_product("scalar", w, x, integers)
      for _, level in ipairs(internals.kernel_levels()) do
        for threads = 1, 2 do
          local options = { numerics = "fast", threads = threads, kernels = level }
          for _, stage in ipairs { "linear", "head" } do
            assert.equal(expected, assert(internals.dense_stage(stage, options, { w = w, x = x })))
          end
        end
      end
      local rows = random_floats(3 * 1024)       -- of two groups each
      local grouped = assert(internals.dense_stage("grouped_linear", { numerics = "fast", threads = 2 },
        { w = w, x = rows, groups = 2 }))
      for group = 1, 2 do
        local half = #w.bytes / 2
        local part = { type = type, shape = { 35, 512 }, bytes = w.bytes:sub((group - 1) * half + 1, group * half) }
        for row = 1, 3 do
          local columns = row_of(row_of(rows, row, 1024), group, 512)
          assert.equal(internals.kernel_product("scalar", part, columns, integers),
            row_of(row_of(grouped, row, 70), group, 35))
        end
      end
    end)
  end
end)
