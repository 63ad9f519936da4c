--- Writes JSON as Python's json.dumps(ensure_ascii=False) does, numbers as they were read.
local problem = require "moonseek.problem"
local values = require "moonseek.json.values"

local writer = {}

local format = string.format
local math_type = math.type or type
local has_integers = math.type ~= nil

local escapes = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
}
for code = 0, 31 do
  local c = string.char(code)
  escapes[c] = escapes[c] or format("\\u%04x", code)
end

--- A text as a JSON string without its quotes: what streams can be written with.
function writer.escape(text)
  return (text:gsub('[%z\1-\31"\\]', escapes))
end

local halves_up = format("%.0e", 2.5) == "3e+00"     -- LuaJIT, where C takes the even one of two

--- The first `count` digits of a positive number, rounded, a half to the even one; and the exponent of the first.
local function rounded(value, count)
  local whole, rest, exponent = format("%." .. (count - 1) .. "e", value):match("^(%d)%D?(%d*)e([+-]%d+)$")
  if not halves_up then return whole .. rest, tonumber(exponent) end
  local first, others, power = format("%.60e", value):match("^(%d)%D(%d*)e([+-]%d+)$")
  local exact = first .. others
  if not exact:find("^50*$", count + 1) or exact:byte(count) % 2 == 1 then return whole .. rest, tonumber(exponent) end
  return exact:sub(1, count), tonumber(power)
end

--- The digits (d[.ddd] as a string of digits) and decimal exponent of the shortest text that is read as `value`, of
-- these the nearest to it. A power of two may have a shorter one on its wider side, which %e does not find.
local function shortest_digits(value)
  local normal = value >= 2.2250738585072014e-308
  for count = normal and 15 or 1, 17 do
    local digits, power = rounded(value, count)
    local raised = digits:gsub("([0-8])(9*)$", function(digit, nines)
      return format("%d", digit + 1) .. ("0"):rep(#nines)
    end)
    for _, tried in ipairs { digits, raised } do
      if tonumber(format("%se%d", tried, power - count + 1)) == value then return tried, power end
    end
  end
end

--- A float as Python's repr writes it.
local function float_text(value)
  if value ~= value then return "NaN" end
  if value == math.huge then return "Infinity" end
  if value == -math.huge then return "-Infinity" end
  local sign = (value < 0 or 1 / value < 0) and "-" or ""
  if value == 0 then return sign .. "0.0" end
  local digits, power = shortest_digits(math.abs(value))
  digits = digits:gsub("0+$", "")
  if power < -4 or power >= 16 then
    local rest = #digits > 1 and "." .. digits:sub(2) or ""
    return format("%s%s%se%s%02d", sign, digits:sub(1, 1), rest, power < 0 and "-" or "+", math.abs(power))
  end
  if power < 0 then return sign .. "0." .. ("0"):rep(-power - 1) .. digits end
  digits = digits .. ("0"):rep(power + 1 - #digits)
  local fraction = digits:sub(power + 2)
  return sign .. digits:sub(1, power + 1) .. "." .. (fraction == "" and "0" or fraction)
end

--- An integer is written as one; where Lua has no integers, that is a whole number below 2^53.
local function number_text(value)
  if math_type(value) == "integer" then return format("%d", value) end
  if not has_integers and value % 1 == 0 and math.abs(value) < 2 ^ 53 and (value ~= 0 or 1 / value > 0) then
    return format("%.0f", value)
  end
  return float_text(value)
end

local function refuse(state, message)
  local path = table.concat(state.path, "", 1, state.depth)
  problem.raise("%s", path == "" and message or path .. ": " .. message)
end

local function encode_number(state, value, written)
  if written then
    local read = tonumber(written)
    if read == value and math_type(read) == math_type(value) then
      if not state.python then return written end
      if not written:find("[.eE]") then return written == "-0" and "0" or written end
      return float_text(read)
    end
  end
  if not state.python and (value ~= value or value == math.huge or value == -math.huge) then
    refuse(state, ("%s is no number of JSON"):format(float_text(value)))
  end
  return number_text(value)
end

local encode_value

local function encode_member(state, step, value, written)
  state.path[state.depth] = step
  encode_value(state, value, written)
end

local function encode_array(state, list, lexemes)
  local parts, count = state.parts, #list
  parts[#parts + 1] = "["
  for i = 1, count do
    if i > 1 then parts[#parts + 1] = ", " end
    encode_member(state, format("[%d]", i), rawget(list, i), lexemes and lexemes[i])
  end
  parts[#parts + 1] = "]"
end

local function encode_object(state, object, lexemes)
  local parts = state.parts
  parts[#parts + 1] = "{"
  for i, key in ipairs(values.keys(object, state.rank)) do
    parts[#parts + 1] = (i > 1 and ', "' or '"') .. writer.escape(key) .. '": '
    encode_member(state, "." .. key, rawget(object, key), lexemes and lexemes[key])
  end
  parts[#parts + 1] = "}"
end

--- What a table is written as: one that json made as what it was made; a plain one as an array when it is a
-- sequence, else as an object, an empty one too.
local function kind_of(state, value, made)
  local count, strings = 0, 0
  local key = next(value)                        -- no `for`: see values.keys
  while key ~= nil do
    count = count + 1
    if type(key) == "string" then strings = strings + 1 end
    key = next(value, key)
  end
  if strings == count and made ~= "array" then return "object" end
  if strings > 0 or #value ~= count or made == "object" then
    refuse(state, "a table with other keys than strings, or 1, 2, 3, ... without a hole")
  end
  return "array"
end

local function encode_table(state, value)
  if state.depth == values.DEPTH then
    state.depth = 0
    refuse(state, format("more than %d levels, or a table within itself", values.DEPTH))
  end
  local meta, kind = values.meta_of(value)
  kind = kind_of(state, value, kind)
  state.depth = state.depth + 1;
  (kind == "array" and encode_array or encode_object)(state, value, meta and meta.lexemes)
  state.depth = state.depth - 1
end

function encode_value(state, value, written)
  local parts, kind = state.parts, type(value)
  if rawequal(value, values.null) then parts[#parts + 1] = "null"
  elseif kind == "string" then parts[#parts + 1] = '"' .. writer.escape(value) .. '"'
  elseif kind == "number" then parts[#parts + 1] = encode_number(state, value, written)
  elseif kind == "boolean" then parts[#parts + 1] = tostring(value)
  elseif kind == "table" then encode_table(state, value)
  else refuse(state, ("%s cannot be written"):format(kind)) end
end

--- The JSON text of a value. rank: key -> its place among the keys of a plain table, of those that have one.
function writer.write(value, python, rank)
  local state = { parts = {}, path = {}, depth = 0, python = python, rank = rank }
  encode_value(state, value)
  return table.concat(state.parts)
end

--- The JSON text of container[key], a number as the container remembers it.
function writer.write_member(container, key, python, rank)
  local state = { parts = {}, path = {}, depth = 0, python = python, rank = rank }
  local meta = values.meta_of(container)
  encode_value(state, rawget(container, key), meta and meta.lexemes and meta.lexemes[key])
  return table.concat(state.parts)
end

return writer
