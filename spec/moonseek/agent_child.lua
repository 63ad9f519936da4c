--- A process for spec/moonseek/agent_journal_spec.lua: begins the run of FOLDER/journal or goes on with it, and kills
-- itself with -9 at the KILL-th of its moments: every write of the journal, and both sides of every effect of a tool.
require "spec.support"
local agents = require "spec.moonseek.agents"
local moonseek = require "moonseek"

local folder, kill = arg[1], tonumber(arg[2])
local moments = 0

local function moment()
  moments = moments + 1
  if moments == kill then os.execute("kill -9 $PPID") end
end

local function effect(text)
  moment()
  local file = assert(io.open(folder .. "/effects", "a"))
  file:write(text, "\n")
  file:close()
  moment()
end

local function pay(arguments)
  effect(("pay %d"):format(arguments.amount))
  return "paid"
end

local given = {
  chat = agents.chat({
    agents.calling({ "pay", '{"amount": 1}' }, { "pay", '{"amount": 2}' }),
    agents.calling { "pay", '{"amount": 3}' },
    "All is paid.",
  }, { system = "Pay." }),
  tools = { { name = "pay", run = pay, parameters = { type = "object", properties = { amount = { type = "integer" } },
    required = { "amount" } } } },
  on_step = moment,
}

local function on_unknown(call)
  local file = assert(io.open(folder .. "/unknown", "a"))
  file:write(("pay %d\n"):format(call.arguments.amount))
  file:close()
  return "result", "looked up"
end

local agent, result
if io.open(folder .. "/journal") then
  given.on_unknown = on_unknown
  agent = moonseek.resume_agent(folder .. "/journal", given)
  given.on_unknown = nil
end
if not agent then
  os.remove(folder .. "/journal")               -- killed before its first line was whole
  agent = moonseek.agent(given)
  assert(agent:checkpoint(folder .. "/journal"))
end
if agent:trace()[2] then result = assert(agent:run()) else result = assert(agent:run("Pay everybody.")) end
assert(result.text == "All is paid.", result.text)
print("done", moments)
