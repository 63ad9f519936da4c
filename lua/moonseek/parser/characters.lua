--- Bytes that are cut anywhere become whole characters: UTF-8 as the WHATWG Encoding Standard reads it, a U+FFFD for
-- each maximal part of what is none. The engine does the same with the text of its events.
local characters = {}

local byte, find, sub = string.byte, string.find, string.sub

local REPLACEMENT = "\239\191\189"

--- How many bytes follow a first byte, and within which limits the next is; nil for what is no first byte.
local function expected(lead)
  if lead < 0xC2 or lead > 0xF4 then return nil end
  if lead < 0xE0 then return 1, 0x80, 0xBF end
  if lead < 0xF0 then return 2, lead == 0xE0 and 0xA0 or 0x80, lead == 0xED and 0x9F or 0xBF end
  return 3, lead == 0xF0 and 0x90 or 0x80, lead == 0xF4 and 0x8F or 0xBF
end

--- The place after the character at `at`, and whether it is one; nil when `text` ends within it.
local function step(text, at)
  local following, low, high = expected(byte(text, at))
  if not following then return at + 1, false end
  for i = at + 1, at + following do
    local next_byte = byte(text, i)
    if not next_byte then return nil end
    if next_byte < low or next_byte > high then return i, false end
    low, high = 0x80, 0xBF
  end
  return at + following + 1, true
end

--- The whole characters of `held .. bytes`, and the bytes at the end that may become one.
function characters.take(held, bytes)
  if held == "" and not find(bytes, "[\128-\255]") then return bytes, "" end
  local text, parts, from = held .. bytes, {}, 1
  local at = find(text, "[\128-\255]")
  while at do
    local after, whole = step(text, at)
    if not after then
      parts[#parts + 1] = sub(text, from, at - 1)
      return table.concat(parts), sub(text, at)
    end
    if not whole then
      parts[#parts + 1] = sub(text, from, at - 1)
      parts[#parts + 1] = REPLACEMENT
      from = after
    end
    at = find(text, "[\128-\255]", after)
  end
  parts[#parts + 1] = sub(text, from)
  return table.concat(parts), ""
end

--- What the bytes that were held become when no more come.
function characters.rest(held)
  return held == "" and "" or REPLACEMENT
end

return characters
