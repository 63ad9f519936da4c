-- Exact-answer accuracy of the pocket model on held-out inputs, greedy.
--
-- usage: lua models/pocket/evaluate.lua [--task all|far|NAME] [--n N] [--seed S] [--model DIR]
--                                       [--numerics fast] [--threads N] [--top_k EXPERTS] [--wrong yes]
--
-- A turn counts only if every token of its answer, thinking included, is right. As a module: require "evaluate".run.
local here = (debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or ".")
package.path = here .. "/?.lua;" .. package.path
local tasks = require "tasks"

local evaluate = {}

local function size(tokens) return ("%dk"):format(math.floor(tokens / 1000)) end

-- name, task, options of tasks.item, turns at most when --n is not given
evaluate.cases = {}

local function case(name, task, options, n)
  evaluate.cases[#evaluate.cases + 1] = { name = name, task = task, options = options, n = n or 200 }
end

for _, tokens in ipairs { 1024, 16384, 65536 } do
  for _, facts in ipairs { 16, 64 } do
    if tokens > 1024 or facts == 16 then
      case(("needle %s, %d facts"):format(size(tokens), facts), "needle",
        { tokens = tokens, facts = facts, questions = 8 }, tokens > 20000 and 40 or 200)
    end
  end
end
-- Minutes of reading a document: only when --task far asks for them.
for _, tokens in ipairs { 262144, 1000000 } do
  case(("needle %s, 64 facts"):format(size(tokens)), "far", { tokens = tokens, facts = 64, questions = 16 }, 16)
end
case("needle 2k, 64 facts", "needle", { tokens = 2048, facts = 64, questions = 8 })
case("add 1-5 digits, thinking", "add", { turns = 1, thinking = true })
case("add 5+5 digits, thinking", "add", { turns = 1, thinking = true, digits = { 5, 5 } })
case("mul up to 4x2 digits, thinking", "mul", { turns = 1, thinking = true })
case("mul 4x2 digits, thinking", "mul", { turns = 1, thinking = true, digits = { 4, 2 } })
case("add 1-5 digits, direct", "add", { turns = 1, thinking = false })
case("add 5+5 digits, direct", "add", { turns = 1, thinking = false, digits = { 5, 5 } })
case("mul up to 4x2 digits, direct", "mul", { turns = 1, thinking = false })
case("mul 4x2 digits, direct", "mul", { turns = 1, thinking = false, digits = { 4, 2 } })
for offered = 1, 4 do case(("tool call, %d offered"):format(offered), "tool", { turns = 1, offered = offered }) end
case("json 1-8 fields, 0-20 lines", "json", { turns = 1 })
case("json 8 fields, 20 lines", "json", { turns = 1, fields = 8, filler = 20 })
case("answer from a tool result", "result", { turns = 1 })
case("department of a mail", "mail", { turns = 1 })
case("needs working out", "effort", { turns = 1 })
case("needs working out, more wordings", "effort", { turns = 1, any = true })
case("repeat a text", "echo", { turns = 1 })
case("chat of 6 turns", "mixed", { turns = 6 })

-- What needs no thinking, thought about all the same: the thought has to be right, too.
for _, size_and_facts in ipairs { { 1024, 16 }, { 2048, 64 }, { 16384, 64 } } do
  local tokens, facts = size_and_facts[1], size_and_facts[2]
  case(("needle %s, %d facts, thinking"):format(size(tokens), facts), "needle",
    { tokens = tokens, facts = facts, questions = 1, thinking = true }, tokens > 10000 and 40 or 200)
end
case("tool call, 4 offered, thinking", "tool", { turns = 1, offered = 4, thinking = true })
case("json 1-8 fields, 0-20 lines, thinking", "json", { turns = 1, thinking = true })
case("json 8 fields, 20 lines, thinking", "json", { turns = 1, fields = 8, filler = 20, thinking = true })
case("answer from a tool result, thinking", "result", { turns = 1, thinking = true })
case("department of a mail, thinking", "mail", { turns = 1, thinking = true })
case("needs working out, more wordings, thinking", "effort", { turns = 1, any = true, thinking = true })
case("repeat a text, thinking", "echo", { turns = 1, thinking = true })
case("chat of 6 turns, thinking", "mixed", { turns = 6, think = 1 })

evaluate.eos = "<｜end▁of▁sentence｜>"

-- Ids of an answer without the end token.
local function answer_ids(tokenizer, answer)
  local pieces = {}
  for i, p in ipairs(answer) do
    if p.control ~= evaluate.eos then pieces[i] = { text = p.text, control = p.control } end
  end
  return tokenizer:encode(pieces)
end

local function equal(got, want)
  local n = #got
  if n > 0 and got[n] == 1 then n = n - 1 end
  if n ~= #want then return false end
  for i = 1, n do
    if got[i] ~= want[i] then return false end
  end
  return true
end

local choices = { mail = tasks.departments, effort = { "yes", "no" } }

-- The choice with the largest logit as the first token of the answer.
local function best_choice(session, tokenizer, list)
  local logits, best = session:logits(), nil
  for _, word in ipairs(list) do
    local x = logits[tokenizer:encode(word)[1]]
    if not best or x > best[2] then best = { word, x } end
  end
  return best[1]
end

-- One item: the turns in order. A turn's prompt holds the right answers before it, whatever was generated.
-- Returns right, turns, and the first wrong turn as { prompt, want, got }. `policy` is for session:routing, or nil.
function evaluate.item(engine, item, policy)
  local tokenizer = engine:tokenizer()
  local room = item.size + math.floor(item.size / 8) + 2048
  local session = engine:session { context = math.min(room, engine:info().context) }
  assert(session:routing(policy or {}))
  local right, turns, wrong = 0, tasks.turns(item), nil
  for _, turn in ipairs(turns) do
    assert(session:sync(turn.prompt))
    local want = answer_ids(tokenizer, turn.answer)
    local ok, got
    if choices[item.task] and turn.prompt[#turn.prompt].control ~= "<think>" then
      got = best_choice(session, tokenizer, choices[item.task])
      ok = got == turn.text
    else
      local result = assert(session:generate { max_tokens = #want + 8, temperature = 0 })
      got, ok = result.text, equal(result.tokens, want)
    end
    if ok then right = right + 1 else wrong = wrong or { turn.prompt, turn.text, got } end
  end
  session:close()
  return right, #turns, wrong
end

--- The options of the k-th item of a case.
function evaluate.options(row, seed, k)
  local options = { seed = seed * 10007 + k * 131 + 1, held_out = true }
  for key, value in pairs(row.options) do options[key] = value end
  return options
end

-- A case (a row of evaluate.cases, or any { task =, options = }) until n turns are answered.
function evaluate.run(engine, row, n, seed, on_wrong, policy)
  local right, total, k = 0, 0, 0
  while total < n do
    local r, t, wrong = evaluate.item(engine, tasks.item(row.task, evaluate.options(row, seed, k)), policy)
    right, total, k = right + r, total + t, k + 1
    if wrong and on_wrong then on_wrong(wrong) end
  end
  return right, total
end

local function main(arguments)
  local o = { task = "all", seed = "1", model = here, numerics = "fast" }
  for i = 1, #arguments, 2 do o[arguments[i]:gsub("^%-%-", "")] = arguments[i + 1] end
  local moonseek = require "moonseek"
  local engine = assert(moonseek.open { path = o.model, numerics = o.numerics, threads = tonumber(o.threads) })
  print(("numerics = %s, seed %s\n\n| case | right | n | CPU seconds |\n|---|---|---|---|"):format(o.numerics, o.seed))
  for _, row in ipairs(evaluate.cases) do
    if o.task == "all" and row.task ~= "far" or row.task == o.task then
      local start = os.clock()
      local right, n = evaluate.run(engine, row, tonumber(o.n) or row.n, tonumber(o.seed), o.wrong and function(wrong)
        print(("wanted %q\ngot    %q"):format(wrong[2], tostring(wrong[3])))
      end, { top_k = tonumber(o.top_k) })
      print(("| %s | %.1f %% | %d | %.1f |"):format(row.name, 100 * right / n, n, os.clock() - start))
      io.flush()
    end
  end
  engine:close()
end

if arg and arg[0] and arg[0]:match "evaluate%.lua$" then main(arg) end
return evaluate
