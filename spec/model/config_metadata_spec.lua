--- The configuration that a GGUF file's key/values state (specs/formats.md 3.1), and what is wrong with others.
local support = require "spec.support"
local faults = require "spec.faults"
local refusals = require "spec.refusals"
local place = require "spec.place"
local gguf = require "spec.format.gguf_file"
local model = require "spec.format.gguf_model"
local internals = support.internals()

local config = model.config("tinystage")
local prefix = "deepseek4."
local folder

--- The configuration of a file with these options of model.keys and, if given, these tensors.
local function read(options, tensors)
  local path = folder .. "/x.gguf"
  support.write_file(path, gguf.encode(model.keys(config, options), tensors or {}))
  return internals.checkpoint_config(path)
end

local function refuses(options, code, part, tensors)
  refusals.check(folder .. "/x.gguf: ", code, part, read(options, tensors))
end

local function with(key, kind, value) return { with = { [prefix .. key] = { kind, value } } } end
local function without(...)
  local keys = {}
  for _, key in ipairs { ... } do keys[key:find("^tokenizer") and key or prefix .. key] = true end
  return { without = keys }
end
local function block(layer, name)
  return { name = ("blk.%d.%s.weight"):format(layer, name), type = "F32", shape = { 1 }, bytes = "xxxx" }
end

describe("the configuration of a GGUF file", function()
  before_each(function() folder = place.begin() end)
  after_each(place.finish)

  it("is that of config.json, but for FP8 tiles and sampling", function()
    local expected, got = assert(internals.config("spec/oracle/tinystage")), assert(read())
    expected.weight_block = { 0, 0 }
    for _, key in ipairs { "hc_eps", "rms_eps" } do      -- float32 in such files, and in the forward pass
      assert.is_true(math.abs(got[key] - expected[key]) < 1e-13)
      got[key] = expected[key]
    end
    assert.same(expected, got)
  end)

  it("may state integers in any type that holds them, and ratios as u32", function()
    local other = assert(read { with = {
      [prefix .. "block_count"] = { "u64", 4 }, [prefix .. "expert_count"] = { "i32", 4 },
      [prefix .. "rope.scaling.original_context_length"] = { "f32", 65536 },
      [prefix .. "attention.compress_ratios"] = { "array", { "u32", { 0, 4, 128, 4, 0, 0, 0 } } } } })
    assert.same(assert(read()), other)
  end)

  it("takes the number of tokens for a missing vocab_size", function()
    assert.equal(192, assert(read { vocabulary = false }).vocabulary)
    refuses({ vocabulary = false, tokenizer = false }, "EFORMAT", "deepseek4.vocab_size is missing")
  end)

  it("takes the limit of the routed experts for that of the shared one", function()
    assert.equal(10, assert(read(without("swiglu_clamp_shexp"))).swiglu_limit)
  end)

  it("may leave out groups of experts and say that there is none or one", function()
    for count = 0, 1 do
      assert(read { more = { [prefix .. "expert_group_count"] = { "u32", count },
        [prefix .. "expert_group_used_count"] = { "u32", count } } })
    end
  end)

  describe("counts blocks behind the layers", function()
    it("only where their tensors are", function()
      local stated = with("nextn_predict_layers", "u32", 1)
      assert.equal(4, assert(read(stated)).layers)
      assert.equal(3, assert(read(stated, { block(3, "attn_norm"), block(3, "nextn.eh_proj") })).layers)
      assert.equal(4, assert(read(stated, { block(4, "attn_norm"), block(4, "nextn.eh_proj") })).layers)
    end)

    it("several at once", function()
      assert.equal(2, assert(read(with("nextn_predict_layers", "u32", 2), { block(2, "nextn.eh_proj") })).layers)
    end)

    it("G20: and refuses a block_count that leaves layers out", function()
      refuses({}, "EFORMAT", "deepseek4.block_count is 4, but there is a tensor blk.4.attn_norm.weight",
        { block(4, "attn_norm") })
    end)

    it("G20: and refuses more of them than blocks, but where they are not", function()
      assert.equal(4, assert(read(with("nextn_predict_layers", "u32", 5))).layers)
      refuses(with("nextn_predict_layers", "u32", 5000), "EFORMAT", "nextn_predict_layers is 5000")
    end)
  end)

  local required = { "block_count", "context_length", "embedding_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length",
    "attention.layer_norm_rms_epsilon", "attention.q_lora_rank", "attention.output_lora_rank",
    "attention.output_group_count", "attention.sliding_window", "attention.compress_ratios",
    "attention.compress_rope_freq_base", "attention.indexer.head_count", "attention.indexer.key_length",
    "attention.indexer.top_k", "rope.dimension_count", "rope.freq_base", "expert_count", "expert_used_count",
    "expert_shared_count", "expert_feed_forward_length", "expert_weights_scale", "expert_weights_norm",
    "expert_gating_func", "swiglu_clamp_exp", "hash_layer_count", "hyper_connection.count",
    "hyper_connection.sinkhorn_iterations", "hyper_connection.epsilon" }
  for _, key in ipairs(required) do
    it("G20: refuses a file without " .. key, function()
      refuses(without(key), "EFORMAT", prefix .. key .. " is missing")
    end)
  end
  it("G20: refuses a file without an architecture or an end", function()
    refuses({ without = { ["general.architecture"] = true } }, "EFORMAT", "general.architecture is missing")
    refuses(without("tokenizer.ggml.eos_token_id"), "EFORMAT", "tokenizer.ggml.eos_token_id is missing")
  end)

  it("refuses a file that lost its rope scaling, and names every key that it lacks and the cure", function()
    local scaling = { "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length",
      "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow" }
    for _, key in ipairs(scaling) do refuses(without(key), "EFORMAT", "need " .. prefix .. key .. ", missing here") end
    refuses(without((table.unpack or unpack)(scaling)), "EFORMAT", -- luacheck: ignore 113
      "need deepseek4." .. table.concat(scaling, ", deepseek4.") .. ", missing here: convert the model again")
  end)

  local wrong = {
    { "0 layers", with("block_count", "u32", 0), "block_count is 0, allowed are 1 to 4096" },
    { "2^31 layers", with("block_count", "u32", 2 ^ 31), "block_count is 2147483648, allowed are 1 to 4096" },
    { "-1 layers", with("block_count", "i32", -1), "block_count is -1, allowed are 1 to 4096" },
    { "a size that is a string", with("block_count", "string", "4"),
      "block_count: is of type string, an integer is needed" },
    { "a size that is a float", with("block_count", "f32", 4), "block_count: is of type f32, an integer is needed" },
    { "a size that is an array", with("expert_count", "array", { "u32", { 4 } }), "expert_count: is an array of u32" },
    { "0 heads", with("attention.head_count", "u32", 0), "head_count is 0" },
    { "a window of 0", with("attention.sliding_window", "u32", 0), "sliding_window is 0" },
    { "an odd rope size", with("rope.dimension_count", "u32", 31), "rope.dimension_count is 31, it must be even" },
    { "a rope size above the head", with("rope.dimension_count", "u32", 98),
      "rope.dimension_count is 98, at most deepseek4.attention.key_length, 96" },
    { "more experts used than there are", with("expert_used_count", "u32", 5),
      "expert_used_count is 5, at most deepseek4.expert_count, 4" },
    { "heads that groups do not divide", with("attention.output_group_count", "u32", 3), "no multiple of" },
    { "more hash layers than layers", with("hash_layer_count", "u32", 5), "hash_layer_count is 5, at most" },
    { "an epsilon of NaN", with("attention.layer_norm_rms_epsilon", "f32", 0 / 0), "rms_epsilon is " },
    { "an infinite rope base", with("rope.freq_base", "f32", math.huge), "rope.freq_base is inf" },
    { "a negative scale", with("expert_weights_scale", "f32", -1.5), "expert_weights_scale is -1.5" },
    { "a bool for a number", with("expert_weights_scale", "bool", true), "is of type bool, a number is needed" },
    { "a number for a bool", with("expert_weights_norm", "u8", 1),
      "expert_weights_norm: is of type u8, a bool is needed" },
    { "too few ratios", with("attention.compress_ratios", "array", { "i32", { 0, 4, 128 } }),
      "compress_ratios has 3 entries, deepseek4.block_count is 4" },
    { "a negative ratio", with("attention.compress_ratios", "array", { "i32", { 0, 4, -4, 4 } }),
      "compress_ratios[2] is -4, allowed are 0 to 65536" },
    { "a ratio of 2^32-1", with("attention.compress_ratios", "array", { "u32", { 0, 4, 2 ^ 32 - 1, 4 } }),
      "compress_ratios[2] is 4294967295" },
    { "too few limits", with("swiglu_clamp_exp", "array", { "f32", { 10, 10, 10 } }),
      "swiglu_clamp_exp has 3 entries" },
    { "a limit that is NaN", with("swiglu_clamp_exp", "array", { "f32", { 10, 0 / 0, 10, 10 } }),
      "swiglu_clamp_exp[1] is" },
    { "a beta_fast below beta_slow", with("rope.scaling.yarn_beta_fast", "f32", 0.5), "it must be above" },
    { "an end that is no token", { with = { ["tokenizer.ggml.eos_token_id"] = { "u32", 192 } } },
      "tokenizer.ggml.eos_token_id is 192, allowed are 0 to 191" },
    { "a start of -1", { with = { ["tokenizer.ggml.bos_token_id"] = { "i32", -1 } } },
      "tokenizer.ggml.bos_token_id is -1, allowed are 0 to 191" },
    { "a vocab_size that is not the number of tokens", with("vocab_size", "u32", 191),
      "vocab_size is 191, but tokenizer.ggml.tokens has 192 tokens" },
  }
  for _, row in ipairs(wrong) do
    it("G20: refuses " .. row[1], function() refuses(row[2], "EFORMAT", row[3]) end)
  end

  it("G08: refuses arrays of the right length and another type", function()
    refuses(with("attention.compress_ratios", "array", { "u8", { 0, 4, 128, 4 } }), "EFORMAT",
      "compress_ratios: is an array of u8, an array of i32 or u32 is needed")
    refuses(with("attention.compress_ratios", "i32", 4), "EFORMAT", "compress_ratios: is of type i32")
    refuses(with("swiglu_clamp_exp", "array", { "u8", { 10, 10, 10, 10 } }), "EFORMAT",
      "swiglu_clamp_exp: is an array of u8, an array of f32 is needed")
  end)

  local unsupported = {
    { "another architecture", { with = { ["general.architecture"] = { "string", "llama" } } },
      "general.architecture is 'llama', only 'deepseek4' is computed" },
    { "an architecture that only begins like ours", { with = { ["general.architecture"] = { "string",
      "deepseek40" } } },
      "'deepseek40'" },
    { "two key/value heads", with("attention.head_count_kv", "u32", 2), "head_count_kv is 2, only 1 is computed" },
    { "values of their own length", with("attention.value_length", "u32", 64), "value_length is 64, only that of" },
    { "another gate", with("expert_gating_func", "u32", 2), "expert_gating_func is 2, only 4 is computed" },
    { "weights that are not normed", with("expert_weights_norm", "bool", false), "expert_weights_norm is false" },
    { "groups of experts", { more = { [prefix .. "expert_group_count"] = { "u32", 8 } } }, "expert_group_count is 8" },
    { "two shared experts", with("expert_shared_count", "u32", 2), "expert_shared_count is 2, only 1 is computed" },
    { "another rope scaling", with("rope.scaling.type", "string", "linear"), "rope.scaling.type is 'linear'" },
    { "limits that differ", with("swiglu_clamp_shexp", "array", { "f32", { 10, 10, 7, 10 } }),
      "swiglu_clamp_shexp[2] is 7, another is 10" },
  }
  for _, row in ipairs(unsupported) do
    it("refuses " .. row[1] .. " by name", function() refuses(row[2], "EUNSUPPORTED", row[3]) end)
  end

  it("G25: shows no control bytes of a file's texts", function()
    local _, message = read { with = { ["general.architecture"] = { "string", "a\27[31mb\n" } } }
    assert.truthy(message:find("'a?[31mb?'", 1, true), message)
    for length = 55, 64 do                                    -- cut between characters, and seen to be cut
      local long = ("a"):rep(length) .. ("é"):rep(40)
      for key, whose in pairs { ["general.architecture"] = "deepseek4", [prefix .. "rope.scaling.type"] = "yarn" } do
        local _, cut = read { with = { [key] = { "string", long } } }
        assert.truthy(cut:match("'a+[^\128-\255]*'") or cut:match("'a+[^']*é%.%.%.'"), cut)
        assert.truthy(cut:find("...', only '" .. whose .. "' is computed", 1, true), cut)
      end
    end
    assert(read { more = { ["tokenizer.chat_template"] = { "string", "{% for x in ().__class__ %}" } } })
  end)

  it("survives the failure of any allocation", function()
    local path = folder .. "/x.gguf"
    support.write_file(path, gguf.encode(model.keys(config), {}))
    faults.each(internals.fail_allocation, function() return internals.checkpoint_config(path) end,
      { least = 5, codes = { ENOMEM = true } })
  end)
end)
