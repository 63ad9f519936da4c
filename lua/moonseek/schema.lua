--- JSON schemas of tools: which values they allow, and in words what is wrong with one. A keyword that is not known
-- here is refused when the schema is given, never passed over when a value comes.
local json = require "moonseek.json"
local problem = require "moonseek.problem"

local schema = {}

local DEPTH = 200     -- levels: more than a JSON text can have
local PROBLEMS = 5    -- that one message names

local function text_of(value)
  local text = json.encode(value)
  if not text then return tostring(value) end
  return #text <= 60 and text or text:sub(1, 57) .. "..."
end

local function is_integer(value)
  return type(value) == "number" and value % 1 == 0
end

--- Characters of a text: what does not go on with a character begins one.
local function characters(text)
  local _, count = text:gsub("[^\128-\191]", "")
  return count
end

--- Whether two values are the same JSON, the order of keys aside.
local function equal(a, b)
  local kind = json.type(a)
  if kind ~= json.type(b) then return false end
  if kind ~= "object" and kind ~= "array" then return a == b end
  local keys = json.keys(a)
  if #keys ~= #json.keys(b) or #a ~= #b then return false end
  for _, key in ipairs(keys) do
    if not equal(a[key], b[key]) then return false end
  end
  for i = 1, #a do
    if not equal(a[i], b[i]) then return false end
  end
  return true
end

-- {== Values ==========================================================================================

-- type name -> whether a value, of this kind of JSON, has it.
local types = {
  integer = function(value) return is_integer(value) end,
  number = function(_, kind) return kind == "number" end,
}
for _, name in ipairs { "object", "array", "string", "boolean", "null" } do
  types[name] = function(_, kind) return kind == name end
end

local function note(found, path, message, ...)
  found.count = found.count + 1
  if found.count <= PROBLEMS then found[#found + 1] = path .. ": " .. message:format(...) end
end

local check_value

local function type_list(wanted)
  return type(wanted) == "table" and wanted or { wanted }
end

-- keyword -> what it asks of a value of its kind: rule(found, path, value, argument, schema).
local rules = {
  object = {
    required = function(found, path, value, names)
      for _, name in ipairs(names) do
        if value[name] == nil then note(found, path, "'%s' is missing", name) end
      end
    end,
    properties = function(found, path, value, properties)
      for _, name in ipairs(json.keys(properties)) do
        if value[name] ~= nil then check_value(found, path .. "." .. name, value[name], properties[name]) end
      end
    end,
    additionalProperties = function(found, path, value, allowed, given)
      if allowed == true then return end
      local properties = given.properties or {}
      for _, name in ipairs(json.keys(value)) do
        if properties[name] == nil then
          if allowed == false then
            note(found, path, "'%s' is not a property", name)
          else
            check_value(found, path .. "." .. name, value[name], allowed)
          end
        end
      end
    end,
  },
  array = {
    items = function(found, path, value, items)
      for i = 1, #value do check_value(found, ("%s[%d]"):format(path, i), value[i], items) end
    end,
    minItems = function(found, path, value, least)
      if #value < least then note(found, path, "at least %d items expected, got %d", least, #value) end
    end,
    maxItems = function(found, path, value, most)
      if #value > most then note(found, path, "at most %d items expected, got %d", most, #value) end
    end,
  },
  string = {
    minLength = function(found, path, value, least)
      local count = characters(value)
      if count < least then note(found, path, "at least %d characters expected, got %d", least, count) end
    end,
    maxLength = function(found, path, value, most)
      local count = characters(value)
      if count > most then note(found, path, "at most %d characters expected, got %d", most, count) end
    end,
  },
  number = {
    minimum = function(found, path, value, least)
      if value < least then note(found, path, "at least %s expected, got %s", text_of(least), text_of(value)) end
    end,
    maximum = function(found, path, value, most)
      if value > most then note(found, path, "at most %s expected, got %s", text_of(most), text_of(value)) end
    end,
    exclusiveMinimum = function(found, path, value, bound)
      if value <= bound then note(found, path, "more than %s expected, got %s", text_of(bound), text_of(value)) end
    end,
    exclusiveMaximum = function(found, path, value, bound)
      if value >= bound then note(found, path, "less than %s expected, got %s", text_of(bound), text_of(value)) end
    end,
  },
}

local function has_type(value, kind, wanted)
  for _, name in ipairs(type_list(wanted)) do
    if types[name](value, kind) then return true end
  end
  return false
end

local function is_listed(value, list)
  for i = 1, #list do
    if equal(value, list[i]) then return true end
  end
  return false
end

function check_value(found, path, value, given)
  if given == true then return end
  local kind = json.type(value)
  if given == false or not kind then
    return note(found, path, "no value is allowed here, got %s", kind or type(value))
  end
  if given.type and not has_type(value, kind, given.type) then
    return note(found, path, "%s expected, got %s", table.concat(type_list(given.type), " or "),
      kind == "number" and text_of(value) or kind)
  end
  if given.enum and not is_listed(value, given.enum) then
    note(found, path, "one of %s expected, got %s", text_of(given.enum), text_of(value))
  end
  if given.const ~= nil and not equal(value, given.const) then
    note(found, path, "%s expected, got %s", text_of(given.const), text_of(value))
  end
  for _, keyword in ipairs(json.keys(given)) do
    local rule = rules[kind] and rules[kind][keyword]
    if rule then rule(found, path, value, given[keyword], given) end
  end
end

-- {== Schemas =========================================================================================

local function refuse(path, message, ...)
  problem.raise("%s: %s", path, message:format(...))
end

local check_schema

local function expect_list(path, list)
  if type(list) ~= "table" or json.type(list) == "object" and next(list) ~= nil then refuse(path, "a list expected") end
end

local function expect_strings(path, list)
  expect_list(path, list)
  for i = 1, #list do
    if type(list[i]) ~= "string" then refuse(path, "strings expected, got %s", type(list[i])) end
  end
end

local function expect_number(path, value)
  if type(value) ~= "number" or value ~= value then refuse(path, "a number expected, got %s", type(value)) end
end

local function expect_count(path, value)
  if not is_integer(value) or value < 0 then refuse(path, "an integer from 0 expected, got %s", tostring(value)) end
end

local function pass() end

-- keyword -> check(path, argument, depth). Those that only describe are passed.
local keywords = {
  title = pass, description = pass, default = pass, examples = pass, deprecated = pass, const = pass,
  ["$schema"] = pass, ["$id"] = pass, ["$comment"] = pass,
  minimum = expect_number, maximum = expect_number, exclusiveMinimum = expect_number, exclusiveMaximum = expect_number,
  minLength = expect_count, maxLength = expect_count, minItems = expect_count, maxItems = expect_count,
  required = expect_strings,
  enum = function(path, list)
    expect_list(path, list)
    if #list == 0 then refuse(path, "at least one value expected") end
  end,
  type = function(path, wanted)
    expect_strings(path, type_list(wanted))
    for _, name in ipairs(type_list(wanted)) do
      if not types[name] then refuse(path, "unknown type '%s'", name) end
    end
  end,
  properties = function(path, properties, depth)
    if type(properties) ~= "table" or json.type(properties) ~= "object" then refuse(path, "an object expected") end
    for _, name in ipairs(json.keys(properties)) do check_schema(path .. "." .. name, properties[name], depth + 1) end
  end,
  items = function(path, items, depth) check_schema(path, items, depth + 1) end,
  additionalProperties = function(path, allowed, depth) check_schema(path, allowed, depth + 1) end,
}

local ordered = {
  { "minimum", "maximum" }, { "exclusiveMinimum", "exclusiveMaximum" }, { "minLength", "maxLength" },
  { "minItems", "maxItems" },
}

function check_schema(path, given, depth)
  if type(given) == "boolean" then return end
  if type(given) ~= "table" or json.type(given) == "array" then
    refuse(path, "a schema expected, got %s", json.type(given) or type(given))
  end
  if depth > DEPTH then refuse(path, "more than %d levels, or a schema within itself", DEPTH) end
  for _, keyword in ipairs(json.keys(given)) do
    if not keywords[keyword] then refuse(path, "keyword '%s' is not supported", keyword) end
    keywords[keyword](path .. "." .. keyword, given[keyword], depth)
  end
  for _, pair in ipairs(ordered) do
    local least, most = given[pair[1]], given[pair[2]]
    if least and most and least > most then refuse(path, "%s is greater than %s", pair[1], pair[2]) end
  end
end

--- Whether a table is a schema that `validate` understands: true, or nil, what is wrong, "EINVAL".
function schema.check(given)
  return problem.catch("EINVAL", function()
    check_schema("schema", given, 1)
    return true
  end)
end

--- Whether a schema that passed `check` allows a value: true, or nil, what is wrong in words, "EINVAL". `name` is what
-- the message calls the value ("value" without one).
function schema.validate(given, value, name)
  local found = { count = 0 }
  check_value(found, name or "value", value, given)
  if found.count == 0 then return true end
  if found.count > PROBLEMS then found[#found + 1] = ("and %d more"):format(found.count - PROBLEMS) end
  return nil, table.concat(found, "; "), "EINVAL"
end

return schema
