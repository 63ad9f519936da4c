-- The tools that the tool tasks offer, their requests, and the exact prompt text of V4 around them.
local toolbox = {}

toolbox.head = '## Tools\n'
  .. '\n'
  .. "You have access to a set of tools to help answer the user's question. You can invoke tools by "
  .. 'writing a "<｜DSML｜tool_calls>" block like the following:\n'
  .. '\n'
  .. '<｜DSML｜tool_calls>\n'
  .. '<｜DSML｜invoke name="$TOOL_NAME">\n'
  .. '<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>\n'
  .. '...\n'
  .. '</｜DSML｜invoke>\n'
  .. '<｜DSML｜invoke name="$TOOL_NAME2">\n'
  .. '...\n'
  .. '</｜DSML｜invoke>\n'
  .. '</｜DSML｜tool_calls>\n'
  .. '\n'
  .. 'String parameters should be specified as is and set `string="true"`. For all other types '
  .. '(numbers, booleans, arrays, objects), pass the value in JSON format and set `string="false"`.\n'
  .. '\n'
  .. 'If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning '
  .. 'inside <think>...</think> BEFORE any tool calls or final response.\n'
  .. '\n'
  .. 'Otherwise, output directly after </think> with tool calls or final response.\n'
  .. '\n'
  .. '### Available Tool Schemas\n'
  .. '\n'

toolbox.tail = "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n"

-- name, description, parameters in order { name, JSON type }.
toolbox.tools = {
  { "get_weather", "Weather in a city", { { "city", "string" } } },
  { "get_time", "Time in a city", { { "city", "string" } } },
  { "find_value", "Find one field of a name", { { "field", "string" }, { "name", "string" } } },
  { "calculate", "Calculate an expression", { { "expression", "string" } } },
  { "get_value", "Read a key of the store", { { "key", "string" } } },
  { "set_timer", "Set a timer", { { "minutes", "integer" } } },
  { "send_message", "Send a message", { { "to", "string" }, { "text", "string" } } },
  { "book_room", "Book a room", { { "room", "integer" }, { "day", "string" } } },
  { "order_item", "Order an item", { { "item", "string" }, { "count", "integer" } } },
}

function toolbox.schema(tool)
  local properties, required = {}, {}
  for i, p in ipairs(tool[3]) do
    properties[i] = ('"%s": {"type": "%s"}'):format(p[1], p[2])
    required[i] = ('"%s"'):format(p[1])
  end
  return ('{"name": "%s", "description": "%s", "parameters": {"type": "object", "properties": {%s}, "required": [%s]}}')
    :format(tool[1], tool[2], table.concat(properties, ", "), table.concat(required, ", "))
end

-- The block of the system message for a list of tools; short leaves out the fixed instructions (early training).
function toolbox.block(tools, short)
  local lines = {}
  for i, tool in ipairs(tools) do lines[i] = toolbox.schema(tool) end
  local schemas = table.concat(lines, "\n")
  if short then return "### Available Tool Schemas\n\n" .. schemas .. "\n" end
  return toolbox.head .. schemas .. toolbox.tail
end

-- A request for the tool: the user's text, the argument values in order, what the tool answers, the final answer.
-- draw: name(), city(), person(), day(), field(), number(digits), one(list).
function toolbox.request(tool, draw)
  local kind = tool[1]
  if kind == "get_weather" then
    local city = draw.city()
    local result = draw.sky() .. ", " .. draw.number(2) .. " degrees"
    local forms = { "What is the weather in %s?", "Weather in %s, please.", "How is the weather in %s?" }
    return draw.one(forms):format(city),
      { city }, result, { "The weather in ", city, " is ", result, "." }
  elseif kind == "get_time" then
    local city = draw.city()
    local result = draw.number(2) .. ":" .. draw.number(2)
    return draw.one { "What time is it in %s?", "Time in %s, please.", "Give the time in %s." }:format(city),
      { city }, result, { "It is ", result, " in ", city, "." }
  elseif kind == "find_value" then
    local field, name, result = draw.field(), draw.name(), draw.number(4)
    return draw.one { "Find the %s of %s.", "Look up the %s of %s.", "Which %s belongs to %s?" }:format(field, name),
      { field, name }, result, { "The ", field, " of ", name, " is ", result, "." }
  elseif kind == "calculate" then
    local expression = draw.number(draw.digits(4)) .. draw.one { " + ", " * " } .. draw.number(draw.digits(3))
    local result = draw.number(draw.digits(6))
    local forms = { "Calculate %s.", "Use the calculator: %s", "Work out %s with the calculator." }
    return draw.one(forms):format(expression),
      { expression }, result, { "The result is ", result, "." }
  elseif kind == "get_value" then
    local key, result = draw.name(), draw.number(4)
    return draw.one { "Read the key %s.", "What is stored under %s?", "Get %s from the store." }:format(key),
      { key }, result, { "The value of ", key, " is ", result, "." }
  elseif kind == "set_timer" then
    local minutes = draw.number(draw.digits(2))
    return draw.one { "Set a timer for %s minutes.", "Remind me in %s minutes.", "Timer: %s minutes." }:format(minutes),
      { minutes }, "ok", { "Done." }
  elseif kind == "send_message" then
    local to, text = draw.person(), draw.name()
    return draw.one { "Send %s the message %s.", "Tell %s: %s.", "Write to %s: %s." }:format(to, text),
      { to, text }, "ok", { "Done." }
  elseif kind == "book_room" then
    local room, day = draw.number(3), draw.day()
    return draw.one { "Book room %s for %s.", "Reserve room %s on %s.", "I need room %s on %s." }:format(room, day),
      { room, day }, "ok", { "Done." }
  end
  local item, count = draw.name(), draw.number(draw.digits(2))
  if draw.one { 1, 2 } == 1 then
    return ("Order %s of %s."):format(count, item), { item, count }, "ok", { "Done." }
  end
  return ("Please buy %s, %s pieces."):format(item, count), { item, count }, "ok", { "Done." }
end

return toolbox
