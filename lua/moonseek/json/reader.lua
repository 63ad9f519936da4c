--- Reads JSON: one pass, by hand, with a bound on its depth.
local problem = require "moonseek.problem"
local values = require "moonseek.json.values"

local find, sub, byte, char, format = string.find, string.sub, string.byte, string.char, string.format
local math_type = math.type
local has_integers = math_type ~= nil

local escapes = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local constants = { ["true"] = true, ["false"] = false, null = values.null }
local python_constants = { NaN = 0 / 0, Infinity = math.huge, ["-Infinity"] = -math.huge }

local function fail(text, at, expected)
  local found = at > #text and "the end" or format("'%s'", (sub(text, at, at):gsub("[%c\127-\255]", function(c)
    return format("\\%d", byte(c))
  end)))
  problem.raise("byte %d: %s expected, got %s", at, expected, found)
end

local function after_space(text, at)
  return find(text, "[^ \t\r\n]", at) or #text + 1
end

local function utf8_of(code)
  if code < 0x80 then return char(code) end
  local low = 0x80 + code % 64
  code = (code - code % 64) / 64
  if code < 32 then return char(0xC0 + code, low) end
  local middle = 0x80 + code % 64
  code = (code - code % 64) / 64
  if code < 16 then return char(0xE0 + code, middle, low) end
  return char(0xF0 + (code - code % 64) / 64, 0x80 + code % 64, middle, low)
end

local function hexadecimal(text, at)
  local digits = string.match(text, "^%x%x%x%x", at)
  if not digits then fail(text, at, "four hexadecimal digits") end
  return tonumber(digits, 16)
end

--- The character of \uXXXX at `at` (its backslash), and the place after it. Half a surrogate pair is U+FFFD.
local function decode_unicode(text, at)
  local code = hexadecimal(text, at + 2)
  if code < 0xD800 or code > 0xDFFF then return utf8_of(code), at + 6 end
  if code < 0xDC00 and sub(text, at + 6, at + 7) == "\\u" then
    local low = hexadecimal(text, at + 8)
    if low >= 0xDC00 and low <= 0xDFFF then
      return utf8_of(0x10000 + (code - 0xD800) * 1024 + low - 0xDC00), at + 12
    end
  end
  return "\239\191\189", at + 6
end

--- The string whose opening quote is at `at`.
local function decode_string(text, at)
  local first, parts = at + 1, nil
  while true do
    local stop = find(text, '[%z\1-\31"\\]', first)
    if not stop then fail(text, #text + 1, "'\"'") end
    local what = sub(text, stop, stop)
    if what == '"' then
      local last = sub(text, first, stop - 1)
      if not parts then return last, stop + 1 end
      parts[#parts + 1] = last
      return table.concat(parts), stop + 1
    end
    if what ~= "\\" then fail(text, stop, "a character from U+0020") end
    parts = parts or {}
    parts[#parts + 1] = sub(text, first, stop - 1)
    local letter = sub(text, stop + 1, stop + 1)
    if letter == "u" then
      parts[#parts + 1], first = decode_unicode(text, stop)
    else
      if not escapes[letter] then fail(text, stop + 1, "an escape") end
      parts[#parts + 1], first = escapes[letter], stop + 2
    end
  end
end

--- A number, the place after it, and how it was written where its value alone would not tell.
local function decode_number(text, at)
  local _, last = find(text, "^%-?[1-9]%d*", at)
  if not last then _, last = find(text, "^%-?0", at) end
  if not last then fail(text, at, "a value") end
  local _, fraction = find(text, "^%.%d+", last + 1)
  local _, exponent = find(text, "^[eE][+-]?%d+", (fraction or last) + 1)
  local written = sub(text, at, exponent or fraction or last)
  local value = tonumber(written)
  local plain = not fraction and not exponent and written ~= "-0"
    and (has_integers and math_type(value) == "integer" or not has_integers and value > -2 ^ 53 and value < 2 ^ 53)
  return value, at + #written, not plain and written or nil
end

local decode_value

local function decode_object(state, at, depth)
  local text, keys = state.text, {}
  local object = values.new_object(keys)
  local meta = getmetatable(object)
  at = after_space(text, at + 1)
  if byte(text, at) == 125 then return object, at + 1 end -- }
  while true do
    if byte(text, at) ~= 34 then fail(text, at, "a key in quotes") end
    local key, value, written
    key, at = decode_string(text, at)
    at = after_space(text, at)
    if byte(text, at) ~= 58 then fail(text, at, "':'") end
    value, at, written = decode_value(state, after_space(text, at + 1), depth)
    if rawget(object, key) == nil then keys[#keys + 1] = key end
    rawset(object, key, value)
    if written or meta.lexemes then
      meta.lexemes = meta.lexemes or {}
      meta.lexemes[key] = written
    end
    at = after_space(text, at)
    local next_byte = byte(text, at)
    if next_byte == 125 then return object, at + 1 end
    if next_byte ~= 44 then fail(text, at, "',' or '}'") end
    at = after_space(text, at + 1)
  end
end

local function decode_array(state, at, depth)
  local text, array, lexemes, count = state.text, {}, nil, 0
  at = after_space(text, at + 1)
  local next_byte = byte(text, at)
  while next_byte ~= 93 do -- ]
    local value, written
    value, at, written = decode_value(state, at, depth)
    count = count + 1
    array[count] = value
    if written then
      lexemes = lexemes or {}
      lexemes[count] = written
    end
    at = after_space(text, at)
    next_byte = byte(text, at)
    if next_byte == 44 then
      at = after_space(text, at + 1)
      if byte(text, at) == 93 then fail(text, at, "a value") end
    elseif next_byte ~= 93 then
      fail(text, at, "',' or ']'")
    end
  end
  return values.new_array(array, lexemes), at + 1
end

function decode_value(state, at, depth)
  local text = state.text
  local first = byte(text, at)
  if first == 34 then return decode_string(text, at) end
  if first == 123 or first == 91 then
    if depth == values.DEPTH then fail(text, at, format("at most %d levels", values.DEPTH)) end
    return (first == 123 and decode_object or decode_array)(state, at, depth + 1)
  end
  local word = string.match(text, "^%-?%a+", at)
  if word then
    local value = constants[word]
    if value == nil and state.python then value = python_constants[word] end
    if value == nil then fail(text, at, "a value") end
    return value, at + #word
  end
  return decode_number(text, at)
end

--- The value of a whole text, in a list: it may be nil's neighbour false.
return function(text, python)
  local state = { text = text, python = python }
  local value, at = decode_value(state, after_space(text, 1), 0)
  at = after_space(text, at)
  if at <= #text then fail(text, at, "the end") end
  return { value }
end
