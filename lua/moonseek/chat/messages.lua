--- Lists of messages: what a chat holds, and what is told from them.
local messages = {}

local function copy(given)
  local made = {}
  for name, value in next, given do made[name] = value end
  return made
end

messages.copy = copy

--- The first `count` of a list (nil: all), then copies of `more`.
function messages.extended(list, more, count)
  local made = {}
  for i = 1, count or #list do made[i] = list[i] end
  for _, message in ipairs(more or {}) do made[#made + 1] = copy(message) end
  return made
end

--- A text, a message or a list of messages as a list; anything else raises in the caller of `what`.
function messages.of(what, given)
  if type(given) == "string" then return { { role = "user", content = given } } end
  if type(given) ~= "table" then
    error(("%s: text, message or list of messages expected, got %s"):format(what, type(given)), 3)
  end
  local list = rawget(given, "role") ~= nil and { given } or given
  for i, message in ipairs(list) do
    if type(message) ~= "table" then
      error(("%s: message %d: table expected, got %s"):format(what, i, type(message)), 3)
    end
  end
  return list
end

--- The system message that stands before all others; nil when there is nothing to say.
function messages.head(system, tools, response_format)
  if tools and #tools == 0 then tools = nil end
  if not (system or tools or response_format) then return nil end
  return { role = "system", content = system, tools = tools, response_format = response_format }
end

--- All tools that are offered in a list.
function messages.tools(list)
  local tools = {}
  for _, message in ipairs(list) do
    for _, tool in ipairs(type(message.tools) == "table" and message.tools or {}) do tools[#tools + 1] = tool end
  end
  return tools
end

--- One more than the highest number in the ids that were given to calls.
function messages.next_call(list)
  local highest = 0
  for _, message in ipairs(list) do
    for _, call in ipairs(type(message.tool_calls) == "table" and message.tool_calls or {}) do
      local number = type(call) == "table" and type(call.id) == "string" and call.id:match("^call_(%d+)$")
      highest = math.max(highest, tonumber(number) or 0)
    end
  end
  return highest + 1
end

--- The place of the last message of a role, 0 without one.
function messages.last(list, role)
  for i = #list, 1, -1 do
    if list[i].role == role then return i end
  end
  return 0
end

return messages
