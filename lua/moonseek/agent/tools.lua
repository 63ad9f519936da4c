--- The tools of an agent: how they are declared, a call checked before it is made, what it gave as a text for the
-- model.
local json = require "moonseek.json"
local options = require "moonseek.options"
local problem = require "moonseek.problem"
local schema = require "moonseek.schema"

local tools = {}

local declared = {
  name = { type = "string", required = true },
  description = { type = "string", default = "" },
  parameters = { type = "table" },
  run = { type = "function", required = true },
  timeout_ms = { type = "number" },
  max_result = { type = "number" },
}

local RAW = 500   -- bytes of a malformed call that the model is shown again

local function check_limit(what, value)
  if value and (value <= 0 or value ~= value) then
    problem.raise("%s: more than 0 expected, got %s", what, tostring(value))
  end
end

local function read_tool(what, given)
  local tool = options.read(what, given, declared)
  tool.parameters = tool.parameters or { type = "object", properties = {} }
  local ok, message = schema.check(tool.parameters)
  if not ok then problem.raise("%s (%s): parameters: %s", what, tool.name, message) end
  check_limit(what .. ": option 'timeout_ms'", tool.timeout_ms)
  check_limit(what .. ": option 'max_result'", tool.max_result)
  return tool
end

--- The tools by name, and the list that a chat offers. Raises on what is no declaration of a tool.
function tools.read(what, given)
  local by_name, offered = {}, {}
  for i, one in ipairs(given or {}) do
    local tool = read_tool(("%s: tool %d"):format(what, i), one)
    if by_name[tool.name] then problem.raise("%s: two tools are called '%s'", what, tool.name) end
    by_name[tool.name] = tool
    offered[i] = { name = tool.name, description = tool.description, parameters = tool.parameters }
  end
  return by_name, offered
end

local function names_of(by_name)
  local names = {}
  for name in next, by_name do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

--- The first `limit` bytes of a text, whole characters, with a note of what is missing.
function tools.cap(text, limit)
  if #text <= limit then return text end
  local last = limit
  while last > 0 and last > limit - 3 and text:byte(last + 1) >= 0x80 and text:byte(last + 1) < 0xC0 do
    last = last - 1
  end
  return ("%s\n[cut here: these are the first %d of %d bytes]"):format(text:sub(1, last), last, #text)
end

--- The tool and the arguments of a call; nil, what is wrong with it in words, and "malformed" or "invalid". Nothing of
-- a call that the parser could not read is taken for its arguments.
function tools.prepare(by_name, call)
  if call.malformed then
    return nil, ("the call could not be read (%s). It was: %s"):format(call.message or call.malformed,
      tools.cap(call.raw or "", RAW)), "malformed"
  end
  local tool = by_name[call.name]
  if not tool then
    return nil, ("there is no tool '%s'; there are: %s"):format(tostring(call.name), names_of(by_name)), "invalid"
  end
  local arguments, message = json.decode(call.arguments or "")
  if message then return nil, "the arguments are no JSON: " .. message, "invalid" end
  if json.type(arguments) ~= "object" then
    return nil, ("the arguments are no object but: %s"):format(json.type(arguments)), "invalid"
  end
  local ok
  ok, message = schema.validate(tool.parameters, arguments, "arguments")
  if not ok then return nil, message, "invalid" end
  return tool, arguments
end

--- The arguments of a call that was made; nil when they are no JSON.
function tools.arguments(call)
  local arguments, message = json.decode(call.arguments or "")
  if not message then return arguments end
end

--- What a tool returned, as the text for the model; nil and a message when that is none.
function tools.content(value, message)
  local kind = type(value)
  if kind == "string" then return value end
  if value == nil then
    return nil, type(message) == "string" and message or "the tool returned nothing"
  end
  if kind ~= "number" and kind ~= "boolean" and kind ~= "table" then
    return nil, ("the tool returned a %s"):format(kind)
  end
  local text, reason = json.encode(value)
  if not text then return nil, "what the tool returned is no JSON: " .. reason end
  return text
end

--- What was raised, in words.
function tools.raised(value)
  if type(value) == "table" and type(value.message) == "string" then return value.message end
  if type(value) == "string" or type(value) == "number" then return tostring(value) end
  return ("the tool raised a %s"):format(type(value))
end

return tools
