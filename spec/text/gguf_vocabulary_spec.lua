--- The tokenizer of a GGUF file (specs/conversation.md 1.10): that of the tokenizer.json it was made from.
local core = require "moonseek.core"
local json = require "moonseek.json"
local support = require "spec.support"
local faults = require "spec.faults"
local refusals = require "spec.refusals"
local files = require "spec.text.files"
local gguf = require "spec.format.gguf_file"
local model = require "spec.format.gguf_model"
local internals = support.internals()

--- Key/values that a converter makes of a tokenizer.json: control tokens by their flag or their looks.
local function convert(path)
  local source = assert(json.decode(support.read_file(path)))
  local tokens, types, merges = {}, {}, {}
  local vocab = source.model.vocab
  for _, text in ipairs(json.keys(vocab)) do tokens[vocab[text] + 1], types[vocab[text] + 1] = text, 1 end
  for _, token in ipairs(source.added_tokens) do
    local control = token.special or token.content:find("^<[|｜].*[|｜]>$")
    tokens[token.id + 1], types[token.id + 1] = token.content, control and 3 or 4
  end
  for i, merge in ipairs(source.model.merges) do
    merges[i] = type(merge) == "string" and merge or merge[1] .. " " .. merge[2]
  end
  return { { "tokenizer.ggml.model", "string", "gpt2" }, { "tokenizer.ggml.pre", "string", "joyai-llm" },
    { "tokenizer.ggml.tokens", "array", { "string", tokens } },
    { "tokenizer.ggml.token_type", "array", { "i32", types } },
    { "tokenizer.ggml.merges", "array", { "string", merges } } }
end

--- What moonseek.tokenizer returns for a file of these keys; then its path.
local function open(keys)
  local path = os.tmpname()
  support.write_file(path, gguf.encode(keys, {}))
  local tokenizer, message, code = core.tokenizer(path)
  os.remove(path)
  return tokenizer, message, code, path
end

--- Keys of 262 tokens: bos, eos, the bytes, "he", "hel", <think>, one unused. `changes`: key -> { kind, value },
-- or false: left out.
local function keys_with(changes)
  local keys = {}
  for _, key in ipairs(model.tokenizer(262)) do
    local change = changes and changes[key[1]]
    if change then keys[#keys + 1] = { key[1], change[1], change[2] }
    elseif change == nil then keys[#keys + 1] = key
    end
  end
  return keys
end

--- One entry of an array replaced (index from 0), added behind the last with index nil.
local function with_entry(key, index, value)
  local full = "tokenizer.ggml." .. key
  for _, pair in ipairs(model.tokenizer(262)) do
    if pair[1] == full then
      local list = { (table.unpack or unpack)(pair[3][2]) } -- luacheck: ignore 113
      list[(index or #list) + 1] = value
      return { [full] = { "array", { pair[3][1], list } } }
    end
  end
end

local function refuses(changes, code, part)
  local tokenizer, message, got, path = open(keys_with(changes))
  refusals.check(path, code, part, tokenizer, message, got)
end

describe("the tokenizer of a GGUF file", function()
  for _, name in ipairs { "disordered", "shuffled", "deepseek-v4" } do
    it(("cuts every text as tokenizer.json of %s does, which the reference has cut"):format(name), function()
      local source = ("spec/data/%s-tokenizer.json"):format(name)
      local expected, tokenizer = assert(core.tokenizer(source)), assert(open(convert(source)))
      assert.equal(#expected, #tokenizer)
      for id = 0, #expected - 1 do
        local text = expected:decode { id }
        if text ~= tokenizer:decode { id } or expected:token(text) ~= tokenizer:token(text) then error("id " .. id) end
      end
      local count = 0
      for text, ids in files.vectors(name .. "-vectors.txt") do
        count = count + 1
        if count % 8 == 0 and ids ~= table.concat(tokenizer:encode(text):totable(), " ") then error(text) end
      end
    end)
  end

  it("takes control and user-defined tokens by name only", function()
    local tokenizer = assert(open(keys_with()))
    assert.same({ 0, 260 }, { tokenizer:token("<｜begin▁of▁sentence｜>"), tokenizer:token("<think>") })
    assert.is_nil(tokenizer:token("[PAD261]"))
    assert.same({ 260, 259, 110, 113 }, tokenizer:encode({ { control = "<think>" }, "hello" }):totable())
    local text = tokenizer:encode("<think>"):totable()
    assert.equal(7, #text)
    for _, id in ipairs(text) do assert.is_true(id ~= 260) end
  end)

  for _, pre in ipairs { "joyai-llm", "deepseek-v3", "hunyuan-dense" } do
    it("takes the pre-tokenizer " .. pre, function()
      assert(open(keys_with { ["tokenizer.ggml.pre"] = { "string", pre } }))
    end)
  end

  it("is that of the engine", function()
    local path = os.tmpname()
    support.write_file(path, gguf.encode(model.keys(model.config("tiny")), model.tensors(model.entries("tiny"))))
    local engine = assert(require("moonseek").open { path = path })
    assert.same({ 259, 110, 113 }, engine:tokenizer():encode("hello"):totable())
    engine:close()
    os.remove(path)
  end)

  it("needs nothing but the key/values", function()
    local path = os.tmpname()
    local bytes = gguf.encode(model.keys(model.config("tiny")), model.tensors(model.entries("tiny")))
    support.write_file(path, bytes:sub(1, 60000))
    assert.equal(512, #assert(core.tokenizer(path)))
    os.remove(path)
  end)

  local unsupported = {
    { "another model", { ["tokenizer.ggml.model"] = { "string", "llama" } },
      "tokenizer.ggml.model is 'llama', supported is 'gpt2'" },
    { "another pre-tokenizer", { ["tokenizer.ggml.pre"] = { "string", "qwen2" } },
      "tokenizer.ggml.pre is 'qwen2', supported are 'joyai-llm', 'deepseek-v3' and 'hunyuan-dense'" },
    { "a vocabulary without a byte", with_entry("tokens", 2 + 65, "xyz"),
      "tokenizer.ggml.tokens has no token for the byte 0x41" },
    { "a merge with a control token", with_entry("merges", nil, "h <think>"), 'has the control token' },
  }
  for _, row in ipairs(unsupported) do
    it("G24: refuses " .. row[1], function() refuses(row[2], row[4] or "EUNSUPPORTED", row[3]) end)
  end

  local wrong = {
    { "no model", { ["tokenizer.ggml.model"] = false }, "tokenizer.ggml.model is missing" },
    { "no pre-tokenizer", { ["tokenizer.ggml.pre"] = false }, "tokenizer.ggml.pre is missing" },
    { "no tokens", { ["tokenizer.ggml.tokens"] = false }, "tokenizer.ggml.tokens is missing" },
    { "no types", { ["tokenizer.ggml.token_type"] = false }, "tokenizer.ggml.token_type is missing" },
    { "no merges", { ["tokenizer.ggml.merges"] = false }, "tokenizer.ggml.merges is missing" },
    { "a model that is a number", { ["tokenizer.ggml.model"] = { "u32", 2 } }, "is of type u32, a string is needed" },
    { "tokens that are numbers", { ["tokenizer.ggml.tokens"] = { "array", { "i32", { 1 } } } },
      "is an array of i32, an array of strings is needed" },
    { "types that are bytes", { ["tokenizer.ggml.token_type"] = { "array", { "u8", { 1 } } } }, "is an array of u8" },
    { "fewer types than tokens", { ["tokenizer.ggml.token_type"] = { "array", { "i32", { 3, 3, 1 } } } },
      "tokenizer.ggml.tokens has 262 entries, tokenizer.ggml.token_type has 3" },
    { "no token at all", { ["tokenizer.ggml.tokens"] = { "array", { "string", {} } },
      ["tokenizer.ggml.token_type"] = { "array", { "i32", {} } } }, "tokenizer.ggml.tokens is empty" },
    { "a type 0", with_entry("token_type", 5, 0), "tokenizer.ggml.token_type[5] is 0, which no token" },
    { "a type -1", with_entry("token_type", 5, -1), "tokenizer.ggml.token_type[5] is -1" },
    { "a byte token as of other vocabularies", with_entry("token_type", 5, 6), "tokenizer.ggml.token_type[5] is 6" },
    { "one token twice", with_entry("tokens", 259, "he"),
      'tokenizer.ggml.tokens[259] repeats tokenizer.ggml.tokens[258]: "he"' },
    { "one control token twice", with_entry("tokens", 1, "<｜begin▁of▁sentence｜>"),
      "tokens[1] repeats tokenizer.ggml.tokens[0]" },
    { "a control token that is a text token, too", with_entry("tokens", 260, "he"),
      'tokens[260] repeats tokenizer.ggml.tokens[258]: "he"' },
    { "an empty token", with_entry("tokens", 259, ""), "the token of id 259 is empty" },
    { "an empty control token", with_entry("tokens", 260, ""), "the token of id 260 is empty" },
    { "a token longer than 64 KiB", with_entry("tokens", 259, ("a"):rep(65537)), "has 65537 bytes, at most 65536" },
    { "a token that is no UTF-8", with_entry("tokens", 259, "h\255"), "tokenizer.ggml.tokens[259]: \"h" },
    { "a token with a NUL", with_entry("tokens", 259, "h\0e"), "holds a NUL at byte 1" },
    { "a token of characters that stand for no byte", with_entry("tokens", 259, "h e"), "has the character U+0020" },
    { "a merge of unknown tokens", with_entry("merges", nil, "zz z"), '"zz" is not in tokenizer.ggml.tokens' },
    { "a merge into an unknown token", with_entry("merges", nil, "z z"), '"zz" is not in tokenizer.ggml.tokens' },
    { "a merge that is there twice", with_entry("merges", nil, "h e"),
      "tokenizer.ggml.merges[2] repeats tokenizer.ggml.merges[0]" },
    { "a merge of one token", with_entry("merges", nil, "he"), "tokenizer.ggml.merges[2] is not two tokens" },
    { "a merge of three tokens", with_entry("merges", nil, "h e l"), "tokenizer.ggml.merges[2] is not two tokens" },
    { "a merge that is no UTF-8", with_entry("merges", nil, "h \255"), "tokenizer.ggml.merges[2]" },
  }
  for _, row in ipairs(wrong) do
    it("G24: refuses " .. row[1], function() refuses(row[2], "EFORMAT", row[3]) end)
  end

  it("survives the failure of any allocation", function()
    local path = os.tmpname()
    support.write_file(path, gguf.encode(keys_with(), {}))
    faults.each(internals.fail_allocation, function() return core.tokenizer(path) end,
      { least = 100, codes = { ENOMEM = true } })
    os.remove(path)
  end)
end)
