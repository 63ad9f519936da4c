-- The tasks of the pocket model: one place for the text of every prompt and answer.
--
-- tasks.item(name, { seed =, held_out =, ... }) returns { task =, pieces = { ... } }. A piece has text or control
-- (a control token by name) and, where the model must produce it, answer = true; mark = true on those parts of an
-- answer that had to be looked up. An item is a whole conversation; tasks.turns(item) cuts it into prompts and answers.
local Random = require "random"
local Draw = require "draw"
local Writer = require "writer"
local arithmetic = require "arithmetic"
local thoughts = require "thoughts"
local toolbox = require "toolbox"

local tasks = {}

local BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
local estimate = Writer.estimate

-- ------------------------------------------------------------------- one turn

local turn = {}

-- Sum or product. digits = { a, b }; thinking = true | false; history: the turn is part of the past, not learnt.
local function compute(w, sign, o)
  local rng = w.rng
  local da, db
  if o.digits then
    da, db = o.digits[1], o.digits[2]
  elseif sign == "+" then
    local level = rng:weighted(o.add_levels or { { 2, 1 }, { 3, 2 }, { 4, 4 } })
    da, db = rng:range(1, level + 1), rng:range(1, level + 1)
  else
    local level = rng:weighted(o.mul_levels or { { 1, 1 }, { 2, 2 }, { 3, 3 }, { 4, 3 } })
    da, db = rng:range(level > 2 and 2 or 1, level), rng:range(1, math.min(level, 2))
  end
  local a, b = w.draw:operands(da, db)
  local form
  if sign == "+" then
    form = rng:pick { "What is %d + %d?", "What is %d + %d?",
      "Compute %d + %d.", "Add %d and %d.", "How much is %d + %d?" }
  else
    form = rng:pick { "What is %d * %d?", "What is %d * %d?",
      "Compute %d * %d.", "Multiply %d by %d.", "How much is %d * %d?" }
  end
  local lines = {}
  for i = 1, o.before or (rng:chance(o.before_chance or 0) and rng:range(1, 8) or 0) do lines[i] = w.draw:filler() end
  lines[#lines + 1] = form:format(a, b)
  w:user(table.concat(lines, "\n"))
  local result = ("%d"):format(sign == "+" and a + b or a * b)
  local thinking = o.thinking
  if thinking == nil then thinking = not rng:chance(o.direct or 0.05) end
  if o.history then
    w:reply({ result }, true)
  elseif thinking then
    w:think({ sign == "+" and arithmetic.add(a, b) or arithmetic.mul(a, b) }, { result })
  else
    w:reply { result }
  end
end

function turn.add(w, o) compute(w, "+", o) end
function turn.mul(w, o) compute(w, "*", o) end

-- What is to be repeated.
local function spoken(w)
  local d = w.draw
  local k = w.rng:range(1, 5)
  if k == 1 then return d:asked_name() end
  if k == 2 then return d:of "cities" end
  if k == 3 then return d:number(w.rng:range(1, 6)) end
  if k == 4 then return d:asked_name() .. " and " .. d:asked_name() end
  return d:of "people" .. " " .. d:number(w.rng:range(2, 4))
end

local echo_forms = { "Repeat: %s.", "Say %s.", "Repeat after me: %s." }

function turn.echo(w, o)
  local what = spoken(w)
  local ask = w.rng:pick(echo_forms):format(what)
  w:user(ask)
  w:answer(o, { { what } }, function() return thoughts.echo(ask, what) end)
end

-- Questions about a fact of a document.
local ask_forms = { "What is the %s of %s?", "Give the %s of %s.", "Which %s does %s have?", "Tell me the %s of %s." }

-- name, value, quoted
local fields = {
  { "Name", function(d) return d:asked_name() end, true }, { "Code", function(d) return d:number(4) end },
  { "City", function(d) return d:of "cities" end, true }, { "Room", function(d) return d:number(3) end },
  { "Day", function(d) return d:of "days" end, true }, { "Owner", function(d) return d:of "people" end, true },
  { "State", function(d) return d:of "states" end, true },
  { "Total", function(d) return d:number(d.rng:range(1, 5)) end },
}

local json_forms = { "Return JSON with %s.", "Give %s as JSON.", "JSON with the fields %s, please.", "Write JSON: %s" }

-- fields: how many are asked; filler: how many other lines; hard: many of both.
function turn.json(w, o)
  local rng, order, lines = w.rng, {}, {}
  for i = 1, #fields do order[i] = i end
  rng:shuffle(order)
  local asked = o.fields or o.hard and rng:range(3, 8) or rng:range(1, rng:chance(0.4) and 8 or 4)
  local present = rng:range(math.max(asked, 3), math.max(asked, rng:chance(0.4) and 8 or 4))
  local values = {}
  for k = 1, present do
    local f = fields[order[k]]
    values[k] = f[2](w.draw)
    lines[k] = ("%s: %s"):format(f[1], values[k])
  end
  local filler = o.filler or o.hard and rng:range(8, 20)
    or rng:range(0, rng:weighted(o.filler_levels or { { 0, 2 }, { 4, 3 }, { 20, 3 } }))
  for _ = 1, filler do lines[#lines + 1] = w.draw:filler() end
  rng:shuffle(lines)
  local index = {}
  for k = 1, present do index[k] = k end
  rng:shuffle(index)
  local names, parts, told = {}, {}, {}
  for i = 1, asked do
    local f = fields[order[index[i]]]
    names[i] = f[1]:lower()
    told[i] = { names[i], values[index[i]], text = f[3] }
    parts[#parts + 1] = (i == 1 and "{" or ", ") .. '"' .. names[i] .. (f[3] and '": "' or '": ')
    parts[#parts + 1] = { values[index[i]] }
    if f[3] then parts[#parts + 1] = '"' end
  end
  parts[#parts + 1] = "}"
  lines[#lines + 1] = rng:pick(json_forms):format(table.concat(names, ", "))
  w:user(table.concat(lines, "\n"))
  w:answer(o, parts, function() return thoughts.json(told) end)
end

-- What the mail says, and the words of it that tell the department.
local mails = {
  sales = { { "Please send a price for the %s.", "price" }, { "We want to buy the %s.", "buy" },
    { "Is there a discount on the %s?", "discount" }, { "I need an offer for the %s.", "offer" } },
  support = { { "The %s does not work.", "not work" }, { "The %s is broken again.", "broken" },
    { "I cannot start the %s.", "cannot start" }, { "Please help me repair the %s.", "repair" } },
  billing = { { "The invoice for the %s is wrong.", "invoice" }, { "I paid twice for the %s.", "paid" },
    { "Please refund the %s.", "refund" }, { "My payment for the %s failed.", "payment" } },
  shipping = { { "Where is the parcel with the %s?", "parcel" }, { "The %s has not arrived.", "not arrived" },
    { "The driver lost the %s.", "driver" }, { "Please track my %s.", "track" } },
}
tasks.departments = { "sales", "support", "billing", "shipping" }

function turn.mail(w, o)
  local department = w.rng:pick(tasks.departments)
  local lines = { "Hello," }
  if w.rng:chance(0.5) then
    lines[#lines + 1] = ("this is %s from %s."):format(w.draw:of "people", w.draw:of "cities")
  end
  local telling = w.rng:pick(mails[department])
  local name = w.draw:asked_name()
  lines[#lines + 1] = telling[1]:format(name)
  if w.rng:chance(0.3) then lines[#lines + 1] = ("I wrote on %s."):format(w.draw:of "days") end
  lines[#lines + 1] = "Which department: sales, support, billing or shipping?"
  w:user(table.concat(lines, "\n"))
  w:answer(o, { { department } }, function() return thoughts.mail(telling[1], name, telling[2], department) end)
end

local add_forms = { "What is %d + %d?", "Compute %d + %d.", "Add %d and %d.", "How much is %d + %d?" }
local mul_forms = { "What is %d * %d?", "Compute %d * %d.", "Multiply %d by %d.", "How much is %d * %d?" }

-- A question of any task, and what it wants.
local function any_question(w)
  local d, k = w.draw, w.rng:range(1, 12)
  if k <= 6 then
    local a, b = d:operands(w.rng:range(1, 5), w.rng:range(1, k <= 3 and 5 or 2))
    return w.rng:pick(k <= 3 and add_forms or mul_forms):format(a, b), k <= 3 and "a sum" or "a product"
  end
  if k <= 8 then return w.rng:pick(ask_forms):format(d:of "attributes", d:asked_name()), "a value" end
  if k <= 10 then return w.rng:pick(echo_forms):format(spoken(w)), "a text" end
  if k == 11 then
    local names = {}
    for i, field in ipairs(fields) do names[i] = field[1]:lower() end
    w.rng:shuffle(names)
    return w.rng:pick(json_forms):format(table.concat(names, ", ", 1, w.rng:range(1, 8))), "JSON"
  end
  if w.rng:chance(0.5) then return "Which department: sales, support, billing or shipping?", "a department" end
  return w.rng:pick { "What is the weather in %s?", "Weather in %s, please.", "How is the weather in %s?",
    "What time is it in %s?", "Time in %s, please.", "Give the time in %s." }:format(d:of "cities"), "a value"
end

-- Does a question need working out? yes for arithmetic, no for the rest. any: questions of every task and wording.
function turn.effort(w, o)
  local d, answer = w.draw, "no"
  local question, kind
  local k = o.any and 9 or w.rng:range(1, 8)
  if k == 9 then
    question, kind = any_question(w)
    if kind == "a sum" or kind == "a product" then answer = "yes" end
  elseif k <= 4 then
    local a, b = d:operands(w.rng:range(1, 5), w.rng:range(1, 3))
    answer, question = "yes", w.rng:pick { "What is %d + %d?", "What is %d * %d?", "Compute %d * %d.", "Add %d and %d.",
      "Multiply %d by %d.", "How much is %d + %d?" }:format(a, b)
    kind = (question:find("+", 1, true) or question:find "Add") and "a sum" or "a product"
  elseif k == 5 then question, kind = ("What is the %s of %s?"):format(d:of "attributes", d:asked_name()), "a value"
  elseif k == 6 then question, kind = ("Repeat: %s."):format(d:asked_name()), "a text"
  elseif k == 7 then question, kind = ("What is the weather in %s?"):format(d:of "cities"), "a value"
  else question, kind = ("Give the %s of %s."):format(d:of "attributes", d:asked_name()), "a value" end
  w:user("Does this need working out?\n" .. question)
  w:answer(o, { { answer } }, function() return thoughts.effort(question, kind) end)
end

-- ----------------------------------------------------------------------- tools

local function call_parts(tool, values)
  local parts = { ('\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="'), { tool[1] }, '">\n' }
  for i, p in ipairs(tool[3]) do
    parts[#parts + 1] = ('<｜DSML｜parameter name="%s" string="%s">'):format(p[1], tostring(p[2] == "string"))
    parts[#parts + 1] = { values[i] }
    parts[#parts + 1] = "</｜DSML｜parameter>\n"
  end
  parts[#parts + 1] = "</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
  return parts
end

-- The system part with 1 to 4 tools; returns the tools.
local function offer(w, o)
  local offered, all = {}, {}
  for i = 1, #toolbox.tools do all[i] = toolbox.tools[i] end
  w.rng:shuffle(all)
  for i = 1, o.offered or w.rng:range(1, o.short and 2 or 4) do offered[i] = all[i] end
  local head = w.rng:chance(0.5) and "You are a helpful assistant." or ""
  if o.short then w:text(toolbox.block(offered, true)) else w:text(head .. "\n\n" .. toolbox.block(offered)) end
  return offered
end

local function drawer(w)
  local d, rng = w.draw, w.rng
  return {
    city = function() return d:of "cities" end, name = function() return d:asked_name() end,
    person = function() return d:of "people" end, day = function() return d:of "days" end,
    field = function() return d:of "attributes" end, sky = function() return d:of "skies" end,
    number = function(n) return d:number(n) end, digits = function(n) return rng:range(1, n) end,
    one = function(list) return rng:pick(list) end,
  }
end

-- A request and the call; with_result: also the tool's result and the answer from it.
local function call(w, o, offered, with_result)
  local tool = w.rng:pick(offered)
  local request, values, result, answer = toolbox.request(tool, drawer(w))
  w:user(request)
  w:answer(o, call_parts(tool, values), function() return thoughts.call(request, tool, values) end)
  if with_result then
    w:user("<tool_result>" .. result .. "</tool_result>")
    local parts = {}
    for i, part in ipairs(answer) do parts[i] = i % 2 == 0 and { part } or part end
    w:answer(o, parts, function() return thoughts.result(tool, values, result) end)
  end
end

-- --------------------------------------------------------------------- documents

local function fact_line(rng, draw, fact)
  local k = rng:range(1, 3)
  if k == 1 then return ("The %s of %s is %s."):format(fact.field, fact.name, fact.value) end
  if k == 2 then return ("Note: %s %s is %s."):format(fact.name, fact.field, fact.value) end
  return ("[%s] %s set %s to %s."):format(draw:time(), fact.name, fact.field, fact.value)
end

-- A document of `tokens` tokens (about) with `facts` facts, and the questions after it.
-- questions: how many; filler: false = facts only; held_out_names: all names held out; twins: share of facts about a
-- name that already has one; thinking: true for every question, "last" for the last one.
local function needle(w, o)
  local rng, draw = w.rng, w.draw
  local facts, seen, lines, size = {}, {}, {}, 0
  local asked = math.min(o.questions, o.facts)
  local tries = 0
  while #facts < o.facts and tries < o.facts * 20 do
    tries = tries + 1
    local fact = { field = draw:of "attributes", value = draw:code(4) }
    if o.twins and #facts > 0 and rng:chance(o.twins) then
      fact.name = rng:pick(facts).name
    else
      fact.name = (#facts < asked or o.held_out_names) and draw:asked_name() or draw:name()
    end
    local key = fact.field .. " " .. fact.name
    if not seen[key] then
      seen[key] = true
      facts[#facts + 1] = fact
      lines[#lines + 1] = fact_line(rng, draw, fact)
      size = size + estimate(lines[#lines] .. "\n")
    end
  end
  asked = math.min(asked, #facts)
  if o.filler ~= false then
    local room = o.tokens - asked * (o.thinking == true and 90 or 27) - (o.thinking == "last" and 72 or 8)
    while true do
      local line = draw:filler()
      size = size + estimate(line .. "\n")
      if size > room then break end
      lines[#lines + 1] = line
    end
  end
  rng:shuffle(lines)
  local order = {}
  for i = 1, asked do order[i] = i end
  rng:shuffle(order)
  for i = 1, asked do
    local fact = facts[order[i]]
    local ask = rng:pick(ask_forms):format(fact.field, fact.name)
    w:user(i == 1 and table.concat(lines, "\n") .. "\n" .. ask or ask)
    w:answer({ thinking = o.thinking == true or o.thinking == "last" and i == asked },
      { "The " .. fact.field .. " of " .. fact.name .. " is ", { fact.value }, "." },
      function() return thoughts.lookup(ask, fact) end)
  end
end

-- Practice for lookup: lines `K V` with few keys, again and again; the value of a key seen before is scored.
local function assoc(w, o)
  local rng, draw = w.rng, w.draw
  local keys, by_words = {}, rng:chance(0.3)
  local one_noun, digits = rng:chance(o.one_noun or 0), rng:pick(o.value_digits or { 4 })
  for i = 1, rng:range(o.keys[1], o.keys[2]) do
    local name = one_noun and draw:of "nouns" or draw:name()
    local value = by_words and (rng:chance(0.5) and draw:of "cities" or draw:of "states") or draw:code(digits)
    keys[i] = { name = name, field = (o.several and rng:chance(0.2)) and draw:of "attributes" or "code", value = value }
    for j = 1, i - 1 do
      if keys[j].name == name and keys[j].field == keys[i].field then keys[i].value = keys[j].value end
    end
  end
  local form = o.plain and 1 or rng:range(1, 4)
  local seen = {}
  while w.size < o.tokens do
    local k = rng:pick(keys)
    local id = k.field .. k.name
    if form == 1 then w:text((o.several and k.field .. " " or "") .. k.name)
    elseif form == 2 then w:text(("The %s of %s is"):format(k.field, k.name))
    elseif form == 3 then w:text(("Note: %s %s is"):format(k.name, k.field))
    else w:text(("[%s] %s set %s to"):format(draw:time(), k.name, k.field)) end
    w:text(" ")
    w:text(k.value, seen[id], seen[id])
    w:text(form == 1 and "\n" or ".\n")
    seen[id] = true
  end
end

-- ------------------------------------------------------------------------- items

local function chat_of(name)
  return function(w, o)
    w:control(BOS)
    for _ = 1, o.turns or 1000 do
      turn[name](w, o)
      if w.size > (o.tokens or 0) and not o.turns then break end
    end
  end
end

local make = { add = chat_of "add", mul = chat_of "mul", echo = chat_of "echo", json = chat_of "json",
  mail = chat_of "mail", effort = chat_of "effort" }

function make.needle(w, o)
  w:control(BOS)
  needle(w, o)
end

make.far = make.needle                                     -- the same, in documents beyond any that were trained

function make.assoc(w, o)
  w:control(BOS)
  assoc(w, o)
end

-- Calls behind one tools block; result: share of calls that go on with the tool's answer.
function make.tool(w, o)
  w:control(BOS)
  local offered = offer(w, o)
  for _ = 1, o.turns or 1000 do
    if w.rng:chance(o.other or 0) then
      turn[w.rng:weighted { { "echo", 2 }, { "json", 1 }, { "mul", 1 }, { "add", 1 }, { "mail", 1 } }](w, o)
    else
      call(w, o, offered, w.rng:chance(o.result or 0))
    end
    if w.size > (o.tokens or 0) and not o.turns then break end
  end
end

function make.result(w, o)
  o.result, o.other, o.turns = 1, 0, o.turns or 1
  make.tool(w, o)
end

-- A chat of turns of all kinds. In the official prompt without tools, older turns lose their thinking: half of the
-- chats are written like that (history), so that only their last turn is a worked sum. once: no kind comes twice, so
-- that no earlier turn shows how to answer one.
function make.mixed(w, o)
  w:control(BOS)
  local history = o.turns ~= nil or not o.once and w.rng:chance(0.4)
  local kinds = { { "mul", 5 }, { "add", 4 }, { "json", 3 }, { "echo", 2 }, { "mail", 2 }, { "effort", 1.5 },
    { "needle", 2 } }
  if o.once then kinds[1][2], kinds[2][2] = 1, 1 end
  for i = 1, o.turns or 1000 do
    local kind = w.rng:weighted(kinds)
    local last = o.turns and i == o.turns or not o.turns and w.size > o.tokens * 0.75
    if kind == "needle" then
      local facts = w.rng:range(2, 8)
      local questions = (o.turns or o.once) and 1 or w.rng:range(1, 3)
      local thinking = o.think and not (history and not last) and w.rng:chance(o.think)
      needle(w, { facts = facts, questions = questions, filler = true, thinking = thinking or nil,
        tokens = facts * 14 + w.rng:range(20, 80) + (thinking and questions * 63 or 0) })
    else
      o.history = history and not last
      turn[kind](w, o)
      o.history = nil
    end
    if o.once then
      for k = #kinds, 1, -1 do
        if kinds[k][1] == kind then table.remove(kinds, k) end
      end
    end
    if not o.turns and (w.size > o.tokens or history and last or #kinds == 0) then break end
  end
end

-- Options common to all: seed, held_out, pool (names from a small pool); the rest is the task's.
function tasks.item(name, options)
  local o = {}
  for k, v in pairs(options) do o[k] = v end
  local rng = Random.new(o.seed)
  local w = Writer.new(rng, Draw.new(rng, o.held_out, o.pool))
  make[name](w, o)
  return { task = name, pieces = w.pieces, size = w.size }
end

-- { { prompt = pieces from the start, answer = pieces, text = answer text without the end token }, ... }
function tasks.turns(item)
  local out, prompt, i, n = {}, {}, 1, #item.pieces
  while i <= n do
    while i <= n and not item.pieces[i].answer do
      prompt[#prompt + 1] = item.pieces[i]
      i = i + 1
    end
    if i > n then break end
    local t = { prompt = {}, answer = {} }
    for k, p in ipairs(prompt) do t.prompt[k] = { text = p.text, control = p.control } end
    local text = {}
    while i <= n and item.pieces[i].answer do
      local p = item.pieces[i]
      t.answer[#t.answer + 1] = { text = p.text, control = p.control }
      prompt[#prompt + 1] = p
      if p.control ~= EOS then text[#text + 1] = p.text or p.control end
      i = i + 1
    end
    t.text = table.concat(text)
    out[#out + 1] = t
  end
  return out
end

return tasks
