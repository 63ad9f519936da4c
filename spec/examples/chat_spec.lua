--- The terminal chat, with its input from a file.
local support = require "spec.support"

--- What the example prints when these lines are typed.
local function talk(lines, arguments)
  local program, input = os.tmpname(), os.tmpname()
  support.write_file(program, ([[
    package.preload["moonseek.core"] = package.loadlib(%q, "luaopen_moonseek_core")
    package.path = "./lua/?.lua;./lua/?/init.lua"
    dofile "examples/chat.lua"
  ]]):format(support.object))
  support.write_file(input, table.concat(lines, "\n") .. "\n")
  local pipe = assert(io.popen(("%s %s %s < %s 2>&1"):format(support.interpreter(), program, arguments or "", input)))
  local printed = pipe:read("*a")
  pipe:close()
  os.remove(program)
  os.remove(input)
  return printed
end

describe("examples/chat.lua", function()
  it("answers, thinks as it is told, and forgets", function()
    local printed = talk { "What is 482 + 345?", "/think off", "Repeat: silver fox.", "/new", "Say Oslo.", "/quit" }
    assert.truthy(printed:find("(thinks) 2+5+0=07 8+4+0=12 4+3+1=08 > 827\n827\n", 1, true), printed)
    assert.truthy(printed:find("silver fox\n  [", 1, true), printed)
    assert.truthy(printed:find("Oslo\n  [", 1, true), printed)
  end)

  it("answers again, changes the last message, saves and loads", function()
    local path = os.tmpname()
    local printed = talk { "/think off", "Repeat: red fox.", "/retry", "/edit Repeat: blue fox.", "/save " .. path,
      "/new", "/load " .. path, "/load no/such/file" }
    assert.truthy(printed:find("> red fox\n> blue fox\n>   saved\n", 1, true), printed)
    assert.truthy(printed:find("user: Repeat: blue fox.\nassistant: blue fox\n", 1, true), printed)
    assert.truthy(printed:find("no/such/file", 1, true), printed)
    os.remove(path)
    os.remove(path .. ".session")
  end)

  it("says what there is to say for a wrong command, mode or model", function()
    local printed = talk { "/dance", "/think hard" }
    assert.truthy(printed:find("/think off|low|high|max", 1, true), printed)
    assert.truthy(printed:find("/think off, low, high or max", 1, true), printed)
    assert.truthy(talk({}, "--model no/such/model"):find("no/such/model", 1, true))
  end)
end)
