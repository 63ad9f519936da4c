--- Document work: files to texts, texts to parts, questions to one long document, the same question to many, and what
-- comes of it as tables, JSON lines or CSV. Everything here is made of sessions and jobs.
local asking = require "moonseek.documents.asking"
local map = require "moonseek.documents.map"
local options = require "moonseek.options"
local read = require "moonseek.documents.read"
local sheet = require "moonseek.documents.sheet"
local split = require "moonseek.documents.split"

local documents = {}
local reader = {}
local reader_meta = { __name = "moonseek.documents.reader", __index = reader }

local function check(what, kind, value)
  if type(value) ~= kind then error(("%s: %s expected, got %s"):format(what, kind, type(value)), 3) end
end

-- {== Files and parts =================================================================================

local reading = { kind = { type = "string" }, max_bytes = { type = "number", default = read.MAX_BYTES } }

--- The document in a file: { name =, text =, kind =, title = }. Text that is empty or holds NUL is refused.
function documents.read(path, given)
  check("documents.read", "string", path)
  local chosen = options.read("documents.read", given, reading)
  if chosen.kind and not read.kinds[chosen.kind] then
    return nil, ("kind is '%s', allowed are 'text', 'markdown', 'html', 'pdf' and 'docx'"):format(chosen.kind), "EINVAL"
  end
  return read.file(path, chosen.kind, chosen.max_bytes)
end

--- The paths of the plain files in a folder, sorted; hidden ones are left out.
function documents.list(folder)
  check("documents.list", "string", folder)
  return read.folder(folder)
end

--- The bytes of its file that bytes `first` to `last` of a document's text came from; nil where nothing tells.
function documents.source(document, first, last)
  check("documents.source", "table", document)
  return read.source(document, first, last)
end

local splitting = { tokens = { type = "number", required = true }, tokenizer = { required = true } }

--- Parts of a document, or of a text, of at most so many tokens each: { name =, text =, first =, last = }. They follow
-- one another without gaps and are cut where its structure is.
function documents.split(document, given)
  if type(document) == "string" then document = { text = document } end
  check("documents.split", "table", document)
  local chosen = options.read("documents.split", given, splitting)
  if chosen.tokens < 1 then return nil, ("tokens is %g, allowed are 1 and more"):format(chosen.tokens), "EINVAL" end
  local parts, message, code = split(document.text, chosen.tokenizer, math.floor(chosen.tokens))
  if not parts then return nil, message, code end
  for i, part in ipairs(parts) do part.name = ("%s, part %d"):format(document.name or "document", i) end
  return parts
end

-- {== Questions =======================================================================================

--- What templates there are; a script may write its own.
documents.templates = map.templates

--- A reader of one document (a path, or a table with `text`); the model reads it with the first question.
function documents.open(engine, document, given)
  local made, message, code = asking.open("documents.open", engine, document, given)
  if not made then return nil, message, code end
  return setmetatable(made, reader_meta)
end

--- Answers a question: { text =, passages =, finish_reason =, usage =, parts = }. What was read of the document is kept
-- for the next. One that does not fit the context is ECTXFULL, with the option `split` it is asked in parts.
function reader:ask(question)
  check("reader:ask", "string", question)
  return asking.answer(self, question)
end

function reader:close() self.pool:close() end

--- Asks one document one question.
function documents.ask(engine, document, question, given)
  check("documents.ask", "string", question)
  local made, message, code = asking.open("documents.ask", engine, document, given)
  if not made then return nil, message, code end
  local ok, answer
  ok, answer, message, code = pcall(asking.answer, made, question)
  made.pool:close()
  if not ok then error(answer, 0) end
  return answer, message, code
end

documents.map = map.map
documents.reduce = map.reduce

-- {== Output ==========================================================================================

local function columns_of(what, result, columns)
  check(what, "table", result)
  if columns ~= nil then check(what, "table", columns) end
  columns = columns or result.columns
  if not columns then error(what .. ": rows without columns: name them", 3) end
  return result.rows or result, columns
end

--- Rows as CSV, a head line first. `columns`: which, by name; those of the result by default.
function documents.csv(result, columns)
  return sheet.csv(columns_of("documents.csv", result, columns))
end

--- Rows as JSON, an object a line.
function documents.json_lines(result, columns)
  return sheet.json_lines(columns_of("documents.json_lines", result, columns))
end

return documents
