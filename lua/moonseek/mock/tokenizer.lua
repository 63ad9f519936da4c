--- A tokenizer without a file: a token a byte, and the control tokens of the format.
local core = require "moonseek.core"
local template = require "moonseek.encoding.template"

local tokenizer = {}
tokenizer.__index = tokenizer
tokenizer.__len = function(self) return #self.names + 256 end

--- Control tokens have the first ids, bytes the 256 after them.
function tokenizer.new()
  local names, ids = { template.control.bos, template.control.eos }, {}
  for _, set in ipairs { template.control, template.tasks } do
    local more = {}
    for _, name in pairs(set) do
      if name ~= names[1] and name ~= names[2] then more[#more + 1] = name end
    end
    table.sort(more)
    for _, name in ipairs(more) do names[#names + 1] = name end
  end
  for i, name in ipairs(names) do ids[name] = i - 1 end
  return setmetatable({ names = names, ids = ids }, tokenizer)
end

function tokenizer.token(self, name)
  return self.ids[name]
end

local function add(list, offsets, id, at, bytes)
  list[#list + 1], offsets[#offsets + 1] = id, at
  return at + bytes
end

local function add_text(self, list, offsets, text, at)
  for i = 1, #text do at = add(list, offsets, #self.names + text:byte(i), at, 1) end
  return at
end

local function text_of(self, id)
  return self.names[id + 1] or string.char(id - #self.names)
end

--- As tokenizer:encode: of a text, of pieces, or of ids.
function tokenizer.encode(self, given)
  local kind = type(given)
  if kind == "userdata" or kind == "table" and type(given[1]) == "number" then return core.tokens(given) end
  local list, offsets, at = {}, {}, 0
  for i, piece in ipairs(type(given) == "table" and given or { given }) do
    if type(piece) == "string" then piece = { text = piece } end
    if piece.text then
      at = add_text(self, list, offsets, piece.text, at)
    elseif piece.control then
      local id = self.ids[piece.control]
      if not id then return nil, ("piece %d: no control token '%s'"):format(i, piece.control), "EINVAL" end
      at = add(list, offsets, id, at, #piece.control)
    else
      local ids = core.tokens(piece.ids)
      for k = 1, #ids do at = add(list, offsets, ids[k], at, #text_of(self, ids[k])) end
    end
  end
  return core.tokens(list), offsets
end

function tokenizer.count(self, given)
  local tokens, message, code = tokenizer.encode(self, given)
  if not tokens then return nil, message, code end
  return #tokens
end

function tokenizer.decode(self, tokens, first, last)
  local parts = {}
  tokens = core.tokens(tokens):sub(first or 1, last or -1)
  for i = 1, #tokens do parts[i] = text_of(self, tokens[i]) end
  return table.concat(parts)
end

function tokenizer.close() end

return tokenizer
