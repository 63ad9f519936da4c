--- Safetensors files made by hand: whole ones from entries, broken ones from a header's text. Names are
-- rewritten as V3-style files and as transformers spell them (specs/formats.md 2.2, 2.3).
local support = require "spec.support"

local files = {}

local alignment = { F32 = 4, F16 = 2, BF16 = 2, F64 = 8, I16 = 2, I32 = 4, I64 = 8 }

function files.u64(value)
  local bytes = {}
  for i = 1, 8 do
    bytes[i] = string.char(value % 256)
    value = math.floor(value / 256)
  end
  return table.concat(bytes)
end

--- A file of this header and this data, whatever they say.
function files.wrap(header, data)
  return files.u64(#header) .. header .. (data or "")
end

--- One tensor's JSON.
function files.entry(name, type, shape, first, last)
  return ('"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}'):format(name, type, table.concat(shape, ","),
    first, last)
end

--- A sound file of { name =, type =, shape =, bytes = } in any order.
function files.encode(entries)
  local sorted, texts, data, at = {}, {}, {}, 0
  for i, entry in ipairs(entries) do sorted[i] = entry end
  table.sort(sorted, function(a, b)
    local left, right = alignment[a.type] or 1, alignment[b.type] or 1
    if left ~= right then return left > right end
    return a.name < b.name
  end)
  for i, entry in ipairs(sorted) do
    texts[i] = files.entry(entry.name, entry.type, entry.shape, at, at + #entry.bytes)
    data[i] = entry.bytes
    at = at + #entry.bytes
  end
  local header = "{" .. table.concat(texts, ",") .. "}"
  return files.wrap(header .. (" "):rep(-#header % 8), table.concat(data))
end

--- Entries of a file of the oracle, sorted by name.
function files.entries(name)
  local entries = {}
  for key, tensor in pairs(support.oracle(name)) do
    entries[#entries + 1] = { name = key, type = tensor.type, shape = tensor.shape, bytes = tensor.bytes }
  end
  table.sort(entries, function(a, b) return a.name < b.name end)
  return entries
end

local function renamed(entry, name)
  return { name = name, type = entry.type, shape = entry.shape, bytes = entry.bytes }
end

function files.v3_name(name)
  name = name:gsub("%.attn%.", ".self_attn."):gsub("%.ffn%.", ".mlp."):gsub("%.scale$", ".weight_scale_inv")
  return "model." .. name:gsub("%.gate%.bias$", ".gate.e_score_correction_bias")
end

local transformers_globals = { ["embed.weight"] = "model.embed_tokens.weight", ["head.weight"] = "lm_head.weight",
  ["norm.weight"] = "model.norm.weight", hc_head_fn = "model.hc_head.hc_fn", hc_head_base = "model.hc_head.hc_base",
  hc_head_scale = "model.hc_head.hc_scale" }

--- Official stem, its transformers spelling.
local transformers_stems = {
  { "attn_norm", "input_layernorm" }, { "ffn_norm", "post_attention_layernorm" },
  { "hc_attn_fn", "attn_hc.fn" }, { "hc_attn_base", "attn_hc.base" }, { "hc_attn_scale", "attn_hc.scale" },
  { "hc_ffn_fn", "ffn_hc.fn" }, { "hc_ffn_base", "ffn_hc.base" }, { "hc_ffn_scale", "ffn_hc.scale" },
  { "attn.wq_a", "self_attn.q_a_proj" }, { "attn.q_norm", "self_attn.q_a_norm" },
  { "attn.wq_b", "self_attn.q_b_proj" }, { "attn.wkv", "self_attn.kv_proj" },
  { "attn.kv_norm", "self_attn.kv_norm" }, { "attn.wo_a", "self_attn.o_a_proj" },
  { "attn.wo_b", "self_attn.o_b_proj" }, { "attn.attn_sink", "self_attn.sinks" },
  { "attn.compressor.wkv", "self_attn.compressor.kv_proj" },
  { "attn.compressor.wgate", "self_attn.compressor.gate_proj" },
  { "attn.compressor.ape", "self_attn.compressor.position_bias" },
  { "attn.compressor.norm", "self_attn.compressor.kv_norm" },
  { "attn.indexer.wq_b", "self_attn.compressor.indexer.q_b_proj" },
  { "attn.indexer.weights_proj", "self_attn.compressor.indexer.scorer.weights_proj" },
  { "attn.indexer.compressor.wkv", "self_attn.compressor.indexer.kv_proj" },
  { "attn.indexer.compressor.wgate", "self_attn.compressor.indexer.gate_proj" },
  { "attn.indexer.compressor.ape", "self_attn.compressor.indexer.position_bias" },
  { "attn.indexer.compressor.norm", "self_attn.compressor.indexer.kv_norm" },
  { "ffn.gate.bias", "mlp.gate.e_score_correction_bias" }, { "ffn.gate", "mlp.gate" },
  { "ffn.shared_experts.w1", "mlp.shared_experts.gate_proj" },
  { "ffn.shared_experts.w3", "mlp.shared_experts.up_proj" },
  { "ffn.shared_experts.w2", "mlp.shared_experts.down_proj" },
}

function files.transformers_name(name)
  if transformers_globals[name] then return transformers_globals[name] end
  local block, rest = name:match("^(layers%.%d+%.)(.*)$")
  for _, pair in ipairs(transformers_stems) do
    local stem, spelling = pair[1], pair[2]
    local tail = rest:sub(#stem + 1)
    if rest:sub(1, #stem) == stem and (tail == "" or tail:sub(1, 1) == ".") then
      return "model." .. block .. spelling .. tail:gsub("^%.scale$", ".weight_scale_inv")
    end
  end
  error("no transformers name for " .. name)
end

--- The same tensors under V3-style names.
function files.as_v3(entries)
  local out = {}
  for i, entry in ipairs(entries) do out[i] = renamed(entry, files.v3_name(entry.name)) end
  return out
end

local fused = { w1 = { "gate_up_proj", 1 }, w3 = { "gate_up_proj", 2 }, w2 = { "down_proj", 1 } }

--- The same tensors as transformers writes them: all experts of a layer in one tensor, gate rows before up rows.
function files.as_transformers(entries)
  local out, wholes = {}, {}
  for _, entry in ipairs(entries) do
    local block, expert, part, leaf = entry.name:match("^(layers%.%d+%.)ffn%.experts%.(%d+)%.(w%d)%.(%a+)$")
    if not block then
      out[#out + 1] = renamed(entry, files.transformers_name(entry.name))
    else
      local stem, position = fused[part][1], fused[part][2]
      local name = "model." .. block .. "mlp.experts." .. stem .. (leaf == "scale" and "_scale_inv" or "")
      local whole = wholes[name] or { type = entry.type, parts = stem == "down_proj" and 1 or 2, experts = 0,
        rows = entry.shape[1], columns = entry.shape[2] }
      wholes[name] = whole
      whole[expert * whole.parts + position] = entry.bytes
      whole.experts = math.max(whole.experts, expert + 1)
    end
  end
  for name, whole in pairs(wholes) do
    out[#out + 1] = { name = name, type = whole.type, bytes = table.concat(whole),
      shape = { whole.experts, whole.parts * whole.rows, whole.columns } }
  end
  return out
end

--- Random integers below `limit`, the same ones in every run: a Lehmer generator.
function files.random(seed)
  local state = seed
  return function(limit)
    state = state * 16807 % 2147483647
    return state % limit
  end
end

return files
