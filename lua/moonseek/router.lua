--- Who answers a request, and how hard it thinks: rules in order, each a plain Lua function, the first that applies
-- gives the plan. Judges tell the rules what they ask for, at most once a request; what was decided and what it cost
-- is in a record.
local core = require "moonseek.core"
local options = require "moonseek.options"
local judges = require "moonseek.router.judges"
local plans = require "moonseek.router.plans"
local records = require "moonseek.router.record"
local work = require "moonseek.router.work"

local module = { choose = judges.choose, unlikely = judges.unlikely, disagreement = judges.disagreement }
local router = {}
local metatable = { __name = "moonseek.router", __index = router }

local declared = {
  engines = { type = "table", required = true },
  rules = { type = "table" },
  judges = { type = "table" },
  defaults = { type = "table" },
  keep = { type = "number", default = 100 },
  on_record = { type = "function" },
  clock = { type = "function" },
}

local of_rule = {
  name = { type = "string", required = true },
  when = { type = "function" },
  plan = { required = true },
}

-- {== Making ==========================================================================================

-- All that the caller gave is read in `open`, so that a mistake is raised where that is called.
local CALLER = 4

--- Refuses names that no engine has.
local function check_names(what, plan, engines)
  for _, name in ipairs(plans.engines(plan) or {}) do
    if name ~= plans.chat and not engines[name] then
      error(("%s: no engine is called '%s'"):format(what, tostring(name)), CALLER)
    end
  end
  if plan.escalate then check_names(what .. ": escalate", plan.escalate.plan, engines) end
end

local function read_rules(given, engines)
  local rules = {}
  for i, rule in ipairs(given or {}) do
    local read = options.read(("moonseek.router: rule %d"):format(i), rule, of_rule, CALLER)
    local what, kind = ("moonseek.router: rule '%s'"):format(read.name), type(read.plan)
    if kind == "table" then
      read.plan = plans.read(what, read.plan, CALLER)
      check_names(what, read.plan, engines)
    elseif kind ~= "function" and read.plan ~= false then
      error(("%s: option 'plan': table, function or false expected, got %s"):format(what, kind), CALLER - 1)
    end
    rules[i] = read
  end
  return rules
end

local function read_judges(given)
  local read = {}
  for name, judge in next, given or {} do
    if type(judge) ~= "function" then
      error(("moonseek.router: judge '%s': function expected, got %s"):format(tostring(name), type(judge)), CALLER - 1)
    end
    read[name] = judge
  end
  return read
end

--- The engines by name, and the name of a single one.
local function read_engines(given)
  local read, count, only = {}, 0, nil
  for name, engine in next, given do
    local kind = type(engine)
    if type(name) ~= "string" or kind ~= "userdata" and kind ~= "table" or type(engine.session) ~= "function" then
      error(("moonseek.router: option 'engines': names of engines expected, '%s' is a %s"):format(tostring(name), kind),
        CALLER - 1)
    end
    if name == plans.chat then
      error(("moonseek.router: option 'engines': '%s' stands for the request's chat"):format(name), CALLER - 1)
    end
    read[name], count, only = engine, count + 1, name
  end
  if count == 0 then error("moonseek.router: option 'engines' names none", CALLER - 1) end
  return read, count == 1 and only or nil
end

--- A router over named engines.
local function open(_, given)
  local chosen = options.read("moonseek.router", given, declared)
  local engines, only = read_engines(chosen.engines)
  local rules, named = read_rules(chosen.rules, engines), read_judges(chosen.judges)
  local defaults = plans.read("moonseek.router: defaults", chosen.defaults or {}, CALLER - 1)
  check_names("moonseek.router: defaults", defaults, engines)
  return setmetatable({
    engines = engines, only = only, rules = rules, judges = named, defaults = defaults,
    keep = chosen.keep, on_record = chosen.on_record, clock = chosen.clock or core.clock,
    count = 0, list = {},          -- records: how many there were, and the last ones
    total = records.nothing(),     -- what all requests cost
    bases = {},                    -- engine's name -> an empty session, which judges fork
    beginnings = {},               -- judge -> what its questions begin with, read once
  }, metatable)
end

-- {== Deciding ========================================================================================

--- A copy of the request, in which `text` is what the user said last.
local function request_of(what, given)
  if type(given) == "string" then given = { text = given } end
  if type(given) ~= "table" then
    error(("%s: text or request expected, got %s"):format(what, type(given)), 3)
  end
  local request = {}
  for name, value in next, given do request[name] = value end
  if request.messages == nil and type(request.text) ~= "string" then
    error(what .. ": the request has no text and no messages", 3)
  end
  if request.messages == nil then request.messages = { { role = "user", content = request.text } } end
  if request.text == nil then
    for _, message in ipairs(request.messages) do
      if message.role == "user" then request.text = message.content end
    end
  end
  return request
end

--- What rules see as `judge`: judge.NAME is the verdict, asked for once.
local function bench_of(self, request, record, begun)
  local known = {}
  local place = work.place(self)
  return setmetatable({}, { __index = function(_, name)
    local judge = self.judges[name]
    if not judge then error(("moonseek.router: there is no judge '%s'"):format(tostring(name)), 2) end
    local entry = known[name]
    if entry then return entry.verdict end
    entry = { name = name }
    known[name] = entry
    place.deadline_ms = begun:left_ms()
    local stop = begun:measure()
    local verdict, figures, read = judge(request, place)
    entry.cost = stop(type(read) == "number" and read or 0, 0)
    if verdict == nil and type(figures) ~= "table" and figures ~= nil then
      entry.error, entry.code = figures, read
    else
      entry.verdict, entry.figures = verdict, figures
    end
    record.judges[#record.judges + 1] = entry
    return verdict
  end })
end

--- The name and the plan of the first rule that applies. A plan that is false leaves the request to the program.
local function decide(self, request, judge)
  for _, rule in ipairs(self.rules) do
    if not rule.when or rule.when(request, judge) then
      local plan, what = rule.plan, ("moonseek.router: rule '%s'"):format(rule.name)
      if type(plan) == "function" then plan = plan(request, judge) end
      if plan == false then return rule.name, false end
      if type(rule.plan) == "function" then plan = plans.read(what, plan, 1) end
      return rule.name, plans.over(self.defaults, plan)
    end
  end
  return nil, plans.over(self.defaults, {})
end

local function begin(self, request)
  self.count = self.count + 1
  local record = records.new(self.count)
  local begun = work.begin(self, record, request)
  record.rule, begun.plan = decide(self, request, bench_of(self, request, record, begun))
  return record, begun
end

local function keep(self, record)
  self.list[#self.list + 1] = record
  while #self.list > self.keep do table.remove(self.list, 1) end
  if self.on_record then self.on_record(record) end
end

--- The plan that the rules give a request, and the record of how; nothing is answered.
function router:plan(given)
  local record, begun = begin(self, request_of("router:plan", given))
  keep(self, record)
  return begun.plan, record
end

--- What stands for the answer to a request that a rule leaves to the program.
local function declined()
  return { text = "", reasoning = "", tool_calls = {}, finish_reason = "declined",
           usage = { cached = 0, read = 0, reread = 0, reasoning = 0, answer = 0 },
           timing = { prefill_ms = 0, decode_ms = 0 }, logprob = 0 }
end

--- Answers a request as the rules say. The answer has the record of it as `record`.
function router:answer(given, given_options)
  local request = request_of("router:answer", given)
  local chosen = options.read("router:answer", given_options, { on_event = { type = "function" } })
  local record, begun = begin(self, request)
  local answer, message, code
  if begun.plan then answer, message, code = begun:answer(chosen.on_event) else answer = declined() end
  record.code = not answer and code or nil
  keep(self, record)
  if not answer then return nil, message, code end
  answer.record = record
  return answer
end

-- {== Records =========================================================================================

--- The records of the last requests, oldest first.
function router:records()
  local list = {}
  for i, record in ipairs(self.list) do list[i] = record end
  return list
end

--- What all requests until now have cost.
function router:spent()
  local sum = records.nothing()
  records.add(sum, self.total)
  sum.requests = self.count
  return sum
end

function router:close()
  for name, session in pairs(self.bases) do
    session:close()
    self.bases[name] = nil
  end
  for judge, beginning in pairs(self.beginnings) do
    if beginning.session then beginning.session:close() end
    self.beginnings[judge] = nil
  end
end

metatable.__close = router.close

return setmetatable(module, { __call = open })
