--- The tool-call block of a tolerant parser: tags become calls. One that is not as it should be is delivered with its
-- raw text and the reason: never dropped, never guessed.
local json = require "moonseek.json"
local tags = require "moonseek.parser.tags"
local template = require "moonseek.encoding.template"

local sub, find = string.sub, string.find

local block = {}
block.__index = block

--- out:delta(index, name, text), out:call(call) and out:drop(text) take what is found; `tools` is a set of names.
-- `name` is that of a bare invoke, which was read already.
function block.new(out, tools, name)
  local self = setmetatable({
    out = out, tools = tools, count = 0,
    state = "between", -- a key of `data`: what text means
    call = nil,        -- the one that is open
    loose = {},        -- text between calls, or after them
    cut = false,       -- whether the output ended within a call
  }, block)
  self.tags = tags.new(self)
  if name then
    local attributes = (' name="%s">'):format(name)
    self:tag("<invoke", "<" .. template.control.dsml .. "invoke" .. attributes, attributes)
  end
  return self
end

local function trim(parts)
  local text = table.concat(parts)
  local first, last = find(text, "%S"), #text
  if not first then return "" end
  while find(text, "^%s", last) do last = last - 1 end
  return sub(text, first, last)
end

local function drop_loose(self)
  local text = trim(self.loose)
  self.loose = {}
  if text ~= "" then self.out:drop(text) end
end

-- {== Calls ===========================================================================================

local function write(self, text)
  local call = self.call
  call.arguments[#call.arguments + 1] = text
  self.out:delta(call.index, call.name, text)
end

--- The call is none to be run: from here on only its raw text counts.
local function spoil(self, code, message, ...)
  local call = self.call
  call.malformed, call.message = code, message:format(...)
  self.state = "spoilt"
end

local function deliver(self)
  local call = self.call
  local done = { index = call.index, name = call.name }
  if call.malformed then
    done.malformed, done.message, done.raw = call.malformed, call.message, table.concat(call.raw)
  else
    done.arguments = table.concat(call.arguments)
  end
  self.call, self.state = nil, "between"
  self.out:call(done)
end

--- An open call meets what can only stand after its end.
local function end_unclosed(self)
  if self.state == "value" then
    spoil(self, "not_closed", "parameter '%s' has no end", self.call.key)
  elseif self.state == "parameters" then
    spoil(self, "not_closed", "the call has no end")
  end
  if self.call then deliver(self) end
end

local function open_call(self, name, text)
  drop_loose(self)
  self.count = self.count + 1
  self.call = { index = self.count, name = name, raw = { text }, arguments = {}, seen = {}, loose = {}, empty = true }
  self.state = "parameters"
  if not name then return spoil(self, "invalid_tag", "the call's tag holds no name") end
  if not self.tools[name] then return spoil(self, "unknown_tool", "no tool '%s' was offered", name) end
  write(self, "")
end

--- A JSON object in place of parameters stands for them, nothing at all for no arguments.
local function close_call(self)
  local call = self.call
  local loose = trim(call.loose)
  if loose == "" then
    write(self, call.empty and "{}" or "}")
  elseif call.empty and json.type(json.decode(loose)) == "object" then
    write(self, loose)
  else
    spoil(self, "stray_text", "there is text beside the parameters")
  end
  deliver(self)
end

--- The key and the kind of a parameter: ` name="KEY" string="KIND">`. Without a kind it is a string.
local function read_attributes(attributes)
  local _, first = find(attributes or "", '^%s*name="')
  if not first then return nil end
  local last, after = find(attributes, '" string="', first + 1, true)
  if last then return sub(attributes, first + 1, last - 1), sub(attributes, after + 1, -3) end
  local key = sub(attributes, first + 1, -3)
  return not find(key, '"', 1, true) and key or nil, "true"
end

local function open_parameter(self, key, kind)
  local call = self.call
  if not key or kind ~= "true" and kind ~= "false" then
    return spoil(self, "invalid_tag", "a parameter's tag is not as it should be")
  end
  if call.seen[key] then return spoil(self, "duplicate_parameter", "parameter '%s' stands twice", key) end
  write(self, (call.empty and "{" or ", ") .. '"' .. json.escape(key) .. '": ' .. (kind == "true" and '"' or ""))
  call.seen[key], call.empty = true, false
  call.key, call.is_string, call.value = key, kind == "true", {}
  self.state = "value"
end

local function close_parameter(self)
  local call = self.call
  self.state = "parameters"
  if call.is_string then return write(self, '"') end
  local value, message = json.decode(table.concat(call.value))
  if value == nil then spoil(self, "invalid_json", "parameter '%s': %s", call.key, message) end
end

-- {== What text is, by state ==========================================================================

local data = {}

function data.between(self, text)
  self.loose[#self.loose + 1] = text
end

data.after = data.between

function data.parameters(self, text)
  self.call.loose[#self.call.loose + 1] = text
end

function data.value(self, text)
  local call = self.call
  if call.is_string then return write(self, json.escape(text)) end
  call.value[#call.value + 1] = text
  write(self, text)
end

function data.spoilt() end

function block:data(text)
  if self.call then self.call.raw[#self.call.raw + 1] = text end
  data[self.state](self, text)
end

-- {== What tags do ====================================================================================

-- Without an open call only invoke and the block's end mean something; any other tag is text there.
local outside, inside = {}, {}

function outside.open_invoke(self, text, attributes)
  local _, first = find(attributes or "", '^%s*name="')
  open_call(self, first and sub(attributes, first + 1, -3) or nil, text)
end

function outside.close_block(self)
  drop_loose(self)
  self.state = "after"
end

function inside.open_invoke(self, text, attributes)
  end_unclosed(self)
  outside.open_invoke(self, text, attributes)
end

function inside.close_block(self)
  end_unclosed(self)
  outside.close_block(self)
end

function inside.open_block(self)
  end_unclosed(self)
end

function inside.open_parameter(self, text, attributes)
  self.call.raw[#self.call.raw + 1] = text
  if self.state == "value" then return spoil(self, "not_closed", "parameter '%s' has no end", self.call.key) end
  if self.state == "parameters" then open_parameter(self, read_attributes(attributes)) end
end

function inside.close_parameter(self, text)
  self.call.raw[#self.call.raw + 1] = text
  if self.state == "value" then return close_parameter(self) end
  if self.state == "parameters" then spoil(self, "invalid_tag", "a parameter ends that was not begun") end
end

function inside.close_invoke(self, text)
  self.call.raw[#self.call.raw + 1] = text
  if self.state == "value" then spoil(self, "not_closed", "parameter '%s' has no end", self.call.key) end
  if self.call.malformed then return deliver(self) end
  close_call(self)
end

local meaning = {
  ["<invoke"] = "open_invoke", ["</invoke>"] = "close_invoke", ["<parameter"] = "open_parameter",
  ["</parameter>"] = "close_parameter", ["<tool_calls>"] = "open_block", ["</tool_calls>"] = "close_block",
}

function block:tag(name, text, attributes)
  local handler = (self.call and inside or self.state == "between" and outside or {})[meaning[name]]
  if handler then handler(self, text, attributes) else self:data(text) end
end

function block:text(text)
  self.tags:text(text)
end

function block:control(name)
  self.tags:control(template.control[name])
end

function block.reasoning()
  return false
end

--- Returns whether the output ended within a call.
function block:finish()
  self.tags:finish()
  local cut = self.call ~= nil
  if cut then
    spoil(self, "cut_off", "the output ended within the call")
    deliver(self)
  end
  drop_loose(self)
  return cut
end

return block
