--- An agent with a calculator and a key-value store.
--
-- What the small model in models/pocket can do: call a tool for a request that is worded as below, and say what the
-- tool gave. What it cannot: plan, combine tools, correct itself, understand other words (models/pocket/README.md
-- lists its language), or write into the store, which it was not taught: a real checkpoint is offered that tool, too.
-- `--model PATH` takes one.
--
-- Run it with `make agent`, perhaps with ARGS="--model PATH 'A task.'", or from the repository's root with
-- the module on Lua's paths: lua examples/agent.lua [--model PATH] [TASK ...]. Without tasks it does three; in a
-- terminal it then asks for more.
local moonseek = require "moonseek"

local POCKET = "models/pocket"
local store = { ["red fox"] = "4821", ["silver owl"] = "1207" }

-- {== The tools ====================================================================================

local function parameter(name)
  return { type = "object", properties = { [name] = { type = "string" } }, required = { name } }
end

local operators = {
  ["+"] = function(a, b) return a + b end, ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end, ["/"] = function(a, b) return a / b end,
}

local tools = {
  { name = "calculate", description = "Calculate an expression", parameters = parameter "expression",
    run = function(arguments)
      local a, sign, b = arguments.expression:match("^%s*(%-?[%d.]+)%s*([-+*/])%s*(%-?[%d.]+)%s*$")
      a, b = tonumber(a), tonumber(b)
      if not (a and b) then return nil, "two numbers with +, -, * or / between them are expected" end
      return ("%.14g"):format(operators[sign](a, b))
    end },
  { name = "get_value", description = "Read a key of the store", parameters = parameter "key",
    run = function(arguments)
      return store[arguments.key], ("the store has no key '%s'"):format(arguments.key)
    end },
}

--- Offered to a model that was not made for these tools alone.
local set_value = {
  name = "set_value", description = "Write a key of the store",
  parameters = { type = "object", properties = { key = { type = "string" }, value = { type = "string" } },
    required = { "key", "value" } },
  run = function(arguments)
    store[arguments.key] = arguments.value
    return ("'%s' is '%s' now"):format(arguments.key, arguments.value)
  end,
}

-- {== The conversation =============================================================================

--- What the agent does, a line a step.
local function show_step(record)
  if record.type == "intent" then io.write("  ", record.name, " ", record.arguments, "\n") end
  if record.type == "result" then io.write("  → ", record.content, "\n") end
end

local function work(agent, task)
  io.write("> ", task, "\n")
  local result, message = agent:run(task)
  if not result then return io.write("  ", message, "\n") end
  io.write(result.text, "\n")
  if result.finish_reason ~= "stop" then io.write("  (ended: ", result.finish_reason, ")\n") end
end

local function read_arguments()
  local path, tasks, i = POCKET, {}, 1
  while arg[i] do
    if arg[i] == "--model" then
      path, i = arg[i + 1] or path, i + 1
    else
      tasks[#tasks + 1] = arg[i]
    end
    i = i + 1
  end
  return path, tasks
end

local path, tasks = read_arguments()
if path ~= POCKET then tools[#tools + 1] = set_value end
local engine = assert(moonseek.open { path = path })
local chat = assert(moonseek.chat(engine, { context = 8192, max_tokens = 512, temperature = 0 }))
local agent = moonseek.agent { chat = chat, tools = tools, max_rounds = 6, on_step = show_step }

if #tasks == 0 then
  tasks = { "Calculate 53 * 29.", "Read the key red fox.", "What is stored under silver owl?" }
end
for _, task in ipairs(tasks) do work(agent, task) end

local answer = os.execute("test -t 0")          -- 5.1 gives the exit status, later versions true
while answer == true or answer == 0 do
  io.write("> ")
  io.flush()
  local line = io.read()
  if not line or line == "" then break end
  work(agent, line)
end

agent:close()
chat:close()
engine:close()
