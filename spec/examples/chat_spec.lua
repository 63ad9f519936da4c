--- The terminal chat, with its input from a file.
local support = require "spec.support"

--- The file of a program that does what `before` says and then is the example.
local function program_file(before)
  local program = os.tmpname()
  support.write_file(program, ([[
    package.preload["moonseek.core"] = package.loadlib(%q, "luaopen_moonseek_core")
    package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
    %s
    dofile "examples/chat.lua"
  ]]):format(support.object, before or ""))
  return program
end

--- What the example prints when these lines are typed.
local function talk(lines, arguments)
  local program, input = program_file(), os.tmpname()
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

describe("Ctrl-C in examples/chat.lua", function()
  local found, uv = pcall(require, "luv")
  local has_script = os.execute("command -v script >/dev/null")
  local test = found and (has_script == true or has_script == 0) and it or pending

  -- The model of these chats: it falls silent in the midst of every odd answer. LuaJIT hears no interrupt within a
  -- loop that it has compiled and that calls no C, as a mock's waiting is.
  local stalling = [[
    if jit then jit.off() end
    local moonseek, stall = require "moonseek", { content = "word by word, and then", stall = true, after = 12 }
    local answers = { stall, "Still here.", stall, "Still here, too." }
    local engine = moonseek.mock { answer = function(request)
      io.write("(asked)")
      io.flush()
      return answers[request.number]
    end }
    function engine.info() return { parameters = 0 } end
    function moonseek.open() return engine end
  ]]

  --- Types in a terminal of its own: each step is what has to be shown, behind what was shown before, and what is typed
  -- then. What the terminal showed.
  local function type_into(before, steps)
    local program = program_file(before)
    local keys, screen, shown, at, step = uv.new_pipe(false), uv.new_pipe(false), "", 1, 1
    local timer, process = uv.new_timer(), nil
    local command = { "-qec", ("exec %s %s"):format(support.interpreter(), program), "/dev/null" }
    process = assert(uv.spawn("script", { args = command, stdio = { keys, screen } }, function()
      for _, handle in ipairs { keys, screen, timer, process } do handle:close() end
    end))
    timer:start(30000, 0, function() process:kill("sigkill") end)
    screen:read_start(function(_, bytes)
      shown = shown .. (bytes or "")
      while steps[step] do
        local _, last = shown:find(steps[step][1], at, true)
        if not last then return end
        keys:write(steps[step][2])
        at, step = last + 1, step + 1
      end
    end)
    uv.run("default")
    os.remove(program)
    return shown, step - 1
  end

  test("stops an answer and keeps the chat, as often as it is pressed", function()
    local steps = { { "> ", "Hi\n" }, { "word by", "\3" }, { "> ", "Again\n" }, { "Still here.", "More\n" },
      { "word by", "\3" }, { "> ", "Well?\n" }, { "Still here, too.", "/quit\n" } }
    local shown, done = type_into(stalling, steps)
    assert.equal(#steps, done, shown)
    assert.truthy(shown:find("answered, cancel]", 1, true), shown)
  end)

  test("is heard once by Lua's own interpreter, without luv", function()
    local steps = { { "> ", "Hi\n" }, { "word by", "\3" }, { "[stopped]", "Again\n" }, { "Still here.", "/quit\n" } }
    local shown, done = type_into("package.preload.luv = function() error('none') end " .. stalling, steps)
    assert.equal(#steps, done, shown)
  end)

  test("stops an answer that is made again", function()
    local steps = { { "> ", "Hi\n" }, { "word by", "\3" }, { "> ", "Again\n" }, { "Still here.", "/retry\n" },
      { "(asked)", "\3" }, { "word by", "Well?\n" }, { "Still here, too.", "/quit\n" } }
    local shown, done = type_into(stalling, steps)
    assert.equal(#steps, done, shown)
  end)
end)
