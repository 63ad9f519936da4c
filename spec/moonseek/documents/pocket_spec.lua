--- Document work with the pocket model, and the examples that show it.
package.path = "models/pocket/?.lua;" .. package.path
local documents = require "moonseek.documents"
local moonseek = require "moonseek"
local support = require "spec.support"
local tasks = require "tasks"

local engine

setup(function() engine = assert(moonseek.open { path = "models/pocket" }) end)
teardown(function() engine:close() end)

--- A document of about `tokens` tokens, and questions { question =, answer = }.
local function document_of(tokens)
  local questions, text = {}, nil
  local item = tasks.item("needle", { tokens = tokens, facts = 24, questions = 6, held_out = true, seed = 3 })
  for i, turn in ipairs(tasks.turns(item)) do
    local user = turn.prompt[#turn.prompt - 2].text
    text = text or user:match("^(.*)\n")
    questions[i] = { question = user:match("([^\n]+)$"), answer = turn.text }
  end
  return { name = "facts", text = text }, questions
end

--- The fact line that holds both names of a question and the value of its answer.
local function line_of(text, row)
  local name, value = row.answer:match("of (.-) is (.*)%.$")
  for line in text:gmatch("[^\n]+") do
    if line:find(name, 1, true) and line:find(value, 1, true) then return line end
  end
end

describe("the pocket model", function()
  it("finds facts in a document of 16k tokens, with the bytes of their lines, and reads it once", function()
    local document, questions = document_of(16000)
    local reader = assert(documents.open(engine, document, { context = 20000, max_tokens = 40 }))
    for i, row in ipairs(questions) do
      local answer = assert(reader:ask(row.question))
      assert.equal(row.answer, answer.text)
      assert.equal(1, #answer.passages)
      local passage = answer.passages[1]
      assert.equal(line_of(document.text, row), document.text:sub(passage.first, passage.last))
      assert.is_true(i == 1 and answer.usage.read > 14000 or answer.usage.read < 60)
    end
    reader:close()
  end)

  it("keeps what was read where a question is joined with the document's last word", function()
    local document = { text = document_of(1000).text .. "\nsilver fo" }
    local reader = assert(documents.open(engine, document, { template = "{document}{question}", max_tokens = 1,
      context = 2048 }))
    assert.is_true(assert(reader:ask "x?").usage.read > 400)
    for _, question in ipairs { "g?", "x?", " x?" } do
      assert.is_true(assert(reader:ask(question)).usage.read < 60)
    end
    reader:close()
  end)

  it("finds them in parts where the context is too short", function()
    local document, questions = document_of(3000)
    local answer = assert(documents.ask(engine, document, questions[1].question,
      { context = 1400, max_tokens = 40, split = true }))
    assert.equal(questions[1].answer, answer.text)
    assert.is_true(answer.parts > 1)
  end)

  it("extracts a table, with the same bits however many documents are under way", function()
    local inputs, wanted = {}, {}
    for i = 1, 6 do
      local turn = tasks.turns(tasks.item("json", { turns = 1, fields = 8, filler = 4, held_out = true, seed = i }))[1]
      inputs[i] = { name = "note" .. i, text = turn.prompt[3].text:match("^(.*)\n") }
      local code, name = turn.text:match('"code": (%d+)'), turn.text:match('"name": "([^"]+)"')
      wanted[i] = ("note%d,%s,%s,\r\n"):format(i, code, name)
    end
    for _, parallel in ipairs { 1, 4 } do
      local result = assert(documents.map(engine, inputs, { fields = { "code", "name" }, max_tokens = 60,
        parallel = parallel }))
      assert.equal("document,code,name,error\r\n" .. table.concat(wanted), documents.csv(result))
    end
  end)
end)

describe("examples", function()
  --- What a program prints, run as its first lines say, with this interpreter and the specs' module.
  local function run(arguments, input)
    local folder = support.temporary_folder()
    support.write_file(folder .. "/input", input or "")
    local command = "%s -e 'require \"spec.support\"' %s < %s/input 2>&1; echo status $?"
    local pipe = assert(io.popen(command:format(support.interpreter(), arguments, folder)))
    local printed = pipe:read("*a")
    pipe:close()
    support.remove(folder)
    local text, status = printed:match("^(.*)status (%d+)%s*$")
    assert.equal("0", status, text)
    return text
  end

  it("documents_ask answers questions about its document", function()
    local text = run("examples/documents_ask.lua")
    assert.truthy(text:find("The code of silver fox is 4821.", 1, true), text)
    assert.truthy(text:find("bytes %d+ to %d+: Note: silver fox code is 4821%."), text)
  end)

  it("documents_ask answers questions about another", function()
    local path = os.tmpname()
    support.write_file(path, "The room of dark island is 7713.\nThe code of dark island is 1207.\n")
    local text = run("examples/documents_ask.lua " .. path, "What is the code of dark island?\n")
    os.remove(path)
    assert.truthy(text:find("The code of dark island is 1207.", 1, true), text)
  end)

  it("extract makes a CSV file of a folder, and goes on where it was stopped", function()
    local folder = support.temporary_folder()
    support.write_file(folder .. "/a.txt", "City: Oslo\nName: silver fox\nCode: 4821\n")
    support.write_file(folder .. "/b.html", "<p>Code: 1207<p>Name: dark island<p>City: Rome")
    support.write_file(folder .. "/c.txt", "")
    local command = ("examples/extract.lua '%s' --journal '%s/.journal'"):format(folder, folder)
    local wanted = ("document,code,name,error\r\nF/a.txt,4821,silver fox,\r\nF/b.html,1207,dark island,\r\n"
      .. "F/c.txt,,,F/c.txt: is empty\r\n"):gsub("F/", folder .. "/")
    local first = run(command)
    assert.truthy(first:find(wanted, 1, true), first)
    local second = run(command)
    assert.truthy(second:find("2 from the journal", 1, true), second)
    support.remove(folder)
  end)
end)
