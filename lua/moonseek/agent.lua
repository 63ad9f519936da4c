--- An agent: a chat whose model may call tools until it has answered. Every step is a record of its trace; the records
-- alone say where a run stands, so that one written to a file can be gone on with, and replayed without a model.
local branches = require "moonseek.agent.branches"
local core = require "moonseek.core"
local journal = require "moonseek.agent.journal"
local json = require "moonseek.json"
local options = require "moonseek.options"
local problem = require "moonseek.problem"
local recording = require "moonseek.agent.recording"
local resume = require "moonseek.agent.resume"
local state = require "moonseek.agent.state"
local tools = require "moonseek.agent.tools"
local work = require "moonseek.agent.work"

local module = {}
local agent = {}
local metatable = { __name = "moonseek.agent", __index = agent }

-- {== Work: one at a time ==========================================================================

local function check_open(self, what)
  if getmetatable(self) ~= metatable then error(("%s: agent expected, got %s"):format(what, type(self)), 3) end
  if self.closed then error(what .. ": the agent is closed", 3) end
end

--- What run(self, ...) returns, of a failure nil, message, code. Whatever ends it, the agent is free again.
local function exclusively(self, run, ...)
  local shared = self.shared
  if shared.busy then return nil, "the agent is running", "EBUSY" end
  shared.busy, shared.cancelled = true, false
  local ok, result = pcall(run, self, ...)
  shared.busy = false
  if ok then return result end
  if problem.is(result) then return nil, result.message, result.code or "EINVAL" end
  error(result, 0)
end

local function check_task(what, task)
  if type(task) ~= "string" and type(task) ~= "table" then
    error(("%s: text, message or list of messages expected, got %s"):format(what, type(task)), 3)
  end
end

local function check_turn(what, given)
  if type(given) ~= "table" then error(("%s: options table expected, got %s"):format(what, type(given)), 3) end
  if given.tools then error(what .. ": option 'tools': they are given to the agent", 3) end
end

--- Works on a task until the model answers without a call, or a limit ends the run. Without a task it goes on with the
-- run that was interrupted; when there is none, the last result is given again.
function agent:run(task, given)
  check_open(self, "agent:run")
  if task ~= nil then check_task("agent:run", task) end
  given = given or {}
  check_turn("agent:run", given)
  return exclusively(self, work.run, task, given)
end

local branching = {
  task = { required = true }, score = { type = "function", required = true }, variants = { type = "table" },
}

--- Works on a task `count` times, each on a fork of the chat with its own options, and goes on from the result whose
-- score is the highest; of equal ones the first. Every branch makes its calls.
function agent:branch(count, given)
  check_open(self, "agent:branch")
  if type(count) ~= "number" or count < 1 or count % 1 ~= 0 then
    error(("agent:branch: an integer from 1 expected, got %s"):format(tostring(count)), 2)
  end
  local chosen = options.read("agent:branch", given, branching)
  check_task("agent:branch", chosen.task)
  for _, turn in ipairs(chosen.variants or {}) do check_turn("agent:branch", turn) end
  return exclusively(self, branches.run, count, chosen)
end

local function checkpoint(self, path)
  local shared = self.shared
  if shared.journal then problem.fail(("the trace goes to %s already"):format(shared.journal.path), "EINVAL") end
  shared.journal = problem.try(journal.create(path, shared.trace))
  return true
end

--- From here on every step is in this file before the next one is taken; those until now are its beginning.
function agent:checkpoint(path)
  check_open(self, "agent:checkpoint")
  if type(path) ~= "string" then error(("agent:checkpoint: path expected, got %s"):format(type(path)), 2) end
  return exclusively(self, checkpoint, path)
end

--- Ends the run at its next step, from within a tool or a hook: an answer under way is cut, tools that wait are
-- abandoned.
function agent:cancel()
  check_open(self, "agent:cancel")
  self.shared.cancelled = true
end

--- The records of all steps until now, oldest first.
function agent:trace()
  check_open(self, "agent:trace")
  local list = {}
  for i, record in ipairs(self.shared.trace) do list[i] = record end
  return list
end

--- The chat as it stands: the one that was given, or the fork of the branch that was kept.
function agent:chat()
  check_open(self, "agent:chat")
  return self.current
end

--- Closes the file of the checkpoint, and a chat that a branch made. The chat that was given stays open.
function agent:close()
  if self.closed then return end
  self.closed = true
  if self.shared.journal then self.shared.journal:close() end
  if self.owns_chat then self.current:close() end
end

metatable.__close = agent.close

-- {== Making =======================================================================================

local declared = {
  chat = { type = "table", required = true },
  tools = { type = "table" },
  max_rounds = { type = "number", default = 8 },
  budget = { type = "table" },
  parallel = { type = "number", default = 8 },
  timeout_ms = { type = "number", default = 60000 },
  max_result = { type = "number", default = 16384 },
  approve = { type = "function" },
  on_step = { type = "function" },
  clock = { type = "function" },
  wait = { type = "function" },
}

local function with(changes)
  local made = {}
  for name, rule in next, declared do made[name] = rule end
  for name, rule in next, changes do made[name] = rule or nil end
  return made
end

local of_resume = with { on_unknown = { type = "function" } }
local of_replay = with { chat = false }

local function check_positive(what, name, value)
  if type(value) ~= "number" or value <= 0 or value ~= value then
    problem.raise("%s: %s: a number greater than 0 expected, got %s", what, name, tostring(value))
  end
end

local budgets = { tokens = true, calls = true, ms = true }

local function check_chosen(what, chosen)
  for _, name in ipairs { "max_rounds", "parallel", "timeout_ms", "max_result" } do
    check_positive(what, ("option '%s'"):format(name), chosen[name])
  end
  for name, value in next, chosen.budget or {} do
    if not budgets[name] then problem.raise("%s: unknown budget '%s'", what, tostring(name)) end
    check_positive(what, ("budget '%s'"):format(name), value)
  end
  for _, method in ipairs { "add", "continue", "messages" } do
    if type(chosen.chat[method]) ~= "function" then problem.raise("%s: option 'chat': a chat expected", what) end
  end
end

local function build(what, chosen)
  check_chosen(what, chosen)
  local by_name, offered = tools.read(what, chosen.tools)
  local shared = {
    tools = by_name, offered = offered, max_rounds = chosen.max_rounds, budget = chosen.budget or {},
    parallel = chosen.parallel, timeout_ms = chosen.timeout_ms, max_result = chosen.max_result,
    approve = chosen.approve, on_step = chosen.on_step, clock = chosen.clock or core.clock, wait = chosen.wait,
    trace = {}, root = state.new(), cancelled = false, busy = false,
  }
  -- given: how many messages of the state the chat has; held: how many it had when the agent last looked
  local started = shared.clock()
  return setmetatable({ shared = shared, current = chosen.chat, started = started, given = 0, held = 0 }, metatable)
end

--- An agent without records. What is wrong with its options is raised at the line that gave them.
local function make(what, chosen)
  local self, message = problem.catch("EINVAL", build, what, chosen)
  if not self then error(message, 3) end
  return self
end

local function begin(self)
  local messages = self.current:messages()
  work.record(self, "agent", { version = resume.VERSION, messages = work.plain_list(messages),
    tools = json.array(self.shared.offered) })
  self.given, self.held = #messages, #messages
  return self
end

--- An agent on a chat, with tools.
function module.new(given)
  local self = make("moonseek.agent", options.read("moonseek.agent", given, declared))
  return begin(self)
end

--- The agent of an earlier process, from the file of its checkpoint, standing where that one stood: agent:run() goes
-- on. A call that was begun and has no result is not made again: on_unknown says what becomes of it.
function module.resume(path, given)
  if type(path) ~= "string" then error(("moonseek.resume_agent: path expected, got %s"):format(type(path)), 2) end
  local chosen = options.read("moonseek.resume_agent", given, of_resume)
  local self = make("moonseek.resume_agent", chosen)
  local resumed, message, code = exclusively(self, resume.run, path, chosen.on_unknown)
  if not resumed then self:close() end
  return resumed, message, code
end

--- Tools that were traced, without what they do.
local function traced_tools(records)
  local list = {}
  for i, tool in ipairs(records[1].tools or {}) do
    list[i] = { name = tool.name, description = tool.description, parameters = tool.parameters, run = function()
      return nil, "the trace has no result of this call"
    end }
  end
  return list
end

--- An agent whose model is a trace: the list of records, or a file of them. Without tools the results of the calls are
-- those of the trace, too. agent:run() without a task takes the next of the trace.
function module.replay(trace, given)
  if type(trace) ~= "string" and type(trace) ~= "table" then
    error(("moonseek.replay_agent: path or records expected, got %s"):format(type(trace)), 2)
  end
  local chosen = options.read("moonseek.replay_agent", given, of_replay)
  local records, message, code = trace, nil, nil
  if type(trace) == "string" then records, message, code = journal.read(trace) end
  if not records then return nil, message, code end
  if type(records[1]) ~= "table" or records[1].type ~= "agent" then
    return nil, "the records do not begin as the trace of an agent", "EFORMAT"
  end
  chosen.chat = recording.chat(records, chosen.tools == nil)
  chosen.tools = chosen.tools or traced_tools(records)
  local self = make("moonseek.replay_agent", chosen)
  return begin(self)
end

return module
