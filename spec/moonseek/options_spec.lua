local options = require "moonseek.options"

describe("options.read", function()
  local declared = { chat = { type = "table", required = true }, max_rounds = { type = "number", default = 8 } }
  local function read(given)
    local copy = options.read("agent", given, declared)
    return copy
  end

  it("fills in defaults in a copy", function()
    local given = { chat = {} }
    assert.same({ chat = {}, max_rounds = 8 }, read(given))
    assert.same({ chat = {} }, given)
  end)

  it("takes no options for an empty table", function()
    assert.same({ n = 1 }, options.read("call", nil, { n = { type = "number", default = 1 } }))
  end)

  it("L02: reads the table raw", function()
    local given = setmetatable({ chat = {} }, { __index = function() error("a metamethod ran") end })
    assert.equal(8, read(given).max_rounds)
  end)

  local refused = {
    { "agent: options table expected, got string", "x" },
    { "agent: unknown option 'max_round'", { chat = {}, max_round = 3 } },
    { "agent: option 'chat' is missing", {} },
    { "agent: option 'max_rounds': number expected, got string", { chat = {}, max_rounds = "3" } },
  }
  for _, case in ipairs(refused) do
    it("L01: raises in the caller: " .. case[1], function()
      local ok, message = pcall(function()
        local agent = read(case[2])
        return agent
      end)
      assert.is_false(ok)
      assert.truthy(message:find(case[1], 1, true), message)
      assert.truthy(message:find("^[^:]*options_spec%.lua:%d+: "))
    end)
  end
end)
