--- JSON whose texts come back as they came in: objects remember the order of their keys, containers how their numbers
-- were written, null and empty arrays are values. With `python = true` it reads and writes what Python's json module
-- does (ensure_ascii=False), which is the JSON that prompts are made of.
local options = require "moonseek.options"
local read = require "moonseek.json.reader"
local values = require "moonseek.json.values"
local writer = require "moonseek.json.writer"

local json = {
  null = values.null,
  object = values.object,
  array = values.array,
  keys = values.keys,
  type = values.type,
  escape = writer.escape,
}

local declared = { python = { type = "boolean", default = false } }

--- The value of a JSON text; nil, message with the byte, "EFORMAT" when it is none. With `python` it may hold NaN and
-- Infinity.
function json.decode(text, given)
  if type(text) ~= "string" then error(("json.decode: string expected, got %s"):format(type(text)), 2) end
  local chosen = options.read("json.decode", given, declared)
  local holder, message, code = values.guarded("EFORMAT", read, text, chosen.python)
  if not holder then return nil, message, code end
  return holder[1]
end

--- The JSON text of a value, ", " and ": " between its parts; nil, message with the place, "EINVAL" when it has none.
-- A number that was read and not changed is written as it was; with `python`, as Python would write it.
function json.encode(value, given)
  local chosen = options.read("json.encode", given, declared)
  return values.guarded("EINVAL", writer.write, value, chosen.python)
end

return json
