local support = require "spec.support"
local internals = support.internals()
local stages = require "spec.compute.cpu.stages"

--- The oracle's choice as a stage takes it: ascending, -1 behind the last.
local function sorted_choice(array, top_k)
  local ids, out = internals.ids(array), {}
  for at = 0, #ids - 1, top_k do
    local row = {}
    for i = 1, top_k do row[i] = ids[at + i] end
    table.sort(row, function(a, b) return a ~= b and a ~= -1 and (b == -1 or a < b) end)
    for i = 1, top_k do out[#out + 1] = row[i] end
  end
  return internals.pack_ids(out)
end

local function inputs(numerics, layer)
  local prefix = ("layers.%d.attn."):format(layer)
  local chosen = stages.array(numerics, prefix .. "indexer.topk")
  return { q = stages.array(numerics, prefix .. "q"), kv = stages.array(numerics, prefix .. "kv"),
    rows = stages.array(numerics, prefix .. "compressor.rows"), chosen = chosen and sorted_choice(chosen, 8) }
end

--- Softmax with a sink by hand: one head, keys as lists, in double precision.
local function attend_by_hand(q, keys, sink)
  local weights, sum, out = {}, math.exp(sink), {}
  for i, key in ipairs(keys) do
    local score = 0
    for c = 1, #q do score = score + q[c] * key[c] end
    weights[i] = math.exp(score / math.sqrt(#q))
    sum = sum + weights[i]
  end
  for c = 1, #q do
    out[c] = 0
    for i, key in ipairs(keys) do out[c] = out[c] + weights[i] * key[c] / sum end
  end
  return out
end

local function rows_of(array, width)
  local values, rows = internals.floats(array), {}
  for at = 0, #values - 1, width do
    local row = {}
    for i = 1, width do row[i] = values[at + i] end
    rows[#rows + 1] = row
  end
  return rows
end

describe("sparse_attention", function()
  local cases = { { "exact", 1 }, { "exact", 2 }, { "reference", 0 }, { "reference", 1 }, { "reference", 2 } }
  for _, case in ipairs(cases) do
    local numerics, layer = case[1], case[2]
    it(("gives the oracle's heads: %s, layer %d"):format(numerics, layer), function()
      local got = stages.run("sparse_attention", { numerics = numerics, layer = layer }, inputs(numerics, layer))
      stages.accept(numerics, ("layers.%d.attn.heads_raw"):format(layer), got.heads)
    end)

    it(("gives the same bits whichever way it is computed: %s, layer %d"):format(numerics, layer), function()
      local given = inputs(numerics, layer)
      for _, mode in ipairs { "fast", "reference" } do
        stages.assert_same_bits("sparse_attention", { numerics = mode, layer = layer }, given)
      end
    end)
  end

  it("follows the formula over the window, the visible rows and the sink", function()
    local given = inputs("exact", 2)
    local got = rows_of(stages.run("sparse_attention", { numerics = "exact", layer = 2 }, given).heads, 96)
    local sinks = support.oracle("tinystage/model.safetensors")["layers.2.attn.attn_sink"].bytes
    local q, kv, pooled = rows_of(given.q, 96), rows_of(given.kv, 96), rows_of(given.rows, 96)
    for _, t in ipairs { 0, 63, 64, 126, 127, 139 } do
      local keys = {}
      for row = math.max(0, t - 63), t do keys[#keys + 1] = kv[row + 1] end
      if t >= 127 then keys[#keys + 1] = pooled[1] end
      for h = 1, 2 do
        local want = attend_by_hand(q[2 * t + h], keys, internals.floats(sinks)[h])
        for c = 1, 96 do assert.is_true(math.abs(want[c] - got[2 * t + h][c]) < 1e-5) end
      end
    end
  end)

  describe("over hundreds of pooled rows", function()
    local tokens, given = 700, {}
    setup(function()
      local function noise(rows, seed) return internals.pack_floats(stages.noise(rows * 96, seed)) end
      given = { q = noise(2 * tokens, 1), kv = noise(tokens, 2), rows = noise(tokens / 4, 3) }
    end)

    it("follows the formula", function()
      local options = { numerics = "exact", layer = 1, tokens = tokens, chunk = 90, rows_per_page = 16 }
      local got = rows_of(stages.run("sparse_attention", options, given).heads, 96)
      local sinks = internals.floats(support.oracle("tinystage/model.safetensors")["layers.1.attn.attn_sink"].bytes)
      local q, kv, pooled = rows_of(given.q, 96), rows_of(given.kv, 96), rows_of(given.rows, 96)
      for _, t in ipairs { 2, 3, 255, 258, 259, 511, 699 } do
        local keys = {}
        for row = math.max(0, t - 63), t do keys[#keys + 1] = kv[row + 1] end
        for j = 1, math.floor((t + 1) / 4) do keys[#keys + 1] = pooled[j] end
        for h = 1, 2 do
          local want = attend_by_hand(q[2 * t + h], keys, sinks[h])
          for c = 1, 96 do assert.is_true(math.abs(want[c] - got[2 * t + h][c]) < 1e-5) end
        end
      end
    end)

    it("gives for a list of all visible rows what it gives without a list", function()
      local ids = {}
      for t = 0, tokens - 1 do
        for j = 0, tokens / 4 - 1 do ids[#ids + 1] = j < math.floor((t + 1) / 4) and j or -1 end
      end
      local listed = { q = given.q, kv = given.kv, rows = given.rows, chosen = internals.pack_ids(ids) }
      for _, numerics in ipairs { "fast", "reference" } do
        local options = { numerics = numerics, layer = 1, tokens = tokens, chunk = 77, threads = 2 }
        stages.assert_equal_bits(stages.run("sparse_attention", options, given).heads,
          stages.run("sparse_attention", options, listed).heads)
      end
    end)

    it("gives the same bits whichever way it is computed", function()
      stages.assert_same_bits("sparse_attention", { numerics = "fast", layer = 1, tokens = tokens }, given)
      stages.assert_same_bits("sparse_attention", { numerics = "reference", layer = 1, tokens = tokens }, given)
    end)
  end)

  it("differs between rounded and unrounded probabilities", function()
    local given = inputs("reference", 1)
    local fast = stages.run("sparse_attention", { numerics = "fast", layer = 1 }, given).heads
    local error, differ = internals.agreement(stages.array("reference", "layers.1.attn.heads_raw"), fast)
    assert.is_true(error < 0.03 and differ > 0.1)
  end)

  it("lets a NaN through to the heads that see it, and only to those", function()
    local given = inputs("exact", 2)
    local bytes, nan = 96 * 4, internals.pack_floats { 0 / 0 }
    given.kv = given.kv:sub(1, 70 * bytes) .. nan .. given.kv:sub(70 * bytes + 5)      -- row 70
    for _, numerics in ipairs { "exact", "fast", "reference" } do
      local got = rows_of(stages.run("sparse_attention", { numerics = numerics, layer = 2 }, given).heads, 96)
      for t = 0, 139 do
        local value = got[2 * t + 1][1]
        assert.equal(t >= 70 and t < 70 + 64, value ~= value)
      end
    end
  end)
end)
