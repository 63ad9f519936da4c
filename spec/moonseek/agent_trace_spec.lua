--- The trace of an agent, its replay without a model, and branches.
local support = require "spec.support"
local agents = require "spec.moonseek.agents"
local moonseek = require "moonseek"

local calling = agents.calling

local function run_of(answers, tools, more)
  local given = { chat = agents.chat(answers), tools = tools }
  for name, value in pairs(more or {}) do given[name] = value end
  local agent = moonseek.agent(given)
  return agent, assert(agent:run("Go."))
end

--- What a replay has to give again: everything but times.
local function timeless(value)
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, member in pairs(value) do
    if key ~= "at" and key ~= "ms" then copy[key] = timeless(member) end
  end
  return copy
end

describe("agent:trace", function()
  it("has a record a step, each of them JSON", function()
    local agent = run_of({ calling({ "add", '{"a": 1, "b": 2}' }, { "add", '{"a": 1}' }), "3." }, { agents.adder() })
    local trace = agent:trace()
    assert.equal("agent run answer result intent result answer end", agents.types(trace))
    assert.same({ "invalid", "ok" }, { trace[4].status, trace[6].status })
    for _, record in ipairs(trace) do assert.is_string(moonseek.json.encode(record)) end
  end)

  it("is told to on_step, record by record", function()
    local seen = {}
    local agent = run_of({ "Hello." }, {}, { on_step = function(record) seen[#seen + 1] = record end })
    assert.same(agent:trace(), seen)
  end)

  it("does not lose a run to an on_step that raises", function()
    local broken = true
    local made = {}
    local agent = moonseek.agent { chat = agents.chat { calling { "add", '{"a": 1, "b": 2}' }, "3." },
      tools = { agents.adder(made) }, on_step = function(record)
        if broken and record.type == "intent" then error("disk full", 0) end
      end }
    local result, message, code = agent:run("Go.")
    assert.same({ nil, "on_step: disk full", "EHOOK" }, { result, message, code })
    assert.equal("3.", agent:run().text)
    assert.equal(1, #made)
  end)
end)

describe("moonseek.replay_agent", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local runs = {
    ["with results and errors"] = function()
      return run_of({ calling({ "add", '{"a": 1, "b": 2}' }, { "add", "{}" }, { "rob" }, { "fail" }), "3." },
        { agents.adder(), agents.tool("fail", function() error("no network", 0) end) })
    end,
    ["that was refused a call"] = function()
      return run_of({ calling { "add", '{"a": 1, "b": 2}' }, "No." }, { agents.adder() },
        { approve = function() return false, "never" end })
    end,
    ["that ran out of rounds"] = function()
      local add = calling { "add", '{"a": 1, "b": 2}' }
      return run_of({ add, add }, { agents.adder() }, { max_rounds = 2 })
    end,
    ["with a tool that was abandoned"] = function()
      local time = agents.time()
      return run_of({ calling { "slow" }, "Gave up." },
        { agents.tool("slow", function() coroutine.yield(99) end, { timeout_ms = 9 }) },
        { clock = time.clock, wait = time.wait })
    end,
    ["that was cancelled"] = function()
      local agent
      agent = moonseek.agent { chat = agents.chat { calling({ "stop" }, { "stop" }) },
        tools = { agents.tool("stop", function() agent:cancel() return "ok" end) } }
      return agent, agent:run("Go.")
    end,
  }
  for what, make in pairs(runs) do
    it("runs again a run " .. what .. ", without model and tools", function()
      local agent, result = make()
      local replay = assert(moonseek.replay_agent(agent:trace()))
      assert.same(timeless(result), timeless(assert(replay:run())))
      assert.same(timeless(agent:trace()), timeless(replay:trace()))
    end)
  end

  it("reads the trace from lines of JSON", function()
    local agent, result = run_of({ calling { "add", '{"a": 1, "b": 2}' }, "3." }, { agents.adder() })
    local lines = {}
    for i, record in ipairs(agent:trace()) do lines[i] = moonseek.json.encode(record) .. "\n" end
    support.write_file(path, table.concat(lines))
    assert.equal(result.text, assert(moonseek.replay_agent(path)):run().text)
    support.write_file(path, "x")
    assert.equal("EFORMAT", (select(3, moonseek.replay_agent(path))))
    assert.equal("EFORMAT", (select(3, moonseek.replay_agent {})))
    assert.error_matches(function() moonseek.replay_agent() end, "path or records expected, got nil")
  end)

  it("takes several runs, each when it is asked for", function()
    local chat = agents.chat { "One.", "Two.", "Three." }
    local agent = moonseek.agent { chat = chat }
    assert(agent:run("First."))
    assert(chat:send("Beside."))
    assert(agent:run("Third."))
    local replay = assert(moonseek.replay_agent(agent:trace()))
    assert.equal("One.", replay:run().text)
    assert.equal("Three.", replay:run().text)
    assert.equal(6, #replay:chat():messages())
    assert.equal("Three.", replay:run().text)
    assert.same({ nil, "the trace has no further answer", "EINVAL" }, { replay:run("More.") })
  end)

  it("runs tools that it is given: new code on the model's old words", function()
    local agent = run_of({ calling { "add", '{"a": 1, "b": 2}' }, "3." }, { agents.adder() })
    local made = {}
    local replay = assert(moonseek.replay_agent(agent:trace(), { tools = { agents.adder(made) } }))
    assert.equal("3.", replay:run().text)
    assert.equal(1, #made)
  end)
end)

describe("agent:branch", function()
  --- An agent whose n-th request is answered by the n-th number.
  local function guesser(more)
    local asked = 0
    local engine = assert(moonseek.mock { answer = function(request)
      asked = asked + 1
      if request.prompt:find("Which was it?", 1, true) then return request.prompt:match("is (%d)%.[^%d]*Which") end
      return ("It is %d."):format(({ 3, 9, 4 })[asked] or asked)
    end })
    local chat = assert(moonseek.chat(engine))
    local given = { chat = chat }
    for name, value in pairs(more or {}) do given[name] = value end
    return moonseek.agent(given), chat
  end

  local function number(result) return tonumber(result.text:match("%d")) end

  it("runs forks of the chat and goes on from the best; the chat that was given stays as it was", function()
    local agent, chat = guesser()
    local result = assert(agent:branch(3, { task = "Guess.", score = number }))
    assert.equal("It is 9.", result.text)
    assert.equal(2, result.branch)
    assert.same({ 3, 9, 4 }, { result.branches[1].score, result.branches[2].score, result.branches[3].score })
    assert.equal(0, #chat:messages())
    assert.equal(2, #agent:chat():messages())
    assert.equal("9", agent:run("Which was it?").text)
    assert.equal(9, agent:branch(2, { task = "Which was it?", score = number }).text + 0)
    agent:close()
  end)

  it("gives each variant its options, and the first of equal ones wins", function()
    local seeds = {}
    local engine = assert(moonseek.mock { answer = function(request)
      seeds[#seeds + 1] = request.options.seed
      return "Same."
    end })
    local agent = moonseek.agent { chat = assert(moonseek.chat(engine)) }
    local result = assert(agent:branch(2, { task = "Go.", variants = { { seed = 7 }, { seed = 8 } },
      score = function() return 1 end }))
    assert.equal(1, result.branch)
    assert.equal(7, seeds[1])
    assert.equal(8, seeds[#seeds])
  end)

  it("makes the calls of each, which approve can tell apart", function()
    local asked = {}
    local agent = moonseek.agent { chat = agents.chat { calling { "add", '{"a": 1, "b": 2}' }, "3." },
      tools = { agents.adder() }, approve = function(call)
        asked[#asked + 1] = call.branch
        return true
      end }
    assert(agent:branch(2, { task = "Add.", score = function(result) return result.calls end }))
    assert.same({ 1, 2 }, asked)
  end)

  it("leaves out those that fail or have no score; without any it fails and stands where it stood", function()
    local agent = guesser()
    local result = assert(agent:branch(3, { task = "Guess.", score = function(one)
      return number(one) ~= 9 and number(one) or nil
    end }))
    assert.equal("It is 4.", result.text)
    local messages = #agent:chat():messages()
    local none, message, code = agent:branch(2, { task = "Guess.", score = function() end })
    assert.same({ nil, "no branch was given a score", "ECANCELED" }, { none, message, code })
    none, message, code = agent:branch(2, { task = "Guess.", score = function() error("no scale", 0) end })
    assert.same({ nil, "score: no scale", "EHOOK" }, { none, message, code })
    none, message = agent:branch(1, { task = "Guess.", score = function() return "best" end })
    assert.same({ nil, "score: number or nil expected, got string" }, { none, message })
    assert.equal(messages, #agent:chat():messages())
    local fault = { content = "x", error = "the engine broke", code = "EIO", after = 0 }
    local broken = moonseek.agent { chat = agents.chat { fault } }
    none, message, code = broken:branch(2, { task = "Go.", score = number })
    assert.is_nil(none)
    assert.matches("no branch has a result; the first to fail: .*the engine broke", message)
    assert.equal("EIO", code)
  end)

  it("is replayed", function()
    local agent = guesser()
    assert(agent:branch(3, { task = "Guess.", score = number }))
    assert(agent:run("Which was it?"))
    local replay = assert(moonseek.replay_agent(agent:trace()))
    assert.equal("It is 9.", replay:branch(3, { task = "Guess.", score = number }).text)
    assert.equal("9", replay:run().text)
    assert.same(timeless(agent:trace()), timeless(replay:trace()))
  end)

  it("is resumed: as it was decided, or as if it had not been when it was interrupted", function()
    local path = os.tmpname()
    os.remove(path)
    local agent = guesser()
    assert(agent:checkpoint(path))
    assert(agent:branch(2, { task = "Guess.", score = number }))
    agent:close()
    local text = support.read_file(path)
    local resumed = assert(moonseek.resume_agent(path, { chat = agents.chat {} }))
    assert.equal("It is 9.", resumed:run().text)
    assert.equal("It is 9.", resumed:chat():messages()[2].content)
    resumed:close()
    support.write_file(path, (text:gsub('{"type": "adopt".*', "")))
    resumed = assert(moonseek.resume_agent(path, { chat = agents.chat { "Anew." } }))
    assert.equal(0, #resumed:chat():messages())
    assert.equal("Anew.", resumed:run("Guess.").text)
    resumed:close()
    os.remove(path)
  end)

  it("raises on wrong arguments", function()
    local agent = guesser()
    assert.error_matches(function() agent:branch(0, {}) end, "an integer from 1 expected, got 0")
    assert.error_matches(function() agent:branch(2, { task = "x" }) end, "option 'score' is missing")
    assert.error_matches(function() agent:branch(2, { score = print, task = 3 }) end, "text, message or list")
    assert.error_matches(function() agent:branch(2, { score = print, task = "x", variants = { 3 } }) end,
      "options table")
  end)
end)
