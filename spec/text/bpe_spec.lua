local core = require "moonseek.core"
local files = require "spec.text.files"
local support = require "spec.support"
local internals = support.internals()

local v4 = assert(core.tokenizer("spec/data/deepseek-v4-tokenizer.json"))

-- The minimal standard generator: the same text on every ABI.
local function random_source(state)
  return function(count)
    state = (state * 16807) % 2147483647
    return state % count
  end
end

--- About `bytes` bytes, made of strings of a thousand characters in an order that does not repeat soon.
local function random_text(bytes, character)
  local random, parts, blocks = random_source(7), {}, {}
  for i = 1, 100 do
    local block = {}
    for j = 1, 1000 do block[j] = character(random) end
    blocks[i] = table.concat(block)
  end
  local length = 0
  while length < bytes do
    local block = blocks[random(100) + 1]
    local from = 3 * random(100) + 1                  -- between characters of three bytes
    parts[#parts + 1] = block:sub(from)
    length = length + #parts[#parts]
  end
  return table.concat(parts)
end

local function three_bytes(code)
  return string.char(224 + math.floor(code / 4096), 128 + math.floor(code / 64) % 64, 128 + code % 64)
end

local function run_of(character)
  return function(bytes) return character:rep(math.floor(bytes / #character)) end
end

local texts = {
  { "letters", run_of "a" },
  { "circumflexes", run_of "^" },
  { "digits", run_of "7" },
  { "spaces", run_of " " },
  { "line ends", run_of "\n" },
  { "one CJK character", run_of "中" },
  { "combining marks", run_of "\204\129" },
  { "emoji joined to one", run_of "👩\226\128\141💻" },
  { "bytes that are not UTF-8", run_of "\237\160\255" },
  { "random letters without spaces", function(bytes)
    return random_text(bytes, function(random) return string.char(97 + random(26)) end)
  end },
  { "random CJK characters", function(bytes)
    return random_text(bytes, function(random) return three_bytes(0x4E00 + random(0x51A0)) end)
  end },
  { "random Hangul", function(bytes)
    return random_text(bytes, function(random) return three_bytes(0xAC00 + random(0x2BA4)) end)
  end },
  { "random bytes", function(bytes)
    return random_text(bytes, function(random) return string.char(random(256)) end)
  end },
}

describe("bpe_piece", function()
  local function cpu_seconds(text)
    local before = os.clock()
    v4:encode(text):close()
    return os.clock() - before
  end

  for _, row in ipairs(texts) do
    it("T04: takes linear time for 10 MB of " .. row[1], function()
      local long = row[2](10000000)
      local short = long:sub(1, 1000000)
      local short_time = math.min(cpu_seconds(short), cpu_seconds(short))
      local limit, long_time = 25 * math.max(short_time, 0.01), math.huge
      for _ = 1, 3 do -- a neighbour on the machine only ever adds time
        if long_time >= limit then long_time = math.min(long_time, cpu_seconds(long)) end
      end
      -- sanitizers and emulators slow everything alike; a megabyte may fit a cache that ten do not
      assert.is_true(support.fuzz > 1 or support.emulated or long_time < 2, ("%.2f s"):format(long_time))
      assert.is_true(long_time < limit, ("%.3f s, then %.3f s"):format(short_time, long_time))
    end)
  end

  it("T04: gives back what it was given", function()
    for _, row in ipairs(texts) do
      local text = row[2](200000)
      assert.is_true(v4:decode(v4:encode(text)) == text, row[1])
    end
  end)

  it("needs memory in proportion to the longest word", function()
    for _, row in ipairs(texts) do
      local text = row[2](2000000)
      assert.is_true(internals.peak_memory(function() v4:encode(text):close() end) < 40 * #text + 4000000, row[1])
    end
  end)

  for name, count in pairs { shuffled = 1500, disordered = 1000 } do
    it(("gives the reference library's ids with the %s vocabulary"):format(name), function()
      local tokenizer = assert(core.tokenizer(("spec/data/%s-tokenizer.json"):format(name)))
      local seen = 0
      for text, ids in files.vectors(name .. "-vectors.txt") do
        local tokens = tokenizer:encode(text)
        if table.concat(tokens:totable(), " ") ~= ids then
          assert.equal(ids, table.concat(tokens:totable(), " "), ("%q"):format(text))
        end
        assert.is_true(tokenizer:decode(tokens) == text)
        seen = seen + 1
      end
      assert.equal(count, seen)
    end)
  end

  --- Tokens over the letters of `alphabet`, with most of the ways to build each, in any order.
  local function random_vocabulary(random, alphabet)
    local tokens, known, merges = {}, {}, {}
    local function add(token)
      if #token <= 16 and not known[token] then
        tokens[#tokens + 1] = token
        known[token] = true
      end
    end
    for letter in alphabet:gmatch(".") do add(letter) end
    for _ = 1, 3 + random(30) do add(tokens[random(#tokens) + 1] .. tokens[random(#tokens) + 1]) end
    for _, token in ipairs(tokens) do
      for i = 1, #token - 1 do
        local left, right = token:sub(1, i), token:sub(i + 1)
        if known[left] and known[right] and random(5) > 0 then
          table.insert(merges, random(#merges + 1) + 1, left .. " " .. right)
        end
      end
    end
    return tokens, merges
  end

  local function open_vocabulary(tokens, merges)
    local vocab, list, id = {}, {}, 255
    for _, token in ipairs(tokens) do
      if #token > 1 then
        id = id + 1
        vocab[#vocab + 1] = ('"%s":%d'):format(token, id)
      end
    end
    for i, merge in ipairs(merges) do list[i] = '"' .. merge .. '"' end
    return assert(files.open(files.text { vocab = table.concat(vocab, ","), merges = table.concat(list, ",") }))
  end

  --- What the definition says: merge the leftmost pair of lowest rank until there is none.
  local function merged(letters, rank)
    repeat
      local lowest, at
      for i = 1, #letters - 1 do
        local found = rank[letters[i] .. " " .. letters[i + 1]]
        if found and (not lowest or found < lowest) then lowest, at = found, i end
      end
      if at then letters[at] = letters[at] .. table.remove(letters, at + 1) end
    until not at
    return letters
  end

  it("does what the definition says with random vocabularies, in short words and in long ones", function()
    local random = random_source(11)
    for round = 1, 200 * support.fuzz do
      local alphabet = ({ "a", "ab", "ab", "abc" })[round % 4 + 1]
      local tokens, merges = random_vocabulary(random, alphabet)
      local tokenizer, rank = open_vocabulary(tokens, merges), {}
      for i, merge in ipairs(merges) do rank[merge] = i end
      for _, length in ipairs { 2 + random(46), 48, 49, 50 + random(100) } do
        local letters = {}
        for i = 1, length do
          local at = random(#alphabet) + 1
          letters[i] = alphabet:sub(at, at)
        end
        local ids = tokenizer:encode(table.concat(letters))
        local words = merged(letters, rank)
        assert.equal(#words, #ids)
        for i, word in ipairs(words) do
          if tokenizer:decode(ids, i, i) ~= word then assert.equal(word, tokenizer:decode(ids, i, i)) end
        end
      end
      tokenizer:close()
    end
  end)

  it("merges the leftmost of equal pairs first, in short words and long ones", function()
    local tokenizer = assert(files.open(files.text { vocab = '"aa":256,"aaa":257', merges = '"a a","aa a"' }))
    for _, count in ipairs { 3, 5, 7, 47, 49, 51, 1001 } do
      -- a a a -> aa a -> aaa: pairs from the left, and the odd one joins the last pair
      local expected = {}
      for i = 1, (count - 1) / 2 do expected[i] = 256 end
      expected[(count - 1) / 2] = 257
      assert.same(expected, tokenizer:encode(("a"):rep(count)):totable())
    end
  end)

  it("takes up a pair of lower rank that a merge makes before it goes on", function()
    -- rank 0 needs the product of rank 1: "abab" is ab a b -> aba b, never ab ab
    local tokenizer = assert(files.open(files.text { vocab = '"ab":256,"aba":257,"abab":258',
      merges = '"ab a","a b","ab ab"' }))
    for _, count in ipairs { 2, 23, 25, 30 } do
      local expected = {}
      for i = 1, math.floor(count / 2) do
        expected[2 * i - 1], expected[2 * i] = 257, 98
      end
      if count % 2 == 1 then expected[#expected + 1] = 256 end
      assert.same(expected, tokenizer:encode(("ab"):rep(count)):totable())
    end
  end)
end)
