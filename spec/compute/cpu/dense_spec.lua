--- Row-wise stages fed with the oracle's values: embedding, norms, linear maps, head (oracle/README.md).
local support = require "spec.support"
local stages = require "spec.compute.cpu.stages"
local internals = support.internals()

local modes = { "exact", "reference", "fast" }
local eps = 1e-6

local value, weight, row_of = stages.value, stages.weight, stages.row_of

--- exact: float32 sums in any order give 3e-6. reference: a flipped rounding here and there. fast sums in another
--- order than exact; only integer activations would make it differ more, and none are used here.
local function assert_agrees(mode, expected, got)
  local off, differing = internals.agreement(expected, got)
  if mode == "reference" then
    assert.is_true(off <= 0.03 and differing <= 0.01, ("%g rms, %g differ"):format(off, differing))
  else
    assert.is_true(off <= 2e-5, ("%g rms"):format(off))
  end
end

local layer = "layers.1."

-- stage, inputs -> output, and what else the stage is told
local cases = {
  { "rms_norm", "attn_in", "attn_norm", { w = weight(layer .. "attn_norm"), eps = eps } },
  { "rms_norm", "ffn_in", "ffn_norm", { w = weight(layer .. "ffn_norm"), eps = eps } },
  { "rms_norm", "attn.q_latent", "attn.q_latent_norm", { w = weight(layer .. "attn.q_norm"), eps = eps } },
  { "linear", "attn_norm", "attn.q_latent", { w = weight(layer .. "attn.wq_a") } },
  { "linear", "attn_norm", "attn.kv_raw", { w = weight(layer .. "attn.wkv") } },
  { "linear", "attn.q_latent_norm", "attn.q_raw", { w = weight(layer .. "attn.wq_b") } },
  { "grouped_linear", "attn.heads", "attn.grouped", { w = weight(layer .. "attn.wo_a"), groups = 2 } },
  { "linear", "attn.grouped", "attn_out", { w = weight(layer .. "attn.wo_b") } },
}

local function arguments(case, x)
  local all = { x = x }
  for name, given in pairs(case[4]) do all[name] = given end
  return all
end

local function run(stage, options, given)
  return assert(internals.dense_stage(stage, options, given))
end

for _, case in ipairs(cases) do
  local stage, input, output = case[1], layer .. case[2], layer .. case[3]
  describe(stage .. " " .. case[2] .. " -> " .. case[3], function()
    for _, mode in ipairs(modes) do
      it("agrees with the oracle: " .. mode, function()
        assert_agrees(mode, value(mode, output), run(stage, { numerics = mode }, arguments(case, value(mode, input))))
      end)
    end

    for _, mode in ipairs { "reference", "fast" } do
      it("has the same bits for any kernels, threads and company: " .. mode, function()
        local x = value(mode, input)
        local expected = run(stage, { numerics = mode, kernels = "scalar" }, arguments(case, x))
        for _, kernels in ipairs(internals.kernel_levels()) do
          for threads = 1, 3 do
            local options = { numerics = mode, kernels = kernels, threads = threads }
            assert.equal(expected, run(stage, options, arguments(case, x)))
          end
        end
        local rows = 140
        for _, row in ipairs { 1, 2, 77, 140 } do
          local alone = arguments(case, row_of(x, row, #x / 4 / rows))
          assert.equal(row_of(expected, row, #expected / 4 / rows), run(stage, { numerics = mode }, alone))
        end
      end)
    end

    it("has the same bits for any threads: exact", function()
      local x = value("exact", input)
      local expected = run(stage, { numerics = "exact" }, arguments(case, x))
      for threads = 2, 3 do
        assert.equal(expected, run(stage, { numerics = "exact", threads = threads }, arguments(case, x)))
      end
    end)
  end)
end

describe("rms_norm", function()
  it("gives the oracle's vectors, in float32 and in bf16", function()
    local vectors = support.oracle("vectors.safetensors")
    local given = { x = vectors["rmsnorm.in"].bytes, eps = eps,
      w = { type = "F32", shape = { 128 }, bytes = vectors["rmsnorm.weight"].bytes } }
    local wide = run("rms_norm", { numerics = "exact" }, given)
    local narrow = run("rms_norm", { numerics = "reference" }, given)
    assert.is_true(internals.agreement(vectors["rmsnorm.out_f32"].bytes, wide) < 1e-6)
    local _, differing = internals.agreement(vectors["rmsnorm.out_bf16"].bytes, narrow)
    assert.is_true(differing <= 0.01)
  end)
end)

describe("head_norm", function()
  -- attn.q is the normed query after RoPE, which leaves the first 64 of 96 values alone.
  local function unrotated(packed)
    local parts = {}
    for row = 1, #packed / 4 / 96 do parts[row] = row_of(packed, row, 96):sub(1, 256) end
    return table.concat(parts)
  end

  for _, mode in ipairs(modes) do
    it("agrees with the oracle: " .. mode, function()
      local x = value(mode, layer .. "attn.q_raw")
      local got = run("head_norm", { numerics = mode }, { x = x, columns = 192, head = 96, eps = eps })
      assert_agrees(mode, unrotated(value(mode, layer .. "attn.q")), unrotated(got))
      for _, kernels in ipairs(internals.kernel_levels()) do
        assert.equal(got, run("head_norm", { numerics = mode, kernels = kernels, threads = 3 },
          { x = x, columns = 192, head = 96, eps = eps }))
      end
    end)
  end
end)

describe("embed", function()
  local tokens = support.oracle_tokens("stage")
  local given = { w = weight("embed"), tokens = internals.pack_ids(tokens), rows = #tokens, streams = 4 }

  for _, mode in ipairs(modes) do
    it("gives the token's row to every stream: " .. mode, function()
      local expected, got = value(mode, "embed"), run("embed", { numerics = mode, threads = 2 }, given)
      for row = 1, #tokens do
        assert.equal(row_of(expected, row, 128):rep(4), row_of(got, row, 512))
      end
    end)
  end

  it("refuses a token the table lacks", function()
    for _, id in ipairs { -1, 192 } do
      local _, message, code = internals.dense_stage("embed", {},
        { w = given.w, tokens = internals.pack_ids { 3, id }, rows = 2, streams = 1 })
      assert.equal("EINVAL", code)
      assert.is_truthy(message:find("192", 1, true) or message:find("-1", 1, true))
    end
  end)
end)

describe("head", function()
  for _, mode in ipairs(modes) do
    it("gives unrounded logits: " .. mode, function()
      local got = run("head", { numerics = mode, threads = 2 }, { w = weight("head"), x = value(mode, "final_norm") })
      assert.is_true(internals.agreement(value(mode, "logits"), got) <= 2e-5)
    end)
  end
end)

describe("linear", function()
  it("takes FP4 weights with integer activations in fast, near to exact", function()
    local w, x = weight(layer .. "ffn.experts.0.w1"), value("exact", layer .. "ffn_norm")
    local exact = run("linear", { numerics = "exact" }, { w = w, x = x })
    local fast = run("linear", { numerics = "fast" }, { w = w, x = x })
    local off = internals.agreement(exact, fast)
    assert.is_true(off > 1e-4 and off < 0.05)     -- int8 is there, and it is small
    for _, kernels in ipairs(internals.kernel_levels()) do
      assert.equal(fast, run("linear", { numerics = "fast", kernels = kernels, threads = 3 }, { w = w, x = x }))
    end
    assert.equal(row_of(fast, 9, 128), run("linear", { numerics = "fast" }, { w = w, x = row_of(x, 9, 128) }))
  end)

  it("agrees with own kernels where OpenBLAS computes", function()
    local w, x = weight("head"), value("exact", "final_norm")
    local all, pieces = run("linear", { numerics = "exact" }, { w = w, x = x }), {}
    for row = 1, 140 do pieces[row] = run("linear", { numerics = "exact" }, { w = w, x = row_of(x, row, 128) }) end
    assert.is_true(internals.agreement(table.concat(pieces), all) < 1e-5)
  end)

  it("refuses FP4 of an odd width", function()
    local w = { type = "I8", shape = { 2, 24 }, bytes = ("\0"):rep(48), scales = ("\127"):rep(4) }
    local _, message, code = internals.dense_stage("linear", {}, { w = w, x = ("\0"):rep(4 * 48) })
    assert.equal("EUNSUPPORTED", code)
    assert.is_truthy(message:find("48", 1, true))
  end)
end)
