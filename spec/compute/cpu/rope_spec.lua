local support = require "spec.support"
local internals = support.internals()
local stages = require "spec.compute.cpu.stages"
local vectors = support.oracle("vectors.safetensors")

local function head_of(name)
  local shape = vectors[name].shape
  return shape[#shape]
end

describe("rope", function()
  for _, kind in ipairs { "window", "compress" } do
    for _, way in ipairs { { "forward", "rope.in", "out" }, { "inverse", "rope.in", "inverse" } } do
      it(("gives the vectors of the oracle: %s, %s"):format(kind, way[1]), function()
        local want = vectors[("rope.%s_%s"):format(way[3], kind)].bytes
        local got = internals.rotate_rows(vectors[way[2]].bytes, vectors["rope.positions"].bytes,
          vectors["rope.freqs_" .. kind].bytes, head_of(way[2]), way[1], "exact")
        assert.is_true(internals.agreement(want, got) <= 1e-6)
      end)
    end
  end

  it("rotates adjacent pairs of the last values of every head by float32(t) x f", function()
    local x = internals.pack_floats { 9, 1, 0, 0, 2, 8, 3, 0, 0, -1 }          -- two heads of 5, the last 4 rotate
    local got = internals.floats(internals.rotate_rows(x, internals.pack_ids { 3 },
      internals.pack_floats { 0.5, 0.25 }, 5, "forward", "exact"))
    local c, s, c2, s2 = math.cos(1.5), math.sin(1.5), math.cos(0.75), math.sin(0.75)
    local want = { 9, c, s, -2 * s2, 2 * c2, 8, 3 * c, 3 * s, s2, -c2 }
    for i = 1, #want do assert.is_true(math.abs(want[i] - got[i]) < 1e-6) end
  end)

  it("takes the angle as a float32 product far from the start", function()
    local frequency = internals.floats(internals.pack_floats { 0.687656022 })[1]
    local angle = internals.floats(internals.pack_floats { 1000003 * frequency })[1]
    local got = internals.floats(internals.rotate_rows(internals.pack_floats { 1, 0 }, internals.pack_ids { 1000003 },
      internals.pack_floats { frequency }, 2, "forward", "exact"))
    assert.is_true(math.abs(got[1] - math.cos(angle)) < 1e-6 and math.abs(got[2] - math.sin(angle)) < 1e-6)
  end)
end)

describe("rope_inverse", function()
  for _, case in ipairs { { "exact", 1 }, { "reference", 1 }, { "reference", 2 } } do
    it(("gives the oracle's heads: %s, layer %d"):format(case[1], case[2]), function()
      local prefix = ("layers.%d.attn."):format(case[2])
      local got = stages.run("rope_inverse", { numerics = case[1], layer = case[2] },
        { x = stages.array(case[1], prefix .. "heads_raw") })
      stages.accept(case[1], prefix .. "heads", got.x)
    end)
  end

  for _, layer in ipairs { 0, 1 } do
    it(("undoes rope: layer %d"):format(layer), function()
      local q = stages.array("reference", "layers.1.attn.q")
      local turned = stages.run("rope", { numerics = "exact", layer = layer }, { x = q })
      local back = stages.run("rope_inverse", { numerics = "exact", layer = layer }, { x = turned.x })
      assert.is_true(internals.agreement(q, turned.x) > 0.1)
      assert.is_true(internals.agreement(q, back.x) < 1e-6)
    end)
  end

  it("gives the same bits whichever way it is computed", function()
    for _, numerics in ipairs { "fast", "reference" } do
      local q = stages.array("reference", "layers.1.attn.q_raw")
      stages.assert_same_bits("rope", { numerics = numerics, layer = 1 }, { x = q })
      stages.assert_same_bits("rope_inverse", { numerics = numerics, layer = 1 }, { x = q })
    end
  end)
end)
