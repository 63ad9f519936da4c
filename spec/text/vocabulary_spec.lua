local core = require "moonseek.core"
local files = require "spec.text.files"
local support = require "spec.support"
local internals = support.internals()

local abc = '"he":256,"ll":257'

describe("vocabulary_load", function()
  it("takes ids and merges as the file states them", function()
    local tokenizer = assert(files.open(files.text {
      vocab = '"ll":258,"he":256,"hell":257', merges = '["l","l"],"h e",["he","ll"]' }))
    assert.equal(259, #tokenizer)
    assert.same({ 257, 111 }, tokenizer:encode("hello"):totable())
    assert.same({ 256, 108, 112 }, tokenizer:encode("help"):totable())
  end)

  it("takes control tokens in the vocabulary or beside it, with any id", function()
    local tokenizer = assert(files.open(files.text {
      vocab = '"<a>":257', added = '{"id":257,"content":"<a>"},{"id":256,"content":"<｜b｜>"}' }))
    assert.same({ 257, 256, 258 }, { tokenizer:token("<a>"), tokenizer:token("<｜b｜>"), #tokenizer })
    assert.equal("<a><｜b｜>", tokenizer:decode { 257, 256 })
    assert.is_nil(tokenizer:token("a"))
  end)

  it("finds every control token, and nothing else, by its name", function()
    local names, added = {}, {}
    for i = 0, 99 do
      names[i] = ("<%s%d>"):format(("x"):rep(i % 7), i)
      added[#added + 1] = ('{"id":%d,"content":"%s"}'):format(256 + i, names[i])
    end
    local tokenizer = assert(files.open(files.text { added = table.concat(added, ",") }))
    for i = 0, 99 do
      assert.equal(256 + i, tokenizer:token(names[i]))
      assert.is_nil(tokenizer:token(names[i]:sub(1, -2)))
      assert.is_nil(tokenizer:token(names[i] .. "\0"))
    end
  end)

  describe("G24: refuses", function()
    local long = ("a"):rep(65537)
    local rows = {
      { "a negative id", { vocab = '"he":-1' }, '"he" has the id -1, but 257 tokens have the ids 0 to 256' },
      { "an id with a hole below it", { vocab = '"he":257' }, '"he" has the id 257, but 257 tokens' },
      { "an id above 2^31", { vocab = '"he":2147483648' }, '"he" has the id 2147483648' },
      { "an id that is no integer", { vocab = '"he":256.0' }, 'the id of "he" is not an integer' },
      { "an id that is a string", { vocab = '"he":"256"' }, 'the id of "he" is not an integer' },
      { "two tokens with one id", { vocab = '"he":65' }, '"he" has the id 65 of "A"' },
      { "one token twice", { vocab = '"he":256,"he":257' }, "duplicate object key" },
      { "an empty token", { vocab = '"":256' }, "the token of id 256 is empty" },
      { "an empty control token", { added = '{"id":256,"content":""}' }, "the token of id 256 is empty" },
      { "a token longer than 64 KiB", { vocab = '"' .. long .. '":256' }, "has 65537 bytes, at most 65536" },
      { "such a control token", { added = '{"id":256,"content":"' .. long .. '"}' }, "has 65537 bytes, at most 65536" },
      { "a character that stands for no byte", { vocab = '"h e":256' }, '"h e" (id 256) has the character U+0020' },
      { "a vocabulary without the byte 0", { without = 0, vocab = '"he":0' }, "no token for the byte 0x00",
        "EUNSUPPORTED" },
      { "a byte that is a control token", { added = '{"id":65,"content":"A"}' }, "no token for the byte 0x41",
        "EUNSUPPORTED" },
      { "a control token without an id", { added = '{"content":"<a>"}' }, "added_tokens[0] needs a content and an id" },
      { "a control token without content", { added = '{"id":256}' }, "added_tokens[0] needs a content and an id" },
      { "a control token that is a number", { added = "256" }, "added_tokens[0] needs a content and an id" },
      { "a control token with a token's id", { added = '{"id":65,"content":"<a>"}' }, '"<a>" has the id 65 of "A"' },
      { "a control token with a wrong id", { vocab = abc, added = '{"id":257,"content":"he"}' },
        'added_tokens[0]: "he" has another id in model.vocab' },
      { "a control token with the id 2^53", { added = '{"id":9007199254740992,"content":"<a>"}' }, "but 257 tokens" },
      { "a control token twice",
        { vocab = '"<a>":256', added = '{"id":256,"content":"<a>"},{"id":256,"content":"<a>"}' },
        'added_tokens[1]: "<a>" is listed twice' },
      { "a control token twice beside the vocabulary",
        { added = '{"id":256,"content":"<a>"},{"id":257,"content":"<a>"}' },
        'added_tokens: "<a>" has the ids' },
      { "a merge of an unknown left token", { vocab = abc, merges = '"hx e"' }, 'model.merges[0]: "hx" is not in' },
      { "a merge of an unknown right token", { vocab = abc, merges = '"h e","h ex"' },
        'model.merges[1]: "ex" is not in' },
      { "a merge into an unknown token", { vocab = abc, merges = '"e h"' }, 'model.merges[0]: "eh" is not in' },
      { "a merge of control tokens", { vocab = abc, added = '{"id":256,"content":"he"}', merges = '"h e"' },
        'model.merges[0] has the control token "he"', "EUNSUPPORTED" },
      { "a merge twice", { vocab = abc, merges = '"h e","l l",["h","e"]' },
        'model.merges[2] repeats model.merges[0]: "h" "e"' },
      { "a merge of one token", { vocab = abc, merges = '"he"' }, "model.merges[0] is not two tokens" },
      { "a merge of three tokens", { vocab = abc, merges = '"h e l"' }, "model.merges[0] is not two tokens" },
      { "a merge with an empty left", { vocab = abc, merges = '" he"' }, "model.merges[0] is not two tokens" },
      { "a merge with an empty right", { vocab = abc, merges = '"he "' }, 'model.merges[0]: "" is not in model.vocab' },
      { "a merge list of three", { vocab = abc, merges = '["h","e","l"]' }, "model.merges[0] is not two tokens" },
      { "a merge list of numbers", { vocab = abc, merges = "[1,2]" }, "model.merges[0] is not two tokens" },
      { "a merge that is a number", { vocab = abc, merges = "7" }, "model.merges[0] is not two tokens" },
      { "a merge of an endless string", { vocab = abc, merges = '"' .. ("a"):rep(200000) .. ' b"' },
        "model.merges[0] is not two tokens" },
    }
    for _, row in ipairs(rows) do
      it(row[1], function()
        files.refuses(files.text(row[2]), row[4] or "EFORMAT", row[3])
      end)
    end
  end)

  describe("refuses a file whose parts are missing or of another kind:", function()
    local sound = files.text { vocab = abc, merges = '"h e"' }
    local function replaced(from, to)
      local at, last = sound:find(from)
      return sound:sub(1, at - 1) .. to .. sound:sub(last + 1)
    end
    local rows = {
      { "no vocabulary", replaced('"vocab"', '"vocap"'), "model.vocab is not an object" },
      { "a vocabulary that is a list", replaced('"vocab":%b{}', '"vocab":[]'), "model.vocab is not an object" },
      { "an empty vocabulary", replaced('"vocab":%b{}', '"vocab":{}'), "model.vocab is empty" },
      { "no merges", replaced('"merges"', '"merge"'), "model.merges is not an array" },
      { "merges that are an object", replaced('"merges":%b[]', '"merges":{}'), "model.merges is not an array" },
      { "added tokens that are an object", replaced('"added_tokens":%b[]', '"added_tokens":{}'),
        "added_tokens is not an array" },
      { "no model", replaced('"model"', '"modell"'), "model is not an object" },
      { "a list", "[" .. sound .. "]", "is not a JSON object" },
      { "two objects", sound .. sound, "end of file expected" },
      { "a zero byte", replaced('"he"', '"h\\u0000e"'), "NUL byte" },
      { "bytes that are not UTF-8", replaced('"he"', '"h\255e"'), "" },
      { "nothing at all", "", "" },
      { "a pointer to the file", "version https://git-lfs.github.com/spec/v1\noid sha256:8f\nsize 6\n", "line 1" },
      { "endless nesting", ("["):rep(100000), "nested deeper than 64" },
    }
    for _, row in ipairs(rows) do
      it(row[1], function() files.refuses(row[2], "EFORMAT", row[3]) end)
    end
  end)

  it("refuses a file that was cut at any byte", function()
    local sound = files.text { vocab = abc, merges = '"h e","l l"' }
    for length = 0, #sound - 1, 7 do
      local tokenizer, message, code = files.open(sound:sub(1, length))
      assert.is_nil(tokenizer, "cut at " .. length)
      assert.equal("EFORMAT", code, message)
    end
  end)

  it("opens a file with any one byte changed to a sound tokenizer, or refuses it", function()
    local sound = files.text { vocab = abc, merges = '"h e","l l"', added = '{"id":258,"content":"<a>"}' }
    local codes = { EFORMAT = true, EUNSUPPORTED = true }
    local state = 1
    for _ = 1, 400 * support.fuzz do
      state = (state * 16807) % 2147483647           -- the minimal standard generator: the same bytes on every ABI
      local at, byte = state % #sound + 1, math.floor(state / 65536) % 256
      local tokenizer, message, code = files.open(sound:sub(1, at - 1) .. string.char(byte) .. sound:sub(at + 1))
      if tokenizer then
        assert.equal("hell <a>\0\255", tokenizer:decode(tokenizer:encode("hell <a>\0\255")))
        tokenizer:close()
      else
        assert.is_true(codes[code], message)
      end
    end
  end)

  it("R01: gives ENOMEM, and keeps nothing, when any allocation fails once the file is parsed", function()
    local path = os.tmpname()
    support.write_file(path, files.text { vocab = abc, merges = '"h e","l l"', added = '{"id":258,"content":"<a>"}' })
    collectgarbage()
    collectgarbage()
    local live, reached = core.memory_live(), nil
    local function fail(n)
      local tokenizer, message, code
      reached, tokenizer, message, code = internals.fail_allocation(n, function() return core.tokenizer(path) end)
      if reached then assert.equal("ENOMEM", code, message) else tokenizer:close() end
      assert.equal(live, core.memory_live())
    end
    -- from behind, since jansson 2.14 asserts that its own allocations succeed; the last ten are ours
    local n = 4000
    repeat
      n = n - 10
      fail(n)
    until reached
    for last = n + 9, n, -1 do fail(last) end
    os.remove(path)
  end)
end)
