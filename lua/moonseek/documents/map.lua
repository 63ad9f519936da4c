--- The same question to many documents, several at once; and many texts to one.
local fields = require "moonseek.documents.fields"
local fill = require "moonseek.documents.template"
local json = require "moonseek.json"
local journal = require "moonseek.documents.journal"
local options = require "moonseek.options"
local pool = require "moonseek.documents.pool"
local read = require "moonseek.documents.read"
local split = require "moonseek.documents.split"

local map = {}

local templates = {
  document = "{document}\n{question}",
  quoting = "{document}\n\n{question}\nAfter the answer, copy the lines of the text above on which it rests, each as a "
    .. "line of its own behind \"> \".",
  summary = "Summarise this in a few sentences.",
  extract = "Return JSON with {fields}.{details}",
  retry = "That cannot be used: {problem}. {question}",
}
map.templates = templates

local common = {
  template = { default = templates.document },
  parallel = { type = "number", default = 4 },
  journal = { type = "string" },
  on_progress = { type = "function" },
  cancel = { type = "function" },
}

--- The options that map, reduce and reader share, and `more`.
function map.declare(more)
  local declared = pool.declare(more)
  for name, rule in pairs(common) do declared[name] = rule end
  return declared
end

local declared = map.declare {
  question = { type = "string" },
  fields = { type = "table" },
  retry = { default = templates.retry },
  max_bytes = { type = "number", default = read.MAX_BYTES },
}

-- {== An item =========================================================================================

local function question_of(chosen)
  if not chosen.fields then return chosen.question or templates.summary end
  local names = table.concat(fields.names(chosen.fields), ", ")
  return (fill(chosen.question or templates.extract, { fields = names, details = fields.details(chosen.fields) }))
end

local function document_of(input, i, chosen)
  if type(input) == "string" then return read.file(input, nil, chosen.max_bytes) end
  if not input.name then return { name = ("document %d"):format(i), text = input.text } end
  return input
end

--- Asks for the fields; an answer that lacks them is shown what is wrong once. The row's fields, or nil and why not.
local function extract(run, ask, messages, row)
  local answer, message, code = ask(messages)
  if not answer then return nil, message, code end
  local value
  value, message = fields.take(run.fields, answer.text)
  if not value then
    messages[#messages + 1] = answer.message
    local again = fill(run.retry, { problem = message, question = run.question })
    messages[#messages + 1] = { role = "user", content = again }
    local first = answer.usage
    answer, message, code = ask(messages)
    if not answer then return nil, message, code end
    for name, count in pairs(first) do answer.usage[name] = answer.usage[name] + count end
    value, message = fields.take(run.fields, answer.text)
  end
  row.text, row.usage, row.finish_reason = answer.text, answer.usage, answer.finish_reason
  if not value then return nil, message, "EFORMAT" end
  row.value = value
  return true
end

local function answer(_, ask, messages, row)
  local said, message, code = ask(messages)
  if not said then return nil, message, code end
  row.text, row.usage, row.finish_reason = said.text, said.usage, said.finish_reason
  return true
end

--- The row of an item: made by the model, or taken from the journal.
local function row_of(run, ask, input, i)
  local row = { index = i, document = type(input) == "string" and input or input.name or ("document %d"):format(i) }
  if run.fields then row.value = {} end
  local document, message, code = document_of(input, i, run)
  if not document then
    row.error, row.code = message, code
    return row
  end
  local content = fill(run.template, { document = document.text, question = run.question, name = document.name })
  local key = run.book and run.book:key(run.settings .. content)
  local known = key and run.book:get(key)
  if known then
    row.text, row.value, row.finish_reason, row.resumed = known.text, known.value, known.finish_reason, true
    return row
  end
  local done
  done, message, code = (run.fields and extract or answer)(run, ask, run.pool:messages(content), row)
  if not done then row.error, row.code = message, code end
  if not key then return row end
  done, message, code = run.book:put(key, row)
  if not done then return nil, message, code end
  return row
end

-- {== Map =============================================================================================

--- Everything but the document that an answer depends on, as one text.
local function settings_of(engine, chosen)
  local info, parts = engine:info(), {}
  for _, name in ipairs { "architecture", "layers", "parameters", "bytes", "numerics" } do
    parts[#parts + 1] = tostring(info[name])
  end
  for _, name in ipairs { "system", "thinking", "generation", "max_tokens", "temperature", "top_p", "top_k", "min_p",
    "seed" } do
    parts[#parts + 1] = tostring(chosen[name])
  end
  parts[#parts + 1] = chosen.fields and json.encode(chosen.fields) or ""
  parts[#parts + 1] = chosen.fields and tostring(chosen.retry) or ""
  return table.concat(parts, "\0") .. "\0"
end

local function check(what, engine, inputs, level)
  if type(engine) ~= "table" and type(engine) ~= "userdata" then
    error(("%s: engine expected, got %s"):format(what, type(engine)), level)
  end
  if type(inputs) ~= "table" then error(("%s: list expected, got %s"):format(what, type(inputs)), level) end
  for i, input in ipairs(inputs) do
    if type(input) ~= "string" and (type(input) ~= "table" or type(input.text) ~= "string") then
      error(("%s: item %d: path or document expected"):format(what, i), level)
    end
  end
end

local function sum_usage(usage, row)
  for name, count in pairs(row.usage or {}) do usage[name] = usage[name] + count end
end

--- Runs all items of a prepared run; its result, or nil, message, code when a journal or an engine gave up.
local function complete(run, inputs)
  local rows, result, failure = {}, { done = 0, failed = 0, total = #inputs, cancelled = false,
    usage = { cached = 0, read = 0, completion = 0 } }, nil
  local function finish(row, message, code)
    if not row then
      failure = { message, code }
      return
    end
    rows[row.index] = row
    result.done = result.done + 1
    if row.error then result.failed = result.failed + 1 end
    sum_usage(result.usage, row)
    if run.on_progress then
      run.on_progress { done = result.done, failed = result.failed, total = result.total, row = row }
    end
  end
  local i = 0
  local function next_task()
    i = i + 1
    local place, input = i, inputs[i]
    if input then return function(ask) return row_of(run, ask, input, place) end, finish end
  end
  local function stopped() return failure ~= nil or (run.cancel ~= nil and run.cancel()) end
  local done, message, code = run.pool:run(next_task, run.parallel, { stopped = stopped })
  if failure then return nil, failure[1], failure[2] end
  if not done and code ~= "ECANCELED" then return nil, message, code end
  result.cancelled, result.rows = not done, {}
  for place = 1, #inputs do result.rows[#result.rows + 1] = rows[place] end
  return result
end

--- Runs `work(run)` with a pool and, if wanted, a journal, and gives both back whatever happens.
local function with_pool(engine, run, work)
  local message, code
  run.pool, message, code = pool.new(engine, run)
  if not run.pool then return nil, message, code end
  if run.journal then
    run.book, message, code = journal.open(run.journal)
    if not run.book then return nil, message, code end
  end
  local ok, result
  ok, result, message, code = pcall(work, run)
  run.pool:close()
  if run.book then run.book:close() end
  if not ok then error(result, 0) end
  return result, message, code
end

--- Asks each document (a path, or a table with `text`) the same. { rows =, columns =, done =, failed =, total =,
-- cancelled =, usage = }; a document that cannot be read or answered is a row with `error` and `code`.
function map.map(engine, inputs, given)
  check("documents.map", engine, inputs, 3)
  local run = options.read("documents.map", given, declared)
  if run.fields then run.fields = fields.read(run.fields) end
  run.question, run.settings = question_of(run), settings_of(engine, run)
  return with_pool(engine, run, function()
    local result, message, code = complete(run, inputs)
    if not result then return nil, message, code end
    result.columns = run.fields and fields.names(run.fields) or { "text" }
    table.insert(result.columns, 1, "document")
    table.insert(result.columns, "error")
    return result
  end)
end

-- {== Reduce ==========================================================================================

local reducing = map.declare { question = { type = "string", default = templates.summary } }

local function without_failures(items)
  local kept = {}
  for _, item in ipairs(type(items) == "table" and items or {}) do
    if type(item) ~= "table" or not item.error then kept[#kept + 1] = item end
  end
  return kept
end

local function texts_of(items)
  local texts = {}
  for i, item in ipairs(items) do texts[i] = type(item) == "string" and item or item.text end
  return texts
end

--- Answers all parts of a text: the list of their answers, or nil, message, code.
local function answer_parts(run, parts, result)
  local documents = {}
  for i, part in ipairs(parts) do documents[i] = { name = ("part %d"):format(i), text = part.text } end
  local round, message, code = complete(run, documents)
  if not round then return nil, message, code end
  if round.cancelled then return nil, "cancelled", "ECANCELED" end
  sum_usage(result.usage, round)
  for _, row in ipairs(round.rows) do
    if row.error then return nil, row.error, row.code end
  end
  return round.rows
end

--- Rounds of answers about answers, until all of them fit into one prompt.
local function reduce(run, texts)
  local room, message, code = run.pool:room(run.pool:messages((fill(run.template,
    { document = "", question = run.question, name = "" }))))
  if not room then return nil, message, code end
  if room < 1 then
    return nil, "the context has no room for a text beside the question and its answer", "ECTXFULL"
  end
  local result, before = { rounds = 0, usage = { cached = 0, read = 0, completion = 0 } }, math.huge
  while true do
    local text = table.concat(texts, "\n\n")
    local parts
    parts, message, code = split(text, run.pool.tokenizer, room)
    if not parts then return nil, message, code end
    if #parts > 1 and #parts >= before then
      return nil, ("%d texts do not become fewer: the answers are too long for the context"):format(#parts), "ECTXFULL"
    end
    before = #parts
    local rows
    rows, message, code = answer_parts(run, parts, result)
    if not rows then return nil, message, code end
    result.rounds = result.rounds + 1
    if #rows == 1 then
      result.text, result.finish_reason = rows[1].text, rows[1].finish_reason
      return result
    end
    texts = texts_of(rows)
  end
end

--- One answer from many texts: strings, documents, or the rows of a map (without those that failed). As many rounds as
-- the context makes necessary. { text =, finish_reason =, rounds =, usage = }.
function map.reduce(engine, items, given)
  local kept = without_failures(items)
  check("documents.reduce", engine, kept, 3)
  local run = options.read("documents.reduce", given, reducing)
  local texts = texts_of(kept)
  if #texts == 0 then return nil, "there is no text to reduce", "EINVAL" end
  run.settings = settings_of(engine, run)
  return with_pool(engine, run, function() return reduce(run, texts) end)
end

return map
