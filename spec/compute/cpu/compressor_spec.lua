local support = require "spec.support"
local internals = support.internals()
local stages = require "spec.compute.cpu.stages"

--- The oracle's raw rows [kv, gate] in the layout of stored ones.
local function raw_rows(numerics, prefix, width)
  local kv, gate = stages.array(numerics, prefix .. "raw_kv"), stages.array(numerics, prefix .. "raw_gate")
  local rows, bytes = {}, 4 * width
  for at = 1, #kv, bytes do
    rows[#rows + 1] = kv:sub(at, at + bytes - 1)
    rows[#rows + 1] = gate:sub(at, at + bytes - 1)
  end
  return table.concat(rows)
end

describe("compress", function()
  for _, case in ipairs { { "exact", 1, 192 }, { "reference", 1, 192 }, { "reference", 2, 96 } } do
    local numerics, layer, width = case[1], case[2], case[3]
    it(("gives the oracle's raw rows: %s, layer %d"):format(numerics, layer), function()
      local prefix = ("layers.%d.attn."):format(layer)
      local got = stages.run("compress", { numerics = numerics, layer = layer },
        { u = stages.array(numerics, ("layers.%d.attn_norm"):format(layer)) })
      local want = raw_rows(numerics, prefix .. "compressor.", width)
      assert.is_true(#want > 0 and internals.agreement(want, got.raw:sub(1, #want)) <= 2e-5)
    end)
  end

  for _, case in ipairs { { "exact", 1 }, { "exact", 2 }, { "reference", 1 }, { "reference", 2 } } do
    local numerics, layer = case[1], case[2]
    it(("gives the oracle's pooled rows: %s, layer %d"):format(numerics, layer), function()
      local got = stages.run("compress", { numerics = numerics, layer = layer },
        { u = stages.array(numerics, ("layers.%d.attn_norm"):format(layer)) })
      stages.accept(numerics, ("layers.%d.attn.compressor.rows"):format(layer), got.pooled)
    end)
  end

  for _, numerics in ipairs { "fast", "reference" } do
    for _, layer in ipairs { 1, 2 } do
      it(("gives the same bits whichever way it is computed: %s, layer %d"):format(numerics, layer), function()
        stages.assert_same_bits("compress", { numerics = numerics, layer = layer },
          { u = stages.array("reference", ("layers.%d.attn_norm"):format(layer)) })
      end)
    end
  end

  it("keeps in fast what exact computes, to the precision of a packed row", function()
    local u = stages.array("exact", "layers.1.attn_norm")
    local fast = stages.run("compress", { numerics = "fast", layer = 1 }, { u = u }).pooled
    local exact = stages.run("compress", { numerics = "exact", layer = 1 }, { u = u }).pooled
    local error = internals.agreement(exact, fast)
    assert.is_true(error > 1e-4 and error < 0.25)       -- half a step of FP8 at the largest values
  end)

  it("pools a row as soon as its last token is there, and not before", function()
    local u = stages.array("exact", "layers.1.attn_norm")
    for tokens = 3, 9 do
      local got = stages.run("compress", { numerics = "exact", layer = 1, tokens = tokens, chunk = 2 },
        { u = u:sub(1, tokens * 128 * 4) })
      local rows = math.floor(tokens / 4)
      assert.equal(rows * 96 * 4, #got.pooled)
      local want = stages.array("exact", "layers.1.attn.compressor.rows"):sub(1, #got.pooled)
      if rows > 0 then assert.is_true(internals.agreement(want, got.pooled) <= 2e-5) end
    end
  end)
end)
