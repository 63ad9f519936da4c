--- JSON whose texts come back as they came in: objects remember the order of their keys, containers how their numbers
-- were written, null and empty arrays are values. With `python = true` it reads and writes what Python's json module
-- does (ensure_ascii=False), which is the JSON that prompts are made of.
local options = require "moonseek.options"
local problem = require "moonseek.problem"
local read = require "moonseek.json.reader"
local values = require "moonseek.json.values"
local writer = require "moonseek.json.writer"

local json = {
  null = values.null,
  object = values.object,
  array = values.array,
  type = values.type,
  escape = writer.escape,
}

local reading = { python = { type = "boolean", default = false } }
local writing = { python = reading.python, first = { type = "table" } }

--- The keys of an object in order: as they were read or set; of a plain table sorted.
function json.keys(object)
  if type(object) ~= "table" then error(("json.keys: object expected, got %s"):format(type(object)), 2) end
  return values.keys(object)
end

--- The value of a JSON text; nil, message with the byte, "EFORMAT" when it is none. With `python` it may hold NaN and
-- Infinity.
function json.decode(text, given)
  if type(text) ~= "string" then error(("json.decode: string expected, got %s"):format(type(text)), 2) end
  local chosen = options.read("json.decode", given, reading)
  local holder, message, code = problem.catch("EFORMAT", read, text, chosen.python)
  if not holder then return nil, message, code end
  return holder[1]
end

local function ranks(first)
  local rank = {}
  for place, key in ipairs(first or {}) do rank[key] = place end
  return rank
end

--- The JSON text of a value, ", " and ": " between its parts; nil, message with the place, "EINVAL" when it has none.
-- A number that was read and not changed is written as it was; with `python`, as Python would write it. `first` lists
-- keys that come first in plain tables, whose keys are sorted.
function json.encode(value, given)
  local chosen = options.read("json.encode", given, writing)
  return problem.catch("EINVAL", writer.write, value, chosen.python, ranks(chosen.first))
end

--- The JSON text of container[key], as encode writes it within the whole.
function json.encode_member(container, key, given)
  if type(container) ~= "table" then
    error(("json.encode_member: table expected, got %s"):format(type(container)), 2)
  end
  local chosen = options.read("json.encode_member", given, writing)
  return problem.catch("EINVAL", writer.write_member, container, key, chosen.python, ranks(chosen.first))
end

return json
