--- GGUF files in the full shape of V4-Flash that fit a small machine: 43 layers whose tensors share the bytes of a few,
-- with random weights. A step reads as much memory as one of the real file does, since layers that share bytes lie far
-- enough apart for every cache to forget them. For measuring alone: what such a model says means nothing.
--
--   lua5.4 bench/flash_gguf.lua KIND FILE
--
-- KIND   routed experts        other matrices   compressors   layers with bytes of their own   bytes
-- mxfp4  MXFP4                 Q8_0             F16           2                                9 GB
-- q4     MXFP4                 Q4_K             Q8_0          2                                8 GB
-- iq2    IQ2_XXS, down Q2_K    Q8_0             F16           4                                9 GB
-- l4     as iq2                Q8_0             F16           4, and there are no others       9 GB
--
-- The indexer's query matrix counts among the compressors, but in mxfp4 it is Q8_0: so llama.cpp's converter writes
-- what the release has in FP8; antirez' files, as which iq2 is, have it in F16.
package.path = "./bench/?.lua;" .. package.path
local release = require "release"

local flash_gguf = {}

local alignment = 32
local shape = release.flash
local top_k, streams = release.common.top_k, release.common.streams
local head, rotated, o_lora = release.common.head, 64, release.common.o_lora
local index_heads, index_head = release.common.index_heads, release.common.index_head

-- {== Types ======================================================================================

--- GGML's types: id, values and bytes a block, and a random block of moderate values. `draw(n)` is 0 to n - 1.
local types = {}

local function bytes_of(draw, count)
  local bytes = {}
  for i = 1, count do bytes[i] = string.char(draw(256)) end
  return table.concat(bytes)
end

--- A float16 of about 2^-10 times `scale`.
local function half(draw, scale)
  return ("<I2"):pack((5 + scale) * 1024 + draw(1024))
end

types.F32 = { id = 0, values = 1, bytes = 4, block = function(draw) return ("<f"):pack((draw(2001) - 1000) / 4000) end }
types.F16 = { id = 1, values = 1, bytes = 2,
  block = function(draw) return ("<I2"):pack((8 + draw(4)) * 1024 + draw(1024) + 32768 * draw(2)) end }
types.Q8_0 = { id = 8, values = 32, bytes = 34, block = function(draw) return half(draw, -1) .. bytes_of(draw, 32) end }
types.Q4_K = { id = 12, values = 256, bytes = 144,
  block = function(draw) return half(draw, -4) .. half(draw, -2) .. bytes_of(draw, 140) end }
types.Q2_K = { id = 10, values = 256, bytes = 84,
  block = function(draw) return bytes_of(draw, 80) .. half(draw, 0) .. half(draw, 0) end }
types.IQ2_XXS = { id = 16, values = 256, bytes = 66,
  block = function(draw) return half(draw, -1) .. bytes_of(draw, 64) end }
types.I32 = { id = 26, values = 1, bytes = 4 }
types.MXFP4 = { id = 39, values = 32, bytes = 17,
  block = function(draw) return string.char(119 + draw(2)) .. bytes_of(draw, 16) end }

local kinds = {
  mxfp4 = { layers = shape.layers, own = 2, gate = "MXFP4", up = "MXFP4", down = "MXFP4", index_query = "Q8_0" },
  q4 = { layers = shape.layers, own = 2, gate = "MXFP4", up = "MXFP4", down = "MXFP4",
    dense = "Q4_K", side = "Q8_0" },
  iq2 = { layers = shape.layers, own = 4, gate = "IQ2_XXS", up = "IQ2_XXS", down = "Q2_K" },
  l4 = { layers = 4, own = 4, gate = "IQ2_XXS", up = "IQ2_XXS", down = "Q2_K" },
}
for _, kind in pairs(kinds) do
  kind.dense, kind.side = kind.dense or "Q8_0", kind.side or "F16"
  kind.index_query = kind.index_query or kind.side
end

-- {== Tensors ====================================================================================

local function ratio_of(layer) return release.ratio_of(shape, layer) end

--- Calls add(name, type, dimensions...) for every tensor of a layer; dimensions as GGUF has them, inputs first.
local function each_of_layer(layer, kind, add)
  local width, wide = shape.width, shape.expert_width
  local ratio, lanes = ratio_of(layer), ratio_of(layer) == 4 and 2 or 1
  for _, part in ipairs { "attn", "ffn" } do
    add(("hc_%s_fn.weight"):format(part), "F16", streams * width, (2 + streams) * streams)
    add(("hc_%s_base.weight"):format(part), "F32", (2 + streams) * streams)
    add(("hc_%s_scale.weight"):format(part), "F32", 3)
    add(("%s_norm.weight"):format(part), "F32", width)
  end
  add("attn_q_a.weight", kind.dense, width, shape.q_lora)
  add("attn_q_a_norm.weight", "F32", shape.q_lora)
  add("attn_q_b.weight", kind.dense, shape.q_lora, shape.heads * head)
  add("attn_kv.weight", kind.dense, width, head)
  add("attn_kv_a_norm.weight", "F32", head)
  add("attn_sinks.weight", "F32", shape.heads)
  add("attn_output_a.weight", kind.dense, shape.heads * head / shape.o_groups, shape.o_groups * o_lora)
  add("attn_output_b.weight", kind.dense, shape.o_groups * o_lora, width)
  if ratio ~= 0 then
    add("attn_compressor_kv.weight", kind.side, width, lanes * head)
    add("attn_compressor_gate.weight", kind.side, width, lanes * head)
    add("attn_compressor_ape.weight", "F16", lanes * head, ratio)
    add("attn_compressor_norm.weight", "F32", head)
  end
  if ratio == 4 then
    add("indexer.attn_q_b.weight", kind.index_query, shape.q_lora, index_heads * index_head)
    add("indexer.proj.weight", kind.side, width, index_heads)
    add("indexer_compressor_kv.weight", kind.side, width, lanes * index_head)
    add("indexer_compressor_gate.weight", kind.side, width, lanes * index_head)
    add("indexer_compressor_ape.weight", "F16", lanes * index_head, ratio)
    add("indexer_compressor_norm.weight", "F32", index_head)
  end
  add("ffn_gate_inp.weight", "F16", width, shape.experts)
  if layer < shape.hash_layers then add("ffn_gate_tid2eid.weight", "I32", top_k, shape.vocabulary)
  else add("exp_probs_b.bias", "F32", shape.experts) end
  add("ffn_gate_exps.weight", kind.gate, width, wide, shape.experts)
  add("ffn_up_exps.weight", kind.up, width, wide, shape.experts)
  add("ffn_down_exps.weight", kind.down, wide, width, shape.experts)
  add("ffn_gate_shexp.weight", kind.dense, width, wide)
  add("ffn_up_shexp.weight", kind.dense, width, wide)
  add("ffn_down_shexp.weight", kind.dense, wide, width)
end

--- A list of tensors { name, type, dimensions, bytes, at }; `fresh` where the bytes are not another tensor's, too.
local function tensors_of(kind)
  local list, owners, seen, at = {}, {}, {}, 0
  local function add(name, share, type_name, ...)
    local kind_of, values = types[type_name], 1
    local tensor = { name = name, type = type_name, dimensions = { ... } }
    for i, size in ipairs(tensor.dimensions) do tensor.dimensions[i], values = math.tointeger(size), values * size end
    tensor.bytes = math.tointeger(values / kind_of.values * kind_of.bytes)
    tensor.at, tensor.fresh = owners[share], owners[share] == nil
    if tensor.fresh then
      owners[share], tensor.at = at, at
      at = at + tensor.bytes + -tensor.bytes % alignment
    end
    list[#list + 1] = tensor
  end
  local function alone(name, ...) add(name, name, ...) end
  alone("token_embd.weight", "F16", shape.width, shape.vocabulary)
  alone("output.weight", kind.dense, shape.width, shape.vocabulary)
  alone("output_norm.weight", "F32", shape.width)
  alone("output_hc_fn.weight", "F16", streams * shape.width, streams)
  alone("output_hc_base.weight", "F32", streams)
  alone("output_hc_scale.weight", "F32", 1)
  for layer = 0, kind.layers - 1 do
    each_of_layer(layer, kind, function(name, type_name, ...)
      local what = table.concat({ name, type_name, ... }, " ")  -- those of the same shape take turns
      seen[what] = (seen[what] or -1) + 1
      add(("blk.%d.%s"):format(layer, name), what .. " " .. seen[what] % kind.own, type_name, ...)
    end)
  end
  list.bytes = at
  return list
end

-- {== Metadata ===================================================================================

local function text(value) return ("<s8"):pack(value) end

local function key(name, id, packed) return text(name) .. ("<I4"):pack(id) .. packed end

local writers = {
  integer = function(name, value) return key(name, 4, ("<I4"):pack(value)) end,
  float = function(name, value) return key(name, 6, ("<f"):pack(value)) end,
  boolean = function(name, value) return key(name, 7, string.char(value and 1 or 0)) end,
  string = function(name, value) return key(name, 8, text(value)) end,
}

local function array(name, element, count, packed)
  return key(name, 9, ("<I4I8"):pack(element, count) .. packed)
end

--- The printable form that byte-level vocabularies give a byte.
local function byte_name(byte)
  local printable = byte >= 33 and byte <= 126 or byte >= 161 and byte <= 172 or byte >= 174
  if printable then return utf8.char(byte) end
  local before = 0
  for other = 0, byte - 1 do
    if not (other >= 33 and other <= 126 or other >= 161 and other <= 172 or other >= 174) then before = before + 1 end
  end
  return utf8.char(256 + before)
end

--- A vocabulary of single bytes and one merge, padded to the size of the real one.
local function vocabulary()
  local tokens, kinds_of = { "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>" }, {}
  for byte = 0, 255 do tokens[#tokens + 1] = byte_name(byte) end
  tokens[#tokens + 1] = "ab"
  local used = #tokens
  for i = 1, shape.vocabulary do
    tokens[i] = text(tokens[i] or ("<unused %d>"):format(i))
    kinds_of[i] = ("<i4"):pack((i <= 3 or i > used) and 3 or 1)
  end
  return table.concat(tokens), table.concat(kinds_of)
end

local function metadata_of(kind)
  local list = {}
  local function add(what, name, value) list[#list + 1] = writers[what](name, value) end
  local function model(what, name, value) add(what, "deepseek4." .. name, value) end
  add("string", "general.architecture", "deepseek4")
  add("string", "general.name", "random weights in the shape of DeepSeek-V4-Flash")
  add("integer", "general.alignment", alignment)
  for name, value in pairs {
    block_count = kind.layers, context_length = 1048576, embedding_length = shape.width,
    vocab_size = shape.vocabulary, hash_layer_count = shape.hash_layers, expert_count = shape.experts,
    expert_used_count = top_k, expert_shared_count = 1, expert_feed_forward_length = shape.expert_width,
    expert_gating_func = 4, feed_forward_length = shape.expert_width, nextn_predict_layers = 0,
    ["attention.head_count"] = shape.heads, ["attention.head_count_kv"] = 1, ["attention.key_length"] = head,
    ["attention.value_length"] = head, ["attention.q_lora_rank"] = shape.q_lora,
    ["attention.output_lora_rank"] = o_lora, ["attention.output_group_count"] = shape.o_groups,
    ["attention.sliding_window"] = 128, ["attention.indexer.head_count"] = index_heads,
    ["attention.indexer.key_length"] = index_head, ["attention.indexer.top_k"] = shape.index_top_k,
    ["rope.dimension_count"] = rotated, ["rope.scaling.original_context_length"] = 65536,
    ["hyper_connection.count"] = streams, ["hyper_connection.sinkhorn_iterations"] = 20,
  } do model("integer", name, value) end
  for name, value in pairs {
    ["attention.layer_norm_rms_epsilon"] = 1e-6, ["attention.compress_rope_freq_base"] = 160000,
    ["rope.freq_base"] = 10000, ["rope.scaling.factor"] = 16, ["rope.scaling.yarn_beta_fast"] = 32,
    ["rope.scaling.yarn_beta_slow"] = 1, ["expert_weights_scale"] = shape.route_scale,
    ["hyper_connection.epsilon"] = 1e-6,
  } do model("float", name, value) end
  model("string", "rope.scaling.type", "yarn")
  model("boolean", "expert_weights_norm", true)
  local ratios, limits = {}, {}
  for layer = 0, kind.layers - 1 do
    ratios[#ratios + 1], limits[#limits + 1] = ("<i4"):pack(ratio_of(layer)), ("<f"):pack(10)
  end
  list[#list + 1] = array("deepseek4.attention.compress_ratios", 5, kind.layers, table.concat(ratios))
  for _, name in ipairs { "swiglu_clamp_exp", "swiglu_clamp_shexp" } do
    list[#list + 1] = array("deepseek4." .. name, 6, kind.layers, table.concat(limits))
  end
  local tokens, kinds_of = vocabulary()
  add("string", "tokenizer.ggml.model", "gpt2")
  add("string", "tokenizer.ggml.pre", "deepseek-v3")
  list[#list + 1] = array("tokenizer.ggml.tokens", 8, shape.vocabulary, tokens)
  list[#list + 1] = array("tokenizer.ggml.token_type", 5, shape.vocabulary, kinds_of)
  list[#list + 1] = array("tokenizer.ggml.merges", 8, 1, text "a b")
  add("integer", "tokenizer.ggml.bos_token_id", 0)
  add("integer", "tokenizer.ggml.eos_token_id", 1)
  add("boolean", "tokenizer.ggml.add_bos_token", false)
  return list
end

-- {== The file ===================================================================================

--- Experts of every token: six neighbours somewhere.
local function hash_table(draw)
  local rows = {}
  for token = 1, shape.vocabulary do
    local first = draw(shape.experts)
    local row = {}
    for i = 1, top_k do row[i] = (first + i) % shape.experts end
    rows[token] = ("<i4i4i4i4i4i4"):pack(table.unpack(row))
  end
  return table.concat(rows)
end

--- A megabyte of a type's blocks, which tensors repeat; their number divides no row's.
local function chunk_of(type_name, draw)
  local kind, blocks = types[type_name], {}
  local count = (1 << 20) // kind.bytes | 1
  for i = 1, count do blocks[i] = kind.block(draw) end
  return table.concat(blocks)
end

local function write_random(file, bytes, chunk)
  for _ = 1, bytes // #chunk do assert(file:write(chunk)) end
  assert(file:write(chunk:sub(1, bytes % #chunk)))
end

--- Writes the file of `kind` ("mxfp4", "q4", "iq2", "l4") to `path`.
function flash_gguf.write(kind, path)
  local tensors, metadata = tensors_of(kinds[kind]), metadata_of(kinds[kind])
  local file, draw, chunks = assert(io.open(path, "wb")), release.generator(), {}
  local header = { "GGUF", ("<I4I8I8"):pack(3, #tensors, #metadata), table.concat(metadata) }
  for _, tensor in ipairs(tensors) do
    local dimensions = tensor.dimensions
    header[#header + 1] = text(tensor.name) .. ("<I4"):pack(#dimensions)
    for _, size in ipairs(dimensions) do header[#header + 1] = ("<I8"):pack(size) end
    header[#header + 1] = ("<I4I8"):pack(types[tensor.type].id, tensor.at)
  end
  local start = table.concat(header)
  assert(file:write(start, ("\0"):rep(-#start % alignment)))
  for _, tensor in ipairs(tensors) do
    if tensor.fresh then
      local chunk = tensor.type == "I32" and hash_table(draw) or chunks[tensor.type] or chunk_of(tensor.type, draw)
      if tensor.type ~= "I32" then chunks[tensor.type] = chunk end
      write_random(file, tensor.bytes, chunk)
      assert(file:write(("\0"):rep(-tensor.bytes % alignment)))
    end
  end
  assert(file:close())
end

--- Bytes that a generated token reads of a file of `kind`, with the head and without the embedding.
function flash_gguf.bytes_a_token(kind)
  local bytes = 0
  for _, tensor in ipairs(tensors_of(kinds[kind])) do
    local share = tensor.name:find("_exps.", 1, true) and top_k / shape.experts or 1
    local read = tensor.type ~= "I32" and tensor.name ~= "token_embd.weight"
    if read then bytes = bytes + tensor.bytes * share end
  end
  return bytes
end

if arg and arg[0] and arg[0]:find "flash_gguf%.lua$" then
  if not kinds[arg[1]] or not arg[2] then
    io.stderr:write("usage: lua5.4 bench/flash_gguf.lua mxfp4|q4|iq2|l4 FILE\n")
    os.exit(2)
  end
  flash_gguf.write(arg[1], arg[2])
end

return flash_gguf
