--- What the README shows runs, and says what it says.
local support = require "spec.support"

describe("README.md", function()
  it("shows Lua that runs", function()
    local code = support.read_file("README.md"):match("```lua\n(.-)```")
    local written = {}
    local io = { write = function(text) written[#written + 1] = text end }
    local environment = setmetatable({ io = io }, { __index = _G })
    local chunk
    if setfenv then -- luacheck: ignore 113
      chunk = setfenv(assert(loadstring(code)), environment) -- luacheck: ignore 113
    else
      chunk = assert(load(code, "README.md", "t", environment))
    end
    chunk()
    assert.equal('{"code": 4821, "name": "silver fox"}', table.concat(written))
  end)
end)
