require "spec.support"
local moonseek = require "moonseek"
local router = moonseek.router

--- An engine that answers as `given` says, and keeps the prompts.
local function mock(given)
  local prompts = {}
  local function answer(request)
    prompts[#prompts + 1] = request.prompt
    return type(given) == "function" and given(request) or given[#prompts]
  end
  return moonseek.mock { answer = answer, choose = type(given) == "table" and given.choose or nil }, prompts
end

--- A clock that goes on by `ms` at each look.
local function ticking(ms)
  local now = 0
  return function()
    now = now + ms
    return now
  end
end

local function always(verdict) return function() return verdict end end

describe("moonseek.router rules", function()
  it("takes the first that applies, over the defaults", function()
    local route = router {
      engines = { a = mock {} }, defaults = { max_tokens = 9, thinking = "off" },
      rules = {
        { name = "long", when = function(request) return #request.text > 3 end, plan = { thinking = "high" } },
        { name = "gold", when = function(request) return request.customer == "gold" end,
          plan = function(request) return { max_tokens = #request.text } end },
        { name = "rest", plan = {} },
      },
    }
    local plan, record = route:plan "four"
    assert.same({ "long", "high", 9 }, { record.rule, plan.thinking, plan.max_tokens })
    plan, record = route:plan { text = "abc", customer = "gold" }
    assert.same({ "gold", "off", 3 }, { record.rule, plan.thinking, plan.max_tokens })
    assert.equal("rest", select(2, route:plan "abc").rule)
    local records = route:records()
    assert.same({ "long", "gold", "rest" }, { records[1].rule, records[2].rule, records[3].rule })
  end)

  it("goes by the defaults when none applies", function()
    local engine, prompts = mock { "hi" }
    local answer = assert(router { engines = { a = engine } }:answer "hello")
    assert.equal("hi", answer.text)
    assert.is_nil(answer.record.rule)
    assert.equal("<｜begin▁of▁sentence｜><｜User｜>hello<｜Assistant｜></think>", prompts[1])
  end)

  it("gives a turn what the plan says", function()
    local seen
    local engine = moonseek.mock { answer = function(request)
      seen = request
      return "x"
    end }
    local route = router { engines = { a = engine }, rules = { { name = "all", plan = {
      system = "Be brief.", thinking = "low", temperature = 0.5, seed = 7, max_tokens = 40 } } } }
    assert(route:answer { messages = { { role = "user", content = "one" }, { role = "user", content = "two" } } })
    assert.equal("<｜begin▁of▁sentence｜>Be brief.<｜User｜>one\n\ntwo<｜Assistant｜><think>", seen.prompt)
    assert.same({ 0.5, 7, 40 }, { seen.options.temperature, seen.options.seed, seen.options.max_tokens })
  end)

  it("leaves a request to the program where the plan is false", function()
    local engine, prompts = mock {}
    local route = router { engines = { a = engine }, rules = { { name = "person", plan = false } } }
    local answer = assert(route:answer "q")
    assert.same({ "declined", "", "person", 0 }, { answer.finish_reason, answer.text, answer.record.rule, #prompts })
    assert.is_false((route:plan "q"))
  end)

  it("lets an error of a rule through", function()
    local route = router { engines = { a = mock {} }, rules = { { name = "bad", plan = {},
      when = function() error("no such customer", 0) end } } }
    assert.has_error(function() route:answer "x" end, "no such customer")
  end)
end)

describe("moonseek.router judges", function()
  it("are asked at most once a request, and only when a rule wants to know", function()
    local asked = {}
    local function judge(name) return function() asked[#asked + 1] = name return name end end
    local route = router { engines = { a = mock {} }, judges = { x = judge "x", y = judge "y" }, rules = {
      { name = "1", when = function(_, judges) return judges.x == "no" end, plan = {} },
      { name = "2", when = function(_, judges) return judges.x == "x" end, plan = {} },
      { name = "3", when = function(_, judges) return judges.y end, plan = {} },
    } }
    local _, record = route:plan "a"
    assert.same({ "2", { "x" } }, { record.rule, asked })
    assert.same({ 1, "x", "x" }, { #record.judges, record.judges[1].name, record.judges[1].verdict })
  end)

  it("fail without failing the request", function()
    local route = router { engines = { a = mock { "answer" } },
      judges = { broken = function() return nil, "the disk is gone", "EIO" end },
      rules = { { name = "never", when = function(_, judge) return judge.broken end, plan = { thinking = "high" } } } }
    local answer = assert(route:answer "a")
    assert.same({ "answer", "the disk is gone", "EIO" },
      { answer.text, answer.record.judges[1].error, answer.record.judges[1].code })
  end)

  it("are known by name", function()
    local route = router { engines = { a = mock {} },
      rules = { { name = "x", when = function(_, judge) return judge.efort end, plan = {} } } }
    local ok, message = pcall(route.plan, route, "a")
    assert.is_false(ok)
    assert.truthy(message:find("there is no judge 'efort'", 1, true))
  end)

  it("choose: one short read, nothing generated", function()
    local engine, prompts = mock { choose = function(request)
      return request.prompt:find("sum", 1, true) and 1 or 2
    end }
    local route = router { engines = { a = engine }, judges = { effort = router.choose {
      ask = function(request) return "Hard? " .. request.text end, choices = { "yes", "no" } } },
      rules = { { name = "hard", when = function(_, judge) return judge.effort == "yes" end, plan = {} } } }
    local _, record = route:plan "a sum"
    local judged = record.judges[1]
    assert.same({ "hard", "yes", 10 }, { record.rule, judged.verdict, math.floor(judged.figures.margin + 0.5) })
    assert.same({ 4 + #"Hard? a sum", 0 }, { judged.cost.read, judged.cost.generated })
    assert.is_nil(select(2, route:plan "a mail").rule)
    assert.same({}, prompts)
    route:close()
  end)

  it("choose: reads once what the questions begin with", function()
    local engine = mock {}
    local route = router { engines = { a = engine }, judges = { effort = router.choose {
      ask = function(request) return "Hard? " .. request.text end, choices = { "yes", "no" } } },
      rules = { { name = "hard", when = function(_, judge) return judge.effort == "yes" end, plan = {} } } }
    local read = {}
    for i, text in ipairs { "a sum", "a mail", "a mail", "the end" } do
      read[i] = select(2, route:plan(text)).judges[1].cost.read
    end
    local shared, ending = 2 + #"Hard? ", 2                 -- the last tokens: assistant, no thinking
    assert.same({ shared + #"a sum" + ending, shared + #"a mail" + ending + shared + 2, #"mail" + ending,
      #"the end" + ending + shared }, read)
    route:close()
    assert.same({}, route.beginnings)
  end)

  it("choose: another verdict where the lead is too small, or there is nothing to ask", function()
    local function verdict(text, margin)
      local route = router { engines = { a = mock {} }, judges = { effort = router.choose {
        ask = function(request) return request.text ~= "" and request.text or nil end, choices = { "yes", "no" },
        margin = margin, otherwise = "unclear" } },
        rules = { { name = "all", when = function(_, judge) return judge.effort end, plan = {} } } }
      return select(2, route:plan(text)).judges[1].verdict
    end
    assert.same({ "yes", "unclear", "unclear" }, { verdict("a", 9), verdict("a", 11), verdict("", 0) })
  end)

  it("choose: behind the messages of a chat, which does not change", function()
    local seen
    local engine = mock { choose = function(request)
      seen = request.prompt
      return 1
    end }
    local chat = assert(moonseek.chat(engine, { messages = { { role = "user", content = "a" },
      { role = "assistant", content = "b" } } }))
    local route = router { engines = { a = engine }, judges = { again = router.choose {
      ask = always "More?", choices = { "yes", "no" }, in_chat = true } },
      rules = { { name = "all", when = function(_, judge) return judge.again end, plan = {} } } }
    route:plan { text = "c", chat = chat }
    assert.truthy(seen:find("a<｜Assistant｜></think>b<｜end▁of▁sentence｜><｜User｜>More?", 1, true))
    assert.same({ 2, 0 }, { #chat:messages(), chat.session:position() })
  end)
end)

describe("moonseek.router escalation", function()
  local function route_of(engine, judge, plan)
    return router { engines = { a = engine }, rules = { { name = "all", plan = {
      escalate = { when = judge, plan = plan or { thinking = "low" } } } } } }
  end

  it("thinks when the answer is unlikely", function()
    local engine, prompts = mock { { content = "12", logprob = -2 }, { content = "13", reasoning = "r", logprob = -2 },
      { content = "ok", logprob = -0.1 } }
    local route = route_of(engine, router.unlikely { least = -5 })
    local answer = assert(route:answer "sum")
    assert.same({ "13", "r" }, { answer.text, answer.reasoning })
    assert.truthy(prompts[1]:find("</think>$"))
    assert.truthy(prompts[2]:find("^<｜begin▁of▁sentence｜><｜User｜>sum<｜Assistant｜><think>$"))
    local tries = answer.record.tries
    assert.same({ "answered", true, -6, "escalated" }, { tries[1].why, tries[1].unsure, tries[1].figures.logprob,
      tries[2].why })
    assert.equal("ok", assert(route:answer "mail").text)
    assert.same({ 3, false }, { #prompts, route:records()[2].tries[1].unsure })
  end)

  it("takes the mean a token if that is asked for", function()
    local unsure, figures = router.unlikely { least_mean = -1 }({ logprob = -8, usage = { answer = 10 } })
    assert.same({ false, -0.8 }, { unsure, figures.mean })
    assert.is_true((router.unlikely { least_mean = -0.7 } { logprob = -8, usage = { answer = 10 } }))
  end)

  it("thinks when samples disagree, and asks for no more than it takes to know", function()
    local function asked(said, options)
      local engine, prompts = mock(said)
      local answer = assert(route_of(engine, router.disagreement(options)):answer "q")
      return answer.text, #prompts, answer.record.tries[1].figures.agreed
    end
    assert.same({ "a", 3, 2 }, { asked({ "a", "a", "a" }, { samples = 2 }) })
    assert.same({ "c", 3, 0 }, { asked({ "a", "b", "c" }, { samples = 2 }) })
    assert.same({ "a", 3, 2 }, { asked({ "a", "a", "a" }, { samples = 4, agree = 0.5 }) })
    assert.same({ "A", 2, 1 }, { asked({ "A", "a" }, { samples = 1,
      same = function(x, y) return x.text:lower() == y.text:lower() end }) })
  end)

  it("counts the samples", function()
    local engine = mock { "a", "a", "a" }
    local record = assert(route_of(engine, router.disagreement { samples = 2 }):answer "q").record
    assert.same({ 4, 6 }, { record.tries[1].judging.generated, record.cost.generated })
  end)

  it("goes to another engine, and further", function()
    local small, large, largest = mock { "s" }, mock { "l" }, mock { "xl" }
    local doubt = always(true)
    local route = router { engines = { small = small, large = large, largest = largest }, rules = { { name = "all",
      plan = { engine = "small", escalate = { when = doubt, plan = { engine = "large",
        escalate = { when = doubt, plan = { engine = "largest" } } } } } } } }
    local answer = assert(route:answer "q")
    assert.equal("xl", answer.text)
    assert.same({ "small", "large", "largest" }, { answer.record.tries[1].engine, answer.record.tries[2].engine,
      answer.record.tries[3].engine })
  end)

  it("stays with the engine that answered, where the plan names no other", function()
    local broken = moonseek.mock { answer = function() return { content = "x", error = "the disk is gone" } end }
    for _, experts in ipairs { false, {} } do
      local route = router { engines = { one = broken, two = mock { "t", "T" } }, defaults = {
        engine = { "one", "two" },
        escalate = { when = always(true), plan = { thinking = "low", experts = experts or nil } } } }
      local record = assert(route:answer "q").record
      assert.same({ 3, "escalated", "two" }, { #record.tries, record.tries[3].why, record.tries[3].engine })
    end
  end)

  it("keeps the first answer when the second fails", function()
    local engine = mock { "first", { content = "x", error = "the disk is gone", code = "EIO" } }
    local answer = assert(route_of(engine, always(true)):answer "q")
    assert.same({ "first", "the disk is gone" }, { answer.text, answer.record.tries[1].kept })
  end)

  it("keeps the first answer when the second comes too late", function()
    local engine = moonseek.mock { answers = { "first", { content = "second", stall = true, after = 2 } } }
    local answer = assert(route_of(engine, always(true), { deadline_ms = 50 }):answer "q")
    assert.same({ "first", "the other was ended by deadline" }, { answer.text, answer.record.tries[1].kept })
  end)
end)

describe("moonseek.router engines", function()
  local function two(first, second, plan)
    local chosen = { engine = { "one", "two" } }
    for name, value in pairs(plan or {}) do chosen[name] = value end
    return router { engines = { one = moonseek.mock { answers = first, token_ms = 10 }, two = mock(second) },
      defaults = chosen }
  end

  it("are tried in order: the next one after an error", function()
    local answer = assert(two({ { content = "a", error = "the disk is gone", code = "EIO" } }, { "b" }):answer "q")
    local tries = answer.record.tries
    assert.same({ "b", "EIO", "instead of one" }, { answer.text, tries[1].code, tries[2].why })
  end)

  it("are tried in order: the next one after a deadline", function()
    local answer = assert(two({ { content = "abc", stall = true } }, { "b" }, { deadline_ms = 50 }):answer "q")
    assert.same({ "b", "deadline" }, { answer.text, answer.record.tries[1].finish_reason })
  end)

  it("give the last failure when all fail", function()
    local route = two({ { content = "a", error = "first", code = "EIO" } },
      { { content = "b", error = "second", code = "ENOMEM" } })
    local answer, message, code = route:answer "q"
    assert.is_nil(answer)
    assert.same({ "second", "ENOMEM" }, { message, code })
    assert.equal("ENOMEM", route:records()[1].code)
  end)

  it("are not asked again for an error in on_event", function()
    local route = two({ "a" }, { "b" })
    local answer, message, code = route:answer("q", { on_event = function() error("mine", 0) end })
    assert.is_nil(answer)
    assert.same({ "mine", "EHOOK", 1 }, { message, code, #route:records()[1].tries })
  end)

  it("tell their events as they come, with the try they belong to", function()
    local route, heard = two({ { content = "a", error = "x" } }, { "b" }), {}
    assert(route:answer("q", { on_event = function(event, try)
      if event.type == "text" then heard[#heard + 1] = try.engine .. event.text end
    end }))
    assert.same({ "onea", "twob" }, heard)
  end)
end)

describe("moonseek.router in a chat", function()
  local function texts(chat)
    local list = {}
    for i, message in ipairs(chat:messages()) do list[i] = message.content end
    return table.concat(list, " ")
  end

  it("answers there, and the chat goes on", function()
    local engine, prompts = mock { "b", "d" }
    local chat = assert(moonseek.chat(engine, {}))
    local route = router { engines = { a = engine } }
    assert(route:answer { text = "a", chat = chat })
    local answer = assert(route:answer { text = "c", chat = chat })
    assert.equal("chat", answer.record.tries[1].engine)
    assert.equal("a b c d", texts(chat))
    assert.truthy(prompts[2]:find("b<｜end▁of▁sentence｜><｜User｜>c", 1, true))
    assert.is_true(answer.usage.cached > 0)
  end)

  it("takes the messages to another engine, and the answer back", function()
    local large, prompts = mock { "d" }
    local engine = mock { "b" }
    local chat = assert(moonseek.chat(engine, { system = "S" }))
    local route = router { engines = { a = engine, large = large }, rules = { { name = "c",
      when = function(request) return request.text == "c" end, plan = { engine = "large", system = "T" } } } }
    assert(route:answer { text = "a", chat = chat })
    assert(route:answer { text = "c", chat = chat })
    assert.equal("S a b c d", texts(chat))
    assert.is_nil(chat:messages()[5].tokens)   -- ids of another model
    assert.truthy(prompts[1]:find("<｜begin▁of▁sentence｜>S<｜User｜>a<｜Assistant｜></think>b", 1, true))
  end)

  it("puts the better answer in place of the doubted one", function()
    local engine, large = mock { "b", "B" }, mock { "D" }
    local chat = assert(moonseek.chat(engine, {}))
    local function escalating(plan)
      return router { engines = { a = engine, large = large }, rules = { { name = "all",
        plan = { escalate = { when = always(true), plan = plan } } } } }
    end
    assert.equal("B", assert(escalating { thinking = "low" }:answer { text = "a", chat = chat }).text)
    assert.equal("a B", texts(chat))
    local again = moonseek.chat(mock { "b" }, {})
    assert.equal("D", assert(escalating { engine = "large" }:answer { text = "a", chat = again }).text)
    assert.equal("a D", texts(again))
  end)
end)

describe("moonseek.router budgets", function()
  local function route_of(engine, plan, given)
    local chosen = { engines = { a = engine }, rules = { { name = "all", plan = plan } } }
    for name, value in pairs(given or {}) do chosen[name] = value end
    return router(chosen)
  end

  it("of tokens: generated, with what judging and escalation generate", function()
    local doubtful = { escalate = { when = router.unlikely { least = 1 }, plan = {} }, budget = { tokens = 6 } }
    local answer = assert(route_of(mock { "abc", "defg" }, doubtful):answer "q")
    assert.same({ "de", "length" }, { answer.text, answer.finish_reason })
    doubtful.budget.tokens = 4
    answer = assert(route_of(mock { "abc", "defg" }, doubtful):answer "q")
    assert.same({ "abc", "the budget of 4 tokens is spent" }, { answer.text, answer.record.tries[1].kept })
  end)

  it("of time: the rest is the deadline", function()
    local seen
    local engine = moonseek.mock { answer = function(request)
      seen = request.options.deadline_ms
      return "a"
    end }
    assert(route_of(engine, { budget = { ms = 1000 } }, { clock = ticking(10) }):answer "q")
    assert.is_true(seen > 900 and seen < 1000)
    local route = route_of(engine, { budget = { ms = 15 } }, { clock = ticking(20) })
    local answer, message, code = route:answer "q"
    assert.is_nil(answer)
    assert.same({ "the budget of 15 ms is spent before an answer was begun", "EDEADLINE" }, { message, code })
  end)

  it("of CPU-seconds: the answer ends where it is", function()
    local engine = mock(function()
      local from = os.clock()
      while os.clock() - from < 0.03 do end -- luacheck: ignore 542
      return "never ending"
    end)
    local answer = assert(route_of(engine, { budget = { cpu_seconds = 0.02 } }):answer "q")
    assert.equal("deadline", answer.finish_reason)
    assert.is_true(#answer.text < #"never ending")
    assert.equal("never ending", assert(route_of(engine, { budget = { cpu_seconds = 60 } }):answer "q").text)
  end)

  it("of all requests: rules look at what was spent", function()
    local route
    route = router { engines = { a = mock { "abcdef", "x" } }, rules = {
      { name = "spent", when = function() return route:spent().generated > 5 end, plan = { max_tokens = 1 } } } }
    assert.is_nil(assert(route:answer "q").record.rule)
    assert.equal("spent", assert(route:answer "q").record.rule)
    assert.equal(2, route:spent().requests)
  end)
end)

describe("moonseek.router records", function()
  it("can be printed", function()
    local route = router { engines = { a = mock { { content = "x", logprob = -1 }, "y" } },
      judges = { effort = router.choose { ask = always "q", choices = { "yes", "no" } } }, clock = ticking(1),
      rules = { { name = "all", when = function(_, judge) return judge.effort == "yes" end, plan = {
        thinking = "off", escalate = { when = router.unlikely { least = -1 }, plan = { thinking = "low" } } } } } }
    local text = tostring(assert(route:answer "q").record):gsub("%d+%.%d+ CPU s", "CPU s"):gsub("[%d.]+ ms", "ms")
    assert.equal(table.concat({
      "request 1: rule all",
      "  judge effort says yes, likeliest yes, margin 9.9; 5 tokens read, 0 generated, ms, CPU s",
      "  answered: engine a, thinking off, stop; 5 tokens read, 2 generated, ms, CPU s",
      "    unsure, logprob -2, mean -1; 0 tokens read, 0 generated, ms, CPU s",
      "  escalated: engine a, thinking low, stop; 1 tokens read, 3 generated, ms, CPU s",
      "  in all: 11 tokens read, 5 generated, ms, CPU s",
    }, "\n"), text)
  end)

  it("are handed out, and the last ones kept", function()
    local heard = {}
    local route = router { engines = { a = mock {} }, keep = 2,
      on_record = function(record) heard[#heard + 1] = record.number end }
    for _ = 1, 3 do route:plan "q" end
    assert.same({ 1, 2, 3 }, heard)
    assert.same({ 2, 3 }, { route:records()[1].number, route:records()[2].number })
  end)
end)

describe("moonseek.router", function()
  local engine = moonseek.mock {}
  local refused = {
    { "moonseek.router: option 'engines' is missing", {} },
    { "moonseek.router: option 'engines' names none", { engines = {} } },
    { "moonseek.router: option 'engines': names of engines expected, '1' is a table", { engines = { engine } } },
    { "moonseek.router: option 'engines': 'chat' stands for the request's chat", { engines = { chat = engine } } },
    { "moonseek.router: unknown option 'rule'", { engines = { a = engine }, rule = {} } },
    { "moonseek.router: rule 1: option 'name' is missing", { engines = { a = engine }, rules = { { plan = {} } } } },
    { "moonseek.router: rule 'x': unknown option 'thinkng'",
      { engines = { a = engine }, rules = { { name = "x", plan = { thinkng = "low" } } } } },
    { "moonseek.router: rule 'x': option 'plan': table, function or false expected, got string",
      { engines = { a = engine }, rules = { { name = "x", plan = "low" } } } },
    { "moonseek.router: rule 'x': escalate: option 'when' is missing",
      { engines = { a = engine }, rules = { { name = "x", plan = { escalate = { plan = {} } } } } } },
    { "moonseek.router: rule 'x': budget: unknown option 'token'",
      { engines = { a = engine }, rules = { { name = "x", plan = { budget = { token = 1 } } } } } },
    { "moonseek.router: rule 'x': no engine is called 'b'",
      { engines = { a = engine }, rules = { { name = "x", plan = { engine = { "a", "b" } } } } } },
    { "moonseek.router: judge 'x': function expected, got table", { engines = { a = engine }, judges = { x = {} } } },
  }
  for _, case in ipairs(refused) do
    it("L01: raises in the caller: " .. case[1], function()
      local ok, message = pcall(function()
        local made = router(case[2])
        return made
      end)
      assert.is_false(ok)
      assert.truthy(message:find(case[1], 1, true), message)
      assert.truthy(message:find("^[^:]*router_spec%.lua:%d+: "), message)
    end)
  end

  it("L01: raises for a request without text", function()
    local route = router { engines = { a = engine } }
    assert.is_false(pcall(route.answer, route, {}))
    assert.is_false(pcall(route.answer, route, 7))
    assert.is_false(pcall(route.answer, route, "x", { on_evnt = print }))
  end)
end)

describe("moonseek.router with the pocket model", function()
  local engine
  setup(function() engine = assert(moonseek.open { path = "models/pocket", threads = 1 }) end)
  teardown(function() engine:close() end)

  local pocket = { context = 2048, temperature = 0, max_tokens = 200, thinking = "off" }

  it("lets the model say whether to think", function()
    local route = router { engines = { pocket = engine }, defaults = pocket, judges = { effort = router.choose {
      ask = function(request) return "Does this need working out?\n" .. request.text end, choices = { "yes", "no" } } },
      rules = { { name = "work out", when = function(_, judge) return judge.effort == "yes" end,
        plan = { thinking = "low" } } } }
    assert.equal("827", assert(route:answer "What is 482 + 345?").text)
    assert.equal("red fox", assert(route:answer "Repeat: red fox.").text)
    assert.same({ "work out", nil }, { route:records()[1].rule, route:records()[2].rule })
    route:close()
  end)

  it("thinks after an answer that the model doubts, and reads nothing twice", function()
    local route = router { engines = { pocket = engine }, defaults = pocket, rules = { { name = "direct",
      plan = { escalate = { when = router.unlikely { least = -0.5 }, plan = { thinking = "low" } } } } } }
    local answer = assert(route:answer "What is 482 + 345?")
    assert.same({ "827", 2, 1 }, { answer.text, #answer.record.tries, answer.record.tries[2].cost.read })
    assert.equal(1, #assert(route:answer "Repeat: red fox.").record.tries)
  end)

  it("sets an expert policy for the turn, and counts", function()
    local chat = assert(moonseek.chat(engine, { context = 2048, temperature = 0 }))
    local route = router { engines = { pocket = engine },
      rules = { { name = "few", plan = { experts = { top_k = 1 } } } } }
    local answer = assert(route:answer { text = "Repeat: red fox.", chat = chat })
    assert.equal("red fox", answer.text)
    local stats = answer.record.tries[1].experts
    local chosen = 0
    for _, count in pairs(stats.layers[3]) do chosen = chosen + count end
    assert.same({ stats.tokens, nil }, { chosen, chat.session:routing() })
    assert(chat:send "Say Oslo.")
    assert.is_true(chat.session:routing_stats().tokens > stats.tokens)
    chat:close()
  end)

  it("fails with an expert policy that the model cannot have", function()
    local route = router { engines = { pocket = engine }, defaults = pocket,
      rules = { { name = "many", plan = { experts = { top_k = 99 } } } } }
    local answer, _, code = route:answer "Repeat: red fox."
    assert.is_nil(answer)
    assert.equal("EINVAL", code)
  end)
end)
