local core = require "moonseek.core"

local huge, nan = math.huge, 0 / 0

describe("moonseek.tokens", function()
  it("packs a list of ids", function()
    local tokens = core.tokens { 3, 0, 2147483647, 3.0 }
    assert.equal(4, #tokens)
    assert.same({ 3, 0, 2147483647, 3 }, { tokens[1], tokens[2], tokens[3], tokens[4] })
    assert.same({ 3, 0, 2147483647, 3 }, tokens:totable())
    assert.same({}, core.tokens({}):totable())
  end)

  it("gives whole numbers", function()
    assert.equal("7", tostring(core.tokens({ 7.0 })[1]))
    assert.equal("7", tostring(core.tokens({ 7.0 }):totable()[1]))
  end)

  it("returns packed ids as they are", function()
    local tokens = core.tokens { 1, 2 }
    assert.is_true(rawequal(tokens, core.tokens(tokens)))
  end)

  it("has nil where it has no id", function()
    local tokens = core.tokens { 10, 20 }
    for _, place in ipairs { 0, 3, -1, 1.5, huge, -huge, nan, 2 ^ 53, 2 ^ 63, true, {}, "1" } do
      assert.is_nil(tokens[place])
    end
    assert.is_nil(tokens[nil])
    assert.equal(20, tokens[2.0])
  end)

  it("does not change", function()
    local tokens = core.tokens { 1 }
    assert.has_error(function() tokens[1] = 2 end)
    assert.has_error(function() tokens.sub = print end)
    assert.is_false(getmetatable(tokens))
  end)

  it("is equal to the same ids", function()
    assert.is_true(core.tokens { 1, 2 } == core.tokens { 1, 2 })
    assert.is_true(core.tokens {} == core.tokens {})
    assert.is_false(core.tokens { 1, 2 } == core.tokens { 1, 3 })
    assert.is_false(core.tokens { 1, 2 } == core.tokens { 1 })
    assert.is_false(core.tokens { 1 } == io.stdout)
    assert.is_false(core.tokens { 1 } == { 1 })
  end)

  it("prints its length and its first ids", function()
    assert.equal("moonseek.tokens (0):", tostring(core.tokens {}))
    assert.equal("moonseek.tokens (2): 5 6", tostring(core.tokens { 5, 6 }))
    assert.equal("moonseek.tokens (9): 1 2 3 4 5 6 7 8 ...", tostring(core.tokens { 1, 2, 3, 4, 5, 6, 7, 8, 9 }))
  end)

  it("T07: fails for a number that can be no id", function()
    for _, row in ipairs { { -1, "-1" }, { 2147483648, "2147483648" }, { 2 ^ 53, "9007199254740992" } } do
      local tokens, message, code = core.tokens { 1, row[1] }
      assert.is_nil(tokens)
      assert.same({ "token 2 is " .. row[2] .. ", allowed are 0 to 2147483647", "EINVAL" }, { message, code })
    end
  end)

  local raising = {
    { "token 1: 1.5", { 1.5 } }, { "token 2: ", { 1, nan } }, { "token 1: ", { huge } }, { "token 1: ", { -huge } },
    { "token 1: integer expected, got string", { "1" } }, { "token 1: integer expected, got boolean", { false } },
    { "token 2: integer expected, got table", { 1, {} } }, { "got string", "1" }, { "got number", 1 },
    { "got boolean", true }, { "got function", print }, { "got userdata", io.stdout },
    { "got thread", coroutine.create(print) },
  }
  for _, row in ipairs(raising) do
    it(("T07: raises for what is no integer, and no list: '%s' of %s"):format(row[1], type(row[2])), function()
      local ok, message = pcall(core.tokens, row[2])
      assert.is_false(ok)
      assert.truthy(message:find(row[1], 1, true), message)
    end)
  end

  it("raises without an argument, and for a hole", function()
    assert.is_false(pcall(core.tokens))
    assert.is_false(pcall(core.tokens, nil))
    local holed = { 1, 2, 3, 4 }
    holed[2] = nil
    assert.is_false(pcall(core.tokens, holed))
  end)

  it("L02: reads tables raw", function()
    local function trap() error("a metamethod ran") end
    local list = setmetatable({ 1, 2 }, { __index = trap, __len = trap, __pairs = trap, __newindex = trap })
    assert.same({ 1, 2 }, core.tokens(list):totable())
  end)

  it("L02: takes ten million ids", function()
    local list = {}
    for i = 1, 10000000 do list[i] = i end
    local tokens = core.tokens(list)
    assert.same({ 10000000, 1, 10000000 }, { #tokens, tokens[1], tokens[#tokens] })
    tokens:close()
  end)
end)

describe("tokens:sub", function()
  local text = "abcdefgh"
  local tokens = core.tokens { text:byte(1, -1) }

  it("takes places as string.sub does", function()
    for first = -10, 10 do
      assert.same({ text:sub(first):byte(1, -1) }, tokens:sub(first):totable())
      for last = -10, 10 do
        assert.same({ text:sub(first, last):byte(1, -1) }, tokens:sub(first, last):totable())
      end
    end
  end)

  it("raises for places that are no integers", function()
    for _, place in ipairs { 1.5, nan, huge, "x", true, {} } do
      assert.is_false(pcall(tokens.sub, tokens, place))
      assert.is_false(pcall(tokens.sub, tokens, 1, place))
    end
    assert.is_false(pcall(tokens.sub, tokens))
  end)

  it("is independent of what it was taken from", function()
    local whole = core.tokens { 1, 2, 3 }
    local part = whole:sub(2)
    whole:close()
    assert.same({ 2, 3 }, part:totable())
  end)
end)

describe("tokens:close", function()
  it("gives the memory back, twice if need be", function()
    collectgarbage()
    collectgarbage()
    local live = core.memory_live()
    local tokens = core.tokens { 1, 2, 3 }
    assert.is_true(core.memory_live() > live)
    tokens:close()
    assert.equal(live, core.memory_live())
    tokens:close()
    assert.equal("moonseek.tokens (closed)", tostring(tokens))
  end)

  it("L03: makes every other use raise", function()
    local tokens, other = core.tokens { 1 }, core.tokens { 1 }
    tokens:close()
    for _, use in ipairs {
      function() return #tokens end, function() return tokens[1] end, function() return tokens:sub(1) end,
      function() return tokens:totable() end, function() return tokens == other end,
      function() return core.tokens(tokens) end,
    } do
      local ok, message = pcall(use)
      assert.is_false(ok)
      assert.truthy(message:find("tokens is closed", 1, true), message)
    end
  end)

  it("L19: leaves nothing to the collector that it does not free", function()
    collectgarbage()
    collectgarbage()
    local live = core.memory_live()
    for i = 1, 100 do core.tokens { i, i, i } end
    collectgarbage()
    collectgarbage()
    assert.equal(live, core.memory_live())
  end)
end)

describe("the methods of tokens", function()
  it("L01: raise for another object", function()
    local tokens = core.tokens { 1 }
    for _, name in ipairs { "sub", "totable", "close" } do
      for _, value in ipairs { 1, "x", {}, io.stdout, print, true } do
        assert.is_false(pcall(tokens[name], value), name)
      end
      assert.is_false(pcall(tokens[name]), name)
    end
  end)
end)
