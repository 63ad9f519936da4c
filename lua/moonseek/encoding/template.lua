--- The words of the format: control tokens, and the texts the models were trained on, byte for byte.
local template = {}

template.control = {
  bos = "<｜begin▁of▁sentence｜>", eos = "<｜end▁of▁sentence｜>", user = "<｜User｜>", assistant = "<｜Assistant｜>",
  think = "<think>", end_think = "</think>", dsml = "｜DSML｜", latest_reminder = "<｜latest_reminder｜>",
  extracted_url = "<｜extracted_url｜>",
}

--- The token of a quick-instruction task.
template.tasks = {
  action = "<｜action｜>", query = "<｜query｜>", authority = "<｜authority｜>", domain = "<｜domain｜>",
  title = "<｜title｜>", read_url = "<｜read_url｜>",
}

--- Of plain tables, whose keys have no order; schemas the models know have these first.
template.schema_keys = { "name", "type", "description", "parameters", "enum", "items", "properties", "required" }

local function lines(list) return table.concat(list, "\n") end

local absolute_maximum = lines {
  "Reasoning Effort: Absolute maximum with no shortcuts permitted.",
  "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the "
    .. "root cause, rigorously stress-testing your logic against all potential paths, edge cases, and "
    .. "adversarial scenarios.",
  "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    .. "alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.",
  "",
  "",
}

local beyond_maximum = lines {
  "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.",
  "You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively "
    .. "decompose the problem into its most fundamental components, trace every causal chain to its root, and "
    .. "resolve the underlying cause rather than any surface symptom.",
  "Do not stop reasoning until you have independently verified the solution from multiple angles and are "
    .. "certain that no assumption remains unchecked and no error remains undiscovered.",
  "",
  "",
}

--- What stands before the first message, by checkpoint generation and effort. Nothing in a checkpoint tells which
-- generation it is of.
template.effort = {
  preview = { low = "", high = "", max = absolute_maximum },
  ["0731"] = { low = "", high = absolute_maximum, max = beyond_maximum },
}

template.before_tools = lines {
  "## Tools",
  "",
  "You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "
    .. [["<｜DSML｜tool_calls>" block like the following:]],
  "",
  "<｜DSML｜tool_calls>",
  [[<｜DSML｜invoke name="$TOOL_NAME">]],
  [[<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>]],
  "...",
  "</｜DSML｜invoke>",
  [[<｜DSML｜invoke name="$TOOL_NAME2">]],
  "...",
  "</｜DSML｜invoke>",
  "</｜DSML｜tool_calls>",
  "",
  [[String parameters should be specified as is and set `string="true"`. For all other types (numbers, ]]
    .. [[booleans, arrays, objects), pass the value in JSON format and set `string="false"`.]],
  "",
  "If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside "
    .. "<think>...</think> BEFORE any tool calls or final response.",
  "",
  "Otherwise, output directly after </think> with tool calls or final response.",
  "",
  "### Available Tool Schemas",
  "",
  "",
}

template.after_tools = lines {
  "",
  "",
  "You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.",
  "",
}

template.response_format = lines {
  "## Response Format:",
  "",
  "You MUST strictly adhere to the following schema to reply:",
  "",
}

--- A text of this file as pieces: the control tokens in it are ones. Never for text from outside.
function template.pieces(text)
  local pieces, at = {}, 1
  while at <= #text do
    local first, last, name
    for _, control in ipairs { "think", "end_think", "dsml" } do
      local from, to = text:find(template.control[control], at, true)
      if from and (not first or from < first) then first, last, name = from, to, template.control[control] end
    end
    pieces[#pieces + 1] = { text = text:sub(at, (first or 0) - 1) }
    if not first then break end
    pieces[#pieces + 1] = { control = name }
    at = last + 1
  end
  return pieces
end

return template
