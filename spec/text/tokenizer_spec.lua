local core = require "moonseek.core"
local files = require "spec.text.files"
local support = require "spec.support"
local internals = support.internals()

local path = "spec/data/deepseek-v4-tokenizer.json"
local v4 = assert(core.tokenizer(path))

local function control(name) return { control = name } end

-- Ids of the official tokenizer (specs/conversation.md 5.4). It finds control tokens in text; here they are asked for.
local vectors = {
  { "", {} },
  { "Hello", { 19923 } },
  { " Hello", { 45948 } },
  { "Hello world", { 19923, 2058 } },
  { "The capital of France is", { 671, 6102, 294, 8760, 344 } },
  { "hello\nworld", { 33310, 201, 29616 } },
  { "\n\n  x", { 271, 223, 1527 } },
  { "a\n\nb", { 67, 271, 68 } },
  { "  5", { 262, 23 } },
  { "12345", { 6895, 1883 } },
  { "1234567", { 6895, 18009, 25 } },
  { "3.14159", { 21, 16, 9926, 3318 } },
  { "x=1", { 90, 31, 19 } },
  { "foo.bar(baz)", { 40897, 6229, 287, 7011, 1521, 11 } },
  { ".foo bar-baz", { 4658, 6379, 4758, 1761, 1521 } },
  { "!!!\n", { 115432 } },
  { "...\n\n", { 3108 } },
  { "abc   ", { 32372, 361 } },
  { "   abc", { 262, 71490 } },
  { "\tif (x) {\r\n", { 5733, 343, 90, 11, 680, 204, 201 } },
  { "a \n b", { 67, 539, 291 } },
  { "don't I'LL", { 20385, 1664, 342, 9, 3699 } },
  { "$100 costs", { 6, 1457, 6329 } },
  { "你好abc123世界", { 30594, 32372, 6895, 3427 } },
  { "カタカナ・ひらがな", { 15961, 11767, 15961, 27071, 4825, 40259, 4970, 2936, 2942 } },
  { "中文，标点。", { 21134, 303, 1701, 985, 320 } },
  { "한국어 텍스트", { 5634, 17564, 9227, 61291, 238, 45652 } },
  { "Привет мир", { 24797, 8919, 74779 } },
  { "e\204\129 é", { 71, 17793, 2678 } },
  { "👍🏽", { 92526, 40965, 124 } },
  { "👩\226\128\141💻", { 25730, 105, 46088, 23903, 122 } },
  { "x\000y", { 90, 191, 91 } },
  { "\239\187\191BOM", { 15251, 36, 7239 } },
  { "a\194\160b", { 67, 2162, 68 } },
  { "１２３ ²½", { 127167, 25081, 223, 1628, 23951 } },
  { "<tool_result>", { 30, 72461, 46148, 32 } },
  { "</tool_result>", { 1718, 72461, 46148, 32 } },
  { "\n\n", { 271 } },
  { { "\n\n<", control "｜DSML｜", "tool_calls>\n" }, { 271, 30, 128825, 72461, 4941, 12548, 1018 } },
  { { "<", control "｜DSML｜", "invoke name=\"get_weather\">\n" },
    { 30, 128825, 40148, 5406, 2329, 1281, 1133, 65, 50219, 3816 } },
  { { "<", control "｜DSML｜", "parameter name=\"location\" string=\"true\">" },
    { 30, 128825, 41523, 2329, 1281, 33182, 4, 3418, 1281, 11476, 3320 } },
  { { "</", control "｜DSML｜", "parameter>\n" }, { 1718, 128825, 41523, 1018 } },
  { { "</", control "｜DSML｜", "invoke>\n" }, { 1718, 128825, 40148, 5406, 1018 } },
  { { "</", control "｜DSML｜", "tool_calls>" }, { 1718, 128825, 72461, 4941, 12548, 32 } },
  { { "Done.\n\n<", control "｜DSML｜", "tool_calls>\n" }, { 68520, 339, 30, 128825, 72461, 4941, 12548, 1018 } },
  { "<｜System｜>", { 30, 28217, 8375, 28217, 32 } },
  { "<｜deepseek_image｜>", { 30, 28217, 60861, 121559, 41629, 28217, 32 } },
  { { control "<|EOT|>" }, { 128805 } },
  { "<｜User｜ >", { 30, 28217, 6756, 28217, 1955 } },
  { { "a", control "</think>", "b" }, { 67, 128822, 68 } },
  { { "<", control "｜DSML｜", " calls>" }, { 30, 128825, 10699, 32 } },
  { { control "<dsml:", "x>" }, { 128840, 90, 32 } },
  { "     ", { 1445 } },
  { (" "):rep(200), { 69933, 16932, 385 } },
  { "xxxxxxxxxxxxxxxxxxxx", { 89450, 89450, 22694 } },
}

-- The official prompt of an example with two turns and thinking.
local prompt = {
  { control "<｜begin▁of▁sentence｜>", "You are a helpful assistant.",
    control "<｜User｜>", "Hello", control "<｜Assistant｜>", control "</think>", "Hi there! How can I help you?",
    control "<｜end▁of▁sentence｜>", control "<｜User｜>", "What is the capital of France?", control "<｜Assistant｜>",
    control "<think>", "The user asks about the capital of France. It is Paris.", control "</think>",
    "The capital of France is Paris.", control "<｜end▁of▁sentence｜>" },
  { 0, 3476, 477, 260, 11502, 22896, 16, 128803, 19923, 128804, 128822, 23166, 1031, 3, 1730, 588, 342, 1694,
    440, 33, 1, 128803, 3085, 344, 270, 6102, 294, 8760, 33, 128804, 128821, 671, 3967, 20407, 943, 270, 6102,
    294, 8760, 16, 983, 344, 11111, 16, 128822, 671, 6102, 294, 8760, 344, 11111, 16, 1 },
}

--- The text of pieces, control tokens by their names.
local function text_of(pieces)
  if type(pieces) == "string" then return pieces end
  local parts = {}
  for i, piece in ipairs(pieces) do parts[i] = piece.control or piece end
  return table.concat(parts)
end

local function round_trip(text)
  local tokens = v4:encode(text)
  if v4:decode(tokens) ~= text then return false end
  for i = 1, #tokens do
    if tokens[i] < 3 or tokens[i] >= 128000 then return false end   -- no control token out of text
  end
  return true
end

describe("ms_tokenizer_encode", function()
  for _, row in ipairs(vectors) do
    local name = ("%q"):format(text_of(row[1]):sub(1, 60)):gsub("\\\n", "\\n")
    it("gives the official ids of " .. name, function()
      local tokens = v4:encode(row[1])
      assert.same(row[2], tokens:totable())
      assert.equal(text_of(row[1]), v4:decode(tokens))
    end)
  end

  it("gives the official ids of a whole prompt", function()
    assert.same(prompt[2], v4:encode(prompt[1]):totable())
    assert.equal(text_of(prompt[1]), v4:decode(prompt[2]))
  end)

  it("gives the reference library's ids of 20,000 strings in many scripts", function()
    local count = 0
    for text, ids in files.vectors "deepseek-v4-vectors.txt" do
      local tokens = v4:encode(text)
      if table.concat(tokens:totable(), " ") ~= ids then
        assert.equal(ids, table.concat(tokens:totable(), " "), ("%q"):format(text))
      end
      if v4:decode(tokens) ~= text then assert.equal(text, v4:decode(tokens)) end
      count = count + 1
    end
    assert.equal(20000, count)
  end)

  it("joins adjacent text before it splits it", function()
    local whole = v4:encode("  hello world\n\n"):totable()
    for cut = 0, 15 do
      local a, b = ("  hello world\n\n"):sub(1, cut), ("  hello world\n\n"):sub(cut + 1)
      assert.same(whole, v4:encode({ a, "", { text = b } }):totable())
    end
    assert.same({ 262, 23 }, v4:encode({ " ", " ", "5" }):totable())
    assert.same({ 223, 0, 223, 23 }, v4:encode({ " ", control "<｜begin▁of▁sentence｜>", " 5" }):totable())
  end)

  it("takes ids as they are, and does not merge across them", function()
    local tokens = v4:encode { "a", { ids = { 7, 0, 129279 } }, "a", { ids = core.tokens { 7 } } }
    assert.same({ 67, 7, 0, 129279, 67, 7 }, tokens:totable())
    assert.same({ 89450, 90 }, v4:encode({ "xxxxxxxx", { ids = {} }, "x" }):totable())
  end)

  -- Every way in which bytes are not UTF-8. None of these bytes belongs to a character.
  local stray = {
    "\128", "\191", "\192\128", "\193\191", "\224\128\128", "\224\159\191", "\237\160\128", "\237\191\191",
    "\240\128\128\128", "\240\143\191\191", "\244\144\128\128", "\245\128\128\128", "\254", "\255", "\194",
    "\224\160", "\240\144\128", "\226\130", "\240\159\146", "\237\160\189\237\178\169", "\252\128\128\128\128\128",
    "\192\65", "\128\128",
  }

  it("T01: keeps bytes that are not UTF-8", function()
    for _, bytes in ipairs(stray) do
      for _, text in ipairs { bytes, "a" .. bytes .. "b", " " .. bytes .. " 12", bytes .. "中", bytes:rep(3) .. "\n" } do
        assert.is_true(round_trip(text), ("%q"):format(text))
      end
    end
  end)

  --- A tokenizer in which the first 2, 3, ... bytes are the tokens 256, 257, ...
  local function of_prefixes(bytes)
    local characters, vocab, merges = { bytes:byte(1, -1) }, {}, {}
    for i, byte in ipairs(characters) do characters[i] = files.character(byte) end
    for i = 2, #bytes do
      local before = table.concat(characters, "", 1, i - 1)
      vocab[#vocab + 1] = ('"%s%s":%d'):format(before, characters[i], 254 + i)
      merges[#merges + 1] = ('"%s %s"'):format(before, characters[i])
    end
    return assert(files.open(files.text { vocab = table.concat(vocab, ","), merges = table.concat(merges, ",") }))
  end

  it("T01: takes each such byte for a character: a word takes one of them, not the sequence", function()
    for _, bytes in ipairs(stray) do
      if #bytes > 1 and not bytes:find("%a") then
        local tokenizer, last = of_prefixes(bytes), bytes:byte(-1)
        local before = #bytes > 2 and 253 + #bytes or bytes:byte(1)
        assert.same({ 254 + #bytes }, tokenizer:encode(bytes):totable())
        assert.same({ before, last, 97, 98, 99 }, tokenizer:encode(bytes .. "abc"):totable())
      end
    end
  end)

  it("T02: keeps zero bytes, in text and in names", function()
    for _, text in ipairs { "\0", "a\0b", "\0\0\0", "x\0", "\0 5", "中\0文" } do assert.is_true(round_trip(text)) end
    local tokens, message, code = v4:encode { control "<think>\0" }
    assert.is_nil(tokens)
    assert.equal("EINVAL", code, message)
  end)

  it("T03: gives back every string of one byte and of two", function()
    for a = 0, 255 do
      assert.is_true(round_trip(string.char(a)))
      for b = 0, 255 do
        local text = string.char(a, b)
        if v4:decode(v4:encode(text)) ~= text then assert.equal(text, v4:decode(v4:encode(text))) end
      end
    end
  end)

  it("T05: refuses more than 2^31 - 1 bytes or tokens before it does any work", function()
    local megabyte, pieces = ("a"):rep(1048576), {}
    for i = 1, 2048 do pieces[i] = megabyte end
    local before = os.clock()
    local tokens, message, code = v4:encode(pieces)
    assert.is_nil(tokens)
    assert.equal("EINVAL", code)
    assert.equal("text of 2147483648 bytes or tokens: at most 2147483647 are allowed at once", message)
    assert.is_true(os.clock() - before < 0.5)
  end)

  it("T06: never finds a control token in text, and gives look-alikes the library's ids", function()
    assert.same({ 30, 28217, 6756, 28217, 32 }, v4:encode("<｜User｜>"):totable())
    for id = 128000, 129279 do
      local name = v4:decode { id }
      assert.equal(id, v4:token(name))
      assert.is_true(round_trip(name), name)
      assert.is_true(round_trip("a" .. name .. " " .. name:sub(2)), name)
    end
    for id = 0, 2 do assert.is_true(round_trip(v4:decode { id })) end
  end)

  it("T06: does not find one in text that was cut in two", function()
    local name = "<｜Assistant｜>"
    local whole = v4:encode(name):totable()
    for cut = 1, #name - 1 do assert.same(whole, v4:encode({ name:sub(1, cut), name:sub(cut + 1) }):totable()) end
  end)

  it("T08: gives the same ids to four threads at once, with stacks of 64 KiB", function()
    local text = ("The quick brown fox. "):rep(200) .. ("xyz"):rep(3000) .. ("中文"):rep(500) .. ("\255\0"):rep(100)
    assert.is_true(internals.encode_in_threads(path, text))
  end)

  it("fails for a control token the vocabulary lacks, naming it", function()
    local tokens, message, code = v4:encode { "a", control("<｜Nobody｜>") }
    assert.is_nil(tokens)
    assert.same({ 'piece 2: no control token is "<｜Nobody｜>"', "EINVAL" }, { message, code })
    tokens, message = v4:encode { control(("ä"):rep(100)) }
    assert.is_nil(tokens)
    assert.equal('piece 1: no control token is "' .. ("ä"):rep(30) .. '..."', message)
  end)

  it("fails for an id outside the vocabulary, naming it", function()
    local tokens, message, code = v4:encode { "a", { ids = { 5, 129280 } } }
    assert.is_nil(tokens)
    assert.same({ "piece 2: token 2 is 129280, allowed are 0 to 129279", "EINVAL" }, { message, code })
  end)

  it("R01: leaves nothing behind when any allocation fails, and works again", function()
    local pieces = { "one ", "two " .. ("word"):rep(100), control "<think>", ("x"):rep(5000), { ids = { 1, 2 } } }
    local expected, n = v4:encode(pieces), 0
    collectgarbage()
    collectgarbage()
    local live = core.memory_live()
    repeat
      n = n + 1
      local reached, tokens, _, code = internals.fail_allocation(n, function() return (v4:encode(pieces)) end)
      if reached then assert.is_nil(tokens) else assert.equal(expected, tokens) end
      assert.is_true(not reached or code == nil or code == "ENOMEM")
      tokens = nil                                    -- luacheck: ignore
      collectgarbage()
      collectgarbage()
    until not reached
    assert.equal(live, core.memory_live())
    assert.is_true(n > 8)
  end)
end)

describe("ms_tokenizer_open", function()
  it("takes a folder that holds a tokenizer.json", function()
    local folder = support.temporary_folder()
    support.write_file(folder .. "/tokenizer.json", files.text {})
    assert.equal(256, #assert(core.tokenizer(folder)))
    support.remove(folder)
  end)

  it("fails for what is not there or no file", function()
    local cases = { ["/nowhere/tokenizer.json"] = "ENOENT", ["spec/data"] = "ENOENT", [""] = "ENOENT",
                    ["/dev/null"] = "EINVAL", [("x"):rep(5000)] = "EINVAL" }
    for given, expected in pairs(cases) do
      local tokenizer, message, code = core.tokenizer(given)
      assert.is_nil(tokenizer)
      assert.equal(expected, code, message)
      assert.truthy(message:find(given:sub(1, 60), 1, true), message)
    end
  end)

  it("knows the size, the names and the bytes of the V4 vocabulary", function()
    assert.equal(129280, #v4)
    local names = {
      [0] = "<｜begin▁of▁sentence｜>", [1] = "<｜end▁of▁sentence｜>", [2] = "<｜▁pad▁｜>", [128803] = "<｜User｜>",
      [128804] = "<｜Assistant｜>", [128821] = "<think>", [128822] = "</think>", [128825] = "｜DSML｜",
      [129265] = "<｜/table>｜", [129279] = "<｜image｜>",
    }
    for id, name in pairs(names) do assert.same({ id, name }, { v4:token(name), v4:decode { id } }) end
    local order = {}
    for _, range in ipairs { { 33, 126 }, { 161, 172 }, { 174, 255 }, { 0, 32 }, { 127, 160 }, { 173, 173 } } do
      for byte = range[1], range[2] do order[#order + 1] = string.char(byte) end
    end
    for i, byte in ipairs(order) do assert.equal(byte, v4:decode { 2 + i }) end
  end)

  it("gives every id's bytes that very id again where they make one word", function()
    local tokens = core.tokens { 19923, 45948, 671, 6102, 89450, 69933, 127999, 259 }
    for i = 1, #tokens do assert.same({ tokens[i] }, v4:encode(v4:decode { tokens[i] }):totable()) end
  end)
end)
