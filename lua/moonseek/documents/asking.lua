--- Questions to one document, which is read once for all of them; what a reader does.
local fill = require "moonseek.documents.template"
local map = require "moonseek.documents.map"
local options = require "moonseek.options"
local passages = require "moonseek.documents.passages"
local pool = require "moonseek.documents.pool"
local read = require "moonseek.documents.read"
local split = require "moonseek.documents.split"

local asking = {}

local declared = map.declare { split = { type = "boolean", default = false } }

--- What a reader is made of: its document (given as a path, or a table with `text`), options, and pool.
function asking.open(what, engine, document, given)
  if type(document) ~= "string" and (type(document) ~= "table" or type(document.text) ~= "string") then
    error(("%s: path or document expected, got %s"):format(what, type(document)), 3)
  end
  local chosen = options.read(what, given, declared)
  if type(document) == "string" then
    local message, code
    document, message, code = read.file(document, nil, read.MAX_BYTES)
    if not document then return nil, message, code end
  end
  local made, message, code = pool.new(engine, chosen)
  if not made then return nil, message, code end
  return { engine = engine, document = document, chosen = chosen, pool = made }
end

local function values_of(self, text, question)
  return { document = text, question = question, name = self.document.name or "" }
end

--- The places that an answer to a part of the document rests on; the part begins at byte `first`.
local function passages_of(self, text, first, answer)
  local found = passages.find(text, answer)
  for _, passage in ipairs(found) do
    passage.first, passage.last = passage.first + first - 1, passage.last + first - 1
    local from, to = read.source(self.document, passage.first, passage.last)
    if from then passage.source = { first = from, last = to } end
  end
  return found
end

--- The answer from the whole document in one context.
local function ask_whole(self, question)
  local chosen, text = self.chosen, self.document.text
  local content, shared = fill(chosen.template, values_of(self, text, question), "document")
  local begun, answer, message, code = false, nil, nil, nil
  local function task(ask) return ask(self.pool:messages(content), shared) end
  local function take(...) answer, message, code = ... end
  local function next_task()
    if begun then return nil end
    begun = true
    return task, take
  end
  local function on_event(_, event)
    if event.type ~= "prefill" or not chosen.on_progress then return end
    chosen.on_progress { done = event.done, total = event.total }
  end
  local done, problem, problem_code = self.pool:run(next_task, 1, { stopped = chosen.cancel, on_event = on_event })
  if not done then return nil, problem, problem_code end
  if not answer then return nil, message, code end
  return { text = answer.text, reasoning = answer.reasoning, finish_reason = answer.finish_reason, usage = answer.usage,
           passages = passages_of(self, text, 1, answer.text), parts = 1 }
end

-- {== In parts ========================================================================================

local function options_for(self, names, more)
  for _, name in ipairs(names) do more[name] = self.chosen[name] end
  return more
end

local passed = { "template", "context", "max_tokens", "thinking", "generation", "system", "temperature", "top_p",
  "top_k", "min_p", "seed", "deadline_ms", "priority", "parallel", "journal", "cancel" }

local function best_score(found)
  local best = 0
  for _, passage in ipairs(found) do best = math.max(best, passage.score) end
  return best
end

--- Of the answers to all parts those that rest on most; where nothing is found in any part all of them.
local function grounded(self, parts, rows)
  local answers, best = {}, 0
  for i, row in ipairs(rows) do
    local found = passages_of(self, parts[i].text, parts[i].first, row.text)
    answers[i] = { text = row.text, finish_reason = row.finish_reason, passages = found, score = best_score(found) }
    best = math.max(best, answers[i].score)
  end
  local kept, seen, places = {}, {}, {}
  for _, answer in ipairs(answers) do
    if answer.score >= best - 0.1 then
      if not seen[answer.text] then kept[#kept + 1] = answer end
      seen[answer.text] = true
      for _, passage in ipairs(answer.passages) do places[#places + 1] = passage end
    end
  end
  return kept, places
end

local function ask_parts(self, question)
  local frame = fill(self.chosen.template, values_of(self, "", question))
  local room, message, code = self.pool:room(self.pool:messages(frame))
  if not room then return nil, message, code end
  if room < 1 then return nil, "the context has no room for a document beside the question", "ECTXFULL" end
  local parts
  parts, message, code = split(self.document.text, self.pool.tokenizer, room)
  if not parts then return nil, message, code end
  local documents, chosen = {}, options_for(self, passed, { question = question })
  for i, part in ipairs(parts) do documents[i] = { name = self.document.name, text = part.text } end
  if self.chosen.on_progress then
    chosen.on_progress = function(p) self.chosen.on_progress { done = p.done, total = p.total, parts = true } end
  end
  local result
  result, message, code = map.map(self.engine, documents, chosen)
  if not result then return nil, message, code end
  if result.cancelled then return nil, "cancelled", "ECANCELED" end
  for _, row in ipairs(result.rows) do
    if row.error then return nil, row.error, row.code end
  end
  local kept, places = grounded(self, parts, result.rows)
  local answer = { text = kept[1].text, reasoning = "", finish_reason = kept[1].finish_reason, usage = result.usage,
                   passages = places, parts = #parts }
  if #kept == 1 then return answer end
  chosen.on_progress = nil
  local last
  last, message, code = map.reduce(self.engine, kept, chosen)
  if not last then return nil, message, code end
  answer.text, answer.finish_reason = last.text, last.finish_reason
  for name, count in pairs(last.usage) do answer.usage[name] = answer.usage[name] + count end
  return answer
end

--- The answer to a question, from the whole document, or with `split` from its parts where it does not fit.
function asking.answer(self, question)
  local answer, message, code = ask_whole(self, question)
  if answer or code ~= "ECTXFULL" then return answer, message, code end
  if self.chosen.split then return ask_parts(self, question) end
  return nil, ("%s: %s: give a greater context, a smaller max_tokens, or split = true"):format(
    self.document.name or "document", message), code
end

return asking
