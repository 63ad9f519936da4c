--- The calls of a turn side by side: tools that yield, are waited for, time out, block. Time is a clock that waits
-- move.
require "spec.support"
local agents = require "spec.moonseek.agents"
local moonseek = require "moonseek"

local calling = agents.calling
local unpack = table.unpack or unpack -- luacheck: ignore 113

describe("tools that yield", function()
  local time

  before_each(function() time = agents.time() end)

  --- Runs one turn with these tools, each called once in order; the results, and the agent.
  local function turn_of(tools, more)
    local calls = {}
    for i, tool in ipairs(tools) do calls[i] = { tool.name } end
    local given = { chat = agents.chat { calling(unpack(calls)), "Done." },
      tools = tools, clock = time.clock, wait = time.wait }
    for name, value in pairs(more or {}) do given[name] = value end
    local agent = moonseek.agent(given)
    local result, message, code = agent:run("Go.")
    return agents.results(given.chat), agent, result, message, code
  end

  local function waiting(name, ms, more)
    return agents.tool(name, function()
      coroutine.yield(ms)
      return ("%s at %d"):format(name, time.now)
    end, more)
  end

  it("are resumed when they asked for it, side by side", function()
    local results = turn_of { waiting("slow", 300), waiting("quick", 100) }
    assert.same({ "slow at 300", "quick at 100" }, results)
    assert.same({ 100, 200 }, time.waits)
  end)

  it("are polled when they yield nothing", function()
    local polls = 0
    local results = turn_of { agents.tool("poll", function()
      while time.now < 35 do
        polls = polls + 1
        coroutine.yield()
      end
      return "ready"
    end) }
    assert.same({ "ready" }, results)
    assert.equal(4, polls)
  end)

  it("are given their arguments once, and nothing later", function()
    local results = turn_of { agents.tool("ask", function(arguments, call)
      local later = select("#", coroutine.yield(1))
      return ("%s %s %d"):format(type(arguments), call.name, later)
    end) }
    assert.same({ "table ask 0" }, results)
  end)

  it("are abandoned at their timeout, with what they hold closed; the others are not", function()
    local closed = {}
    local endless = agents.tool("endless", function()
      if coroutine.close then
        local guard = setmetatable({}, { __close = function() closed[1] = true end })
        assert(load("local guard = ...; local held <close> = guard; while true do coroutine.yield(7) end"))(guard)
      end
      while true do coroutine.yield(7) end
    end, { timeout_ms = 50 })
    local results = turn_of { endless, waiting("slow", 300) }
    assert.same({ "Error: no result within 50 ms", "slow at 300" }, results)
    if coroutine.close then assert.is_true(closed[1]) end
  end)

  it("have the agent's timeout without one of their own", function()
    local results = turn_of({ waiting("slow", 300) }, { timeout_ms = 200 })
    assert.same({ "Error: no result within 200 ms" }, results)
  end)

  it("keep their result when they blocked past the timeout; those that waited are resumed first", function()
    local block = agents.tool("block", function()
      time.now = time.now + 500
      return "blocked"
    end, { timeout_ms = 100 })
    local results = turn_of { waiting("slow", 50, { timeout_ms = 100 }), block }
    assert.same({ "slow at 500", "blocked" }, results)
  end)

  it("may raise after they yielded", function()
    local results = turn_of { agents.tool("fail", function()
      coroutine.yield(5)
      error("lost the connection", 0)
    end) }
    assert.same({ "Error: lost the connection" }, results)
  end)

  it("run at most `parallel` at once", function()
    local running, most = 0, 0
    local function tool(name)
      return agents.tool(name, function()
        running = running + 1
        most = math.max(most, running)
        coroutine.yield(10)
        running = running - 1
        return name
      end)
    end
    local results = turn_of({ tool "a", tool "b", tool "c", tool "d", tool "e" }, { parallel = 2 })
    assert.same({ "a", "b", "c", "d", "e" }, results)
    assert.equal(2, most)
  end)

  it("hand what they yield to the host's wait", function()
    local seen
    local function wait(ms, yielded)
      seen = seen or { ms = ms, name = yielded[1].call.name, descriptor = yielded[1][1], events = yielded[1][2] }
      time.now = time.now + 1
    end
    local results = turn_of({ agents.tool("read", function()
      coroutine.yield({ descriptor = 7 }, "r")
      return "read"
    end) }, { wait = wait })
    assert.same({ "read" }, results)
    assert.same({ ms = 10, name = "read", descriptor = { descriptor = 7 }, events = "r" }, seen)
  end)

  it("may be resumed by an event loop that the host's wait runs", function()
    local queue = {}
    local function wait()
      time.now = time.now + 1
      local thread = table.remove(queue, 1)
      if thread then coroutine.resume(thread, "payload") end
    end
    local function sleep_in_loop()
      queue[#queue + 1] = coroutine.running()
      return coroutine.yield(math.huge)
    end
    local results = turn_of({
      agents.tool("good", function() return sleep_in_loop() end),
      agents.tool("bad", function()
        sleep_in_loop()
        error("lost")
      end),
    }, { wait = wait })
    assert.same({ "payload", "Error: the tool raised an error while an event loop ran it" }, results)
  end)

  it("are abandoned when the wait raises; the chat is a whole one, and the run can go on", function()
    local broken = true
    local function wait(ms)
      if broken then error("interrupted!", 0) end
      time.wait(ms)
    end
    local results, agent, result, message, code = turn_of({ waiting("slow", 300) }, { wait = wait })
    assert.is_nil(result)
    assert.equal("wait: interrupted!", message)
    assert.equal("EHOOK", code)
    assert.same({}, results)
    broken = false
    assert.equal("Done.", agent:run().text)
    assert.same({ "Error: the call was abandoned: the run was interrupted" }, agents.results(agent:chat()))
  end)

  it("are abandoned at the end of the run's time", function()
    local results, _, result = turn_of({ waiting("slow", 300) }, { budget = { ms = 100 } })
    assert.same({ "Error: the time of the whole run was over" }, results)
    assert.equal("deadline", result.finish_reason)
  end)

  it("are abandoned by a cancel", function()
    local agent
    local function wait(ms)
      time.wait(ms)
      agent:cancel()
    end
    agent = moonseek.agent { chat = agents.chat { calling({ "poll" }, { "slow" }), "Done." },
      tools = { waiting("poll", 10), waiting("slow", 300) }, clock = time.clock, wait = wait }
    assert.equal("cancel", agent:run("Go.").finish_reason)
    assert.same({ "poll at 10", "Error: the call was abandoned: the run was interrupted" },
      agents.results(agent:chat()))
  end)

  it("let the host's coroutine yield while they wait", function()
    if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then pending("PUC Lua 5.1 cannot yield through pcall") return end
    local agent = moonseek.agent { chat = agents.chat { calling { "slow" }, "Done." }, tools = { waiting("slow", 30) },
      clock = time.clock, wait = function(ms) coroutine.yield("host", ms) end }
    local host = coroutine.create(function() return agent:run("Go.").text end)
    assert.same({ true, "host", 30 }, { coroutine.resume(host) })
    local _, message, code = agent:run("Beside.")
    assert.same({ "the agent is running", "EBUSY" }, { message, code })
    time.now = 30
    assert.same({ true, "Done." }, { coroutine.resume(host) })
  end)

  it("wait on the real clock without a host", function()
    local chat = agents.chat { calling { "slow" }, "Done." }
    local agent = moonseek.agent { chat = chat, tools = { agents.tool("slow", function()
      coroutine.yield(20)
      return "ok"
    end) } }
    assert.is_true(assert(agent:run("Go.")).ms >= 20)
    assert.same({ "ok" }, agents.results(chat))
  end)
end)
