local support = require "spec.support"
local internals = support.internals()
local stages = require "spec.compute.cpu.stages"
local vectors = support.oracle("vectors.safetensors")

local function widened(name)
  return vectors[name].type == "BF16" and internals.widen(vectors[name].bytes) or vectors[name].bytes
end

local function is_nan(x) return x ~= x end

describe("block formats", function()
  it("round to FP8 as the oracle does, to the bit", function()
    stages.assert_equal_bits(widened("fq8.out"), internals.round_trip_fp8(widened("fq8.in")))
  end)

  it("round to FP4 as the oracle does, to the bit", function()
    stages.assert_equal_bits(widened("fq4.out"), internals.round_trip_fp4(widened("fq4.in")))
  end)

  it("round every E4M3 tie and saturation as the oracle does", function()
    local input, output = internals.floats(widened("e4m3.in")), internals.floats(widened("e4m3.out"))
    for i = 1, #input do
      local block = { 448 }                                   -- makes the scale 1
      for k = 2, 64 do block[k] = 0 end
      block[2] = math.max(-448, math.min(448, input[i]))
      local got = internals.floats(internals.round_trip_fp8(internals.pack_floats(block)))
      assert.equal(output[i], got[2])
    end
  end)

  it("round every E2M1 tie and saturation as the oracle does", function()
    local input, output = internals.floats(widened("e2m1.in")), internals.floats(widened("e2m1.out"))
    for i = 1, #input do
      local block = { 6 }
      for k = 2, 32 do block[k] = 0 end
      block[2] = math.max(-6, math.min(6, input[i]))
      local got = internals.floats(internals.round_trip_fp4(internals.pack_floats(block)))
      assert.equal(output[i], got[2])
    end
  end)

  for _, bad in ipairs { 0 / 0, math.huge, -math.huge } do
    it(("keep what is not finite visible: %s"):format(tostring(bad)), function()
      for name, size in pairs { round_trip_fp8 = 64, round_trip_fp4 = 32 } do
        local block = {}
        for k = 1, 2 * size do block[k] = k == 5 and bad or 0.25 end
        local got = internals.floats(internals[name](internals.pack_floats(block)))
        assert.is_true(is_nan(got[5]), name)
        assert.is_false(is_nan(got[size + 1]), name)
      end
    end)
  end

  it("keep zeros and the smallest values", function()
    local zeros = internals.pack_floats(stages.noise(64, 1)):gsub(".", "\0")
    stages.assert_equal_bits(zeros, internals.round_trip_fp8(zeros))
    stages.assert_equal_bits(zeros, internals.round_trip_fp4(zeros))
  end)
end)

describe("row sizes", function()
  local cases = {
    { 584, "kv", "fast", 512, 64 }, { 200, "kv", "fast", 128, 64 }, { 136, "kv", "reference", 96, 32 },
    { 576 + 16 + 128, "kv", "fast", 640, 64 }, { 2048, "kv", "exact", 512, 64 }, { 0, "kv", "fast", 100, 32 },
    { 400, "kv", "exact", 100, 32 }, { 0, "kv", "fast", 32, 64 },
    { 68, "index", "fast", 128 }, { 34, "index", "reference", 64 }, { 512, "index", "exact", 128 },
    { 0, "index", "fast", 96 }, { 0, "index", "fast", 16 }, { 384, "index", "exact", 96 },
  }
  for _, case in ipairs(cases) do
    it(("are %d bytes for %s, %s, %d, %s"):format(case[1], case[2], case[3], case[4], tostring(case[5])), function()
      assert.equal(case[1], internals.row_bytes(case[2], case[3], case[4], case[5]))
    end)
  end
end)

describe("key/value rows", function()
  it("have a scale for every 64 unrotated values", function()
    local head, rotated, list = 512, 64, stages.noise(3 * 512, 9)
    for i = 1, #list do list[i] = list[i] * 10 ^ (i % 512 / 64 - 4) end      -- another size a block
    local x = internals.pack_floats(list)
    local got = internals.kv_round_trip(x, head, rotated, "fast")
    local nope, tail = 4 * (head - rotated), 4 * rotated
    stages.assert_equal_bits(internals.round_trip_fp8(stages.columns(x, 4 * head, 0, nope)),
      stages.columns(got, 4 * head, 0, nope))
    local error = internals.agreement(stages.columns(x, 4 * head, nope, tail),
      stages.columns(got, 4 * head, nope, tail))
    assert.is_true(error < 2 ^ -7)
    stages.assert_equal_bits(x, internals.kv_round_trip(x, head, rotated, "exact"))
  end)
end)

describe("Hadamard transform", function()
  it("gives the vectors of the oracle", function()
    local want, names = nil, {}
    for name in pairs(vectors) do if name:find("^hadamard%.") then names[#names + 1] = name end end
    table.sort(names)
    for _, name in ipairs(names) do if name:find("bf16") then want = name end end
    local shape = vectors["hadamard.in"].shape
    assert(want, table.concat(names, " "))
    stages.assert_equal_bits(widened(want), internals.hadamard(widened("hadamard.in"), shape[#shape]))
  end)

  it("is natural order, by hand", function()
    assert.same({ 5, -1, -2, 0 }, internals.floats(internals.hadamard(internals.pack_floats { 1, 2, 3, 4 }, 4)))
  end)
end)

describe("store_window", function()
  it("keeps rows of `exact` to the bit", function()
    local kv = stages.array("exact", "layers.1.attn.kv")
    stages.assert_equal_bits(kv, stages.run("store_window", { numerics = "exact", layer = 1 }, { kv = kv }).window)
  end)

  for _, numerics in ipairs { "reference", "fast" } do
    it("loses nothing of the published round trip: " .. numerics, function()
      for _, layer in ipairs { 0, 1, 2 } do
        local kv = stages.array("reference", ("layers.%d.attn.kv"):format(layer))
        local got = stages.run("store_window", { numerics = numerics, layer = layer }, { kv = kv })
        stages.assert_equal_bits(kv, got.window)
      end
    end)

    it("rounds the unrotated part to FP8 in blocks of 64 and the rest to bf16: " .. numerics, function()
      local kv = stages.array("exact", "layers.1.attn.kv")
      local got = stages.run("store_window", { numerics = numerics, layer = 1 }, { kv = kv }).window
      local head, nope = 96 * 4, 64 * 4
      stages.assert_equal_bits(internals.round_trip_fp8(stages.columns(kv, head, 0, nope)),
        stages.columns(got, head, 0, nope))
      local tail, kept = stages.columns(kv, head, nope, head - nope), stages.columns(got, head, nope, head - nope)
      local error = internals.agreement(tail, kept)
      assert.is_true(error > 1e-5 and error < 2 ^ -6)
      stages.assert_equal_bits(got, stages.run("store_window", { numerics = numerics, layer = 1 }, { kv = got }).window)
    end)

    it("gives the same rows whichever way it is computed: " .. numerics, function()
      stages.assert_same_bits("store_window", { numerics = numerics, layer = 1 },
        { kv = stages.array("exact", "layers.1.attn.kv") })
    end)
  end
end)
