--- moonseek.convert: the same model in another container. What is computed is what says that it is the same.
local json = require "moonseek.json"
local support = require "spec.support"
local conversions = require "spec.convert.conversions"
local files = require "spec.format.files"
local gguf = require "spec.format.gguf_file"
local model = require "spec.format.gguf_model"
local moonseek = require "moonseek"
local internals = support.internals()

local converted, logits = conversions.converted, conversions.logits
local folder

before_each(function() folder = conversions.begin() end)
after_each(conversions.finish)

--- How many tensors have a type, as the engine reads the file.
local function types(path)
  local numbers = {}
  for name, of_type in pairs(assert(moonseek.probe(path)).types) do numbers[name] = of_type.tensors end
  return numbers
end

--- Tensors of a folder in one shard, by official name.
local function tensors(path)
  return support.tensors(path .. "/model.safetensors")
end

--- Both hold the same tensors: names, types, shapes and bytes.
local function assert_same(expected, got)
  for name, tensor in pairs(expected) do
    assert(got[name], name .. " is missing")
    assert.same({ tensor.type, tensor.shape }, { got[name].type, got[name].shape }, name)
    assert.is_true(tensor.bytes == got[name].bytes, name)
  end
  for name in pairs(got) do assert(expected[name], name .. " is new") end
end

describe("without options", function()
  it("a GGUF file computes the bits of the official checkpoint, and of the same numbers in exact", function()
    for name, tokens in pairs { tiny = "129", tinystage = "stage" } do
      local official = "spec/oracle/" .. name
      local path = converted(official, ".gguf")
      assert.is_true(logits(path, "reference", tokens) == logits(official, "reference", tokens), name)
      support.write_file(folder .. "/model.safetensors", files.encode(model.entries(name)))
      support.write_file(folder .. "/config.json", support.read_file(official .. "/config.json"))
      assert.is_true(logits(path, "exact", tokens) == logits(folder, "exact", tokens), name)
    end
  end)

  it("a GGUF file states every key with the type that llama.cpp asks for", function()
    local config = model.config("tinystage")
    local bytes = support.read_file(converted("spec/oracle/tinystage", ".gguf"))
    local ratios = { "array", { "i32", config.compress_ratios } }      -- as many as there are blocks
    for _, key in ipairs(model.keys(config, { tokenizer = false, without = { ["general.name"] = true },
      with = { ["deepseek4.attention.compress_ratios"] = ratios } })) do
      assert.truthy(bytes:find(gguf.pair(key[1], key[2], key[3]), 1, true), key[1])
    end
  end)

  it("FP4 experts come back from MXFP4 bit for bit, FP8 as the BF16 of the same numbers, all else as it was", function()
    local official, expected = support.oracle("tiny/model.safetensors"), {}
    for _, entry in ipairs(model.entries("tiny")) do expected[entry.name] = entry end
    for name, tensor in pairs(official) do
      if name:find("%.experts%.") then expected[name] = tensor end
    end
    for _, tensor in pairs(expected) do
      if tensor.type == "BF16" and #tensor.shape == 1 then       -- vectors are float32 in GGUF files
        tensor.type, tensor.bytes = "F32", tensor.bytes:gsub("..", "\0\0%0")
      end
    end
    local back = converted(converted("spec/oracle/tiny", ".gguf"))
    assert_same(expected, tensors(back))
    assert.is_true(logits(back, "reference", "129") == logits("spec/oracle/tiny", "reference", "129"))
  end)

  it("a checkpoint is copied tensor by tensor, whatever its shards and spellings were", function()
    local copy = converted("spec/oracle/tiny")
    assert_same(support.oracle("tiny/model.safetensors"), tensors(copy))
    assert.is_true(logits(copy, "fast", "129") == logits("spec/oracle/tiny", "fast", "129"))
    local from_shards = converted("spec/oracle/tinypro")
    assert.is_true(logits(from_shards, "fast", "129") == logits("spec/oracle/tinypro", "fast", "129"))
  end)

  it("a checkpoint is divided into shards with an index, codes beside their scales, every tensor aligned", function()
    local path = converted("spec/oracle/tiny", "", { shard_bytes = 300000 })
    local index = assert(json.decode(support.read_file(path .. "/model.safetensors.index.json")))
    local expected, got, shards, bytes = support.oracle("tiny/model.safetensors"), {}, 0, 0
    local seen = {}
    for name, shard in pairs(index.weight_map) do
      seen[shard] = seen[shard] or support.tensors(path .. "/" .. shard)
      got[name], bytes = seen[shard][name], bytes + #seen[shard][name].bytes
      local scale = name:gsub("weight$", "scale")
      if expected[scale] then assert.equal(shard, index.weight_map[scale]) end
    end
    for shard in pairs(seen) do
      shards = shards + 1
      assert.matches("^model%-000%d%d%-of%-000%d%d%.safetensors$", shard)
    end
    assert_same(expected, got)
    assert.equal(bytes, index.metadata.total_size)
    assert.is_true(shards > 5, shards)
    for name, tensor in pairs(assert(internals.checkpoint(path))) do assert.equal(0, tensor.misaligned, name) end
    assert.is_true(logits(path, "fast", "129") == logits("spec/oracle/tiny", "fast", "129"))
  end)

  it("other spellings and fused experts become the official names", function()
    local entries = files.entries("tinystage/model.safetensors")
    local config = support.read_file("spec/oracle/tinystage/config.json")
    for name, spelled in pairs { v3 = files.as_v3(entries), transformers = files.as_transformers(entries) } do
      support.write_file(folder .. "/model.safetensors", files.encode(spelled))
      support.write_file(folder .. "/config.json", config)
      assert_same(support.oracle("tinystage/model.safetensors"), tensors(converted(folder)))
      assert(assert(moonseek.probe(converted(folder, ".gguf"))).types.MXFP4, name)
    end
  end)

  it("a GGUF model in parts becomes one file, and a wo_a in groups the matrix that it is", function()
    local list = model.tensors(model.entries("tinystage"))
    local o_groups = model.config("tinystage").o_groups
    for _, tensor in ipairs(list) do
      if tensor.name:find("attn_output_a", 1, true) then
        tensor.shape = { o_groups, tensor.shape[1] / o_groups, tensor.shape[2] }
      end
    end
    local halves = { {}, {} }
    for i, tensor in ipairs(list) do table.insert(halves[i % 2 + 1], tensor) end
    for number = 1, 2 do
      local keys = number == 1 and model.keys(model.config("tinystage")) or {}
      keys[#keys + 1] = { "split.no", "u16", number - 1 }
      keys[#keys + 1] = { "split.count", "u16", 2 }
      keys[#keys + 1] = { "split.tensors.count", "i32", #list }
      support.write_file(("%s/m-%05d-of-00002.gguf"):format(folder, number), gguf.encode(keys, halves[number]))
    end
    local path = converted(folder .. "/m-00002-of-00002.gguf", ".gguf")
    assert.is_nil(support.read_file(path):find("split.", 1, true))
    assert.is_true(logits(path, "exact", "stage") == logits(folder .. "/m-00001-of-00002.gguf", "exact", "stage"))
    for name, tensor in pairs(assert(internals.checkpoint(path))) do
      assert(#tensor.shape <= 2, name)
    end
  end)

  it("a GGUF model loses its blocks for drafting, and the numbers that lists have for them", function()
    local config = model.config("tinystage")
    local layers, limits, ratios = config.num_hidden_layers, {}, {}
    for i = 1, layers + 1 do limits[i], ratios[i] = config.swiglu_limit, config.compress_ratios[i] or 0 end
    local list, own = model.tensors(model.entries("tinystage")), {}
    for _, leaf in ipairs { "attn_norm", "nextn.eh_proj" } do
      local name = ("blk.%d.%s.weight"):format(layers, leaf)
      list[#list + 1] = { name = name, type = "F32", shape = { 1 }, bytes = "0000" }
    end
    for key, value in pairs { block_count = { "u32", layers + 1 }, nextn_predict_layers = { "u32", 1 },
      swiglu_clamp_exp = { "array", { "f32", limits } }, swiglu_clamp_shexp = { "array", { "f32", limits } },
      ["attention.compress_ratios"] = { "array", { "i32", ratios } } } do
      own["deepseek4." .. key] = value
    end
    local path = folder .. "/drafting.gguf"
    support.write_file(path, gguf.encode(model.keys(config, { with = own }), list))
    local bytes = support.read_file(converted(path, ".gguf"))
    for _, key in ipairs { "swiglu_clamp_exp", "swiglu_clamp_shexp", "attention.compress_ratios" } do
      local _, at = bytes:find(key, 1, true)
      assert.equal(layers, bytes:byte(at + 9), key)              -- behind the types of the value and of its elements
    end
    assert.is_nil(bytes:find("nextn.eh_proj", 1, true))
  end)

  it("a GGUF file is copied: the same key/values and bytes, block types as they are", function()
    local q8 = converted("spec/oracle/tiny", ".gguf", { attention = "q8_0", shared = "q8_0" })
    local copy = converted(q8, ".gguf")
    assert.is_true(support.read_file(q8) == support.read_file(copy))
    assert.equal(6 * 5 + 2 + 6 * 3, types(copy).Q8_0)          -- two of the six layers have an indexer
  end)
end)
