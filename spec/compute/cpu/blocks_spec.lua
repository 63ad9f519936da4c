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
  end
end)
