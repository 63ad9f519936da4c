--- Which places of a document an answer rests on: what it quotes, else the lines that hold its words.
local passages = {}

local LONG = 400        -- bytes; a longer line is looked at sentence by sentence
local CLAIMS = 16       -- parts of an answer that are looked for
local ENOUGH = 0.5      -- share of a claim's weight that a passage holds at least
local SHOWN = 5         -- passages at most

--- The words of a text in lower case, as a list without repetitions.
local function words_of(text)
  local list, seen = {}, {}
  for word in text:lower():gmatch("[%w\128-\255]+") do
    if not seen[word] then
      seen[word] = true
      list[#list + 1] = word
    end
  end
  return list
end

-- Words of English that say nothing about a line, however rare they are in a document of facts.
local idle = {}
for word in ("a an and are as at be by for from had has have in is it its of on or that the this to was were with")
  :gmatch("%a+") do
  idle[word] = true
end

--- The words that tell lines apart; all of them where all are idle.
local function telling(words)
  local list = {}
  for _, word in ipairs(words) do
    if not idle[word] then list[#list + 1] = word end
  end
  return #list > 0 and list or words
end

local function add_claim(claims, text)
  text = text:match("^%s*(.-)%s*$")
  if #claims < CLAIMS and #text <= 4096 and text:find("[%w\128-\255]") then
    claims[#claims + 1] = { text = text, words = telling(words_of(text)), weight = 0 }
  end
end

--- What an answer claims: lines that begin with ">", else its own lines.
local function claims_of(answer)
  local quoted, said = {}, {}
  for line in answer:gmatch("[^\n]+") do
    local quote = line:match("^%s*>(.*)")
    if quote then add_claim(quoted, quote) else add_claim(said, line) end
  end
  return #quoted > 0 and quoted or said
end

--- Calls `each(first, last)` for every line of a text, of long ones for every sentence.
local function each_unit(text, each)
  local at = 1
  while at <= #text do
    local last = text:find("\n", at, true) or #text + 1
    if last - at <= LONG then
      if last > at then each(at, last - 1) end
    else
      local line, from = text:sub(at, last - 1), 1
      for behind in line:gmatch("[%.!?][ \t]+()") do
        each(at + from - 1, at + behind - 2)
        from = behind
      end
      if from <= #line then each(at + from - 1, last - 1) end
    end
    at = last + 1
  end
end

--- For each claim the words that a unit shares with it; and in how many units each word stands.
local function count(text, claims)
  local wanted, found, frequency, units = {}, {}, {}, 0
  for _, claim in ipairs(claims) do
    for _, word in ipairs(claim.words) do
      wanted[word] = wanted[word] or {}
      table.insert(wanted[word], claim)
    end
  end
  each_unit(text, function(first, last)
    units = units + 1
    local shared = {}
    for _, word in ipairs(words_of(text:sub(first, last))) do
      if wanted[word] then
        shared[#shared + 1] = word
        frequency[word] = (frequency[word] or 0) + 1
      end
    end
    if #shared > 0 then found[#found + 1] = { first = first, last = last, words = shared } end
  end)
  return wanted, found, frequency, units
end

--- The best unit of each claim: a word counts the more the fewer units have it.
local function rate(claims, wanted, found, frequency, units)
  local function weight(word) return math.log((units + 1) / (frequency[word] or 0.5)) end
  for _, claim in ipairs(claims) do
    for _, word in ipairs(claim.words) do claim.weight = claim.weight + weight(word) end
  end
  for _, unit in ipairs(found) do
    local sums = {}
    for _, word in ipairs(unit.words) do
      for _, claim in ipairs(wanted[word]) do sums[claim] = (sums[claim] or 0) + weight(word) end
    end
    for claim, sum in pairs(sums) do
      local score = sum / claim.weight
      if score > (claim.score or 0) + 1e-9 then claim.best, claim.score = unit, score end
    end
  end
end

--- Passages { first =, last =, text =, score =, quoted = } of `text` in their order, best ones when there are many.
-- `score`: the share of the claim's words there, rare words counting more; `quoted`: the claim stands there as it is.
function passages.find(text, answer)
  local claims = claims_of(answer)
  rate(claims, count(text, claims))
  local list, seen = {}, {}
  for _, claim in ipairs(claims) do
    local unit = claim.best
    if unit and claim.score >= ENOUGH and not seen[unit] then
      seen[unit] = true
      local at, to = text:sub(unit.first, unit.last):find(claim.text, 1, true)
      local first, last = unit.first + (at or 1) - 1, at and unit.first + to - 1 or unit.last
      list[#list + 1] = { first = first, last = last, text = text:sub(first, last), score = math.min(1, claim.score),
                          quoted = at ~= nil }
    end
  end
  table.sort(list, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.first < b.first
  end)
  for i = #list, SHOWN + 1, -1 do list[i] = nil end
  table.sort(list, function(a, b) return a.first < b.first end)
  return list
end

return passages
