local support = require "spec.support"

describe("moonseek", function()
  it("loads what is plain Lua at its first use", function()
    local script = [[
      package.preload["moonseek.core"] = package.loadlib(%q, "luaopen_moonseek_core")
      package.path = "./lua/?.lua;./lua/?/init.lua"
      local moonseek = require "moonseek"
      local parts = { "chat", "encoding", "json", "mock", "parser", "router" }
      for _, name in ipairs(parts) do assert(not package.loaded["moonseek." .. name], name .. " is loaded early") end
      for _, name in ipairs(parts) do assert(moonseek[name] == require("moonseek." .. name), name) end
      assert(moonseek.nothing == nil)
    ]]
    local path = os.tmpname()
    support.write_file(path, script:format(support.object))
    local answer = os.execute(("%s %s"):format(support.interpreter(), path))
    os.remove(path)
    assert.is_true(answer == true or answer == 0)
  end)
end)
