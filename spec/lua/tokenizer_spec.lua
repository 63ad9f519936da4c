local core = require "moonseek.core"
local files = require "spec.text.files"

-- he 257, ll 258, hell 256; the control token <｜b｜> is 259
local bytes = files.text { vocab = '"hell":256,"he":257,"ll":258', merges = '"h e","l l","he ll"',
                           added = '{"id":259,"content":"<｜b｜>"}' }
local tok = assert(files.open(bytes))

local function raises(part, call, ...)
  local ok, message = pcall(call, ...)
  assert.is_false(ok)
  assert.truthy(message:find(part, 1, true), ("'%s' does not say '%s'"):format(message, part))
end

describe("moonseek.tokenizer", function()
  it("L01: raises for what is no path", function()
    for _, value in ipairs { true, {}, print, io.stdout } do assert.is_false(pcall(core.tokenizer, value)) end
    assert.is_false(pcall(core.tokenizer))
    raises("zero byte", core.tokenizer, "spec/data\0")
  end)

  it("has a length, a name and a locked metatable", function()
    assert.equal(260, #tok)
    assert.truthy(tostring(tok):find("^moonseek%.tokenizer %("))
    assert.is_false(getmetatable(tok))
  end)
end)

describe("tokenizer:encode", function()
  it("makes tokens of text", function()
    local tokens = tok:encode("hello")
    assert.same({ 256, 111 }, tokens:totable())
    assert.equal(core.tokens { 256, 111 }, tokens)
    assert.equal(1, select("#", tok:encode("hello")))
    assert.same({}, tok:encode(""):totable())
  end)

  it("makes tokens of pieces, and says where each starts", function()
    local tokens, offsets = tok:encode { "he", { text = "llo" }, { control = "<｜b｜>" }, { ids = { 258, 65 } },
                                         { ids = core.tokens { 66 } }, "é" }
    assert.same({ 256, 111, 259, 258, 65, 66, 195, 169 }, tokens:totable())
    assert.same({ 0, 4, 5, 14, 16, 17, 18, 19 }, offsets)
    tokens, offsets = tok:encode {}
    assert.same({ {}, {} }, { tokens:totable(), offsets })
  end)

  it("takes ids too, within the vocabulary", function()
    assert.same({ 1, 259 }, tok:encode({ 1, 259 }):totable())
    local tokens = core.tokens { 1, 259 }
    assert.is_true(rawequal(tokens, (tok:encode(tokens))))
    for _, outside in ipairs { { 1, 260 }, core.tokens { 1, 260 } } do
      local got, message, code = tok:encode(outside)
      assert.is_nil(got)
      assert.same({ "token 2 is 260, allowed are 0 to 259", "EINVAL" }, { message, code })
    end
  end)

  local raising = {
    { "got nil" }, { "got number", 5 }, { "got boolean", true }, { "got function", print },
    { "got userdata", io.stdout },
    { "piece 1: string or table expected, got boolean", { true } },
    { "piece 2: string or table expected, got number", { "a", 5 } },
    { "piece 1: text, control or ids is needed", { {} } },
    { "piece 1: unknown key 'role'", { { role = "user" } } },
    { "piece 1: unknown key 'number'", { { "text" } } },
    { "piece 1: only one of text, control, ids is allowed", { { text = "a", control = "<｜b｜>" } } },
    { "piece 1: string expected for text, got number", { { text = 5 } } },
    { "piece 1: string expected for control, got table", { { control = {} } } },
    { "piece 1: tokens expected for ids, got string", { { ids = "5" } } },
    { "piece 1: tokens expected for ids, got userdata", { { ids = io.stdout } } },
    { "token 1: integer expected, got string", { { ids = { "5" } } } },
    { "token 2: integer expected, got string", { 5, "5" } },
  }
  for _, row in ipairs(raising) do
    it("L01: raises: " .. row[1], function() raises(row[1], tok.encode, tok, row[2]) end)
  end

  it("fails for an id that cannot be one", function()
    local got, message, code = tok:encode { { ids = { 5, -1 } } }
    assert.is_nil(got)
    assert.same({ "token 2 is -1, allowed are 0 to 2147483647", "EINVAL" }, { message, code })
  end)

  it("L02: reads pieces raw", function()
    local function trap() error("a metamethod ran") end
    local meta = { __index = trap, __len = trap, __pairs = trap }
    local function trapped(list) return setmetatable(list, meta) end
    local pieces = trapped { trapped { text = "hell" }, trapped { ids = trapped { 5 } } }
    assert.same({ 256, 5 }, tok:encode(pieces):totable())
  end)

  it("L02: takes a hundred thousand pieces", function()
    local pieces = {}
    for i = 1, 100000 do pieces[i] = i % 2 == 0 and "x" or { control = "<｜b｜>" } end
    assert.equal(100000, #tok:encode(pieces))
  end)

  it("L04: survives a finaliser that closes what the call was given", function()
    if not _VERSION:find("5.4", 1, true) then return end   -- tables have no finalisers before
    for _ = 1, 20 do
      local own = assert(files.open(bytes))
      local held = core.tokens { 5, 6 }
      local pieces = {}
      for i = 1, 300 do pieces[i] = { text = "hello" .. i } end
      pieces[1] = { ids = held }
      setmetatable({}, { __gc = function()
        own:close()
        held:close()
        for i = #pieces, 2, -1 do pieces[i].text = nil end
      end })
      collectgarbage("step", 1)
      pcall(own.encode, own, pieces)
      pcall(own.decode, own, held)
      collectgarbage()
    end
  end)
end)

describe("tokenizer:count", function()
  it("counts what encode would give", function()
    assert.same({ 2, 0, 3 }, { tok:count("hello"), tok:count(""), tok:count { "hello", { control = "<｜b｜>" } } })
  end)

  it("fails and raises as encode does", function()
    local got, _, code = tok:count { { control = "<｜c｜>" } }
    assert.is_nil(got)
    assert.equal("EINVAL", code)
    assert.is_false(pcall(tok.count, tok))
    assert.is_false(pcall(tok.count, tok, 5))
  end)
end)

describe("tokenizer:decode", function()
  it("gives the bytes of ids, packed or not, and the names of control tokens", function()
    assert.equal("hello<｜b｜>\0\255", tok:decode { 256, 111, 259, 0, 255 })
    assert.equal("hello", tok:decode(core.tokens { 256, 111 }))
    assert.equal("", tok:decode {})
  end)

  it("gives a part, its places counted as in string.sub", function()
    local ids, text = { 97, 98, 99, 100 }, "abcd"
    for first = -6, 6 do
      assert.equal(text:sub(first), tok:decode(ids, first))
      for last = -6, 6 do assert.equal(text:sub(first, last), tok:decode(ids, first, last)) end
    end
    assert.equal("ab", tok:decode(ids, nil, 2))
  end)

  it("T07: fails for an id outside the vocabulary", function()
    for _, row in ipairs { { -1, 2147483647 }, { 260, 259 }, { 2147483647, 259 }, { 2147483648, 2147483647 } } do
      local text, message, code = tok:decode { 97, row[1] }
      assert.is_nil(text)
      assert.same({ ("token 2 is %.0f, allowed are 0 to %.0f"):format(row[1], row[2]), "EINVAL" }, { message, code })
    end
    assert.equal("a", tok:decode(core.tokens { 97, 260 }, 1, 1))
  end)

  it("T07: raises for what is no id, no list and no place", function()
    for _, value in ipairs { 1.5, 0 / 0, "97", true, {} } do
      assert.is_false(pcall(tok.decode, tok, { 97, value }))
      assert.is_false(pcall(tok.decode, tok, { 97 }, value))
      assert.is_false(pcall(tok.decode, tok, { 97 }, 1, value))
    end
    for _, value in ipairs { 97, "a", true, print, io.stdout } do assert.is_false(pcall(tok.decode, tok, value)) end
    assert.is_false(pcall(tok.decode, tok))
  end)

  it("T07: gives the bytes of an id that ends inside a character", function()
    assert.equal("\240\159", tok:decode { 240, 159 })
  end)
end)

describe("tokenizer:token", function()
  it("gives the id of a control token by its whole name", function()
    assert.equal(259, tok:token("<｜b｜>"))
    for _, name in ipairs { "", "b", "<｜b｜", "<｜b｜>>", "<｜b｜>\0", "hell", "a" } do assert.is_nil(tok:token(name)) end
    for _, value in ipairs { true, {}, print } do assert.is_false(pcall(tok.token, tok, value)) end
  end)
end)

describe("tokenizer:close", function()
  it("gives the memory back, twice if need be", function()
    collectgarbage()
    collectgarbage()
    local live = core.memory_live()
    local own = assert(files.open(bytes))
    assert.is_true(core.memory_live() > live)
    own:close()
    own:close()
    assert.equal(live, core.memory_live())
    assert.equal("moonseek.tokenizer (closed)", tostring(own))
  end)

  it("L03: makes every other use raise", function()
    local own = assert(files.open(bytes))
    own:close()
    for _, name in ipairs { "encode", "decode", "count", "token" } do
      raises("tokenizer is closed", own[name], own, name == "decode" and {} or "a")
    end
    raises("tokenizer is closed", function() return #own end)
  end)

  it("leaves tokens that were made before", function()
    local own = assert(files.open(bytes))
    local tokens = own:encode("hello")
    own:close()
    assert.equal("hello", tok:decode(tokens))
  end)

  it("L01: no method takes another object", function()
    for _, name in ipairs { "encode", "decode", "count", "token", "close" } do
      for _, value in ipairs { 1, "x", {}, io.stdout, core.tokens {}, true } do
        assert.is_false(pcall(tok[name], value, "a"), name)
      end
    end
  end)
end)
