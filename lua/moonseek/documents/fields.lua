--- What is to be extracted: the fields of a row, how they are asked for, and whether an answer has them.
local json = require "moonseek.json"
local options = require "moonseek.options"

local fields = {}

local declared = {
  name = { type = "string", required = true },
  type = { type = "string" },
  description = { type = "string" },
  choices = { type = "table" },
  optional = { type = "boolean", default = false },
}

local types = { string = true, number = true, integer = true, boolean = true, array = true, object = true }
local reserved = { document = true, error = true }

--- The fields as tables, from names or tables. Raises, in the code that called what called this, for any that is none.
function fields.read(list)
  local read, seen = {}, {}
  for i, given in ipairs(list) do
    if type(given) == "string" then given = { name = given } end
    local field = options.read(("fields[%d]"):format(i), given, declared)
    local wrong = field.type and not types[field.type] and ("type '%s' is unknown"):format(field.type)
      or reserved[field.name] and "that name is a column's already" or seen[field.name] and "that name stands twice"
      or field.name == "" and "the name is empty"
    if wrong then error(("fields[%d] '%s': %s"):format(i, field.name, wrong), 3) end
    read[i], seen[field.name] = field, true
  end
  if #read == 0 then error("fields: a list of at least one field expected", 3) end
  return read
end

function fields.names(list)
  local names = {}
  for i, field in ipairs(list) do names[i] = field.name end
  return names
end

--- A line for each field that has more than a name; empty when none has.
function fields.details(list)
  local lines = {}
  for _, field in ipairs(list) do
    local parts = {}
    if field.type then parts[#parts + 1] = field.type end
    if field.choices then parts[#parts + 1] = "one of " .. json.encode(field.choices) end
    if field.optional then parts[#parts + 1] = "null when it is not there" end
    if field.description then parts[#parts + 1] = field.description end
    if #parts > 0 then lines[#lines + 1] = ("\n- %s: %s"):format(field.name, table.concat(parts, "; ")) end
  end
  return table.concat(lines)
end

--- What is wrong with a field's value, nil when nothing is.
local function problem_of(field, value)
  if value == nil or value == json.null then return not field.optional and "is missing" or nil end
  local kind = json.type(value)
  if field.type == "integer" then
    if kind ~= "number" or value % 1 ~= 0 then return "is no integer" end
  elseif field.type and kind ~= field.type then
    return ("is %s %s, not %s"):format(kind == "array" and "an" or "a", kind, field.type)
  end
  if not field.choices then return nil end
  for _, choice in ipairs(field.choices) do
    if choice == value then return nil end
  end
  return "is none of " .. json.encode(field.choices)
end

--- The object in an answer with these fields alone; nil and what is wrong. Text around the object is passed over.
function fields.take(list, answer)
  local first, last = answer:find("{", 1, true), answer:match("^.*()}")
  if not first or not last or last < first then return nil, "there is no JSON object in the answer" end
  local object, message = json.decode(answer:sub(first, last))
  if object == nil then return nil, message end
  for _, field in ipairs(list) do
    local wrong = problem_of(field, object[field.name])
    if wrong then return nil, ("field '%s' %s"):format(field.name, wrong) end
  end
  local wanted = {}
  for _, field in ipairs(list) do wanted[field.name] = true end
  for _, key in ipairs(json.keys(object)) do
    if not wanted[key] then object[key] = nil end
  end
  return object
end

return fields
