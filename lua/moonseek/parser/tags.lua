--- Finds the tags of a tool-call block: "<" or "</", the control token ｜DSML｜, a name. Everything else is data.
local template = require "moonseek.encoding.template"

local sub, find = string.sub, string.find
local DSML = template.control.dsml

local tags = {}
tags.__index = tags

-- invoke and parameter go on with attributes, to the first `">`.
local names = {
  ["<"] = { "invoke", "parameter", "tool_calls>" },
  ["</"] = { "invoke>", "parameter>", "tool_calls>" },
}
local has_attributes = { invoke = true, parameter = true }

--- sink:data(text), and sink:tag(name, text, attributes) with the tag's name ("<invoke", "</invoke>", ...), all of its
-- text, and what stood after the name of one with attributes: nil when it did not end as it should.
function tags.new(sink)
  return setmetatable({
    sink = sink,
    held = "",      -- "<" or "</" at the end of the data, which may begin a tag
    opening = nil,  -- the same, once ｜DSML｜ came after it
    head = "",      -- what followed, while it may be the name of a tag
    name = nil,     -- a name with attributes,
    parts = nil,    -- and what followed it
  }, tags)
end

--- Text without a "<" or "</" at its end, and that.
local function split(text)
  local tail = text:match("</$") or text:match("<$") or ""
  return sub(text, 1, #text - #tail), tail
end

local function data(self, text)
  if text ~= "" then self.sink:data(text) end
end

--- A tag is read; `rest` is text again.
local function complete(self, name, text, attributes, rest)
  local opening = self.opening
  self.opening, self.name, self.parts, self.head = nil, nil, nil, ""
  self.sink:tag(opening .. name, opening .. DSML .. name .. text, attributes)
  if rest ~= "" then self:text(rest) end
end

--- Takes attributes until their end; only what is new is searched.
local function read_attributes(self, text)
  local parts = self.parts
  local before = parts[#parts] or ""
  parts[#parts + 1] = text
  if not (find(text, '">', 1, true) or sub(before, -1) == '"' and sub(text, 1, 1) == ">") then return end
  local whole = table.concat(parts)
  local _, last = find(whole, '">', 1, true)
  local attributes = sub(whole, 1, last)
  complete(self, self.name, attributes, attributes, sub(whole, last + 1))
end

local function not_a_tag(self)
  local text = self.head
  local opening = self.opening
  self.opening, self.head = nil, ""
  data(self, opening .. DSML)
  if text ~= "" then self:text(text) end
end

local function read_name(self, text)
  local head, possible = self.head .. text, false
  self.head = head
  for _, name in ipairs(names[self.opening]) do
    if sub(head, 1, #name) == name then
      local rest = sub(head, #name + 1)
      if not has_attributes[name] then return complete(self, name, "", nil, rest) end
      self.name, self.parts = name, {}
      if rest ~= "" then read_attributes(self, rest) end
      return
    end
    possible = possible or sub(name, 1, #head) == head
  end
  if not possible then not_a_tag(self) end
end

function tags:text(text)
  if text == "" then return end
  if self.name then return read_attributes(self, text) end
  if self.opening then return read_name(self, text) end
  local body
  body, self.held = split(self.held .. text)
  data(self, body)
end

--- Ends a tag that another control token, or the end of the output, cuts off.
local function cut_off(self)
  if self.name then
    local text, tail = split(table.concat(self.parts))
    complete(self, self.name, text, nil, tail)
  elseif self.opening then
    not_a_tag(self)
  end
end

function tags:control(token)
  cut_off(self)
  if token == DSML and self.held ~= "" then
    self.opening, self.held = self.held, ""
  else
    data(self, self.held .. token)
    self.held = ""
  end
end

function tags:finish()
  cut_off(self)
  data(self, self.held)
  self.held = ""
end

return tags
