local conversation = require "spec.moonseek.conversation"
local documents = require "moonseek.documents"

local tokenizer = conversation.tokenizer

--- Parts of a text; they are checked to be the text, whole, in order and within the budget.
local function split(text, tokens)
  local parts = assert(documents.split({ name = "d", text = text }, { tokenizer = tokenizer, tokens = tokens }))
  local at = 1
  for i, part in ipairs(parts) do
    assert.equal(at, part.first)
    assert.equal(text:sub(part.first, part.last), part.text)
    assert.equal(("d, part %d"):format(i), part.name)
    at = part.last + 1
  end
  assert.equal(#text + 1, at)
  return parts
end

local function within(parts, tokens)
  for _, part in ipairs(parts) do assert.is_true(tokenizer:count(part.text) <= tokens) end
end

local function texts(parts)
  local list = {}
  for i, part in ipairs(parts) do list[i] = part.text end
  return list
end

local function sentences(count)
  return ("The ship sails at noon. "):rep(count)
end

describe("documents.split", function()
  it("leaves a text that fits whole", function()
    assert.same({ "a b" }, texts(split("a b", 10)))
  end)

  it("cuts before headings rather than after paragraphs", function()
    local one, two = "# One\n\n" .. sentences(3) .. "\n\n" .. sentences(4) .. "\n", "## Two\n\n" .. sentences(6)
    assert.same({ one, two }, texts(split(one .. two, 60)))
  end)

  it("takes no heading for one within a block of code", function()
    local text = "```\n" .. sentences(6) .. "\n# no heading\n" .. "\n```\n\n" .. sentences(5)
    local parts = split(text, 60)
    assert.is_nil(parts[2].text:find("^# no"))
  end)

  it("cuts after paragraphs, then lines, then sentences, then words", function()
    local paragraph = sentences(5) .. "\n\n"
    assert.same({ paragraph, paragraph, paragraph }, texts(split(paragraph:rep(3), 45)))
    local line = sentences(5) .. "\n"
    assert.same({ line, line }, texts(split(line:rep(2), 45)))
    for _, part in ipairs(split(sentences(20), 45)) do assert.truthy(part.text:find("^The.*%. $")) end
    for _, part in ipairs(split(("word "):rep(200), 45)) do assert.truthy(part.text:find("^word.*word $")) end
    for _, part in ipairs(split(("船在中午启航。"):rep(30), 45)) do assert.truthy(part.text:find("。$")) end
  end)

  it("never cuts within a character, not even for a budget that none fits", function()
    local text = ("名é\240\159\152\128"):rep(40)
    for _, tokens in ipairs { 1, 2, 7 } do
      for _, part in ipairs(split(text, tokens)) do assert.is_nil(part.text:find("^[\128-\191]")) end
    end
  end)

  local hostile = {
    { "invalid UTF-8", ("\191"):rep(300) }, { "half characters", ("\240\159 \195"):rep(100) },
    { "NUL", ("a\0"):rep(300) }, { "no spaces", ("abcdefghij"):rep(200) }, { "blank lines", ("\n"):rep(500) },
    { "control tokens", ("<｜User｜>"):rep(100) },
  }
  for _, case in ipairs(hostile) do
    it("T01: keeps the budget on " .. case[1], function()
      within(split(case[2], 20), 20)
    end)
  end

  it("keeps the budget on 200 texts of anything", function()
    local random = conversation.generator(11)
    for _ = 1, 200 do
      local tokens = 8 + random(40)
      within(split(conversation.hostile_text(random, 60), tokens), tokens)
    end
  end)

  it("T04: takes linear time over one long line", function()
    local function seconds(bytes)
      local text, start = ("lorem ipsum "):rep(bytes / 12), os.clock()
      split(text, 1000)
      return os.clock() - start
    end
    local short = math.max(seconds(120000), 0.01)
    assert.is_true(seconds(1200000) < 30 * short)
  end)

  it("refuses what makes no sense", function()
    assert.same({ nil, "tokens is 0, allowed are 1 and more", "EINVAL" },
      { documents.split("a", { tokenizer = tokenizer, tokens = 0 }) })
    assert.has_error(function() documents.split("a", { tokenizer = tokenizer }) end,
      "documents.split: option 'tokens' is missing")
    assert.has_error(function() documents.split(7, { tokenizer = tokenizer, tokens = 1 }) end,
      "documents.split: table expected, got number")
  end)
end)
