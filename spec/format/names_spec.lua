local internals = require("spec.support").internals()

describe("official_name", function()
  local rows = {
    -- official names stay as they are
    { "embed.weight", "embed.weight" },
    { "hc_head_fn", "hc_head_fn" },
    { "layers.0.attn.wq_a.scale", "layers.0.attn.wq_a.scale" },
    { "layers.0.attn.kv_norm.weight", "layers.0.attn.kv_norm.weight" },
    { "layers.60.attn.indexer.compressor.norm.weight", "layers.60.attn.indexer.compressor.norm.weight" },
    { "layers.2.hc_attn_scale", "layers.2.hc_attn_scale" },
    { "layers.3.ffn.experts.383.w2.scale", "layers.3.ffn.experts.383.w2.scale" },
    { "layers.3.ffn.gate.tid2eid", "layers.3.ffn.gate.tid2eid" },
    { "mtp.2.markov_head.markov_w1.weight", "mtp.2.markov_head.markov_w1.weight" },
    -- V3-style
    { "model.layers.7.self_attn.wq_b.weight_scale_inv", "layers.7.attn.wq_b.scale" },
    { "model.layers.7.mlp.gate.e_score_correction_bias", "layers.7.ffn.gate.bias" },
    { "model.layers.7.mlp.experts.12.w3.weight", "layers.7.ffn.experts.12.w3.weight" },
    { "model.layers.7.mlp.experts.12.gate_proj.weight", "layers.7.ffn.experts.12.w1.weight" },
    { "model.layers.7.mlp.experts.12.up_proj.weight_scale_inv", "layers.7.ffn.experts.12.w3.scale" },
    { "model.layers.7.mlp.experts.12.down_proj.weight", "layers.7.ffn.experts.12.w2.weight" },
    { "model.mtp.0.mlp.shared_experts.w1.weight", "mtp.0.ffn.shared_experts.w1.weight" },
    { "layers.7.self_attn.attn_sink", "layers.7.attn.attn_sink" },
    -- transformers
    { "model.embed_tokens.weight", "embed.weight" },
    { "lm_head.weight", "head.weight" },
    { "model.norm.weight", "norm.weight" },
    { "model.hc_head.hc_scale", "hc_head_scale" },
    { "model.layers.10.post_attention_layernorm.weight", "layers.10.ffn_norm.weight" },
    { "model.layers.10.ffn_hc.base", "layers.10.hc_ffn_base" },
    { "model.layers.10.self_attn.q_a_norm.weight", "layers.10.attn.q_norm.weight" },
    { "model.layers.10.self_attn.q_norm.weight", "layers.10.attn.q_norm.weight" },
    { "model.layers.10.self_attn.o_a_proj.weight_scale_inv", "layers.10.attn.wo_a.scale" },
    { "model.layers.10.self_attn.sinks", "layers.10.attn.attn_sink" },
    { "model.layers.10.self_attn.compressor.position_bias", "layers.10.attn.compressor.ape" },
    { "model.layers.10.self_attn.compressor.kv_norm.weight", "layers.10.attn.compressor.norm.weight" },
    { "model.layers.10.self_attn.compressor.indexer.kv_norm.weight", "layers.10.attn.indexer.compressor.norm.weight" },
    { "model.layers.10.self_attn.compressor.indexer.weights_proj.weight",
      "layers.10.attn.indexer.weights_proj.weight" },
    { "model.layers.10.self_attn.compressor.indexer.scorer.weights_proj.weight",
      "layers.10.attn.indexer.weights_proj.weight" },
    { "model.layers.10.mlp.shared_experts.up_proj.weight", "layers.10.ffn.shared_experts.w3.weight" },
    -- GGUF
    { "token_embd.weight", "embed.weight" },
    { "output.weight", "head.weight" },
    { "output_norm.weight", "norm.weight" },
    { "output_hc_fn.weight", "hc_head_fn" },
    { "hc_head_scale", "hc_head_scale" },
    { "blk.10.attn_q_a.weight", "layers.10.attn.wq_a.weight" },
    { "blk.10.attn_kv_a_norm.weight", "layers.10.attn.kv_norm.weight" },
    { "blk.10.attn_kv_latent.weight", "layers.10.attn.wkv.weight" },
    { "blk.10.attn_sinks.weight", "layers.10.attn.attn_sink" },
    { "blk.10.hc_attn_fn.weight", "layers.10.hc_attn_fn" },
    { "blk.10.hc_attn_fn", "layers.10.hc_attn_fn" },
    { "blk.10.indexer.attn_q_b.weight", "layers.10.attn.indexer.wq_b.weight" },
    { "blk.10.indexer_compressor_ape.weight", "layers.10.attn.indexer.compressor.ape" },
    { "blk.10.indexer.compress_norm.weight", "layers.10.attn.indexer.compressor.norm.weight" },
    { "blk.10.exp_probs_b.bias", "layers.10.ffn.gate.bias" },
    { "blk.10.exp_probs_b", "layers.10.ffn.gate.bias" },
    { "blk.0.ffn_gate_tid2eid.weight", "layers.0.ffn.gate.tid2eid" },
    { "blk.43.nextn.eh_proj.weight", "layers.43.nextn.eh_proj.weight" },
    { "blk.x.attn_q_a.weight", "blk.x.attn_q_a.weight" },
    { "blk.1.attn_q_a.weight.weight", "layers.1.attn_q_a.weight.weight" },
    { "blk.1.attn_q_a_extra.weight", "layers.1.attn_q_a_extra.weight" },
    -- words count as whole segments, in their place
    { "layers.1.attn.q_a_projection.weight", "layers.1.attn.q_a_projection.weight" },
    { "layers.1.embed_tokens.weight", "layers.1.embed_tokens.weight" },
    { "layers.x.input_layernorm.weight", "layers.x.input_layernorm.weight" },
    { "vision.layers.1.mlp.gate_proj.weight", "vision.layers.1.ffn.gate_proj.weight" },
    { "modelling.weight", "modelling.weight" },
    { "a..b.", "a..b." },
  }
  for _, row in ipairs(rows) do
    it(("calls %s %s"):format(row[1], row[2]), function()
      assert.same({ row[2] }, { internals.official_name(row[1]) })
    end)
  end

  local fused = {
    { "model.layers.3.mlp.experts.gate_up_proj", { "layers.3.", "weight", "w1", "w3" } },
    { "model.layers.3.mlp.experts.gate_up_proj_scale_inv", { "layers.3.", "scale", "w1", "w3" } },
    { "model.layers.3.mlp.experts.gate_up_proj.weight_scale_inv", { "layers.3.", "scale", "w1", "w3" } },
    { "layers.3.ffn.experts.down_proj.weight", { "layers.3.", "weight", "w2" } },
    { "layers.3.ffn.experts.down_proj_scale_inv", { "layers.3.", "scale", "w2" } },
    { "blk.3.ffn_gate_exps.weight", { "layers.3.", "weight", "w1" } },
    { "blk.3.ffn_up_exps.weight", { "layers.3.", "weight", "w3" } },
    { "blk.3.ffn_down_exps.weight", { "layers.3.", "weight", "w2" } },
  }
  for _, row in ipairs(fused) do
    it(("divides %s"):format(row[1]), function()
      assert.same(row[2], { internals.official_name(row[1]) })
    end)
  end

  it("refuses a name that grows beyond 511 bytes", function()
    local name = "layers.0.post_attention_layernorm." .. ("x"):rep(470)
    assert.equal("layers.0.ffn_norm." .. ("x"):rep(470), internals.official_name(name))
    local grown = "layers.0.attn.sinks." .. ("x"):rep(488)
    local official, message, code = internals.official_name(grown)
    assert.is_nil(official)
    assert.equal("EFORMAT", code)
    assert.truthy(message:find("longer than 511 bytes", 1, true))
  end)
end)

describe("gguf_name", function()
  local rows = {
    { "embed.weight", "token_embd.weight" },
    { "hc_head_scale", "output_hc_scale.weight" },
    { "layers.12.attn.wkv.weight", "blk.12.attn_kv.weight" },
    { "layers.0.attn.attn_sink", "blk.0.attn_sinks.weight" },
    { "layers.2.attn.indexer.wq_b.weight", "blk.2.indexer.attn_q_b.weight" },
    { "layers.2.attn.indexer.compressor.wkv.weight", "blk.2.indexer_compressor_kv.weight" },
    { "layers.3.ffn.gate.bias", "blk.3.exp_probs_b.bias" },
    { "layers.3.ffn.gate.tid2eid", "blk.3.ffn_gate_tid2eid.weight" },
    { "layers.3.ffn.shared_experts.w2.weight", "blk.3.ffn_down_shexp.weight" },
    { "layers.3.ffn.experts.0.w1.weight", "blk.3.ffn_gate_exps.weight" },
    { "layers.3.ffn.experts.255.w3.weight", "blk.3.ffn_up_exps.weight" },
  }
  for _, row in ipairs(rows) do
    it(("of %s is %s"):format(row[1], row[2]), function() assert.equal(row[2], internals.gguf_name(row[1])) end)
  end

  it("leads back to the official one", function()
    for i = 1, #rows - 2 do assert.equal(rows[i][1], (internals.official_name(rows[i][2]))) end
  end)

  it("is none for scales, drafting layers and unknown tensors", function()
    for _, name in ipairs { "layers.0.attn.wq_a.scale", "layers.3.ffn.experts.0.w1.scale", "mtp.0.enorm.weight",
      "layers.0.ffn.gate", "vision.patch.weight", "" } do
      assert.is_nil(internals.gguf_name(name), name)
    end
  end)
end)
