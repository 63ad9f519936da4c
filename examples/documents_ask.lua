--- Questions to a long document, answered with the places in it that the answers rest on.
--   make ask                                             a document made up here, of about 4,000 tokens
--   make ask ARGS="FILE"                                 a text, Markdown, HTML, PDF or DOCX file; a question a line
--   make ask ARGS="FILE --model PATH --context TOKENS --split"
-- The pocket model looks up facts of its own small language ("What is the code of red fox?", words of
-- models/pocket/words.lua) in documents of 65,000 tokens and more. It cannot read anything else: for that give
-- --model PATH, which asks for quotations, too.
package.path = "./models/pocket/?.lua;" .. package.path
local moonseek = require "moonseek"
local documents = moonseek.documents

local POCKET = "models/pocket"

local function arguments()
  local given, i = { model = POCKET }, 1
  while arg[i] do
    local name = arg[i]:match("^%-%-(%a+)$")
    if name == "split" then
      given.split = true
    elseif name == "model" or name == "context" then
      i = i + 1
      given[name] = arg[i]
    elseif name or given.file then
      io.stderr:write("usage: documents_ask.lua [FILE] [--model PATH] [--context TOKENS] [--split]\n")
      os.exit(2)
    else
      given.file = arg[i]
    end
    i = i + 1
  end
  return given
end

--- Many lines about nothing, a few facts among them, and questions about these.
local function made_up()
  local item = require("tasks").item("needle", { tokens = 4000, facts = 24, questions = 3, held_out = true, seed = 5 })
  local text, questions = nil, { "What is the code of silver fox?" }
  for _, turn in ipairs(require("tasks").turns(item)) do
    local user = turn.prompt[#turn.prompt - 2].text
    text = text or user:match("^(.*)\n")
    questions[#questions + 1] = user:match("([^\n]+)$")
  end
  local middle = text:find("\n", math.floor(#text / 2), true)
  text = text:sub(1, middle) .. "Note: silver fox code is 4821." .. text:sub(middle)
  return { name = "made up", text = text }, questions
end

local function show_progress(progress)
  local unit = progress.parts and "parts" or "tokens"
  io.stderr:write(("\rreading %d of %d %s"):format(progress.done, progress.total, unit))
  if progress.done == progress.total then io.stderr:write("\n") end
end

local function ask(reader, question)
  local answer, message = reader:ask(question)
  if not answer then
    print("  " .. message)
    return
  end
  print("  " .. answer.text:gsub("\n", "\n  "))
  for _, passage in ipairs(answer.passages) do
    print(("    bytes %d to %d: %s"):format(passage.first, passage.last, passage.text))
  end
  print(("    (%d tokens read, %d found read)"):format(answer.usage.read, answer.usage.cached))
end

local given = arguments()
local document, questions
if given.file then document = assert(documents.read(given.file)) else document, questions = made_up() end
local engine = assert(moonseek.open { path = given.model })
local reader = assert(documents.open(engine, document, {
  context = tonumber(given.context), split = given.split, max_tokens = given.model == POCKET and 60 or 1024,
  template = given.model ~= POCKET and documents.templates.quoting or nil, on_progress = show_progress,
}))
print(("%s: %d bytes"):format(document.name, #document.text))
if questions then
  for _, question in ipairs(questions) do
    print(question)
    ask(reader, question)
  end
else
  io.write("A question a line; an empty line ends.\n")
  for question in io.lines() do
    if question == "" then break end
    ask(reader, question)
  end
end
reader:close()
engine:close()
