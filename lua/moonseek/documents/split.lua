--- Texts to parts within a budget of tokens, cut where the structure is: before a heading, else after a paragraph, a
-- line, a sentence, a word, and only then between two characters. Parts follow one another without gaps.
local count_below = require("moonseek.sorted").count_below

local HEADING, PARAGRAPH, LINE, SENTENCE = 1, 2, 3, 4

--- Whether a line opens or closes a block of code; "#" begins no heading there.
local function is_fence(line)
  return line:find("^ ? ? ?```") or line:find("^ ? ? ?~~~")
end

-- What may end a sentence, and be followed by closing marks and white space; the last three are 。！？.
local ends = { "[%.!?][\"')%]]*[ \t]+()", "\227\128\130()", "\239\188\129()", "\239\188\159()" }

--- Where sentences begin in a line that starts at byte `from`, in order.
local function add_sentences(places, line, from)
  local found = {}
  for _, pattern in ipairs(ends) do
    for at in line:gmatch(pattern) do
      if at <= #line then found[#found + 1] = from + at - 1 end
    end
  end
  table.sort(found)
  for _, at in ipairs(found) do places[#places + 1] = at end
end

--- The bytes before which a text may be cut: a sorted list for each level.
local function places_of(text)
  local places = { {}, {}, {}, {} }
  local at, blank, fenced = 1, false, false
  while at <= #text do
    local last = text:find("\n", at, true) or #text
    local line = text:sub(at, last)
    if at > 1 then
      local list = not fenced and line:find("^ ? ? ?#+[ \t]") and HEADING or blank and PARAGRAPH or LINE
      places[list][#places[list] + 1] = at
    end
    if is_fence(line) then fenced = not fenced end
    blank = not line:find("%S")
    if not blank then add_sentences(places[SENTENCE], line, at) end
    at = last + 1
  end
  return places
end

--- The last byte after `first` and up to `at` that begins a character; without any the next one behind it.
local function character(text, first, at)
  local place = at
  while place > at - 3 and text:find("^[\128-\191]", place) do place = place - 1 end
  if place > first then return place end
  place = first + 1
  while place < first + 4 and text:find("^[\128-\191]", place) do place = place + 1 end
  return place
end

--- The byte before which to cut a part that begins at `first` and must end before `limit`. A better kind of place
-- counts if it leaves the part at least half full.
local function cut(text, places, first, limit)
  local least = first + math.floor((limit - first) / 2)
  for _, list in ipairs(places) do
    local at = list[count_below(list, limit + 1)]
    if at and at > least then return at end
  end
  local from = math.max(least, limit - 1000)
  local blank = text:sub(from, limit - 1):match("^.*[ \t\n]()")
  if blank and from + blank - 1 > first then return from + blank - 1 end
  return character(text, first, limit)
end

--- Parts { first =, last =, text = } of `text`, each of at most `budget` tokens as `tokenizer` counts them alone; more
-- only when a single character takes more.
return function(text, tokenizer, budget)
  local tokens, offsets, code = tokenizer:encode { { text = text } }
  if not tokens then return nil, offsets, code end
  if #tokens <= budget then return { { first = 1, last = #text, text = text } } end
  local places, parts, first = places_of(text), {}, 1
  while first <= #text do
    local before, allowed = count_below(offsets, first - 1), budget
    local stop, part
    while true do
      -- Offsets count from 0: the first token that must not be in the part begins at byte `limit`.
      local limit = (offsets[before + allowed + 1] or #text) + 1
      stop = limit > #text and #text + 1 or cut(text, places, first, limit)
      part = text:sub(first, stop - 1)
      -- A part alone may take other tokens at its edges than within the text.
      local over = tokenizer:count(part) - budget
      if over <= 0 or allowed == 1 then break end
      allowed = math.max(1, allowed - over)
    end
    parts[#parts + 1] = { first = first, last = stop - 1, text = part }
    first = stop
  end
  return parts
end
