--- What the specs of agents share: chats on a mock that answers by what stands in the prompt, so that it says the same
-- to a run that is resumed, and tools that write down what they did.
require "spec.support"
local moonseek = require "moonseek"

local agents = {}

--- A chat whose n-th turn has the n-th answer, however often it is asked.
function agents.chat(answers, given)
  local engine = assert(moonseek.mock { answer = function(request)
    local _, turn = request.prompt:gsub("<｜Assistant｜>", "")
    local answer = answers[turn]
    if type(answer) == "function" then return answer(request) end
    return answer
  end })
  return assert(moonseek.chat(engine, given))
end

function agents.call(name, arguments)
  return { name = name, arguments = arguments or "{}" }
end

--- An answer that makes these calls: { name, JSON text } ...
function agents.calling(...)
  local calls = {}
  for i, call in ipairs { ... } do calls[i] = { name = call[1], arguments = call[2] or "{}", id = "given" .. i } end
  return { content = "", tool_calls = calls }
end

--- The tool `add`, which takes integers a and b, and the list of what it was called with.
function agents.adder(made)
  return {
    name = "add", description = "Adds two integers",
    parameters = { type = "object", properties = { a = { type = "integer" }, b = { type = "integer" } },
      required = { "a", "b" }, additionalProperties = false },
    run = function(arguments, call)
      if made then made[#made + 1] = call.id end
      return arguments.a + arguments.b
    end,
  }
end

--- A tool without parameters.
function agents.tool(name, run, more)
  local tool = { name = name, description = name, run = run }
  for key, value in pairs(more or {}) do tool[key] = value end
  return tool
end

--- The contents of the tool messages of a chat.
function agents.results(chat)
  local list = {}
  for _, message in ipairs(chat:messages()) do
    if message.role == "tool" then list[#list + 1] = message.content end
  end
  return list
end

--- A clock that only `wait` moves; both for an agent's options.
function agents.time()
  local time = { now = 0, waits = {} }
  function time.clock() return time.now end
  function time.wait(ms)
    time.waits[#time.waits + 1] = ms
    time.now = time.now + ms
  end
  return time
end

--- The types of the records of a trace, in one line.
function agents.types(trace)
  local types = {}
  for i, record in ipairs(trace) do types[i] = record.type end
  return table.concat(types, " ")
end

return agents
