--- A checkpoint of the oracle as a GGUF model: the two layouts of specs/formats.md 3.2 and 3.3, key/values of 3.1
-- from its config.json, and a tokenizer of the bytes. Every number stays what it is: FP8 and FP4 values are bfloat16
-- values too.
local json = require "moonseek.json"
local support = require "spec.support"
local files = require "spec.format.files"
local gguf = require "spec.format.gguf_file"
local characters = require "spec.text.files"

local model = {}

--- config.json of spec/oracle/NAME as a table.
function model.config(name)
  return assert(json.decode(support.read_file(("spec/oracle/%s/config.json"):format(name))))
end

--- Key/values of 3.1 in the order of converters. Of `options`: vocabulary = false leaves vocab_size out, tokenizer =
-- false the tokenizer; `without` (a set of keys) and `with` (key -> { kind, value }) change single ones.
function model.keys(config, options)
  options = options or {}
  local ratios, limits = {}, {}
  for i, ratio in ipairs(config.compress_ratios) do ratios[i] = ratio end
  ratios[#ratios + 1] = 0                                    -- of a block behind the layers
  for layer = 1, config.num_hidden_layers do limits[layer] = config.swiglu_limit end
  local list, scaling = {}, config.rope_scaling
  local function add(key, kind, value)
    local changed = (options.with or {})[key]
    if changed then kind, value = changed[1], changed[2] end
    if not (options.without or {})[key] then list[#list + 1] = { key, kind, value } end
  end
  local function own(key, kind, value) add("deepseek4." .. key, kind, value) end
  add("general.architecture", "string", "deepseek4")
  add("general.name", "string", "tiny")
  own("block_count", "u32", config.num_hidden_layers)
  own("context_length", "u32", config.max_position_embeddings)
  own("embedding_length", "u32", config.hidden_size)
  if options.vocabulary ~= false then own("vocab_size", "u32", config.vocab_size) end
  own("attention.head_count", "u32", config.num_attention_heads)
  own("attention.head_count_kv", "u32", 1)
  own("attention.key_length", "u32", config.head_dim)
  own("attention.value_length", "u32", config.head_dim)
  own("attention.layer_norm_rms_epsilon", "f32", config.rms_norm_eps)
  own("attention.q_lora_rank", "u32", config.q_lora_rank)
  own("attention.output_lora_rank", "u32", config.o_lora_rank)
  own("attention.output_group_count", "u32", config.o_groups)
  own("attention.sliding_window", "u32", config.sliding_window)
  own("attention.compress_ratios", "array", { "i32", ratios })
  own("attention.compress_rope_freq_base", "f32", config.compress_rope_theta)
  own("attention.indexer.head_count", "u32", config.index_n_heads)
  own("attention.indexer.key_length", "u32", config.index_head_dim)
  own("attention.indexer.top_k", "u32", config.index_topk)
  own("rope.dimension_count", "u32", config.qk_rope_head_dim)
  own("rope.freq_base", "f32", config.rope_theta)
  own("rope.scaling.type", "string", scaling.type)
  own("rope.scaling.factor", "f32", scaling.factor)
  own("rope.scaling.original_context_length", "u32", scaling.original_max_position_embeddings)
  own("rope.scaling.yarn_beta_fast", "f32", scaling.beta_fast)
  own("rope.scaling.yarn_beta_slow", "f32", scaling.beta_slow)
  own("expert_count", "u32", config.n_routed_experts)
  own("expert_used_count", "u32", config.num_experts_per_tok)
  own("expert_shared_count", "u32", 1)
  own("expert_feed_forward_length", "u32", config.moe_intermediate_size)
  own("expert_weights_scale", "f32", config.routed_scaling_factor)
  own("expert_weights_norm", "bool", true)
  own("expert_gating_func", "u32", 4)
  own("swiglu_clamp_exp", "array", { "f32", limits })
  own("swiglu_clamp_shexp", "array", { "f32", limits })
  own("hash_layer_count", "u32", config.num_hash_layers)
  own("hyper_connection.count", "u32", config.hc_mult)
  own("hyper_connection.sinkhorn_iterations", "u32", config.hc_sinkhorn_iters)
  own("hyper_connection.epsilon", "f32", config.hc_eps)
  own("nextn_predict_layers", "u32", 0)
  for key, changed in pairs(options.more or {}) do list[#list + 1] = { key, changed[1], changed[2] } end
  if options.tokenizer ~= false then
    for _, key in ipairs(model.tokenizer(config.vocab_size)) do add(key[1], key[2], key[3]) end
  end
  return list
end

--- Keys of a tokenizer of `size` tokens: bos, eos, the bytes, two merges, the rest unused.
function model.tokenizer(size)
  local tokens, types = { "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>" }, { 3, 3 }
  local function add(token, type)
    if #tokens == size then return end
    tokens[#tokens + 1], types[#types + 1] = token, type
  end
  for byte = 0, 255 do add(characters.character(byte), 1) end
  for _, token in ipairs { "he", "hel" } do add(token, 1) end
  add("<think>", 4)
  while #tokens < size do add(("[PAD%d]"):format(#tokens), 5) end
  return {
    { "tokenizer.ggml.model", "string", "gpt2" },
    { "tokenizer.ggml.pre", "string", "joyai-llm" },
    { "tokenizer.ggml.tokens", "array", { "string", tokens } },
    { "tokenizer.ggml.token_type", "array", { "i32", types } },
    { "tokenizer.ggml.merges", "array", { "string", { "h e", "he l" } } },
    { "tokenizer.ggml.bos_token_id", "u32", 0 },
    { "tokenizer.ggml.eos_token_id", "u32", 1 },
    { "tokenizer.ggml.padding_token_id", "u32", 1 },
    { "tokenizer.ggml.add_bos_token", "bool", false },
  }
end

-- {== Tensors =====================================================================================

local stems = {
  ["embed.weight"] = "token_embd", ["head.weight"] = "output", ["norm.weight"] = "output_norm",
  hc_head_fn = "output_hc_fn", hc_head_base = "output_hc_base", hc_head_scale = "output_hc_scale",
  ["attn_norm.weight"] = "attn_norm", ["ffn_norm.weight"] = "ffn_norm",
  ["attn.wq_a.weight"] = "attn_q_a", ["attn.q_norm.weight"] = "attn_q_a_norm", ["attn.wq_b.weight"] = "attn_q_b",
  ["attn.wkv.weight"] = "attn_kv", ["attn.kv_norm.weight"] = "attn_kv_a_norm",
  ["attn.wo_a.weight"] = "attn_output_a", ["attn.wo_b.weight"] = "attn_output_b", ["attn.attn_sink"] = "attn_sinks",
  ["attn.compressor.wkv.weight"] = "attn_compressor_kv", ["attn.compressor.wgate.weight"] = "attn_compressor_gate",
  ["attn.compressor.ape"] = "attn_compressor_ape", ["attn.compressor.norm.weight"] = "attn_compressor_norm",
  ["attn.indexer.wq_b.weight"] = "indexer.attn_q_b", ["attn.indexer.weights_proj.weight"] = "indexer.proj",
  ["attn.indexer.compressor.wkv.weight"] = "indexer_compressor_kv",
  ["attn.indexer.compressor.wgate.weight"] = "indexer_compressor_gate",
  ["attn.indexer.compressor.ape"] = "indexer_compressor_ape",
  ["attn.indexer.compressor.norm.weight"] = "indexer_compressor_norm",
  ["ffn.gate.weight"] = "ffn_gate_inp", ["ffn.gate.tid2eid"] = "ffn_gate_tid2eid",
  ["ffn.shared_experts.w1.weight"] = "ffn_gate_shexp", ["ffn.shared_experts.w3.weight"] = "ffn_up_shexp",
  ["ffn.shared_experts.w2.weight"] = "ffn_down_shexp",
}
for _, place in ipairs { "attn", "ffn" } do
  for _, leaf in ipairs { "fn", "base", "scale" } do
    local stem = ("hc_%s_%s"):format(place, leaf)
    stems[stem] = stem
  end
end

--- The name of GGUF files for an official one.
function model.name(official)
  local layer, rest = official:match("^layers%.(%d+)%.(.*)$")
  if rest == "ffn.gate.bias" then return ("blk.%d.exp_probs_b.bias"):format(layer) end
  local stem = assert(stems[rest or official], official)
  return (layer and ("blk.%d.%s.weight"):format(layer, stem)) or stem .. ".weight"
end

--- The bfloat16 of every FP8 code under a scale, and the two of every byte of FP4 codes, in tables made once.
local e2m1 = { [0] = 0.0, 0.5, 1, 1.5, 2, 3, 4, 6 }            -- floats: there is a -0

local function bf16(value)
  local bits = gguf.float_bits(value, 8, 7)
  return string.char(bits % 256, math.floor(bits / 256))
end

local function e4m3(code)
  local sign, exponent, mantissa = code >= 128 and -1 or 1, math.floor(code / 8) % 16, code % 8
  if exponent == 0 then return sign * (mantissa * 2 ^ -9) end
  return sign * (1 + mantissa / 8) * 2 ^ (exponent - 7)
end

local function e2m1_of(code)
  return (code >= 8 and -1 or 1) * e2m1[code % 8]
end

local function by_scale(widen)
  return setmetatable({}, { __index = function(tables, scale)
    local map = {}
    for code = 0, 255 do map[string.char(code)] = widen(code, 2 ^ (scale - 127)) end
    tables[scale] = map
    return map
  end })
end

local fp8 = by_scale(function(code, scale) return bf16(e4m3(code) * scale) end)
local fp4 = by_scale(function(code, scale)
  return bf16(e2m1_of(code % 16) * scale) .. bf16(e2m1_of(math.floor(code / 16)) * scale)
end)

--- Rows of codes, `across` bytes of which share a scale, that of row floor(row / down).
local function widen(entry, scales, tables, across, down)
  local row_bytes = #entry.bytes / entry.shape[1]
  local out = {}
  for row = 0, entry.shape[1] - 1 do
    for at = 0, row_bytes - 1, across do
      local scale = math.floor(row / down) * scales.shape[2] + at / across
      local first = row * row_bytes + at
      local codes = entry.bytes:sub(first + 1, first + math.min(across, row_bytes - at))
      out[#out + 1] = codes:gsub(".", tables[scales.bytes:byte(scale + 1)])
    end
  end
  return table.concat(out)
end

--- FP8 and FP4 tensors as BF16, without their scales; everything else as it is. No number changes.
function model.widened(entries)
  local by_name, out = {}, {}
  for _, entry in ipairs(entries) do by_name[entry.name] = entry end
  for _, entry in ipairs(entries) do
    local scales = by_name[(entry.name:gsub("weight$", "scale"))]
    local rows, columns = entry.shape[1], entry.shape[2]
    if entry.type == "I8" then
      out[#out + 1] = { name = entry.name, type = "BF16", shape = { rows, columns * 2 },
        bytes = widen(entry, scales, fp4, 16, 1) }
    elseif entry.type == "F8_E4M3" then
      out[#out + 1] = { name = entry.name, type = "BF16", shape = entry.shape, bytes = widen(entry, scales, fp8, 128,
        128) }
    elseif entry.type ~= "F8_E8M0" then
      out[#out + 1] = entry
    end
  end
  return out
end

local function f32_of_bf16(bytes)
  return (bytes:gsub("..", "\0\0%0"))
end

--- Rounded to half precision, from F32 or BF16.
local function f16_of(entry)
  local bytes = entry.type == "BF16" and f32_of_bf16(entry.bytes) or entry.bytes
  local known = {}
  return (bytes:gsub("....", function(four)
    local half = known[four]
    if not half then
      local a, b, c, d = four:byte(1, 4)
      local exponent, mantissa = d % 128 * 2 + math.floor(c / 128), c % 128 * 65536 + b * 256 + a
      local size = exponent == 0 and mantissa * 2 ^ -149 or (1 + mantissa / 2 ^ 23) * 2 ^ (exponent - 127)
      half = gguf.f16(d >= 128 and -size or size)
      known[four] = half
    end
    return half
  end))
end

local half_in_antirez = { "^embed%.weight$", "hc_%a+_fn$", "%.ape$", "compressor%.w", "indexer%.w",
  "ffn%.gate%.weight$" }

--- What antirez files keep in half precision rounded to it: a model of its own, in either container.
function model.halved(entries)
  local out = {}
  for i, entry in ipairs(entries) do
    out[i] = entry
    for _, pattern in ipairs(half_in_antirez) do
      if entry.name:find(pattern) then
        out[i] = { name = entry.name, type = "F16", shape = entry.shape, bytes = f16_of(entry) }
      end
    end
  end
  return out
end

--- Blocks of MXFP4 from FP4 codes and their scales: bit for bit the same numbers. Byte i of a block holds the values i
-- and i + 16, byte k of the official form 2k and 2k + 1, low nibble first.
local function mxfp4(entry, scales)
  local out, low, high = {}, {}, {}
  for at = 0, #entry.bytes - 1, 16 do
    local codes = {}
    for i = 1, 16 do
      local byte = entry.bytes:byte(at + i)
      codes[2 * i - 1], codes[2 * i] = byte % 16, math.floor(byte / 16)
    end
    for i = 1, 16 do low[i], high[i] = codes[i], codes[i + 16] end
    for i = 1, 16 do codes[i] = string.char(low[i] + 16 * high[i]) end
    out[#out + 1] = scales.bytes:sub(at / 16 + 1, at / 16 + 1) .. table.concat(codes, "", 1, 16)
  end
  return table.concat(out)
end

--- The entries of model.entries with experts as MXFP4 blocks.
function model.with_mxfp4(name)
  local by_name, out = {}, {}
  for _, entry in ipairs(files.entries(name .. "/model.safetensors")) do by_name[entry.name] = entry end
  for i, entry in ipairs(model.entries(name)) do
    local codes = by_name[entry.name]
    out[i] = codes.type ~= "I8" and entry or { name = entry.name, type = "MXFP4", shape = entry.shape,
      bytes = mxfp4(codes, by_name[(entry.name:gsub("weight$", "scale"))]) }
  end
  return out
end

--- A matrix of BF16 as Q8_0, and as F32 with the numbers that this stands for.
function model.q8_0(entry)
  local blocks, numbers = {}, {}
  for at = 1, #entry.bytes, 64 do
    local values, largest = {}, 0
    for i = 0, 31 do
      local low, high = entry.bytes:byte(at + 2 * i, at + 2 * i + 1)
      local exponent = high % 128 * 2 + math.floor(low / 128)
      local size = exponent == 0 and low % 128 * 2 ^ -133 or (1 + low % 128 / 128) * 2 ^ (exponent - 127)
      values[i + 1] = high >= 128 and -size or size
      largest = math.max(largest, size)
    end
    local bits = gguf.float_bits(largest / 127, 5, 10)
    local d = bits < 1024 and bits * 2 ^ -24 or (1 + bits % 1024 / 1024) * 2 ^ (math.floor(bits / 1024) - 15)
    local parts = { gguf.integer(bits, 2) }
    for i = 1, 32 do
      local q = d == 0 and 0 or math.max(-127, math.min(127, math.floor(values[i] / d + 0.5)))
      parts[i + 1] = gguf.integer(q, 1)
      numbers[#numbers + 1] = gguf.f32(q == 0 and 0 or q * d)
    end
    blocks[#blocks + 1] = table.concat(parts)
  end
  return { name = entry.name, type = "Q8_0", shape = entry.shape, bytes = table.concat(blocks) },
    { name = entry.name, type = "F32", shape = entry.shape, bytes = table.concat(numbers) }
end

local merged = { w1 = "ffn_gate_exps", w2 = "ffn_down_exps", w3 = "ffn_up_exps" }

--- Tensors of a GGUF file from widened entries: norms as F32, hash tables as I32, experts of a layer as one tensor.
function model.tensors(entries)
  local out, wholes = {}, {}
  for _, entry in ipairs(entries) do
    local layer, expert, part = entry.name:match("^layers%.(%d+)%.ffn%.experts%.(%d+)%.(w%d)%.weight$")
    local type, bytes, shape = entry.type, entry.bytes, entry.shape
    if layer then
      local name = ("blk.%d.%s.weight"):format(layer, merged[part])
      if not wholes[name] then
        wholes[name] = { name = name, type = type, rows = shape, experts = 0 }
        out[#out + 1] = wholes[name]
      end
      wholes[name][expert + 1] = bytes
      wholes[name].experts = math.max(wholes[name].experts, expert + 1)
    else
      if type == "BF16" and #shape == 1 then type, bytes = "F32", f32_of_bf16(bytes) end
      if type == "I64" then type, bytes = "I32", (bytes:gsub("(....)....", "%1")) end
      out[#out + 1] = { name = model.name(entry.name), type = type, shape = shape, bytes = bytes }
    end
  end
  for _, whole in pairs(wholes) do
    whole.shape, whole.bytes = { whole.experts, whole.rows[1], whole.rows[2] }, table.concat(whole)
  end
  return out
end

--- Entries of a checkpoint of the oracle in one file, widened; made once.
local known = {}
function model.entries(name)
  known[name] = known[name] or model.widened(files.entries(name .. "/model.safetensors"))
  return known[name]
end

return model
