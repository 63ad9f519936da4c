--- Weights by name and shape: what a checkpoint must hold, on damaged copies of spec/oracle/tinystage.
local support = require "spec.support"
local files = require "spec.format.files"
local moonseek = require "moonseek"

local original = support.read_file("spec/oracle/tinystage/config.json")

describe("model_open", function()
  local folder

  before_each(function() folder = support.temporary_folder() end)
  after_each(function() support.remove(folder) end)

  --- A copy whose entries, by name, went through `change`.
  local function write(change, config)
    local entries, by_name = files.entries("tinystage/model.safetensors"), {}
    for _, entry in ipairs(entries) do by_name[entry.name] = entry end
    if change then change(by_name) end
    local kept = {}
    for _, entry in pairs(by_name) do kept[#kept + 1] = entry end
    support.write_file(folder .. "/model.safetensors", files.encode(kept))
    support.write_file(folder .. "/config.json", config or original)
  end

  local function refused(code, ...)
    local info, message, got = moonseek.probe(folder)
    assert.is_nil(info)
    assert.equal(code, got)
    for _, part in ipairs { ... } do
      assert.is_truthy(message:find(part, 1, true), ("'%s' does not name '%s'"):format(message, part))
    end
  end

  --- One 8-byte little-endian entry of the hash table replaced.
  local function set_route(entry, index, value)
    local at = index * 8
    local bytes = {}
    for i = 1, 8 do bytes[i] = string.char(value < 0 and 255 or (i == 1 and value or 0)) end
    entry.bytes = entry.bytes:sub(1, at) .. table.concat(bytes) .. entry.bytes:sub(at + 9)
  end

  it("takes the copy when nothing is wrong", function()
    write()
    local info = assert(moonseek.probe(folder))
    assert.equal(4, info.layers)
    assert.equal(0, info.ignored_tensors)
  end)

  for _, name in ipairs { "embed.weight", "norm.weight", "hc_head_scale", "layers.0.attn.wq_a.weight",
    "layers.1.attn.compressor.ape", "layers.1.attn.indexer.wq_b.weight", "layers.2.ffn.gate.bias",
    "layers.3.ffn.experts.3.w2.weight", "layers.0.ffn.gate.tid2eid" } do
    it("G21: names the missing tensor " .. name, function()
      write(function(tensors) tensors[name] = nil end)
      refused("EFORMAT", name, "missing")
    end)
  end

  for _, name in ipairs { "layers.0.attn.wkv.scale", "layers.2.ffn.experts.0.w1.scale" } do
    it("S09: names the missing scales " .. name, function()
      write(function(tensors) tensors[name] = nil end)
      refused("EFORMAT", name, "missing")
    end)
  end

  it("G21: refuses a transposed tensor and shows both shapes", function()
    write(function(tensors)
      local shape = tensors["layers.0.attn.wkv.weight"].shape
      shape[1], shape[2] = shape[2], shape[1]
    end)
    refused("EFORMAT", "layers.0.attn.wkv.weight", "[128, 96]", "[96, 128]")
  end)

  it("G21: refuses a norm stored in FP8", function()
    write(function(tensors)
      local norm = tensors["layers.0.attn_norm.weight"]
      norm.type, norm.bytes = "F8_E4M3", norm.bytes:sub(1, #norm.bytes / 2)
    end)
    refused("EUNSUPPORTED", "layers.0.attn_norm.weight", "F8_E4M3")
  end)

  it("G21: reports tensors that the model has no use for, and works", function()
    write(function(tensors)
      for _, name in ipairs { "mtp.0.enorm.weight", "vision.patch.weight" } do
        tensors[name] = { name = name, type = "BF16", shape = { 2 }, bytes = "\0\0\0\0" }
      end
    end)
    assert.equal(2, assert(moonseek.probe(folder)).ignored_tensors)
  end)

  it("S09: refuses shapes that config.json contradicts, naming tensor and both shapes", function()
    write(nil, (original:gsub('"q_lora_rank": 128', '"q_lora_rank": 64')))
    refused("EFORMAT", "layers.0.attn.wq_a.weight", "[128, 128]", "[64, 128]")
  end)

  it("G20: refuses a layer count that the tensors do not bear out", function()
    local longer = original:gsub('"num_hidden_layers": 4', '"num_hidden_layers": 5')
      :gsub('"compress_ratios": %[', '"compress_ratios": [0,')
    write(nil, longer)
    refused("EFORMAT", "layers.")
  end)

  it("G24: refuses hash routes to experts that do not exist", function()
    write(function(tensors) set_route(tensors["layers.1.ffn.gate.tid2eid"], 7, 4) end)
    refused("EFORMAT", "layers.1.ffn.gate.tid2eid", "token 3", "expert 4", "there are 4")
    write(function(tensors) set_route(tensors["layers.1.ffn.gate.tid2eid"], 0, -1) end)
    refused("EFORMAT", "layers.1.ffn.gate.tid2eid", "token 0", "expert -1")
  end)

  it("G24: refuses a hash route that takes one expert twice", function()
    write(function(tensors)
      set_route(tensors["layers.0.ffn.gate.tid2eid"], 0, 2)
      set_route(tensors["layers.0.ffn.gate.tid2eid"], 1, 2)
    end)
    refused("EFORMAT", "layers.0.ffn.gate.tid2eid", "token 0", "expert 2 twice")
  end)

  -- With check = true every number is read; without it, the logits of such a model are refused (R08).
  local damaged = {
    { "layers.1.attn.compressor.wkv.weight", "\192\127", "a NaN in BF16" },
    { "layers.0.hc_attn_fn", "\0\0\128\127", "an infinity in F32" },
    { "layers.0.attn.wq_b.weight", "\127", "a NaN in FP8" },
    { "layers.2.ffn.experts.1.w3.scale", "\255", "a NaN scale" },
  }
  for _, case in ipairs(damaged) do
    it("G22: finds " .. case[3] .. " with check = true, and names the tensor", function()
      write(function(tensors)
        local entry = tensors[case[1]]
        entry.bytes = case[2] .. entry.bytes:sub(#case[2] + 1)
      end)
      assert(moonseek.open { path = folder }):close()
      local engine, message, code = moonseek.open { path = folder, check = true }
      assert.is_nil(engine)
      assert.equal("EFORMAT", code)
      assert.is_truthy(message:find(case[1], 1, true), message)
    end)
  end

  it("G22: an all-zero tensor is sound", function()
    write(function(tensors)
      local entry = tensors["layers.0.attn.wq_a.weight"]
      entry.bytes = ("\0"):rep(#entry.bytes)
    end)
    assert(moonseek.open { path = folder, check = true }):close()
  end)

  it("S10: leaves the files as they were, whatever is computed from them", function()
    write()
    local before = support.read_file(folder .. "/model.safetensors")
    local engine = assert(moonseek.open { path = folder })
    local session = assert(engine:session { context = 64 })
    assert(session:append { 1, 2, 3 })
    assert(session:generate { max_tokens = 4, ignore_eos = true })
    session:close()
    engine:close()
    assert.is_true(before == support.read_file(folder .. "/model.safetensors"))
  end)

  it("gives the same logits for transformers and V3-style names as for the official ones", function()
    local tokens = support.oracle_tokens("stage")
    local function logits(path)
      return assert(support.internals().logits({ path = path, numerics = "fast" }, tokens, 64))
    end
    local expected = logits("spec/oracle/tinystage")
    for _, spelling in ipairs { files.as_v3, files.as_transformers } do
      local entries = files.entries("tinystage/model.safetensors")
      support.write_file(folder .. "/model.safetensors", files.encode(spelling(entries)))
      support.write_file(folder .. "/config.json", original)
      assert.is_true(expected == logits(folder))
    end
  end)
end)
