local support = require "spec.support"
local internals = support.internals()
local stages = require "spec.compute.cpu.stages"

--- hc_pre by the formulas of specs/architecture.md 2.3 in double precision: post and comb of one row of mixes.
local function mix_by_hand(m, base, scale, n, rounds, eps)
  local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
  local post, c = {}, {}
  for j = 1, n do post[j] = 2 * sigmoid(m[n + j] * scale[2] + base[n + j]) end
  for j = 1, n do
    c[j] = {}
    local sum = 0
    for k = 1, n do
      local i = 2 * n + (j - 1) * n + k
      c[j][k] = math.exp(m[i] * scale[3] + base[i])
      sum = sum + c[j][k]
    end
    for k = 1, n do c[j][k] = c[j][k] / sum + eps end
  end
  local function columns()
    for k = 1, n do
      local sum = eps
      for j = 1, n do sum = sum + c[j][k] end
      for j = 1, n do c[j][k] = c[j][k] / sum end
    end
  end
  columns()
  for _ = 2, rounds do
    for j = 1, n do
      local sum = eps
      for k = 1, n do sum = sum + c[j][k] end
      for k = 1, n do c[j][k] = c[j][k] / sum end
    end
    columns()
  end
  local comb = {}
  for j = 1, n do
    for k = 1, n do comb[#comb + 1] = c[j][k] end
  end
  return post, comb
end

--- An identity as fn makes the mixes the streams themselves, if norm_eps brings their mean square to 1.
local function run_on_mixes(m, base, scale, n, rounds, eps)
  local outputs, identity, squares = #m, {}, 0
  for i = 1, outputs do
    squares = squares + m[i] * m[i]
    for j = 1, outputs do identity[#identity + 1] = i == j and 1 or 0 end
  end
  return stages.run("hc_pre", { tokens = 1, numerics = "exact", hc = {
    fn = internals.pack_floats(identity), base = internals.pack_floats(base), scale = internals.pack_floats(scale),
    streams = n, rounds = rounds, eps = eps, norm_eps = 1 - squares / outputs,
  } }, { streams = internals.pack_floats(m) })
end

local function assert_close(want, got, tolerance)
  got = internals.floats(got)
  assert.equal(#want, #got)
  for i = 1, #want do
    assert.is_true(math.abs(want[i] - got[i]) <= tolerance, ("value %d: %.9g, not %.9g"):format(i, got[i], want[i]))
  end
end

describe("hc_pre", function()
  local cases = { { "exact", 0, "attn" }, { "exact", 1, "attn" }, { "exact", 1, "ffn" }, { "reference", 1, "attn" },
    { "reference", 1, "ffn" }, { "reference", 2, "attn" }, { "reference", 2, "ffn" } }
  for _, case in ipairs(cases) do
    local numerics, layer, which = case[1], case[2], case[3]
    local prefix = ("layers.%d."):format(layer)
    if stages.array(numerics, prefix .. which .. "_in") then
      it(("gives the oracle's mix: %s, layer %d, %s"):format(numerics, layer, which), function()
        local streams = which == "attn" and stages.input_streams(numerics, layer)
          or stages.array(numerics, prefix .. "streams_mid")
        local got = stages.run("hc_pre", { numerics = numerics, layer = layer, which = which }, { streams = streams })
        stages.accept(numerics, prefix .. which .. "_in", got.mixed)
        stages.accept(numerics, prefix .. "hc_" .. which .. ".post", got.post)
        stages.accept(numerics, prefix .. "hc_" .. which .. ".comb", got.comb)
      end)
    end
  end

  it("gives the vectors of the oracle", function()
    local vectors = support.oracle("vectors.safetensors")
    local mixes, base = internals.floats(vectors["hc.mix"].bytes), internals.floats(vectors["hc.base"].bytes)
    local scale, outputs = internals.floats(vectors["hc.scale"].bytes), #base
    local pre = internals.floats(vectors["hc.pre"].bytes)
    for row = 0, #mixes / outputs - 1 do
      local m, post, comb, mixed = {}, {}, {}, {}
      local all_post, all_comb = internals.floats(vectors["hc.post"].bytes), internals.floats(vectors["hc.comb"].bytes)
      for i = 1, outputs do m[i] = mixes[row * outputs + i] end
      for i = 1, 4 do post[i] = all_post[row * 4 + i] end
      for i = 1, 16 do comb[i] = all_comb[row * 16 + i] end
      for i = 1, outputs / 4 do
        mixed[i] = 0
        for j = 0, 3 do mixed[i] = mixed[i] + pre[row * 4 + j + 1] * m[j * outputs / 4 + i] end
      end
      local got = run_on_mixes(m, base, scale, 4, 20, 1e-6)
      assert_close(post, got.post, 2e-6)
      assert_close(comb, got.comb, 2e-6)
      assert_close(mixed, got.mixed, 1e-5)
    end
  end)

  it("gives the worked example of specs/architecture.md 6", function()
    local m, base = {}, {}
    for k = 0, 23 do
      m[k + 1] = math.sin(0.7 * k)
      base[k + 1] = 0.05 * k - 0.6
    end
    local got = run_on_mixes(m, base, { 0.5, 1.5, 2.0 }, 4, 20, 1e-6)
    assert_close({ 1.0511963, .5879421, .3339099, .3027958 }, got.post, 1e-6)
    assert_close({ .0209772, .1258168, .4422876, .4109156, .5794849, .3258398, .0808066, .0138699, .0268073, .0905584,
      .3258047, .5568265, .3727296, .4577839, .1511001, .0183871 }, got.comb, 1e-6)
  end)

  for _, n in ipairs { 1, 2, 3, 5, 8 } do
    it(("follows the formulas for %d streams"):format(n), function()
      local outputs = (2 + n) * n
      local m, base, scale = stages.noise(outputs, 7 + n), stages.noise(outputs, 70 + n), { 0.7, 1.3, 2.1 }
      local post, comb = mix_by_hand(m, base, scale, n, 4, 1e-3)
      local got = run_on_mixes(m, base, scale, n, 4, 1e-3)
      assert_close(post, got.post, 3e-6)
      assert_close(comb, got.comb, 3e-6)
    end)
  end

  it("keeps large mixes finite", function()
    local m = {}
    for i = 1, 24 do m[i] = i % 2 == 0 and 300 or -300 end
    local got = run_on_mixes(m, stages.noise(24, 3), { 1, 1, 1 }, 4, 20, 1e-6)
    for _, value in ipairs(internals.floats(got.comb .. got.post)) do assert.is_true(value >= 0 and value < 3) end
  end)
end)

describe("hc_post", function()
  for _, case in ipairs { { "exact", 1 }, { "reference", 1 }, { "reference", 2 } } do
    local numerics, layer = case[1], case[2]
    it(("gives the oracle's streams: %s, layer %d"):format(numerics, layer), function()
      local prefix = ("layers.%d."):format(layer)
      local function get(key) return stages.array(numerics, prefix .. key) end
      local got = stages.run("hc_post", { numerics = numerics, layer = layer }, {
        streams = stages.input_streams(numerics, layer), result = get("attn_out"),
        post = get("hc_attn.post"), comb = get("hc_attn.comb") })
      stages.accept(numerics, prefix .. "streams_mid", got.streams)
      got = stages.run("hc_post", { numerics = numerics, layer = layer }, { streams = get("streams_mid"),
        result = get("ffn_out"), post = get("hc_ffn.post"), comb = get("hc_ffn.comb") })
      stages.accept(numerics, prefix .. "streams", got.streams)
    end)
  end
end)

describe("hc_head", function()
  for _, numerics in ipairs(stages.modes) do
    it("gives the oracle's merge: " .. numerics, function()
      local got = stages.run("hc_head", { numerics = numerics, which = "head" },
        { streams = stages.array(numerics, "layers.3.streams") })
      stages.accept(numerics, "hc_head", got.mixed)
    end)
  end
end)

describe("hyper-connections", function()
  for _, numerics in ipairs { "fast", "reference" } do
    it("give the same bits whichever way they are computed: " .. numerics, function()
      local function get(key) return stages.array("reference", "layers.1." .. key) end
      local streams = stages.input_streams("reference", 1)
      stages.assert_same_bits("hc_pre", { numerics = numerics, layer = 1 }, { streams = streams })
      stages.assert_same_bits("hc_head", { numerics = numerics, which = "head" }, { streams = streams })
      stages.assert_same_bits("hc_post", { numerics = numerics, layer = 1 }, {
        streams = streams, result = get("attn_out"), post = get("hc_attn.post"), comb = get("hc_attn.comb") })
    end)
  end

  it("do not round in fast", function()
    local streams = stages.input_streams("reference", 1)
    local fast = stages.run("hc_pre", { numerics = "fast", layer = 1 }, { streams = streams })
    local exact = stages.run("hc_pre", { numerics = "exact", layer = 1 }, { streams = streams })
    assert.is_true(internals.agreement(exact.mixed, fast.mixed) < 1e-5)
  end)
end)
