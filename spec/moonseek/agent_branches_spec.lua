--- The branches of an agent, side by side: while one waits for the model or for its tools, the others go on.
local support = require "spec.support"
local agents = require "spec.moonseek.agents"
local moonseek = require "moonseek"
local together = require "moonseek.agent.together"

local calling = agents.calling

local function by_calls(result) return result.calls end

--- The records of a trace in one line, each with its branch: "1:answer".
local function order(trace)
  local list = {}
  for i, record in ipairs(trace) do list[i] = (record.branch or 0) .. ":" .. record.type end
  return table.concat(list, " ")
end

--- An engine that takes its time, and a chat on it; `answer(request)` may tell branches apart by request.options.seed.
local function slow_chat(answer, given)
  local engine = assert(moonseek.mock { token_ms = 5, answer = answer })
  return assert(moonseek.chat(engine, given))
end

describe("agent:branch", function()
  it("has all branches ask before the first has its answer", function()
    local asked, agent = {}, nil
    agent = moonseek.agent { chat = slow_chat(function(request)
      asked[#asked + 1] = ("%s at %d"):format(request.options.seed, #agent:trace())
      return "It is " .. request.options.seed
    end) }
    local result = assert(agent:branch(3, { task = "Guess.", variants = { { seed = 4 }, { seed = 9 }, { seed = 7 } },
      score = function(one) return tonumber(one.text:match("%d")) end }))
    assert.equal("It is 9", result.text)
    assert.equal(2, result.branch)
    -- agent, branch and three times run stand in the trace when the first token is made
    assert.same({ "4 at 5", "9 at 5", "7 at 5" }, asked)
    agent:close()
  end)

  it("keeps the trace of each branch in its order, as if it had been alone, and is replayed", function()
    local function agent_on(token_ms)
      local engine = assert(moonseek.mock { token_ms = token_ms, answer = function(request)
        if request.prompt:find("<tool_result>", 1, true) then return ("done "):rep(request.options.seed) end
        return calling { "add", ('{"a": %d, "b": 1}'):format(request.options.seed) }
      end })
      return moonseek.agent { chat = assert(moonseek.chat(engine)), tools = { agents.adder() } }
    end
    local function branch(agent)
      return assert(agent:branch(3, { task = "Go.", variants = { { seed = 3 }, { seed = 1 }, { seed = 2 } },
        score = function(one) return #one.text end }))
    end
    local function of_branch(agent, number)
      local list = {}
      for _, record in ipairs(agent:trace()) do
        if record.branch == number then
          list[#list + 1] = { record.type, record.content, record.text, record.usage }
        end
      end
      return list
    end
    local at_once, waiting = agent_on(0), agent_on(5)
    assert.equal(branch(at_once).text, branch(waiting).text)
    assert.not_equal(order(at_once:trace()), order(waiting:trace()))
    local replay = assert(moonseek.replay_agent(waiting:trace()))
    assert.equal("done done done ", branch(replay).text)
    for number = 1, 3 do
      assert.same(of_branch(at_once, number), of_branch(waiting, number))
      assert.same(of_branch(waiting, number), of_branch(replay, number))
    end
  end)

  it("lets the tools of all wait at the same time", function()
    local time = agents.time()
    local agent = moonseek.agent { chat = agents.chat { calling({ "slow" }, { "slow" }), "Done." }, tools = {
      agents.tool("slow", function()
        coroutine.yield(100)
        return time.now
      end) }, clock = time.clock, wait = time.wait }
    assert(agent:branch(3, { task = "Go.", score = by_calls }))
    assert.equal(100, time.now)
  end)

  it("gives the host's wait what the tools of all yielded, also while the model answers another", function()
    local time, seen = agents.time(), {}
    local agent = moonseek.agent { chat = slow_chat(function(request)
      if request.prompt:find("<tool_result>", 1, true) or request.options.seed == 2 then return ("word "):rep(20) end
      return calling { "slow" }
    end), tools = { agents.tool("slow", function()
      coroutine.yield(40, "a socket")
      return "ok"
    end) }, clock = time.clock, wait = function(ms, yielded)
      seen[#seen + 1] = { ms, yielded[1].call.branch, yielded[1][2] }
      time.wait(ms)
    end }
    assert(agent:branch(2, { task = "Go.", variants = { { seed = 1 }, { seed = 2 } }, score = by_calls }))
    assert.same({ 10, 1, "a socket" }, seen[1])
    assert.equal(40, time.now)
  end)

  it("lets the host's event loop resume tools of any branch", function()
    local threads, time = {}, agents.time()
    local agent = moonseek.agent { chat = agents.chat { calling { "fetch" }, "Done." }, tools = {
      agents.tool("fetch", function()
        threads[#threads + 1] = coroutine.running()
        return coroutine.yield(math.huge)
      end) }, clock = time.clock, wait = function()
        time.now = time.now + 5
        coroutine.resume(table.remove(threads), ("page at %d ms"):format(time.now))
      end }
    assert(agent:branch(2, { task = "Go.", score = by_calls }))
    local contents = {}
    for _, record in ipairs(agent:trace()) do
      if record.type == "result" then contents[record.branch] = record.content end
    end
    assert.same({ "page at 10 ms", "page at 5 ms" }, contents)
  end)

  it("counts the budgets of each branch for itself", function()
    local add = calling { "add", '{"a": 1, "b": 2}' }
    local agent = moonseek.agent { chat = slow_chat(function() return add end), tools = { agents.adder() },
      max_rounds = 3, budget = { calls = 2 } }
    local result = assert(agent:branch(3, { task = "Add.", score = by_calls }))
    for _, one in ipairs(result.branches) do
      assert.same({ 3, 2, "max_rounds" }, { one.result.rounds, one.result.calls, one.result.finish_reason })
    end
  end)

  it("goes on with the others when one fails", function()
    local agent = moonseek.agent { chat = slow_chat(function(request)
      local fault = { content = "It", error = "the engine broke", code = "EIO", after = 1 }
      return request.options.seed == 2 and fault or "It is " .. request.options.seed
    end) }
    local result = assert(agent:branch(3, { task = "Guess.", variants = { { seed = 1 }, { seed = 2 }, { seed = 3 } },
      score = function(one) return tonumber(one.text:match("%d")) end }))
    assert.equal(3, result.branch)
    assert.same({ "the engine broke", "EIO" }, { result.branches[2].message, result.branches[2].code })
    assert.equal("It is 1", result.branches[1].result.text)
  end)

  it("goes on with the others when one cannot be forked", function()
    local chat = slow_chat(function() return "Done." end)
    local fork, forks = chat.fork, 0
    function chat.fork(self)
      forks = forks + 1
      if forks == 2 then return nil, "no memory", "ENOMEM" end
      return fork(self)
    end
    local agent = moonseek.agent { chat = chat }
    local result = assert(agent:branch(3, { task = "Go.", score = function(_, i) return i end }))
    assert.equal(3, result.branch)
    assert.same({ "no memory", "ENOMEM" }, { result.branches[2].message, result.branches[2].code })
  end)

  it("that was killed asks on_unknown about the calls of every branch, and is dropped", function()
    local path = os.tmpname()
    os.remove(path)
    local function tools()
      return { agents.tool("slow", function()
        coroutine.yield(1e6)                       -- until all have begun
        return "ok"
      end, { timeout_ms = 1e9 }) }
    end
    local time = agents.time()
    local agent = moonseek.agent { chat = slow_chat(function() return calling { "slow" } end), tools = tools(),
      max_rounds = 2, clock = time.clock, wait = time.wait }
    assert(agent:checkpoint(path))
    assert(agent:branch(3, { task = "Go.", score = by_calls }))
    agent:close()
    local text = support.read_file(path)
    support.write_file(path, text:sub(1, text:find('{"type": "result"', 1, true) - 1))
    local asked = {}
    agent = assert(moonseek.resume_agent(path, { chat = slow_chat(function() return "Anew." end), tools = tools(),
      on_unknown = function(call)
        asked[#asked + 1] = call.branch
        return "fail"
      end }))
    assert.same({ 1, 2, 3 }, asked)
    assert.equal(0, #agent:chat():messages())
    assert.equal("Anew.", agent:run("Go.").text)
    agent:close()
    os.remove(path)
  end)

  it("ends all of them when a hook raises, and the agent is free for the next run", function()
    local agent
    agent = moonseek.agent { chat = slow_chat(function(request)
      if request.prompt:find("Again", 1, true) then return "Here." end
      return request.options.seed == 1 and calling { "slow" } or ("word "):rep(50)
    end), tools = { agents.tool("slow", function()
      coroutine.yield(math.huge)
    end) } }
    local none, message, code = agent:branch(3, { task = "Go.", score = by_calls, variants = { { seed = 1 },
      { on_event = function(event)
        if event.type == "text" and order(agent:trace()):find("1:intent", 1, true) then error("no more", 0) end
      end } } })
    assert.same({ nil, "no more", "EHOOK" }, { none, message, code })
    assert.equal(0, #agent:chat():messages())
    local trace = agent:trace()
    local last = trace[#trace - 1]
    assert.same({ "result", "cancelled", 1, "adopt" }, { last.type, last.status, last.branch, trace[#trace].type })
    assert.equal("Here.", agent:run("Again.").text)
  end)

  it("is cancelled as a whole, also a branch whose answer stalls", function()
    local agent
    agent = moonseek.agent { chat = slow_chat(function(request)
      if request.options.seed == 2 then return { content = "It is", stall = true, after = 1 } end
      return calling { "stop" }
    end), tools = { agents.tool("stop", function()
      agent:cancel()
      return "stopping"
    end) } }
    local result = assert(agent:branch(2, { task = "Go.", score = by_calls,
      variants = { { seed = 1 }, { seed = 2 } } }))
    assert.same({ "cancel", "cancel" },
      { result.branches[1].result.finish_reason, result.branches[2].result.finish_reason })
  end)

  it("is cancelled as a whole, also a branch whose tools wait for long", function()
    local time, agent = agents.time(), nil
    agent = moonseek.agent { chat = slow_chat(function(request)
      return calling { request.options.seed == 1 and "wait" or "stop" }
    end), tools = { agents.tool("wait", function() coroutine.yield(1e6) end, { timeout_ms = 1e9 }),
      agents.tool("stop", function()
        coroutine.yield(30)
        agent:cancel()
        return "stopping"
      end) }, clock = time.clock, wait = time.wait }
    local result = assert(agent:branch(2, { task = "Go.", score = by_calls,
      variants = { { seed = 1 }, { seed = 2 } } }))
    assert.same({ "cancel", "cancel" },
      { result.branches[1].result.finish_reason, result.branches[2].result.finish_reason })
    assert.is_true(time.now < 1e5, tostring(time.now))
  end)

  it("hands on what a hook yields to the coroutine that it runs in", function()
    local agent = moonseek.agent { chat = slow_chat(function(request)
      return request.prompt:find("<tool_result>", 1, true) and "3." or calling { "add", '{"a": 1, "b": 2}' }
    end), tools = { agents.adder() }, approve = function(call) return coroutine.yield("may I?", call.branch) end }
    local thread = coroutine.create(function() return agent:branch(2, { task = "Go.", score = by_calls }) end)
    if not together.possible then return end
    local asked = {}
    local got = { coroutine.resume(thread) }
    while coroutine.status(thread) == "suspended" do
      asked[#asked + 1] = got[3]
      got = { coroutine.resume(thread, got[3] == 2) }
    end
    assert.same({ 1, 2 }, asked)
    assert.equal(2, got[2].branch)
  end)
end)

describe("on the pocket model, branches", function()
  local engine
  -- Without threads whoever waits computes, so the steps are the same in every run.
  setup(function() engine = assert(moonseek.open { path = "models/pocket", threads = 0 }) end)
  teardown(function() engine:close() end)

  it("give what each would give alone, in as many steps as the longest", function()
    local chat = assert(moonseek.chat(engine, { context = 1024, max_tokens = 24, temperature = 1.5 }))
    assert(chat:send("Repeat: red fox.", { seed = 1 }))
    local task, variants, alone = "Say something about silver owl and blue fox.", {}, {}
    for seed = 1, 4 do variants[seed] = { seed = seed, thinking = seed == 4 and "low" or "off" } end
    local longest, sum = 0, 0
    for i, turn in ipairs(variants) do
      local fork, before = assert(chat:fork()), engine:stats().steps
      alone[i] = assert(fork:send(task, turn))
      longest, sum = math.max(longest, engine:stats().steps - before), sum + engine:stats().steps - before
      fork:close()
    end
    local agent = moonseek.agent { chat = chat }
    local before = engine:stats().steps
    local result = assert(agent:branch(4, { task = task, variants = variants, score = function(_, i) return -i end }))
    local side_by_side = engine:stats().steps - before
    for i, one in ipairs(result.branches) do
      assert.same({ alone[i].text, alone[i].reasoning, alone[i].logprob, alone[i].finish_reason },
        { one.result.text, one.result.reasoning, one.result.logprob, one.result.finish_reason })
    end
    assert.is_true(side_by_side <= longest + 4 and longest + 4 < sum,
      ("%d steps; the longest alone %d, all %d"):format(side_by_side, longest, sum))
    agent:close()
    chat:close()
  end)
end)
