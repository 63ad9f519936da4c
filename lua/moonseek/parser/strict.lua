--- The strict parser: accepts what the official one accepts of a completion, and nothing else. Reasoning and answer
-- stream, nothing is trimmed; calls come when the output has ended. Control tokens that were typed as text, which the
-- official parser could not tell from generated ones, are refused.
local json = require "moonseek.json"
local problem = require "moonseek.problem"
local template = require "moonseek.encoding.template"

local byte, sub, find = string.byte, string.sub, string.find
local control = template.control
local NEWLINE, LESS = 10, 60

local strict = {}
strict.__index = strict

--- out:part(kind, text), out:close_reasoning(true), out:delta(index, name, text) and out:call(call) take what is found.
function strict.new(out, thinking)
  return setmetatable({
    out = out,
    state = thinking and "reasoning" or "text", -- then "block", and "ended" after the end token
    newlines = 0, less = false, -- held back: they may belong to a block's opening
    head = nil,                 -- what followed "\n\n<｜DSML｜"
    parts = {},                 -- the text of this state
    controls = 0,               -- control tokens among it
    ends = false,               -- whether the last of a block's text is an end token
  }, strict)
end

-- {== The block, once it is whole =====================================================================

--- The first of the two words from `at` on: its place and which it is. Words that were found are remembered, so that
-- none is looked for twice in the same text.
local function earliest(reader, at, first, second)
  for _, word in ipairs { first, second } do
    local known = reader.found[word]
    if not known or known < at then reader.found[word] = find(reader.text, word, at, true) or math.huge end
  end
  local a, b = reader.found[first], reader.found[second]
  if a == math.huge and b == math.huge then problem.raise("the tool calls have no end") end
  if a < b then return a, first end
  return b, second
end

local function check_between(reader, from, to)
  if sub(reader.text, from, to - 1) ~= ">\n" then
    problem.raise("tool calls: '>' and a line's end expected after a tag")
  end
end

local PARAMETER, PARAMETER_END = "<" .. control.dsml .. "parameter", "/" .. control.dsml .. "parameter"
local INVOKE, INVOKE_END = "<" .. control.dsml .. "invoke", "</" .. control.dsml .. "invoke"
local CALLS_END = "</" .. control.dsml .. "tool_calls>"

--- ` name="KEY" string="KIND">VALUE<`, between a parameter's tag and the end of its end tag.
local function read_parameter(text)
  local names_true, after_true = find(text, '" string="true">', 8, true)
  local names_false, after_false = find(text, '" string="false">', 8, true)
  local last, after = names_true, after_true
  if not last or names_false and names_false < last then last, after = names_false, after_false end
  if sub(text, 1, 7) ~= ' name="' or not last or sub(text, -1) ~= "<" or after >= #text then
    problem.raise("tool calls: a parameter is not as it should be")
  end
  return sub(text, 8, last - 1), sub(text, after + 1, -2), last == names_true
end

local function read_name(text)
  local _, first = find(text, '^%s*name="')
  local ending = sub(text, -4) == '">\n\n' and 4 or sub(text, -3) == '">\n' and 3
  if not first or not ending or #text - ending < first then
    problem.raise("tool calls: an invoke is not as it should be")
  end
  return sub(text, first + 1, #text - ending)
end

--- The call whose invoke tag ends before `at`, and the place after its end tag.
local function read_call(reader, at)
  local stop, which = earliest(reader, at, PARAMETER, INVOKE_END)
  local name, parts, seen = read_name(sub(reader.text, at, stop - 1)), {}, {}
  while which == PARAMETER do
    local from = stop + #PARAMETER
    local last = earliest(reader, from, PARAMETER_END, PARAMETER_END)
    local key, value, is_string = read_parameter(sub(reader.text, from, last - 1))
    if seen[key] then problem.raise("tool calls: parameter '%s' stands twice", key) end
    seen[key] = true
    if is_string then value = '"' .. json.escape(value) .. '"' end
    parts[#parts + 1] = '"' .. json.escape(key) .. '": ' .. value
    stop, which = earliest(reader, last + #PARAMETER_END, PARAMETER, INVOKE_END)
    check_between(reader, last + #PARAMETER_END, stop)
  end
  return { name = name, arguments = "{" .. table.concat(parts, ", ") .. "}" }, stop + #INVOKE_END
end

--- The calls of what follows "<｜DSML｜tool_calls".
local function read_calls(text)
  local reader, at, calls = { text = text, found = {} }, 1, {}
  while true do
    local stop, which = earliest(reader, at, INVOKE, CALLS_END)
    check_between(reader, at, stop)
    if which == CALLS_END then
      if stop + #CALLS_END <= #text then problem.raise("there is text after the tool calls") end
      return calls
    end
    calls[#calls + 1], at = read_call(reader, stop + #INVOKE)
    calls[#calls].index = #calls
  end
end

-- {== The stream ======================================================================================

local function emit(self, text)
  if text == "" then return end
  self.parts[#self.parts + 1] = text
  if self.state ~= "block" then self.out:part(self.state, text) end
end

local function release(self)
  local held = ("\n"):rep(self.newlines) .. (self.less and "<" or "")
  self.newlines, self.less = 0, false
  emit(self, held)
end

--- Refuses text in which a control token was typed.
local function end_part(self)
  release(self)
  local text, count = table.concat(self.parts), 0
  for _, name in ipairs { "bos", "eos", "think", "end_think", "dsml" } do
    local _, at = find(text, control[name], 1, true)
    while at do
      count = count + 1
      _, at = find(text, control[name], at + 1, true)
    end
  end
  if count ~= self.controls then problem.raise("a control token was typed as text") end
  self.parts, self.controls = {}, 0
  return text
end

local function plain(self, text)
  local last = #text
  local less = byte(text, last) == LESS
  if less then last = last - 1 end
  local before = last
  while byte(text, last) == NEWLINE do last = last - 1 end
  if last > 0 or self.less then
    release(self)
    emit(self, sub(text, 1, last))
  end
  self.newlines, self.less = self.newlines + before - last, less
end

function strict:text(text)
  if self.state == "ended" then problem.raise("there is text after the end token") end
  if self.state == "block" then
    self.ends = false
    return emit(self, text)
  end
  if not self.head then return plain(self, text) end
  self.head = self.head .. text
  local word = "tool_calls"
  if sub(self.head, 1, #word) == word then
    local rest = sub(self.head, #word + 1)
    self.newlines, self.less, self.head = self.newlines - 2, false, nil
    end_part(self)
    self.state = "block"
    emit(self, rest)
  elseif sub(word, 1, #self.head) ~= self.head then
    problem.raise("'%s' stands outside of tool calls", control.dsml)
  end
end

local function control_in_prose(self, name)
  if self.head then problem.raise("'%s' stands outside of tool calls", control.dsml) end
  if name == "end_think" and self.state == "reasoning" then
    end_part(self)
    self.out:close_reasoning(true)
    self.state = "text"
  elseif name == "dsml" and self.state == "text" and self.less and self.newlines >= 2 then
    self.head = ""
  elseif name == "eos" and self.state == "text" then
    end_part(self)
    self.state = "ended"
  elseif name == "eos" then
    problem.raise("the reasoning has no end")
  else
    problem.raise("'%s' stands in the %s", control[name], self.state)
  end
end

--- An end token within the block is a part of it, to the official parser; the last one ends it.
local function end_block(self)
  if self.ends then
    self.parts[#self.parts] = nil
    self.controls = self.controls - 1
  end
  local calls = read_calls(end_part(self))
  self.state = "ended"
  for _, call in ipairs(calls) do
    self.out:delta(call.index, call.name, call.arguments)
    self.out:call(call)
  end
end

function strict:control(name)
  if self.state == "ended" then problem.raise("there is a token after the end token") end
  if self.state ~= "block" then return control_in_prose(self, name) end
  self.ends = name == "eos"
  self.controls = self.controls + 1
  emit(self, control[name])
end

function strict:reasoning()
  return self.state == "reasoning"
end

function strict:finish()
  if self.state == "block" then return end_block(self) end
  if self.state ~= "ended" then problem.raise("the output ended without an end token") end
end

return strict
