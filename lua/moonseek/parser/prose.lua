--- Reasoning and answer of a tolerant parser: newlines around them are taken off, and a tool-call block is found where
-- its marker was generated as the control token. Held back: newlines at the end and a "<", which may belong to it.
local template = require "moonseek.encoding.template"

local byte, sub = string.byte, string.sub
local DSML = template.control.dsml
local NEWLINE, LESS = 10, 60

local prose = {}
prose.__index = prose

--- out:part(kind, text), out:drop(text), out:open_reasoning() and out:close_reasoning(by_token) take what is found.
-- `tools` is a set of names; without any, nothing is a call.
function prose.new(out, thinking, tools)
  local openings
  if next(tools) then
    openings = { ["tool_calls>"] = true }
    for name in pairs(tools) do
      if not name:find('"', 1, true) then openings[('invoke name="%s">'):format(name)] = name end
    end
  end
  return setmetatable({
    out = out, kind = thinking and "reasoning" or "text", openings = openings,
    newlines = 0,      -- held back
    less = false,      -- and a "<" after them
    head = nil,        -- what followed "<｜DSML｜", while it may open a block
    started = false,   -- whether the part has text already: before it, newlines are dropped
  }, prose)
end

local function release(self, text)
  local held = ("\n"):rep(self.newlines) .. (self.less and "<" or "")
  self.newlines, self.less = 0, false
  text = held .. text
  if not self.started then
    local first = text:find("[^\n]")
    if not first then return end
    self.started, text = true, sub(text, first)
  end
  if text ~= "" then self.out:part(self.kind, text) end
end

local function begin(self, kind)
  self.kind, self.started, self.newlines, self.less = kind, false, 0, false
end

local function plain(self, text)
  local last = #text
  local less = byte(text, last) == LESS
  if less then last = last - 1 end
  local before = last
  while byte(text, last) == NEWLINE do last = last - 1 end
  if last > 0 or self.less then release(self, sub(text, 1, last)) end
  self.newlines, self.less = self.newlines + before - last, less
end

local function give_up_head(self)
  local head = self.head
  self.head = nil
  release(self, DSML)
  if head ~= "" then plain(self, head) end
end

--- Returns "block", and the name of a bare invoke's tool and the text after the opening, when a block begins.
function prose:text(text)
  if not self.head then return plain(self, text) end
  local head, possible = self.head .. text, false
  self.head = head
  for opening, name in pairs(self.openings) do
    if sub(head, 1, #opening) == opening then
      self.newlines, self.less, self.head = 0, false, nil
      if self.kind == "reasoning" then self.out:close_reasoning(false) end
      return "block", name ~= true and name or nil, sub(head, #opening + 1)
    end
    possible = possible or sub(opening, 1, #head) == head
  end
  if not possible then give_up_head(self) end
end

local controls = {}

function controls.think(self, token)
  if self.started or self.less then return release(self, token) end
  if self.kind == "reasoning" then return self.out:drop(token) end
  self.out:open_reasoning()
  begin(self, "reasoning")
end

function controls.end_think(self, token)
  if self.kind == "text" then return self.out:drop(token) end
  self.newlines = self.less and self.newlines or 0
  release(self, "")
  self.out:close_reasoning(true)
  begin(self, "text")
end

function controls.dsml(self, token)
  if self.openings and self.less then self.head = "" else release(self, token) end
end

function prose:control(name)
  if self.head then give_up_head(self) end
  local token = template.control[name]
  if controls[name] then controls[name](self, token) else release(self, token) end
end

function prose:reasoning()
  return self.kind == "reasoning"
end

function prose:finish()
  if self.head then give_up_head(self) end
  release(self, "")
end

return prose
