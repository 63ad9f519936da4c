local support = require "spec.support"
local faults = require "spec.faults"
local refusals = require "spec.refusals"
local place = require "spec.place"
local internals = support.internals()

local tinystage = support.read_file("spec/oracle/tinystage/config.json")
local folder

--- The JSON text with `key` set to `value` (as JSON), added, or with nil taken out.
local function with(text, key, value)
  local head, rest = text:match('^(.-)[%s,]*"' .. key .. '"%s*:%s*(.*)$')
  if not head then
    return value and (text:gsub("}%s*$", (', "%s": %s }'):format(key, value))) or text
  end
  local tail = rest:match("^%b[](.*)$") or rest:match("^%b{}(.*)$") or rest:match("^[^,}]*(.*)$")
  if not value then return (head .. tail):gsub("^{%s*,", "{"), nil end
  return ('%s%s "%s": %s%s'):format(head, head:match("{%s*$") and "" or ",", key, value, tail)
end

--- The configuration in a folder of this config.json and, if given, generation_config.json.
local function read(text, generation)
  support.write_file(folder .. "/config.json", text)
  if generation then support.write_file(folder .. "/generation_config.json", generation) end
  return internals.config(folder)
end

local function refuses(text, code, part, generation)
  refusals.check(folder, code, part, read(text, generation))
end

--- config.json of the published models (specs/architecture.md 1).
local function published(values)
  local text = tinystage
  for key, value in pairs(values) do text = with(text, key, value) end
  return text
end
local flash_ratios, pro_ratios = { 0, 0 }, { 128, 128 }
for layer = 2, 60 do
  if layer < 43 then flash_ratios[layer + 1] = layer % 2 == 0 and 4 or 128 end
  pro_ratios[layer + 1] = layer % 2 == 0 and 4 or 128
end
local flash = { vocab_size = 129280, hidden_size = 4096, num_hidden_layers = 43, num_attention_heads = 64,
  head_dim = 512,
  qk_rope_head_dim = 64, q_lora_rank = 1024, o_groups = 8, o_lora_rank = 1024, index_n_heads = 64, index_head_dim = 128,
  index_topk = 512, n_routed_experts = 256, num_experts_per_tok = 6, moe_intermediate_size = 2048, num_hash_layers = 3,
  sliding_window = 128, num_nextn_predict_layers = 1,
  compress_ratios = "[" .. table.concat(flash_ratios, ",") .. ",0]" }
local pro = { vocab_size = 129280, hidden_size = 7168, num_hidden_layers = 61, num_attention_heads = 128,
  head_dim = 512,
  qk_rope_head_dim = 64, q_lora_rank = 1536, o_groups = 16, o_lora_rank = 1024, index_n_heads = 64,
    index_head_dim = 128,
  index_topk = 1024, n_routed_experts = 384, num_experts_per_tok = 6, moe_intermediate_size = 3072, num_hash_layers = 3,
  sliding_window = 128, num_nextn_predict_layers = 1, routed_scaling_factor = 2.5,
  compress_ratios = "[" .. table.concat(pro_ratios, ",") .. ",0]" }

describe("config", function()
  before_each(function() folder = place.begin() end)
  after_each(place.finish)

  it("reads every size of tinystage", function()
    assert.same({
      architecture = "deepseek_v4", vocabulary = 192, width = 128, layers = 4, context = 1048576, heads = 2,
      head_dim = 96, rope_dim = 32, q_lora = 128, o_groups = 2, o_lora = 64, window = 64, ratios = { 0, 4, 128, 4 },
      compresses = true, indexes = true, index_heads = 3, index_dim = 64, index_top_k = 8, experts = 4, top_k = 2,
      expert_width = 128, shared_experts = 1, hash_layers = 2, route_scale = 1.5, swiglu_limit = 10, streams = 4,
      sinkhorn_rounds = 20, hc_eps = 1e-6, rms_eps = 1e-6, rope_theta = 10000, compress_rope_theta = 160000,
      yarn_factor = 16, yarn_original_context = 65536, yarn_beta_fast = 32, yarn_beta_slow = 1,
      weight_block = { 128, 128 }, tied_head = false, mtp_layers = 0, bos = 0, eos = { 1 }, sample = false,
      temperature = 1, top_p = 1, min_p = 0, repetition_penalty = 1, sampling_top_k = 0,
    }, internals.config("spec/oracle/tinystage"))
  end)

  it("reads the published sizes of Flash", function()
    local config = assert(read(published(flash)))
    assert.same({ 129280, 4096, 43, 64, 512, 64, 256, 6, 3, 1.5, 1 },
      { config.vocabulary, config.width, config.layers, config.heads, config.head_dim, config.rope_dim, config.experts,
        config.top_k, config.hash_layers, config.route_scale, config.mtp_layers })
    assert.same(flash_ratios, config.ratios)
  end)

  it("reads the published sizes of Pro", function()
    local config = assert(read(published(pro)))
    assert.same({ 7168, 61, 128, 1536, 16, 1024, 1024, 384, 3072, 2.5 },
      { config.width, config.layers, config.heads, config.q_lora, config.o_groups, config.o_lora, config.index_top_k,
        config.experts, config.expert_width, config.route_scale })
    assert.same(pro_ratios, config.ratios)
  end)

  it("leaves the ratios of MTP and DSpark blocks aside", function()
    assert.same({ 0, 4, 128, 4 }, read(with(tinystage, "compress_ratios", "[0,4,128,4,0,0,0]")).ratios)
    assert.same({ 128, 128, 4, 128 }, internals.config("spec/oracle/tinypro").ratios)
    assert.equal(1, internals.config("spec/oracle/tinypro").mtp_layers)
  end)

  describe("takes", function()
    local rows = {
      { "no clamp for an absent limit", "swiglu_limit", nil, "swiglu_limit", 0 },
      { "no clamp for a null limit", "swiglu_limit", "null", "swiglu_limit", 0 },
      { "no clamp for the limit 0", "swiglu_limit", "0", "swiglu_limit", 0 },
      { "an eps of 1e-20, as Vision-Exp states", "rms_norm_eps", "1e-20", "rms_eps", 1e-20 },
      { "an integer where a number is wanted", "rope_theta", "500000", "rope_theta", 500000 },
      { "a list of end tokens", "eos_token_id", "[1, 7, 191]", "eos", { 1, 7, 191 } },
      { "no first token", "bos_token_id", nil, "bos", -1 },
      { "a tied head", "tie_word_embeddings", "true", "tied_head", true },
      { "no quantisation", "quantization_config", nil, "weight_block", { 0, 0 } },
      { "other ratios for the plain compressor", "compress_ratios", "[0,16,2,1]", "ratios", { 0, 16, 2, 1 } },
      { "no hash layers", "num_hash_layers", "0", "hash_layers", 0 },
      { "keys it does not know", "initializer_range_2", "[{}]", "layers", 4 },
      { "an absent scoring function", "scoring_func", nil, "layers", 4 },
    }
    for _, row in ipairs(rows) do
      it(row[1], function()
        assert.same(row[5], assert(read(with(tinystage, row[2], row[3])))[row[4]])
      end)
    end

    it("a window-only model without indexer, compressor and scaling keys", function()
      local text = with(tinystage, "compress_ratios", "[0,0,0,0]")
      for _, key in ipairs { "index_n_heads", "index_head_dim", "index_topk", "compress_rope_theta", "rope_scaling" } do
        text = with(text, key, nil)
      end
      local config = assert(read(text))
      assert.same({ false, false, 0, 0, 0 },
        { config.compresses, config.indexes, config.index_heads, config.compress_rope_theta, config.yarn_factor })
    end)

    it("transformers' layer_types in the place of ratios", function()
      local text = with(with(tinystage, "compress_ratios", nil), "layer_types",
        '["sliding_attention","compressed_sparse_attention","heavily_compressed_attention","sliding_attention"]')
      assert.same({ 0, 4, 128, 0 }, assert(read(text)).ratios)
      text = with(text, "compress_rates", '{"compressed_sparse_attention":4,"heavily_compressed_attention":64}')
      assert.same({ 0, 4, 64, 0 }, assert(read(text)).ratios)
      refuses(with(text, "compress_rates", '{"compressed_sparse_attention":8}'), "EUNSUPPORTED",
        "compressed_sparse_attention has ratio 8, only 4")
      refuses(with(text, "layer_types", '["sliding_attention"]'), "EFORMAT",
        "layer_types has 1 entries, num_hidden_layers is 4")
      refuses(with(text, "layer_types", '[1,1,1,1]'), "EUNSUPPORTED", "layer_types names 'something that is no name'")
      refuses(with(text, "layer_types", '["linear_attention","","",""]'), "EUNSUPPORTED",
        "layer_types names 'linear_attention'")
    end)
  end)

  describe("sampling defaults", function()
    it("are the published ones", function()
      local config = assert(read(tinystage, '{"do_sample":true,"temperature":0.6,"top_p":0.95,"top_k":20,"min_p":0.05,'
        .. '"repetition_penalty":1.1,"eos_token_id":[1,5],"_from_model_config":true}'))
      assert.same({ true, 0.6, 0.95, 20, 0.05, 1.1, { 1, 5 } }, { config.sample, config.temperature, config.top_p,
        config.sampling_top_k, config.min_p, config.repetition_penalty, config.eos })
    end)

    it("may state the end token that config.json leaves out", function()
      assert.same({ 3 }, read(with(tinystage, "eos_token_id", nil), '{"eos_token_id":3}').eos)
    end)

    local rows = {
      { '{"temperature":-1}', "temperature is -1" }, { '{"top_p":1.5}', "top_p is 1.5" }, { '{"top_k":-1}',
        "top_k is -1" },
      { '{"top_k":1.5}', "top_k is not an integer" }, { '{"do_sample":1}', "do_sample is neither true nor false" },
      { '{"temperature":NaN}', "NaN" }, { '{"eos_token_id":192}', "eos_token_id is no token id from 0 to 191" },
      { "[]", "is no JSON object" }, { "", "is empty" }, { "<html></html>", "is an HTML page" },
    }
    for _, row in ipairs(rows) do
      it("G20: are refused when they are " .. row[1], function()
        refuses(tinystage, "EFORMAT", row[2], row[1])
      end)
    end
  end)

  describe("files", function()
    it("S09: refuses a folder without config.json", function()
      local config, message, code = internals.config(folder)
      assert.same({ nil, "ENOENT" }, { config, code })
      assert.truthy(message:find("config.json: cannot open", 1, true))
    end)

    local rows = {
      { "S09: refuses an empty file", "", "is empty" },
      { "S09: refuses a list", "[]", "is no JSON object" },
      { "S09: refuses half a file", tinystage:sub(1, 500), "config.json: line" },
      { "S09: refuses a key twice", with(tinystage, "use_cache_2", "1"):gsub("use_cache_2", "hidden_size"),
        "duplicate" },
      { "S09: refuses deep nesting", with(tinystage, "deep", ("["):rep(1000) .. ("]"):rep(1000)),
        "nested deeper than 64" },
      { "S09: refuses text that is no UTF-8", with(tinystage, "model_type", '"\255"'), "config.json: line" },
      { "G02: names a git-LFS pointer", "version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer" },
      { "G02: names an HTML page", "<!DOCTYPE html>", "is an HTML page" },
    }
    for _, row in ipairs(rows) do
      it(row[1], function() refuses(row[2], "EFORMAT", row[3]) end)
    end

    it("S09: refuses a file of more than 4 MiB", function()
      refuses(tinystage .. (" "):rep(4194304), "EFORMAT", "at most 4194304 are allowed")
    end)
  end)

  describe("sizes", function()
    --- Key, smallest and largest value.
    local sizes = {
      { "vocab_size", 1, 2 ^ 24 }, { "hidden_size", 1, 2 ^ 20 }, { "num_hidden_layers", 1, 4096 },
      { "max_position_embeddings", 1, 2 ^ 24 }, { "num_attention_heads", 1, 65536 }, { "head_dim", 2, 65536 },
      { "qk_rope_head_dim", 2, 65536 }, { "q_lora_rank", 1, 2 ^ 20 }, { "o_groups", 1, 65536 },
      { "o_lora_rank", 1, 2 ^ 20 }, { "sliding_window", 1, 2 ^ 24 }, { "n_routed_experts", 1, 65536 },
      { "num_experts_per_tok", 1, 65536 }, { "moe_intermediate_size", 1, 2 ^ 20 }, { "num_hash_layers", 0, 4096 },
      { "hc_mult", 1, 64 }, { "hc_sinkhorn_iters", 1, 1000 }, { "index_n_heads", 1, 65536 },
      { "index_head_dim", 2, 65536 }, { "index_topk", 1, 2 ^ 24 }, { "num_key_value_heads", 1, 65536 },
    }
    for _, row in ipairs(sizes) do
      local key, low, high = row[1], row[2], row[3]
      it("G20: are refused by name when " .. key .. " is out of range, missing or no integer", function()
        for _, value in ipairs { low - 1, -1, high + 1, 2 ^ 31 } do
          local text = ("%d"):format(value)
          refuses(with(tinystage, key, text), "EFORMAT", ("%s is %s, allowed are %d to %d"):format(key, text, low,
            high))
        end
        refuses(with(tinystage, key, "9223372036854775807"), "EFORMAT", key .. " is 9223372036854775807")
        refuses(with(tinystage, key, "9223372036854775808"), "EFORMAT", "too big")
        for _, value in ipairs { "4.0", '"4"', "null", "true", "[4]", "{}" } do
          refuses(with(tinystage, key, value), "EFORMAT", key .. " is not an integer")
        end
        refuses(with(tinystage, key, nil), "EFORMAT", key .. " is missing")
        refuses(with(tinystage, key, "NaN"), "EFORMAT", "config.json: line")
      end)
    end

    local numbers = {
      { "routed_scaling_factor", "0" }, { "routed_scaling_factor", "-1.5" }, { "routed_scaling_factor", "1e30" },
      { "hc_eps", "-1e-6" }, { "hc_eps", "2" }, { "rms_norm_eps", "0" }, { "rms_norm_eps", "-1e-6" },
      { "rope_theta", "0" }, { "rope_theta", "1e300" }, { "compress_rope_theta", "0" }, { "swiglu_limit", "-10" },
    }
    for _, row in ipairs(numbers) do
      it(("G20: are refused when %s is %s"):format(row[1], row[2]), function()
        refuses(with(tinystage, row[1], row[2]), "EFORMAT", row[1] .. " is ")
      end)
    end
    for _, key in ipairs { "routed_scaling_factor", "hc_eps", "rms_norm_eps", "rope_theta", "compress_rope_theta" } do
      it("G20: are refused when " .. key .. " is missing, text or infinite", function()
        refuses(with(tinystage, key, nil), "EFORMAT", key .. " is missing")
        refuses(with(tinystage, key, '"1"'), "EFORMAT", key .. " is not a number")
        refuses(with(tinystage, key, "1e999"), "EFORMAT", "config.json: line")
        refuses(with(tinystage, key, "Infinity"), "EFORMAT", "config.json: line")
      end)
    end

    local together = {
      { "more experts used than there are", "num_experts_per_tok", "5",
        "num_experts_per_tok is 5, at most n_routed_experts, 4" },
      { "more hash layers than layers", "num_hash_layers", "5", "num_hash_layers is 5, at most num_hidden_layers, 4" },
      { "a rotated part wider than a head", "qk_rope_head_dim", "98", "qk_rope_head_dim is 98, at most head_dim, 96" },
      { "a rotated part wider than an indexer head", "index_head_dim", "30",
        "qk_rope_head_dim is 32, at most index_head_dim, 30" },
      { "an odd rotated part", "qk_rope_head_dim", "31", "qk_rope_head_dim is 31, it must be even" },
      { "heads that groups do not divide", "o_groups", "3", "num_attention_heads is 2, no multiple of o_groups, 3" },
      { "too few ratios", "compress_ratios", "[0,4,128]", "compress_ratios has 3 entries, num_hidden_layers is 4" },
      { "no ratios", "compress_ratios", "[]", "compress_ratios has 0 entries" },
      { "a ratio for all", "compress_ratios", "4", "compress_ratios is no list" },
      { "missing ratios", "compress_ratios", nil, "compress_ratios is missing" },
      { "a negative ratio", "compress_ratios", "[0,4,-1,4]", "compress_ratios[2] is no integer from 0" },
      { "a broken ratio", "compress_ratios", "[0,4.5,128,4]", "compress_ratios[1] is no integer from 0" },
      { "a ratio of 2^31", "compress_ratios", "[0,4,128,2147483648]",
        "compress_ratios[3] is no integer from 0 to 65536" },
      { "an end token outside the vocabulary", "eos_token_id", "192", "eos_token_id is no token id from 0 to 191" },
      { "an end token -1", "eos_token_id", "-1", "eos_token_id is no token id" },
      { "an end token that is text", "eos_token_id", '"</s>"', "eos_token_id is no token id" },
      { "an empty list of end tokens", "eos_token_id", "[]", "eos_token_id has 0 ids" },
      { "17 end tokens", "eos_token_id", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
        "eos_token_id has 17 ids, allowed are 1 to 16" },
      { "no end token at all", "eos_token_id", nil, "states eos_token_id" },
      { "a first token outside the vocabulary", "bos_token_id", "192", "bos_token_id is no token id from 0 to 191" },
      { "a block size of 0", "quantization_config", '{"weight_block_size":[0,128]}', "weight_block_size is no pair" },
      { "one block size", "quantization_config", '{"weight_block_size":[128]}', "weight_block_size is no pair" },
      { "a block size for all", "quantization_config", '{"weight_block_size":128}', "weight_block_size is no pair" },
      { "quantisation as text", "quantization_config", '"fp8"', "quantization_config is no object" },
      { "a head tied by a number", "tie_word_embeddings", "1", "tie_word_embeddings is neither true nor false" },
    }
    for _, row in ipairs(together) do
      it("G20: are refused: " .. row[1], function()
        refuses(with(tinystage, row[2], row[3]), "EFORMAT", row[4])
      end)
    end
  end)

  describe("scaling", function()
    local function scaling(text) return with(tinystage, "rope_scaling", text) end
    local sound = '{"type":"yarn","factor":16,"original_max_position_embeddings":65536,"beta_fast":32,"beta_slow":1}'

    it("takes rope_type for type", function()
      assert.equal(16, assert(read(scaling((sound:gsub('"type"', '"rope_type"'))))).yarn_factor)
    end)

    local rows = {
      { "a missing rope_scaling", nil, "EFORMAT", "rope_scaling is missing, which layers with compress_ratios need" },
      { "rope_scaling null", "null", "EFORMAT", "rope_scaling is missing" },
      { "rope_scaling without a type", sound:gsub('"type":"yarn",', ""), "EFORMAT", "rope_type is missing" },
      { "another type", sound:gsub("yarn", "linear"), "EUNSUPPORTED", "rope_scaling type is 'linear', only 'yarn'" },
      { "a missing factor", sound:gsub('"factor":16,', ""), "EFORMAT", "factor is missing" },
      { "a missing beta", sound:gsub(',"beta_slow":1', ""), "EFORMAT", "beta_slow is missing" },
      { "a factor of 0", sound:gsub("16,", "0,", 1), "EFORMAT", "factor is 0" },
      { "an original context of 0", sound:gsub("65536", "0"), "EFORMAT", "original_max_position_embeddings is 0" },
      { "betas that cross", sound:gsub('"beta_slow":1', '"beta_slow":32'), "EFORMAT",
        "beta_fast is 32, it must be above beta_slow, 32" },
    }
    for _, row in ipairs(rows) do
      it("G20: refuses " .. row[1] .. " where layers compress", function()
        refuses(scaling(row[2]), row[3], row[4])
      end)
    end
  end)

  describe("variants", function()
    local rows = {
      { "model_type", '"deepseek_v3"', "model_type is 'deepseek_v3', only 'deepseek_v4'" },
      { "model_type", '"deepseek_v41"', "model_type is 'deepseek_v41'" },
      { "architectures", '["DeepseekV3ForCausalLM"]', "architectures names 'DeepseekV3ForCausalLM'" },
      { "scoring_func", '"sigmoid"', "scoring_func is 'sigmoid', only 'sqrtsoftplus'" },
      { "topk_method", '"greedy"', "topk_method is 'greedy', only 'noaux_tc'" },
      { "hidden_act", '"gelu"', "hidden_act is 'gelu', only 'silu'" },
      { "norm_topk_prob", "false", "norm_topk_prob is false, only true" },
      { "attention_bias", "true", "attention_bias is true, only false" },
      { "num_key_value_heads", "2", "num_key_value_heads is 2, only 1" },
      { "n_shared_experts", "0", "n_shared_experts is 0, only 1" },
      { "n_shared_experts", "2", "n_shared_experts is 2, only 1" },
      { "quantization_config", '{"quant_method":"awq"}', "quant_method is 'awq', only 'fp8'" },
      { "quantization_config", '{"fmt":"e5m2"}', "fmt is 'e5m2', only 'e4m3'" },
      { "quantization_config", '{"scale_fmt":"float"}', "scale_fmt is 'float', only 'ue8m0'" },
    }
    for _, row in ipairs(rows) do
      it(("G20: refuses %s = %s by name"):format(row[1], row[2]), function()
        refuses(with(tinystage, row[1], row[2]), "EUNSUPPORTED", row[3])
      end)
    end

    it("G20: refuses a missing model_type", function()
      refuses(with(tinystage, "model_type", nil), "EFORMAT", "model_type is missing")
    end)
  end)

  it("survives the failure of any allocation and any call on its files", function()
    support.write_file(folder .. "/config.json", tinystage)
    support.write_file(folder .. "/generation_config.json", '{"temperature":0.5}')
    local sound = assert(internals.config(folder))
    -- where jansson runs out of memory it may lose a letter and blame the text for it
    local codes = { ENOMEM = true, EIO = true, EFORMAT = true, EUNSUPPORTED = true }
    for _, fail in ipairs { "fail_allocation", "fail_file" } do
      faults.each(internals[fail], function() return internals.config(folder) end,
        { least = 5, codes = codes, sound = sound })
    end
  end)
end)
