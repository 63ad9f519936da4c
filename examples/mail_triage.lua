--- Support mails go through a router: which department, urgent or not, answered or handed to a person.
--
-- usage: make triage        from a clean clone; or lua examples/mail_triage.lua [--model PATH] [MAIL.txt ...]
--
-- What the pocket model can do here: name the department of a mail that is worded as in models/pocket/tasks.lua, look
-- a parcel's locker up in a list, and work out a refund. What it cannot: understand any other mail, write a letter. It
-- knows the words of models/pocket/words.lua and no others; on them it is right nearly always, on other mails its
-- department is a guess. Whether a mail is urgent is decided by plain words, without a model.
package.path = "./models/pocket/?.lua;" .. package.path
local moonseek = require "moonseek"
local router = moonseek.router

-- {== What the desk knows

local parcels = { ["red fox"] = "2057", ["quiet river"] = "8841", ["golden bell"] = "1690", ["wild horse"] = "4402" }

local invoices = { ["silver lamp"] = { count = 12, price = 85 }, ["old clock"] = { count = 3, price = 240 } }

local samples = {
  "Hello,\nthis is Anna from Oslo.\nWhere is the parcel with the red fox?",
  "Hello,\nI paid twice for the silver lamp.\nI wrote on Monday.",
  "Hello,\nI need an offer for the gentle owl.",
  "Hello,\nthis is Tom from Lima.\nThe golden bell has not arrived.",
  "Hello,\nthe small engine is broken again.\nI wrote on Friday. I am very angry.",
  "Hello,\nPlease refund the old clock.",
  "Hello,\nPlease track my tiny moon.",
}

-- {== Judges and rules

local departments = { "sales", "support", "billing", "shipping" }

--- The department: four words are compared, nothing is generated.
local department = router.choose {
  ask = function(request) return request.text .. "\nWhich department: sales, support, billing or shipping?" end,
  choices = departments, margin = 1, otherwise = "unclear",
}

local alarms = { "angry", "lawyer", "at once", "urgent", "immediately" }

local function urgent(request)
  local text = request.text:lower()
  for _, word in ipairs(alarms) do
    if text:find(word, 1, true) then return true end
  end
  return false
end

--- The first of `names` that the mail speaks of.
local function mentioned(request, names)
  for name in pairs(names) do
    if request.text:find(name, 1, true) then return name end
  end
end

--- What is asked in place of the mail. Rules work on a copy of the request and may change it.
local function ask(request, text)
  request.messages = { { role = "user", content = text } }
end

local function look_up(request)
  local lines = {}
  for name, locker in pairs(parcels) do lines[#lines + 1] = ("The locker of %s is %s."):format(name, locker) end
  table.sort(lines)                                -- the same prompt in every run
  lines[#lines + 1] = ("What is the locker of %s?"):format(mentioned(request, parcels))
  ask(request, table.concat(lines, "\n"))
  return { thinking = "off", budget = { ms = 10000 } }
end

local function work_out(request)
  local invoice = invoices[mentioned(request, invoices)]
  ask(request, ("What is %d * %d?"):format(invoice.price, invoice.count))
  return { thinking = "low", thinking_budget = 250 }
end

local rules = {
  { name = "urgent", when = urgent, plan = false },
  { name = "parcel", plan = look_up, when = function(request, judge)
    return judge.department == "shipping" and mentioned(request, parcels)
  end },
  { name = "refund", plan = work_out, when = function(request, judge)
    return judge.department == "billing" and mentioned(request, invoices)
  end },
  { name = "by hand", when = function(_, judge) return judge.department end, plan = false },
}

-- {== The desk

local UNSURE = -1                                  -- an answer of lower log-probability goes out through a person

local function read_arguments(arguments)
  local model, mails, i = "models/pocket", {}, 1
  while arguments[i] do
    if arguments[i] == "--model" then
      model, i = assert(arguments[i + 1], "--model needs a path"), i + 2
    else
      local file = assert(io.open(arguments[i], "rb"))
      mails[#mails + 1], i = file:read("*a"):gsub("%s+$", ""), i + 1
      file:close()
    end
  end
  return model, #mails > 0 and mails or samples
end

local function handle(desk, mail)
  print("\n" .. mail:gsub("\n", " / "))
  local answer = assert(desk:answer(mail))
  local judged = answer.record.judges[1]
  if answer.finish_reason == "declined" then
    print(("  to a person (%s)"):format(judged and judged.verdict or answer.record.rule))
  elseif answer.finish_reason ~= "stop" or answer.logprob < UNSURE then
    print("  to a person, who should see this draft: " .. answer.text)
  else
    print("  answered: " .. answer.text)
  end
  print("    " .. tostring(answer.record):gsub("\n", "\n    "))
end

local model, mails = read_arguments(arg)
local engine = assert(moonseek.open { path = model })
local desk = router { engines = { model = engine }, rules = rules, judges = { department = department },
  defaults = { context = 4096, temperature = 0, max_tokens = 300 } }
for _, mail in ipairs(mails) do handle(desk, mail) end
local spent = desk:spent()
print(("\n%d mails: %d tokens read, %d generated, %.0f ms"):format(#mails, spent.read, spent.generated, spent.ms))
desk:close()
engine:close()
