--- Messages to tokens, as DeepSeek-V4 was trained on them: they become pieces, which a tokenizer or a session takes.
-- What comes from outside only ever becomes a text piece, so control tokens written in it stay text: by type, not by
-- escaping.
local count_below = require("moonseek.sorted").count_below
local json = require "moonseek.json"
local options = require "moonseek.options"
local problem = require "moonseek.problem"
local template = require "moonseek.encoding.template"
local turns = require "moonseek.encoding.turns"

local encoding = {}

local control = template.control

-- {== Pieces ==========================================================================================

local function put_text(prompt, text)
  if text ~= "" then prompt.pieces[#prompt.pieces + 1] = { text = text } end
end

local function put_control(prompt, token)
  prompt.pieces[#prompt.pieces + 1] = { control = token }
end

local function put_ids(prompt, ids)
  prompt.pieces[#prompt.pieces + 1] = { ids = ids }
end

local function put_template(prompt, text)
  for _, piece in ipairs(template.pieces(text)) do
    if piece.control then put_control(prompt, piece.control) else put_text(prompt, piece.text) end
  end
end

--- Notes which pieces `write` makes of the message at `place`.
local function mark(prompt, place, write, ...)
  local before = #prompt.pieces
  write(prompt, ...)
  prompt.marks[place] = { first = before + 1, last = #prompt.pieces }
end

local json_options = { python = true, first = template.schema_keys }

local function json_text(what, value)
  local text, message = json.encode(value, json_options)
  return text or problem.raise("%s: %s", what, message)
end

-- {== Turns ===========================================================================================

local function put_extras(prompt, turn)
  if turn.tools then
    local schemas = {}
    for i, tool in ipairs(turn.tools) do
      schemas[i] = json_text(("message %d: tools: tool %d"):format(turn.source, i), tool)
    end
    put_text(prompt, "\n\n")
    put_template(prompt, template.before_tools)
    put_text(prompt, table.concat(schemas, "\n"))
    put_template(prompt, template.after_tools)
  end
  if turn.response_format then
    put_text(prompt, "\n\n" .. template.response_format)
    put_text(prompt, json_text(("message %d: response_format"):format(turn.source), turn.response_format))
  end
end

local function put_instructions(prompt, turn)
  put_text(prompt, turn.text)
  put_extras(prompt, turn)
end

local function put_result(prompt, text)
  if prompt.escape then text = text:gsub("</tool_result>", "&lt;/tool_result>") end
  put_text(prompt, "<tool_result>" .. text .. "</tool_result>")
end

--- `<｜DSML｜` or `</｜DSML｜`, and what follows.
local function put_tag(prompt, opening, rest)
  put_text(prompt, opening)
  put_control(prompt, control.dsml)
  put_text(prompt, rest)
end

--- A string is written as it is, every other value as JSON.
local function put_parameter(prompt, arguments, key)
  local text, is_string = arguments[key], type(arguments[key]) == "string"
  if not is_string then
    local message
    text, message = json.encode_member(arguments, key, json_options)
    if not text then problem.raise("tool_calls: argument '%s': %s", key, message) end
  end
  put_tag(prompt, "<", ('parameter name="%s" string="%s">'):format(key, tostring(is_string)))
  put_text(prompt, text)
  put_tag(prompt, "</", "parameter>")
end

local function put_call(prompt, call)
  local arguments = call.arguments
  if type(arguments) == "string" then arguments = { arguments = arguments } end
  put_tag(prompt, "<", ('invoke name="%s">\n'):format(call.name))
  for i, key in ipairs(json.keys(arguments)) do
    if i > 1 then put_text(prompt, "\n") end
    put_parameter(prompt, arguments, key)
  end
  put_text(prompt, "\n")
  put_tag(prompt, "</", "invoke>\n")
end

local function put_answer(prompt, turn)
  put_text(prompt, turn.text)
  if #turn.calls == 0 then return end
  put_text(prompt, "\n\n")
  put_tag(prompt, "<", "tool_calls>\n")
  for _, call in ipairs(turn.calls) do put_call(prompt, call) end
  put_tag(prompt, "</", "tool_calls>")
end

--- An assistant's turn from the ids that the model made of it. `answer_at` is the place among them where the answer
-- begins, 0 when the reasoning was still open; a turn that began without reasoning has 1.
local function put_kept(prompt, turn, with_reasoning)
  local at = turn.answer_at
  if with_reasoning then
    if at == 1 then put_control(prompt, control.end_think) end
    put_ids(prompt, turn.tokens)
    if at == 0 and not turn.open and #turn.calls == 0 then put_control(prompt, control.end_think) end
  elseif at == 0 then
    put_answer(prompt, turn)
  else
    put_ids(prompt, turn.tokens:sub(at))
  end
end

local function put_assistant(prompt, turn, with_reasoning)
  if turn.tokens then return put_kept(prompt, turn, with_reasoning) end
  if with_reasoning then
    put_text(prompt, turn.reasoning)
    put_control(prompt, control.end_think)
  end
  put_answer(prompt, turn)
end

local put_role = {}

function put_role.system(prompt, turn)
  mark(prompt, turn.source, put_instructions, turn)
end

function put_role.developer(prompt, turn)
  put_control(prompt, control.user)
  mark(prompt, turn.source, put_instructions, turn)
end

function put_role.latest_reminder(prompt, turn)
  put_control(prompt, control.latest_reminder)
  mark(prompt, turn.source, put_text, turn.text)
end

function put_role.user(prompt, turn)
  put_control(prompt, control.user)
  for i, block in ipairs(turn.blocks) do
    if i > 1 then put_text(prompt, "\n\n") end
    mark(prompt, block.source, block.result and put_result or put_text, block.text)
  end
  if turn.url then
    put_control(prompt, control.extracted_url)
    put_text(prompt, turn.url)
  end
end

function put_role.assistant(prompt, turn, i)
  local previous = prompt.turns[i - 1]
  local with_reasoning = prompt.thinking and not (previous and previous.task) and (not prompt.drop or i > prompt.last)
  mark(prompt, turn.source, put_assistant, turn, with_reasoning)
  if not turn.open then put_control(prompt, control.eos) end
end

--- What follows turn i: the header of the assistant's turn, or a task's token.
local function put_transition(prompt, turn, i)
  local following = prompt.turns[i + 1]
  if following and following.role ~= "assistant" and following.role ~= "latest_reminder" then return end
  if turn.task and turn.task ~= "action" then return put_control(prompt, template.tasks[turn.task]) end
  if turn.task or turn.role == "user" or turn.role == "developer" then
    local thinks = prompt.thinking and (turn.task or not prompt.drop or i >= prompt.last)
    put_control(prompt, control.assistant)
    put_control(prompt, thinks and control.think or control.end_think)
    if turn.task then put_control(prompt, template.tasks.action) end
  end
end

-- {== The public functions ============================================================================

local declared = {
  thinking = { type = "string", default = "off" },
  generation = { type = "string", default = "0731" },
  drop_thinking = { type = "boolean", default = true },
  bos = { type = "boolean", default = true },
  escape_tool_results = { type = "boolean", default = false },
}

local function effort_text(chosen)
  local generation = template.effort[chosen.generation]
  if not generation then
    problem.raise("generation is '%s', allowed are 'preview' and '0731'", chosen.generation)
  end
  if chosen.thinking == "off" then return "" end
  return generation[chosen.thinking]
    or problem.raise("thinking is '%s', allowed are 'off', 'low', 'high' and 'max'", chosen.thinking)
end

local function render(messages, chosen)
  local effort = effort_text(chosen)
  local list, has_tools = turns.of(messages)
  local prompt = { pieces = {}, marks = {}, thinking = chosen.thinking ~= "off", escape = chosen.escape_tool_results,
                   drop = chosen.drop_thinking and not has_tools }
  prompt.turns = prompt.thinking and prompt.drop and turns.without_old(list) or list
  prompt.last = turns.last_request(prompt.turns)
  if chosen.bos then put_control(prompt, control.bos) end
  for i, turn in ipairs(prompt.turns) do
    if i == 1 then put_text(prompt, effort) end
    put_role[turn.role](prompt, turn, i)
    put_transition(prompt, turn, i)
  end
  -- What the rules left out has an empty mark, where it would have stood.
  local before = 0
  for place = 1, #messages do
    prompt.marks[place] = prompt.marks[place] or { first = before + 1, last = before }
    before = math.max(before, prompt.marks[place].last)
  end
  return prompt.pieces, prompt.marks
end

--- The pieces of a conversation, for a tokenizer or a session, and for each message its first and last piece.
-- A message that cannot be encoded is nil, "message N: ...", "EINVAL".
function encoding.pieces(messages, given)
  if type(messages) ~= "table" then
    error(("encoding.pieces: list of messages expected, got %s"):format(type(messages)), 2)
  end
  local chosen = options.read("encoding.pieces", given, declared)
  return problem.catch("EINVAL", render, messages, chosen)
end

--- The byte at which each piece begins in the text of all tokens, and as one more the end.
local function piece_starts(tokenizer, pieces)
  local starts, at = {}, 0
  for i, piece in ipairs(pieces) do
    starts[i] = at
    at = at + #(piece.text or piece.control or tokenizer:decode(piece.ids))
  end
  starts[#pieces + 1] = at
  return starts
end

--- The tokens of a conversation, and for each message the span { first =, last = } of the places that its text,
-- reasoning and calls have among them, without role tokens; an empty one has last = first - 1. A token belongs to the
-- message in which it begins.
function encoding.encode(tokenizer, messages, given)
  if type(messages) ~= "table" then
    error(("encoding.encode: list of messages expected, got %s"):format(type(messages)), 2)
  end
  local chosen = options.read("encoding.encode", given, declared)
  local pieces, marks, code = problem.catch("EINVAL", render, messages, chosen)
  if not pieces then return nil, marks, code end
  local tokens, offsets
  tokens, offsets, code = tokenizer:encode(pieces)
  if not tokens then return nil, offsets, code end
  local starts, spans = piece_starts(tokenizer, pieces), {}
  for place, span in ipairs(marks) do
    spans[place] = { first = count_below(offsets, starts[span.first]) + 1,
                     last = count_below(offsets, starts[span.last + 1]) }
  end
  return tokens, spans
end

return encoding
