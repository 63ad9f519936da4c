local files = require "spec.text.files"

--- The pieces that the pre-tokenizer cuts `text` into. In a vocabulary where all neighbouring parts of the text
-- merge, every piece becomes one token.
local function pieces_of(text)
  local characters, vocab, merges, known, seen = { text:byte(1, -1) }, {}, {}, {}, {}
  for i, byte in ipairs(characters) do characters[i] = files.character(byte) end
  local function part(first, last) return table.concat(characters, "", first, last) end
  for length = 2, #characters do
    for first = 1, #characters - length + 1 do
      local whole = part(first, first + length - 1)
      if not known[whole] then
        known[whole] = true
        vocab[#vocab + 1] = ("%s:%d"):format(files.quote(whole), 255 + #vocab + 1)
      end
      for cut = first, first + length - 2 do
        local merge = ("[%s,%s]"):format(files.quote(part(first, cut)), files.quote(part(cut + 1, first + length - 1)))
        if not seen[merge] then
          seen[merge] = true
          merges[#merges + 1] = merge
        end
      end
    end
  end
  local tokenizer = assert(files.open(files.text { vocab = #vocab > 0 and table.concat(vocab, ",") or nil,
                                                   merges = table.concat(merges, ",") }))
  local ids, pieces = tokenizer:encode(text), {}
  for i = 1, #ids do pieces[i] = tokenizer:decode(ids, i, i) end
  tokenizer:close()
  return pieces
end

describe("split_next", function()
  -- By the expressions, worked out by hand (specs/conversation.md 1.4).
  local rows = {
    { "digits, three at a time", "1234567", { "123", "456", "7" } },
    { "digits of any script", "1２½٣", { "1２½", "٣" } },
    { "spaces in front of digits: they end their part", "  12", { "  ", "12" } },
    { "a mark and a word of ASCII", ".foo(bar", { ".foo", "(bar" } },
    { "a mark and a word of others: not together", ".été", { ".", "été" } },
    { "one space and a word", "  ab", { " ", " ab" } },
    { "a tab and a word", "\tab", { "\tab" } },
    { "a line end and a word: not together", "\nab", { "\n", "ab" } },
    { "a control character and a word", "\1ab", { "\1ab" } },
    { "several control characters", "\1\2\3ab", { "\1\2", "\3ab" } },
    { "a word and its combining marks", "e\204\129a", { "e\204\129a" } },
    { "one space, marks, line ends", " ?!\n\r\na", { " ?!\n\r\n", "a" } },
    { "two spaces and a mark", "  ?", { " ", " ?" } },
    { "spaces up to the last line end", " \n \n  a", { " \n \n", " ", " a" } },
    { "spaces at the end", "a   ", { "a", "   " } },
    { "spaces but the last", "a   b", { "a", "  ", " b" } },
    { "an ideographic space and a word", "\227\128\128ab", { "\227\128\128ab" } },
    { "runs of CJK and kana apart from letters", "ab中文かカcd", { "ab", "中文かカ", "cd" } },
    { "a middle dot among kana: punctuation", "カ・カ", { "カ", "・", "カ" } },
    { "a space before CJK: it ends its part", " 中", { " ", "中" } },
    { "CJK beyond the range: letters", "a龦b", { "a龦b" } },
    { "Hangul and Latin", "a한b", { "a한b" } },
  }
  for _, row in ipairs(rows) do
    it("cuts out " .. row[1], function() assert.same(row[3], pieces_of(row[2])) end)
  end

  it("cuts 1,000 strings of every class of character as the reference library does", function()
    local count = 0
    for text, lengths in files.vectors "splits.txt" do
      local expected, at = {}, 1
      for length in lengths:gmatch("%d+") do
        expected[#expected + 1] = text:sub(at, at + length - 1)
        at = at + length
      end
      assert.same(expected, pieces_of(text))
      count = count + 1
    end
    assert.equal(1000, count)
  end)
end)
