local documents = require "moonseek.documents"
local mock = require "moonseek.mock"
local support = require "spec.support"

local text = "The pass opens in May.\nNote: red fox code is 4821.\n" .. ("Nothing of note happened.\n"):rep(30)

--- A mock that finds the line with the question's last word in its prompt.
local function engine_of(context)
  return assert(mock { context = context, answer = function(request)
    local word = request.prompt:match("^.*\n.- (%w+)%?")
    for line in request.prompt:match("^.*<｜User｜>(.-)<｜Assistant｜>"):gmatch("[^\n]+") do
      if line:find(word, 1, true) and not line:find("?", 1, true) then return line end
    end
    return "It is not there."
  end })
end

describe("documents.ask", function()
  it("answers with the places that the answer rests on", function()
    local answer = assert(documents.ask(engine_of(), { name = "d", text = text }, "What is the code of fox?"))
    assert.equal("Note: red fox code is 4821.", answer.text)
    local first = text:find("Note: red", 1, true)
    assert.same({ { first = first, last = first + 26, text = answer.text, score = 1, quoted = true } }, answer.passages)
    assert.same({ "stop", 1 }, { answer.finish_reason, answer.parts })
  end)

  it("tells the places in a file, too", function()
    local path = os.tmpname() .. ".html"
    support.write_file(path, "<h1>Codes &amp; more</h1><p>The code of   fox is 7.</p>")
    local answer = assert(documents.ask(engine_of(), path, "What is the code of fox?"))
    os.remove(path)
    local place = answer.passages[1].source
    assert.same({ 29, 51 }, { place.first, place.last })
  end)

  it("R02: refuses a document that the context cannot hold, before anything is read", function()
    local asked = false
    local engine = assert(mock { context = 500, answer = function() asked = true end })
    local answer, message, code = documents.ask(engine, { name = "d", text = text }, "Why?", { max_tokens = 100 })
    assert.is_nil(answer)
    assert.equal("ECTXFULL", code)
    assert.truthy(message:find("^d: the prompt takes %d+ tokens and its answer up to 100, the context holds 500: give "
      .. "a greater context, a smaller max_tokens, or split = true$"))
    assert.is_false(asked)
  end)

  it("asks parts of it with `split`, and places what it finds in the whole", function()
    local long = ("Nothing of note happened.\n"):rep(40) .. text
    local answer = assert(documents.ask(engine_of(500), { name = "d", text = long }, "What is the code of fox?",
      { max_tokens = 60, split = true }))
    assert.equal("Note: red fox code is 4821.", answer.text)
    assert.is_true(answer.parts > 3)
    assert.equal(1, #answer.passages)
    assert.equal(answer.text, long:sub(answer.passages[1].first, answer.passages[1].last))
  end)

  it("asks about the answers when several parts have one", function()
    local prompts = {}
    local engine = assert(mock { context = 400, answer = function(request)
      prompts[#prompts + 1] = request.prompt
      return request.prompt:find("alpha.*beta") and "both" or request.prompt:match("is (%a+)%.") or "?"
    end })
    local long = "It is alpha.\n" .. ("x y z\n"):rep(70) .. "It is beta.\n"
    local answer = assert(documents.ask(engine, { text = long }, "Which?", { max_tokens = 50, split = true }))
    assert.equal("both", answer.text)
    assert.truthy(prompts[#prompts]:find("alpha\n\nbeta\nWhich?", 1, true))
  end)

  it("says that there is no room even for a part", function()
    local code = select(3, documents.ask(engine_of(100), { text = text }, ("long "):rep(30) .. "?",
      { max_tokens = 10, split = true }))
    assert.equal("ECTXFULL", code)
  end)

  it("hands the failures of files and engines through", function()
    assert.equal("ENOENT", select(3, documents.ask(engine_of(), "no such file", "?")))
    local engine = assert(mock { answers = { { content = "x", error = "it broke", code = "EIO" } } })
    assert.same({ nil, "it broke", "EIO" }, { documents.ask(engine, { text = "a" }, "?") })
    assert.has_error(function() documents.ask(engine, 7, "?") end,
      "documents.ask: path or document expected, got number")
    assert.has_error(function() documents.ask(engine, { text = "a" }, 7) end,
      "documents.ask: string expected, got number")
  end)
end)

describe("documents.open", function()
  it("reads the document once for all questions", function()
    local progress = {}
    local reader = assert(documents.open(engine_of(), { text = text }, { on_progress = function(p)
      progress[#progress + 1] = p.done
    end }))
    local first = assert(reader:ask "What is the code of fox?")
    assert.is_true(first.usage.read > #text)
    assert.is_true(progress[1] > #text - 30)
    local second = assert(reader:ask "In which month opens the pass?")
    assert.is_true(second.usage.read < 60)
    assert.is_true(second.usage.cached > #text - 30)
    assert.equal("The pass opens in May.", second.passages[1].text)
    reader:close()
  end)

  it("ends when `cancel` says so, and answers the next question", function()
    local stop = true
    local reader = assert(documents.open(engine_of(), { text = text }, { cancel = function() return stop end }))
    assert.same({ nil, "cancelled", "ECANCELED" }, { reader:ask "What is the code of fox?" })
    stop = false
    assert.equal("Note: red fox code is 4821.", assert(reader:ask "What is the code of fox?").text)
    reader:close()
  end)

  it("gives the reasoning apart when the model thinks", function()
    local engine = assert(mock { answers = { { reasoning = "I look.", content = "Here." } } })
    local answer = assert(documents.ask(engine, { text = "a" }, "?", { thinking = "low" }))
    assert.same({ "I look.", "Here." }, { answer.reasoning, answer.text })
  end)
end)
