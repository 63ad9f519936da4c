--- What moonseek.convert is asked for: types by class, containers, the tokenizer; and what it refuses, by which words.
local support = require "spec.support"
local conversions = require "spec.convert.conversions"
local files = require "spec.format.files"
local gguf = require "spec.format.gguf_file"
local model = require "spec.format.gguf_model"
local moonseek = require "moonseek"
local internals = support.internals()

local new_path, convert, converted = conversions.new_path, conversions.convert, conversions.converted
local folder

before_each(function() folder = conversions.begin() end)
after_each(conversions.finish)

local function logits(path, numerics) return conversions.logits(path, numerics, "129") end

--- A folder with the tensors of `entries` and the configuration of an oracle's model, changed by patterns.
local function checkpoint(entries, name, changes)
  local path = new_path()
  assert(os.execute(("mkdir '%s'"):format(path)))
  local config = support.read_file(("spec/oracle/%s/config.json"):format(name))
  for pattern, replacement in pairs(changes or {}) do config = config:gsub(pattern, replacement) end
  support.write_file(path .. "/config.json", config)
  support.write_file(path .. "/model.safetensors", files.encode(entries))
  return path
end

local official_of = {
  experts = "layers.1.ffn.experts.3.w2.weight", attention = "layers.2.attn.indexer.wq_b.weight",
  compressors = "layers.2.attn.indexer.compressor.wgate.weight",
  shared = "layers.0.ffn.shared_experts.w1.weight", head = "head.weight", embedding = "embed.weight",
}

describe("a type for a class", function()
  for class, tensor in pairs(official_of) do
    for _, type in ipairs { "f32", "bf16", "f16", "q8_0", "iq4_nl", "mxfp4", "q4_k" } do
      if type ~= "q4_k" or class == "head" or class == "embedding" then     -- of the others some have rows of 128
        it(("writes %s as %s to GGUF, and nothing else"):format(class, type), function()
          local plain = assert(moonseek.probe(converted("spec/oracle/tiny", ".gguf")))
          local path = converted("spec/oracle/tiny", ".gguf", { [class] = type })
          local found = {}
          for name, t in pairs(assert(internals.checkpoint(path))) do found[name] = t.type end
          assert.equal(type:upper(), found[tensor])
          for other, name in pairs(official_of) do
            if other ~= class then assert.equal(other == "experts" and "MXFP4" or "BF16", found[name]) end
          end
          assert.equal(plain.parameters, assert(moonseek.probe(path)).parameters)
        end)
      end
    end
  end

  it("writes FP8 and FP4 from numbers that came from them so that nothing changes", function()
    local official = "spec/oracle/tiny"
    local wide = converted(official, ".gguf", { experts = "f32", attention = "f32", shared = "bf16" })
    local narrow = converted(wide, "", { experts = "fp4", attention = "fp8", shared = "fp8" })
    local types = assert(moonseek.probe(narrow)).types
    assert.same({ 144, 50 }, { types.I8.tensors, types.F8_E4M3.tensors })
    for _, numerics in ipairs { "reference", "exact" } do
      assert.is_true(logits(narrow, numerics) == logits(official, numerics), numerics)
    end
  end)

  it("widens for safetensors what these have no type for: the same numbers as float32", function()
    local q8 = converted("spec/oracle/tiny", ".gguf", { attention = "q8_0", shared = "q8_0", head = "q8_0" })
    local path = converted(q8)
    assert.is_nil(assert(moonseek.probe(path)).types.Q8_0)
    local again = converted(path, ".gguf", { attention = "q8_0", shared = "q8_0", head = "q8_0" })
    local before, after = assert(internals.checkpoint(q8)), assert(internals.checkpoint(again))
    for name, tensor in pairs(before) do
      assert.equal(tensor.type, after[name].type, name)
      assert.is_true(tensor.data == after[name].data, name)
    end
  end)

  it("gives the same bytes for every number of threads", function()
    local options = { experts = "q8_0", attention = "f16" }
    local one = support.read_file(converted("spec/oracle/tiny", ".gguf", options))
    for _, threads in ipairs { 0, 2, 5 } do
      options.threads = threads
      assert.is_true(one == support.read_file(converted("spec/oracle/tiny", ".gguf", options)), threads)
    end
  end)

  it("encodes on as many threads as are asked for, on one a physical core when none are", function()
    local function threads() return tonumber(support.read_file("/proc/self/status"):match("Threads:%s*(%d+)")) end
    local engine = assert(moonseek.open { path = "spec/oracle/tiny" })
    local cores = engine:info().threads
    engine:close()
    support.collect()
    local before = threads()
    for asked, expected in pairs { [0] = 1, [1] = 1, [3] = 3, [-1] = cores } do
      local most = 0
      local options = { threads = asked, on_progress = function() most = math.max(most, threads()) end }
      if asked < 0 then options.threads = nil end
      assert(moonseek.convert { source = "spec/oracle/tinystage", target = new_path(".gguf"), attention = "f16",
        threads = options.threads, on_progress = options.on_progress })
      assert.equal(expected - 1, most - before, asked)
    end
  end)

  it("does not care how it is written", function()
    assert(convert("spec/oracle/tinystage", new_path(".gguf"), { head = "F16" }))
  end)
end)

describe("a tokenizer", function()
  local texts = { "hello <think> 12345", "naïve 漢字 🙂\n\n  x", "<｜User｜>", "" }

  --- Ids of the texts and of a control token, in one list.
  local function ids(path)
    local tokenizer, list = assert(moonseek.tokenizer(path)), {}
    for _, text in ipairs(texts) do
      for _, id in ipairs(assert(tokenizer:encode(text)):totable()) do list[#list + 1] = id end
      list[#list + 1] = -1
    end
    for _, id in ipairs(assert(tokenizer:encode { { control = "<｜User｜>" } }):totable()) do list[#list + 1] = id end
    return list
  end

  it("goes into GGUF and comes back, with the model, the same", function()
    local pocket = "models/pocket"
    local path = converted(pocket, ".gguf")
    local back = converted(path)
    local again = converted(back, ".gguf")
    for _, place in ipairs { path, back, again } do assert.same(ids(pocket), ids(place), place) end
    local prompt = "What is 12 plus 30?"
    local answers = {}
    for i, place in ipairs { pocket, path, back } do
      local engine = assert(moonseek.open { path = place, threads = 1, numerics = "reference" })
      local session = assert(engine:session { context = 256 })
      assert(session:append(assert(engine:tokenizer():encode(prompt))))
      answers[i] = assert(session:logits()):bytes()
      engine:close()
    end
    assert.is_true(answers[1] == answers[2] and answers[1] == answers[3])
    local copy = support.read_file(converted(pocket) .. "/tokenizer.json")
    assert.is_true(copy == support.read_file(pocket .. "/tokenizer.json"))
  end)

  it("keeps special and user-defined tokens apart, and fills up to the model's rows", function()
    local path = new_path(".gguf")
    support.write_file(path, gguf.encode(model.keys(model.config("tiny")), model.tensors(model.entries("tiny"))))
    local json = support.read_file(converted(path) .. "/tokenizer.json")
    assert.matches('"content": "<think>",.-"special": false', json)
    local again = converted(converted(path), ".gguf")
    assert.truthy(support.read_file(again):find("[PAD", 1, true))
  end)
end)

describe("a chat template", function()
  local template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
  local config = '{ "chat_template": "{% for m in messages %}{{ m.content }}\\n{% endfor %}" }'

  for name, content in pairs { ["chat_template.jinja"] = template, ["tokenizer_config.json"] = config } do
    it("goes into GGUF from " .. name .. ", and comes back as a file", function()
      local path = checkpoint(files.entries("tinystage/model.safetensors"), "tinystage")
      support.write_file(path .. "/" .. name, content)
      local file = converted(path, ".gguf")
      assert.truthy(support.read_file(file):find("tokenizer.chat_template", 1, true))
      assert.equal(template, support.read_file(converted(file) .. "/chat_template.jinja"))
      assert.equal(content, support.read_file(converted(path) .. "/" .. name))
    end)
  end

  it("is refused when its file cannot be read", function()
    local path = checkpoint(files.entries("tinystage/model.safetensors"), "tinystage")
    support.write_file(path .. "/tokenizer_config.json", "{")
    local done, message, code = convert(path, new_path(".gguf"))
    assert.same({ nil, "EFORMAT" }, { done, code })
    assert.truthy(message:find(path .. "/tokenizer_config.json", 1, true), message)
  end)
end)

describe("moonseek.convert refuses", function()
  local function refused(message, code, source, target, options)
    local done, why, got = convert(source, target, options)
    assert.is_nil(done)
    assert.truthy(why:find(message, 1, true), why)
    assert.equal(code, got)
  end

  local tiny = "spec/oracle/tiny"

  it("types that the container lacks, with those that it has", function()
    refused("experts: 'fp4' is no type that GGUF files are written with: f32, bf16, f16, q8_0", "EINVAL", tiny,
      new_path(".gguf"), { experts = "fp4" })
    refused("head: 'q8_0' is no type that safetensors files are written with: f32, bf16, f16, fp8, fp4", "EINVAL", tiny,
      new_path(), { head = "q8_0" })
    refused("shared: 'int3' is no type", "EINVAL", tiny, new_path(".gguf"), { shared = "int3" })
  end)

  it("a target that exists, unless it is a file to be overwritten", function()
    local file, taken = new_path(".gguf"), new_path()
    support.write_file(file, "mine")
    refused(file .. ": exists already", "EINVAL", tiny, file)
    assert.equal("mine", support.read_file(file))
    assert(convert(tiny, file, { overwrite = true }))
    assert.equal(6, assert(moonseek.probe(file)).layers)
    assert(os.execute(("mkdir '%s' '%s'"):format(taken, taken .. ".gguf")))
    assert(convert(tiny, taken))                             -- an empty folder is no loss
    refused(taken .. ": is a folder with something in it", "EINVAL", tiny, taken, { overwrite = true })
    refused("is a folder, a GGUF model is written to a file", "EINVAL", tiny, taken .. ".gguf")
    support.write_file(taken .. "-file", "mine")
    refused("is a file, a safetensors model is written to a folder", "EINVAL", tiny, taken .. "-file")
  end)

  it("names that are neither", function()
    refused("a safetensors model is written to a folder", "EINVAL", tiny, folder .. "/x.safetensors")
    refused("target: is empty", "EINVAL", tiny, "")
    for _, target in ipairs { ".", "..", "./", folder .. "/.", "/" } do
      refused("a new folder cannot take this name", "EINVAL", tiny, target)
    end
    refused(folder .. "/none", "ENOENT", folder .. "/none", new_path(".gguf"))
    refused(folder .. "/none/x.gguf", "ENOENT", tiny, folder .. "/none/x.gguf")
  end)

  it("a type whose blocks do not divide the rows, by tensor and class", function()
    refused("layers.0.ffn.experts.0.w2.weight has rows of 128 values, no whole number of blocks of 256: give 'experts' "
      .. "another type, such as q8_0 or iq4_nl", "EINVAL", tiny, new_path(".gguf"), { experts = "q4_k" })
  end)

  for name, bytes in pairs { NaN = "\192\127", infinity = "\128\255" } do
    it(name .. " in a weight that becomes codes, by tensor, row and column; floats keep it", function()
      local entries = {}
      for i, entry in ipairs(model.entries("tinystage")) do
        entries[i] = entry
        if entry.name == "head.weight" then
          local width = entry.shape[2] * 2
          local at = 3 * width + 2 * 5
          entries[i] = { name = entry.name, type = entry.type, shape = entry.shape,
            bytes = entry.bytes:sub(1, at) .. bytes .. entry.bytes:sub(at + 3) }
        end
      end
      local path, target = checkpoint(entries, "tinystage"), new_path(".gguf")
      refused("head.weight has", "EUNSUPPORTED", path, target, { head = "q8_0" })
      refused("at row 3, column 5", "EUNSUPPORTED", path, new_path(".gguf"), { head = "q8_0" })
      assert.is_nil(io.open(target))
      assert(convert(path, new_path(".gguf")))
    end)
  end

  it("experts of several types, which GGUF has no form for, until one is given", function()
    local entries, wide = {}, {}
    for _, entry in ipairs(model.entries("tinystage")) do wide[entry.name] = entry end
    for _, entry in ipairs(files.entries("tinystage/model.safetensors")) do
      local stem = entry.name:match("^(layers%.0%.ffn%.experts%.0%.w1)")
      if not stem then entries[#entries + 1] = entry
      elseif entry.type == "I8" then entries[#entries + 1] = wide[entry.name] end
    end
    local path = checkpoint(entries, "tinystage")
    refused("give one for 'experts'", "EUNSUPPORTED", path, new_path(".gguf"))
    assert(convert(path, new_path(".gguf"), { experts = "bf16" }))
  end)
end)

it("a tied head becomes a tensor of its own in GGUF, which states none", function()
  local entries = {}
  for _, entry in ipairs(model.entries("tinystage")) do
    if entry.name ~= "head.weight" then entries[#entries + 1] = entry end
  end
  local path = checkpoint(entries, "tinystage", { ['"tie_word_embeddings": false'] = '"tie_word_embeddings": true' })
  local tokens = support.oracle_tokens("stage")
  local function result(place) return assert(internals.logits({ path = place, numerics = "exact" }, tokens, 64)) end
  assert.is_true(result(path) == result(converted(path, ".gguf")))
  assert.is_true(result(path) == result(converted(path)))
end)
