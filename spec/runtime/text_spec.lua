--- Text assembly: characters across tokens, malformed bytes, stop strings across both.
local internals = require("spec.support").internals()

local REPLACEMENT = "\239\191\189"

local function bytes(hex)
  return (hex:gsub("%x%x ?", function(pair) return string.char(tonumber(pair:sub(1, 2), 16)) end))
end

--- `text` as one piece a byte.
local function singly(text)
  local pieces = {}
  for i = 1, #text do pieces[i] = text:sub(i, i) end
  return pieces
end

local function whole(pieces, stops, raw)
  local released, stopped = internals.text(pieces, stops, raw)
  return table.concat(released), stopped
end

describe("UTF-8 across tokens", function()
  local text = "a é ∑ 日本 🏽 z"

  it("releases characters whole, wherever the bytes are cut", function()
    for i = 0, #text do
      for j = i, #text do
        local released = internals.text { text:sub(1, i), text:sub(i + 1, j), text:sub(j + 1) }
        assert.equal(text, table.concat(released))
        for _, part in ipairs(released) do assert.is_true(internals.is_utf8(part)) end
      end
    end
  end)

  it("holds back an incomplete character, and nothing else", function()
    assert.same({ "a", "", "", "🏽", "" }, internals.text { "a\240", "\159", "\143", "\189" })
  end)

  -- Unicode 16.0, tables 3-8 to 3-11, and the end of a stream inside a character
  local malformed = {
    { "61 F1 80 80 E1 80 C2 62 80 63 80 BF 64", "a???b?c??d" },
    { "C0 AF E0 80 BF F0 81 82 41", "????????A" },
    { "ED A0 80 ED BF BF ED AF 41", "????????A" },
    { "F4 91 92 93 FF 41 80 BF 42", "?????A??B" },
    { "E1 80 E2 F0 91 92 F1 BF 41", "????A" },
    { "F0 9F 8F", "?" }, { "E6 97", "?" }, { "C3", "?" }, { "61 C3", "a?" },
    { "FE FF", "??" }, { "EF BF BD", "?" }
  }
  for _, case in ipairs(malformed) do
    it("puts one U+FFFD for every maximal subpart of " .. case[1], function()
      local expected = case[2]:gsub("?", REPLACEMENT)
      assert.equal(expected, (whole { bytes(case[1]) }))
      assert.equal(expected, (whole(singly(bytes(case[1])))))
    end)
  end

  it("passes every byte as it is when raw", function()
    local any = bytes "61 F1 80 80 E1 80 C2 62 00 FF C3"
    assert.equal(any, (whole(singly(any), {}, true)))
    assert.same({ "\240", "\159", "" }, internals.text({ "\240", "\159" }, {}, true))
  end)
end)

describe("is_utf8", function()
  it("accepts a replacement character that is spelt out, and nothing malformed", function()
    for _, good in ipairs { "", "abc", REPLACEMENT, "é🏽", "\0" } do assert.is_true(internals.is_utf8(good)) end
    for _, bad in ipairs { "\128", "\195", "a\255b", "\237\160\128", "\240\128\128\128" } do
      assert.is_false(internals.is_utf8(bad))
    end
  end)
end)

--- By trying every place: where the text ends, and whether a stop string ended it.
local function cut(text, stops)
  local first_end, start
  for _, stop in ipairs(stops) do
    local from, to = text:find(stop, 1, true)
    local better = from and (not first_end or to < first_end or (to == first_end and from < start))
    if better then first_end, start = to, from end
  end
  if not start then return text, false end
  return text:sub(1, start - 1), true
end

--- How many bytes at the end of `text` may begin a stop string.
local function held(text, stops)
  local longest = 0
  for _, stop in ipairs(stops) do
    for n = 1, math.min(#stop - 1, #text) do
      if text:sub(-n) == stop:sub(1, n) then longest = math.max(longest, n) end
    end
  end
  return longest
end

describe("stop strings", function()
  it("end the text before them, across any tokens", function()
    local text, stop = "one STOP two", "STOP"
    for i = 0, #text do
      for j = i, #text do
        local got, stopped = whole({ text:sub(1, i), text:sub(i + 1, j), text:sub(j + 1) }, { stop })
        assert.equal("one ", got)
        assert.is_true(stopped)
      end
    end
  end)

  it("hold back what may begin one and release it when it does not", function()
    assert.same({ "one ", "", "STEP", "" }, internals.text({ "one ", "ST", "EP" }, { "STOP" }))
    assert.same({ "a", "", "ST" }, internals.text({ "a", "ST" }, { "STOP" }))
  end)

  it("end at the first byte that completes one; of several the longest", function()
    assert.equal("x", (whole({ "xabc" }, { "bc", "abc" })))
    assert.equal("xa", (whole({ "xabc" }, { "abcd", "b" })))
    assert.equal("", (whole({ "abc" }, { "abc" })))
  end)

  it("match characters that were cut, never half of one", function()
    assert.equal("é", (whole(singly "é日本", { "日本" })))
    assert.equal("é日", (whole(singly "é日", { "日本" })))
  end)

  it("find what a search of the whole text finds, in any pieces", function()
    local state = 7
    local function number(limit)
      state = (state * 1103515245 + 12345) % 2147483648
      return math.floor(state / 65536) % limit
    end
    local function word(length)
      local letters = {}
      for i = 1, length do letters[i] = ("ab"):sub(number(2) + 1):sub(1, 1) end
      return table.concat(letters)
    end
    for _ = 1, 2000 do
      local text, stops, pieces = word(number(30)), {}, {}
      for i = 1, 1 + number(3) do stops[i] = word(1 + number(6)) end
      local at = 1
      while at <= #text do
        local count = 1 + number(4)
        pieces[#pieces + 1] = text:sub(at, at + count - 1)
        at = at + count
      end
      local expected, ended = cut(text, stops)
      local got, stopped = whole(pieces, stops)
      assert.equal(expected, got)
      assert.equal(ended, stopped)
      local released, seen = internals.text(pieces, stops), ""
      local shown = ""
      for i, piece in ipairs(pieces) do
        seen, shown = seen .. piece, shown .. released[i]
        if select(2, cut(seen, stops)) then break end
        assert.equal(seen:sub(1, #seen - held(seen, stops)), shown)
      end
    end
  end)

  it("take time linear in the text, however often one nearly matches", function()
    local got = whole({ ("a"):rep(1000000) }, { ("a"):rep(5000) .. "b" })
    assert.equal(1000000, #got)
  end)
end)
