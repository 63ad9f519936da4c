--- A checkpoint folder in the shape of a release of DeepSeek-V4, with zeros for weights: the file is sparse, takes
-- hardly any disk, and the engine opens it as it would the real one. For what depends on shapes alone: memory, names.
-- And two models small enough to hold weights, numbers drawn at random: a narrow one of two layers, four real layers.
local release = {}

--- What tells the shapes apart; everything else of config.json they share. `first_ratios`: of layers 0 and 1.
release.flash = {
  width = 4096, layers = 43, heads = 64, q_lora = 1024, o_groups = 8, index_top_k = 512, experts = 256,
  expert_width = 2048, route_scale = 1.5, first_ratios = { 0, 0 }, vocabulary = 129280, hash_layers = 3,
}
release.pro = {
  width = 7168, layers = 61, heads = 128, q_lora = 1536, o_groups = 16, index_top_k = 1024, experts = 384,
  expert_width = 3072, route_scale = 2.5, first_ratios = { 128, 128 }, vocabulary = 129280, hash_layers = 3,
}
release.narrow = { -- one layer of each kind that grows, with the rows and the indexer of V4-Flash
  width = 256, layers = 2, heads = 8, q_lora = 256, o_groups = 2, index_top_k = 512, experts = 8,
  expert_width = 128, route_scale = 1.5, first_ratios = { 4, 128 }, vocabulary = 512, hash_layers = 0, random = true,
}
release.l4 = { -- four layers of V4-Flash with a quarter of its experts
  width = 4096, layers = 4, heads = 64, q_lora = 1024, o_groups = 8, index_top_k = 512, experts = 64,
  expert_width = 2048, route_scale = 1.5, first_ratios = { 0, 0 }, vocabulary = 16384, hash_layers = 3, random = true,
}

--- What all of them share.
release.common = { head = 512, o_lora = 1024, index_heads = 64, index_head = 128, top_k = 6, streams = 4 }
local top_k, streams = release.common.top_k, release.common.streams
local head, o_lora = release.common.head, release.common.o_lora
local index_heads, index_head = release.common.index_heads, release.common.index_head

--- The compression ratio of a layer, from 0; the drafting block behind the last has none.
function release.ratio_of(shape, layer)
  if layer >= shape.layers then return 0 end
  if layer < 2 then return shape.first_ratios[layer + 1] end
  return layer % 2 == 0 and 4 or 128
end

local function config_of(shape)
  local ratios = {}
  for layer = 0, shape.layers do ratios[layer + 1] = release.ratio_of(shape, layer) end
  return ([[{ "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "vocab_size": %d,
"hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "num_key_value_heads": 1, "head_dim": %d,
"qk_rope_head_dim": 64, "q_lora_rank": %d, "o_groups": %d, "o_lora_rank": %d, "index_n_heads": %d,
"index_head_dim": %d, "index_topk": %d, "n_routed_experts": %d, "n_shared_experts": 1, "num_experts_per_tok": %d,
"moe_intermediate_size": %d, "routed_scaling_factor": %.1f, "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc",
"norm_topk_prob": true, "swiglu_limit": 10.0, "num_hash_layers": %d, "hc_mult": %d, "hc_sinkhorn_iters": 20,
"hc_eps": 1e-06, "rms_norm_eps": 1e-06, "sliding_window": 128, "rope_theta": 10000, "compress_rope_theta": 160000,
"rope_scaling": { "type": "yarn", "factor": 16, "original_max_position_embeddings": 65536, "beta_fast": 32,
"beta_slow": 1 }, "max_position_embeddings": 1048576, "num_nextn_predict_layers": 1, "expert_dtype": "fp4",
"quantization_config": { "quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0", "activation_scheme": "dynamic",
"weight_block_size": [128, 128] }, "hidden_act": "silu", "attention_bias": false, "tie_word_embeddings": false,
"bos_token_id": 0, "eos_token_id": 1, "compress_ratios": [%s] }
]]):format(shape.vocabulary, shape.width, shape.layers, shape.heads, head, shape.q_lora, shape.o_groups, o_lora,
    index_heads, index_head, shape.index_top_k, shape.experts, top_k, shape.expert_width, shape.route_scale,
    shape.hash_layers, streams, table.concat(ratios, ", "))
end

-- {== Tensors =====================================================================================

local element_bytes = { F32 = 4, BF16 = 2, F8_E4M3 = 1, F8_E8M0 = 1, I8 = 1, I64 = 8 }

--- A list of entries of a header; `add` takes a name, a type, and one or two dimensions.
local function new_list()
  local list = { bytes = 0 }
  function list.add(name, kind, rows, columns)
    local size = rows * (columns or 1) * element_bytes[kind]
    list[#list + 1] = ('"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%.0f,%.0f]}'):format(name, kind,
      columns and ("%d,%d"):format(rows, columns) or rows, list.bytes, list.bytes + size)
    list.places[#list.places + 1] = { name = name, kind = kind, at = list.bytes, size = size }
    list.bytes = list.bytes + size
  end
  list.places = {}
  return list
end

local function add_fp8(list, name, rows, columns)
  list.add(name .. ".weight", "F8_E4M3", rows, columns)
  list.add(name .. ".scale", "F8_E8M0", math.ceil(rows / 128), math.ceil(columns / 128))
end

local function add_fp4(list, name, rows, columns)
  list.add(name .. ".weight", "I8", rows, columns / 2)
  list.add(name .. ".scale", "F8_E8M0", rows, columns / 32)
end

local function add_hyper_connection(list, name, shape, mixes, scales)
  list.add(name .. "_fn", "F32", mixes, streams * shape.width)
  list.add(name .. "_base", "F32", mixes)
  list.add(name .. "_scale", "F32", scales)
end

local function add_compressor(list, prefix, shape, ratio, width)
  local lanes = ratio == 4 and 2 or 1
  list.add(prefix .. "ape", "F32", ratio, lanes * width)
  list.add(prefix .. "wkv.weight", "BF16", lanes * width, shape.width)
  list.add(prefix .. "wgate.weight", "BF16", lanes * width, shape.width)
  list.add(prefix .. "norm.weight", "BF16", width)
end

local function add_attention(list, prefix, shape, ratio)
  list.add(prefix .. "attn_sink", "F32", shape.heads)
  add_fp8(list, prefix .. "wq_a", shape.q_lora, shape.width)
  list.add(prefix .. "q_norm.weight", "BF16", shape.q_lora)
  add_fp8(list, prefix .. "wq_b", shape.heads * head, shape.q_lora)
  add_fp8(list, prefix .. "wkv", head, shape.width)
  list.add(prefix .. "kv_norm.weight", "BF16", head)
  add_fp8(list, prefix .. "wo_a", shape.o_groups * o_lora, shape.heads * head / shape.o_groups)
  add_fp8(list, prefix .. "wo_b", shape.width, shape.o_groups * o_lora)
  if ratio ~= 0 then add_compressor(list, prefix .. "compressor.", shape, ratio, head) end
  if ratio ~= 4 then return end
  add_fp8(list, prefix .. "indexer.wq_b", index_heads * index_head, shape.q_lora)
  list.add(prefix .. "indexer.weights_proj.weight", "BF16", index_heads, shape.width)
  add_compressor(list, prefix .. "indexer.compressor.", shape, ratio, index_head)
end

local function add_expert(list, name, shape, add)
  add(list, name .. ".w1", shape.expert_width, shape.width)
  add(list, name .. ".w2", shape.width, shape.expert_width)
  add(list, name .. ".w3", shape.expert_width, shape.width)
end

local function add_layer(list, prefix, shape, layer)
  local mixes = (2 + streams) * streams
  add_hyper_connection(list, prefix .. "hc_attn", shape, mixes, 3)
  add_hyper_connection(list, prefix .. "hc_ffn", shape, mixes, 3)
  list.add(prefix .. "attn_norm.weight", "BF16", shape.width)
  list.add(prefix .. "ffn_norm.weight", "BF16", shape.width)
  add_attention(list, prefix .. "attn.", shape, release.ratio_of(shape, layer))
  list.add(prefix .. "ffn.gate.weight", "BF16", shape.experts, shape.width)
  if layer < shape.hash_layers then list.add(prefix .. "ffn.gate.tid2eid", "I64", shape.vocabulary, top_k)
  else list.add(prefix .. "ffn.gate.bias", "F32", shape.experts) end
  add_expert(list, prefix .. "ffn.shared_experts", shape, add_fp8)
  for expert = 0, shape.experts - 1 do add_expert(list, prefix .. "ffn.experts." .. expert, shape, add_fp4) end
end

--- The drafting block: a layer of its own with two projections, which the trunk does not use.
local function add_drafting_block(list, shape)
  add_layer(list, "mtp.0.", shape, shape.layers)
  add_fp8(list, "mtp.0.e_proj", shape.width, shape.width)
  add_fp8(list, "mtp.0.h_proj", shape.width, shape.width)
  for _, name in ipairs { "enorm", "hnorm", "norm" } do list.add("mtp.0." .. name .. ".weight", "BF16", shape.width) end
  add_hyper_connection(list, "mtp.0.hc_head", shape, streams, 1)
end

local function tensors_of(shape)
  local list = new_list()
  list.add("embed.weight", "BF16", shape.vocabulary, shape.width)
  list.add("head.weight", "BF16", shape.vocabulary, shape.width)
  list.add("norm.weight", "BF16", shape.width)
  add_hyper_connection(list, "hc_head", shape, streams, 1)
  for layer = 0, shape.layers - 1 do add_layer(list, ("layers.%d."):format(layer), shape, layer) end
  add_drafting_block(list, shape)
  return list
end

--- Bytes of the layers that a generated token reads: of the routed experts those it chooses.
function release.bytes_a_token(shape)
  local bytes = 0
  for _, place in ipairs(tensors_of(shape).places) do
    local layer = place.name:match "^layers%."
    local share = place.name:find(".experts.", 1, true) and top_k / shape.experts or 1
    if layer and place.kind ~= "I64" then bytes = bytes + place.size * share end
  end
  return bytes
end

-- {== Files =======================================================================================

local function little_endian(value)
  local bytes = {}
  for i = 1, 8 do
    bytes[i] = string.char(value % 256)
    value = math.floor(value / 256)
  end
  return table.concat(bytes)
end

--- Experts of every token, six neighbours: hash tables are the one thing whose contents are checked at open.
local function hash_table(shape, size, draw)
  local rows = {}
  for token = 1, size / (top_k * 8) do
    local row, first = {}, shape.random and draw(shape.experts) or 0
    for i = 0, top_k - 1 do row[i + 1] = little_endian((first + i) % shape.experts) end
    rows[token] = table.concat(row)
  end
  return table.concat(rows)
end

--- Elements of a random weight, as bytes: of either sign and a moderate size in every type.
local random_element = {
  F32 = function(draw) return string.char(0, draw(256), draw(128), 60 + 128 * draw(2)) end,
  BF16 = function(draw) return string.char(draw(256), 60 + draw(2) + 128 * draw(2)) end,
  F8_E4M3 = function(draw) return string.char(draw(120) + 128 * draw(2)) end,
  F8_E8M0 = function() return string.char(118) end,
  I8 = function(draw) return string.char(draw(256)) end, -- two E2M1 codes
}

--- Numbers from 0 to n - 1, the same ones everywhere (Park and Miller's generator).
function release.generator()
  local state = 1
  return function(n)
    state = state * 16807 % 2147483647
    return math.floor(state / 2147483647 * n)
  end
end

--- The same few thousand numbers again and again; no row of a weight has a length that divides theirs.
local function random_weight(place, draw)
  local block, element = {}, random_element[place.kind]
  for i = 1, 8191 do block[i] = element(draw) end
  return table.concat(block):rep(math.ceil(place.size / (8191 * element_bytes[place.kind]))):sub(1, place.size)
end

--- Writes config.json and model.safetensors of `shape` into `folder`, which exists; a sparse file, but for a shape with
-- random weights. True; nil and why where the file system has no such files.
function release.write(shape, folder)
  local config = assert(io.open(folder .. "/config.json", "wb"))
  assert(config:write(config_of(shape)))
  assert(config:close())
  local list = tensors_of(shape)
  local header = "{" .. table.concat(list, ",") .. "}"
  header = header .. (" "):rep(-#header % 8) -- so that the data is aligned
  local file = assert(io.open(folder .. "/model.safetensors", "wb"))
  assert(file:write(little_endian(#header), header))
  local start, draw = 8 + #header, release.generator()
  for _, place in ipairs(list.places) do
    if place.kind == "I64" or shape.random then
      assert(file:seek("set", start + place.at))
      assert(file:write(place.kind == "I64" and hash_table(shape, place.size, draw) or random_weight(place, draw)))
    end
  end
  local ok, message = file:seek("set", start + list.bytes - 1)
  if ok then ok, message = file:write("\0") end
  local closed, problem = file:close()
  if not (ok and closed) then return nil, message or problem end
  return true
end

return release
