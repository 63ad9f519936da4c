--- Messages become turns: checked, tool results and user texts of one turn put together, results in the order of their
-- calls, old reasoning dropped. A turn names the messages it comes from.
local json = require "moonseek.json"
local problem = require "moonseek.problem"
local template = require "moonseek.encoding.template"

local turns = {}

local function absent(value)
  return value == nil or rawequal(value, json.null)
end

local function raise(place, message, ...)
  problem.raise("message %d: " .. message, place, ...)
end

local function check(place, name, value, wanted)
  if type(value) ~= wanted then raise(place, "%s: %s expected, got %s", name, wanted, type(value)) end
  return value
end

local function optional(place, name, value, wanted)
  if absent(value) then return nil end
  return check(place, name, value, wanted)
end

-- {== What a message says =============================================================================

--- A part of a list of contents. Models of text refuse others, but a tool's result says that there was one.
local function part_text(place, part, in_result)
  if type(part) == "string" then return part end
  check(place, "content: a part", part, "table")
  if part.type == "text" or part.type == nil then return check(place, "content: a part's text", part.text, "string") end
  if in_result then return ("[Unsupported %s]"):format(tostring(part.type)) end
  raise(place, "content: a part of type '%s', only text can be read", tostring(part.type))
end

local function text_of(place, content, in_result)
  if absent(content) then return "" end
  if type(content) == "string" then return content end
  if type(content) ~= "table" then raise(place, "content: string or list of parts expected, got %s", type(content)) end
  local texts = {}
  for i, part in ipairs(content) do texts[i] = part_text(place, part, in_result) end
  if #texts == 0 and next(content) ~= nil then raise(place, "content: string or list expected, got another table") end
  return table.concat(texts, "\n\n")
end

--- A tool as the model is shown it: a function object of the OpenAI kind as it stands, or the three keys that describe
-- a tool of ours.
local function tool_function(place, i, tool)
  check(place, ("tools: tool %d"):format(i), tool, "table")
  local wrapped = tool["function"]
  local described = absent(wrapped) and tool or check(place, ("tools: tool %d: function"):format(i), wrapped, "table")
  check(place, ("tools: tool %d: name"):format(i), described.name, "string")
  if wrapped then return described end
  return json.object {
    { "name", tool.name }, { "description", tool.description }, { "parameters", tool.parameters },
  }
end

local function tools_of(place, tools)
  local functions = {}
  for i, tool in ipairs(optional(place, "tools", tools, "table") or {}) do
    functions[i] = tool_function(place, i, tool)
  end
  return #functions > 0 and functions or nil
end

--- A call's arguments as a table, or as the text that is no JSON object.
local function arguments_of(place, i, call, described)
  local given = described.arguments
  if absent(given) then return absent(call.raw) and json.object() or call.raw end
  if type(given) == "string" then
    local value = json.decode(given, { python = true })
    return json.type(value) == "object" and value or given
  end
  check(place, ("tool_calls: call %d: arguments"):format(i), given, "table")
  if json.type(given) == "object" then return given end
  local text, message = json.encode(given, { python = true })
  return text or raise(place, "tool_calls: call %d: arguments: %s", i, message)
end

local function calls_of(place, calls)
  local read = {}
  for i, call in ipairs(optional(place, "tool_calls", calls, "table") or {}) do
    check(place, ("tool_calls: call %d"):format(i), call, "table")
    local described = call
    if not absent(call["function"]) then
      described = check(place, ("tool_calls: call %d: function"):format(i), call["function"], "table")
    end
    local id = absent(call.id) and described.id or call.id
    read[i] = {
      id = not absent(id) and id ~= "" and tostring(id) or nil,
      name = optional(place, ("tool_calls: call %d: name"):format(i), described.name, "string") or "",
      arguments = arguments_of(place, i, call, described),
    }
  end
  return read
end

local function task_of(place, message)
  local task = message.task
  if absent(task) then return nil end
  if type(task) ~= "string" or not template.tasks[task] then raise(place, "unknown task '%s'", tostring(task)) end
  return task
end

local function kept_tokens(place, message)
  local tokens = message.tokens
  if absent(tokens) then return nil end
  -- Packed ones only: a message that came as JSON can then bring none, and no control token with them.
  check(place, "tokens (packed ids)", tokens, "userdata")
  return tokens
end

-- {== Turns ===========================================================================================

local function user_turn(list, block, message, place)
  list[#list + 1] = { role = "user", blocks = { block }, task = message and task_of(place, message),
                      url = message and optional(place, "url", message.url, "string") }
end

--- What each role adds to the list of turns.
local add = {}

function add.user(list, message, place)
  local last = list[#list]
  local block = { text = text_of(place, message.content), source = place }
  if last and last.role == "user" and not last.task then
    last.blocks[#last.blocks + 1] = block
    task_of(place, message)
  else
    user_turn(list, block, message, place)
  end
end

function add.tool(list, message, place)
  local last = list[#list]
  local block = { text = text_of(place, message.content, true), source = place, result = true,
                  id = not absent(message.tool_call_id) and tostring(message.tool_call_id) or nil }
  if last and last.role == "user" then
    last.blocks[#last.blocks + 1] = block
  else
    user_turn(list, block)
  end
end

function add.system(list, message, place)
  list[#list + 1] = {
    role = message.role, source = place, text = text_of(place, message.content), task = task_of(place, message),
    tools = tools_of(place, message.tools),
    response_format = optional(place, "response_format", message.response_format, "table"),
  }
end

function add.developer(list, message, place)
  add.system(list, message, place)
  if list[#list].text == "" then raise(place, "content: a developer message needs text") end
end

function add.latest_reminder(list, message, place)
  list[#list + 1] = { role = "latest_reminder", source = place, text = text_of(place, message.content),
                      task = task_of(place, message) }
end

function add.assistant(list, message, place)
  local reasoning = absent(message.reasoning) and message.reasoning_content or message.reasoning
  local open = message.prefix == true or message.wo_eos == true
  list[#list + 1] = {
    role = "assistant", source = place, text = text_of(place, message.content), task = task_of(place, message),
    reasoning = optional(place, "reasoning", reasoning, "string") or "",
    calls = calls_of(place, message.tool_calls), open = open,
    tokens = kept_tokens(place, message), answer_at = optional(place, "answer_at", message.answer_at, "number") or 1,
  }
end

--- Puts each turn's tool results into the order of the calls they answer, which is all that links them in the prompt.
local function sort_results(list)
  local order = {}
  for _, turn in ipairs(list) do
    if turn.calls and #turn.calls > 0 then
      order = {}
      for i, call in ipairs(turn.calls) do
        if call.id then order[call.id] = i end
      end
    elseif turn.blocks and next(order) then
      local places, results = {}, {}
      for i, block in ipairs(turn.blocks) do
        if block.result then
          places[#places + 1] = i
          results[#results + 1] = { block = block, rank = order[block.id or ""] or 1, place = i }
        end
      end
      table.sort(results, function(a, b)
        if a.rank ~= b.rank then return a.rank < b.rank end
        return a.place < b.place
      end)
      for i, place in ipairs(places) do turn.blocks[place] = results[i].block end
    end
  end
end

--- The place of the last user or developer turn, 0 without one.
function turns.last_request(list)
  for i = #list, 1, -1 do
    if list[i].role == "user" or list[i].role == "developer" then return i end
  end
  return 0
end

--- Without the developer turns before the last request: what is dropped with old reasoning.
function turns.without_old(list)
  local last, kept = turns.last_request(list), {}
  for i, turn in ipairs(list) do
    if i >= last or turn.role ~= "developer" then kept[#kept + 1] = turn end
  end
  return kept
end

--- The turns of `messages`, and whether any of them offers tools. Raises a problem that names the message.
function turns.of(messages)
  local list, has_tools = {}, false
  for place, message in ipairs(messages) do
    if type(message) ~= "table" then raise(place, "table expected, got %s", type(message)) end
    local add_role = type(message.role) == "string" and add[message.role]
    if not add_role then raise(place, "unknown role '%s'", tostring(message.role)) end
    add_role(list, message, place)
    has_tools = has_tools or list[#list].tools ~= nil
  end
  sort_results(list)
  return list, has_tools
end

return turns
