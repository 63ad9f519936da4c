--- agent:checkpoint and moonseek.resume_agent: no call is made twice, wherever a process ends.
local support = require "spec.support"
local agents = require "spec.moonseek.agents"
local moonseek = require "moonseek"

local calling = agents.calling
local core = require "moonseek.core"

local sync = core.sync
local folder, path, synced

-- A disk is slow: but for the process that is killed, files are counted, not synced.
before_each(function()
  folder = support.temporary_folder()
  path, synced = folder .. "/journal", 0
  function core.sync(what)
    if what == path then synced = synced + 1 end
    return true
  end
end)

after_each(function()
  core.sync = sync
  support.remove(folder)
end)

local function answers()
  return {
    calling({ "add", '{"a": 1, "b": 2}' }, { "add", '{"a": 3, "b": 4}' }, { "add", '{"a": "x"}' }),
    calling { "add", '{"a": 5, "b": 6}' },
    "Done.",
  }
end

--- The options of the run that these specs interrupt; `made` receives the ids of calls.
local function options_of(made)
  return { chat = agents.chat(answers(), { system = "Be brief." }), tools = { agents.adder(made) } }
end

--- A whole run, its file and its messages.
local function whole_run()
  local given = options_of {}
  local agent = moonseek.agent(given)
  assert.is_true(agent:checkpoint(path))
  local result = assert(agent:run("Add.", { temperature = 0 }))
  agent:close()
  return support.read_file(path), given.chat:messages(), result, agent
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch("[^\n]+\n") do lines[#lines + 1] = line end
  return lines
end

--- role and content of messages
local function said(messages)
  local list = {}
  for i, message in ipairs(messages) do list[i] = message.role .. ": " .. tostring(message.content) end
  return list
end

describe("agent:checkpoint", function()
  it("writes each record as a line of JSON, those until then first", function()
    local agent = moonseek.agent(options_of {})
    assert(agent:run("Add."))
    assert.is_true(agent:checkpoint(path))
    local lines, trace = lines_of(support.read_file(path)), agent:trace()
    assert.equal(#trace, #lines)
    for i, line in ipairs(lines) do
      assert.equal(trace[i].type, assert(moonseek.json.decode(line)).type)
      assert.matches('^{"type": "', line)
    end
    agent:close()
  end)

  it("has each record on the disk before the next step", function()
    local given = options_of {}
    function given.on_step(record) if synced > 0 then record.synced = synced end end
    local agent = moonseek.agent(given)
    assert(agent:checkpoint(path))
    assert(agent:run("Add."))
    for i, record in ipairs(agent:trace()) do
      if i > 1 then assert.equal(i, record.synced) end
    end
    agent:close()
    core.sync = sync
    assert.is_true(core.sync(path))
    local ok, message, code = core.sync(folder .. "/none")
    assert.same({ nil, folder .. "/none: No such file or directory", "EIO" }, { ok, message, code })
  end)

  it("never overwrites a file, and takes one", function()
    support.write_file(path, "precious")
    local agent = moonseek.agent(options_of {})
    local ok, message, code = agent:checkpoint(path)
    assert.is_nil(ok)
    assert.equal(path .. ": the file exists; go on with it by moonseek.resume_agent, or remove it", message)
    assert.equal("EINVAL", code)
    assert.equal("precious", support.read_file(path))
    assert.is_true(agent:checkpoint(path .. "2"))
    assert.matches("the trace goes to .*journal2 already", (select(2, agent:checkpoint(path .. "3"))))
    agent:close()
  end)

  it("F09 fails where nothing can be written, and then no call is made", function()
    local agent = moonseek.agent(options_of {})
    assert.equal("EIO", (select(3, agent:checkpoint(folder .. "/none/journal"))))
    local made = {}
    local given = options_of(made)
    agent = moonseek.agent(given)
    assert(agent:checkpoint(path))
    local journal = require("moonseek.agent.journal")
    local write = journal.write
    function journal.write(self, record)
      if record.type == "intent" then return nil, path .. ": No space left on device", "EIO" end
      return write(self, record)
    end
    local result, message, code = agent:run("Add.")
    journal.write = write
    assert.is_nil(result)
    assert.equal(path .. ": No space left on device", message)
    assert.equal("EIO", code)
    assert.same({}, made)
    agent:close()
  end)

  it("F09 takes nothing more after a failed write: the end of the file may be part of a line", function()
    local journal = require "moonseek.agent.journal"
    local file, written = assert(journal.create(path, {})), 0
    local real = file.file
    file.file = { write = function()
      written = written + 1
      return nil, "No space left on device"
    end, close = function() real:close() end }
    for _ = 1, 2 do
      local ok, message, code = file:write { type = "resume" }
      assert.is_nil(ok)
      assert.matches("No space left on device", message)
      assert.equal("EIO", code)
    end
    assert.equal(1, written)
    file:close()
  end)
end)

describe("moonseek.resume_agent", function()
  it("F08 makes no call twice, wherever the file ends, and comes to the same end", function()
    local text, messages, expected = whole_run()
    local lines, at, first = lines_of(text), 0, nil
    local cuts = {}
    for _, line in ipairs(lines) do
      for _, length in ipairs { 1, math.floor(#line / 2), #line - 2, #line - 1, #line } do
        cuts[#cuts + 1] = at + length
      end
      at = at + #line
      first = first or at - 1
    end
    for _, cut in ipairs(cuts) do
      local prefix = text:sub(1, cut)
      support.write_file(path, prefix)
      local begun, open, made, unknown = {}, {}, {}, {}
      for line in prefix:gmatch("[^\n]+") do
        local record = moonseek.json.decode(line)
        if record and record.type == "intent" then begun[record.id], open[record.id] = true, true end
        if record and record.type == "result" then open[record.id] = nil end
      end
      local given = options_of(made)
      function given.on_unknown(call)
        unknown[call.id] = true
        return "result", call.arguments.a + call.arguments.b
      end
      local agent, message, code = moonseek.resume_agent(path, given)
      if cut < first then
        assert.equal("EFORMAT", code)
      else
        assert(agent, message)
        local result = assert(agent:run(not agent:trace()[3] and "Add." or nil))
        assert.equal(expected.text, result.text)
        assert.equal(expected.finish_reason, result.finish_reason)
        assert.same(said(messages), said(given.chat:messages()))
        for _, id in ipairs(made) do
          assert.is_nil(begun[id], ("cut at %d: %s was made again"):format(cut, id))
          begun[id] = true
        end
        assert.same(open, unknown)
        agent:close()
        local again = assert(moonseek.resume_agent(path, options_of {}))
        assert.equal(expected.text, again:run().text)
        again:close()
      end
    end
  end)

  it("F08 resumes a process that was killed with -9 at any write, and no effect is there twice", function()
    local function child(kill)
      local command = ("%s spec/moonseek/agent_child.lua '%s' %d 2>/dev/null")
        :format(support.interpreter(), folder, kill)
      local pipe = assert(io.popen(command))
      local printed = pipe:read("*a")
      pipe:close()
      return printed:match("done")
    end
    local kills, done = 0, false
    while not done do
      kills = kills + 1
      support.remove(folder)
      assert(os.execute(("mkdir '%s'"):format(folder)))
      done = child(kills)
      if not done then assert.equal("done", child(0), "killed at " .. kills) end
      local seen = {}
      for line in support.read_file(folder .. "/effects"):gmatch("[^\n]+") do
        assert.is_nil(seen[line], ("killed at %d: %s twice"):format(kills, line))
        seen[line] = true
      end
      local unknown = io.open(folder .. "/unknown")
      for i = 1, 3 do
        local effect = ("pay %d"):format(i)
        if not seen[effect] then assert.matches(effect, unknown and unknown:read("*a") or "", 1, true) end
      end
      if unknown then unknown:close() end
    end
    assert.is_true(kills > 15)
  end)

  --- The file of a run that ended within its first call.
  local function open_call()
    local text = whole_run()
    local kept = {}
    for _, line in ipairs(lines_of(text)) do
      kept[#kept + 1] = line
      if line:find('"type": "intent"', 1, true) then break end
    end
    support.write_file(path, table.concat(kept))
  end

  local function resumed_with(on_unknown, made)
    local given = options_of(made or {})
    given.on_unknown = on_unknown
    local agent, message, code = moonseek.resume_agent(path, given)
    return agent, message, code, given.chat
  end

  it("fails without on_unknown where a call's end is not known, and changes nothing", function()
    open_call()
    local before = support.read_file(path)
    local agent, message, code = resumed_with(nil)
    assert.is_nil(agent)
    assert.equal(path .. ": call call_1 of 'add' was begun and its end is not known: give on_unknown to decide",
      message)
    assert.equal("ETOOL", code)
    assert.equal(before, support.read_file(path))
  end)

  it("tells on_unknown of the call", function()
    open_call()
    local told
    local agent = resumed_with(function(call)
      told = call
      return "fail"
    end)
    assert.equal("add", told.name)
    assert.equal(2, told.arguments.b)
    assert.equal(1, told.round)
    agent:close()
  end)

  local decisions = {
    { "makes the call again after \"rerun\"", { "rerun" }, "3", 3 },
    { "takes the result that it is given", { "result", { sum = 3 } }, '{"sum": 3}', 2 },
    { "tells the model that the end is not known after \"fail\"", { "fail" },
      "Error: it is not known whether the call was carried out; the program was interrupted", 2 },
    { "tells the model why", { "fail", "the bank is closed" }, "Error: the bank is closed", 2 },
  }
  for _, case in ipairs(decisions) do
    it(case[1], function()
      open_call()
      local made = {}
      local agent, _, _, chat = resumed_with(function() return case[2][1], case[2][2] end, made)
      assert.equal("Done.", agent:run().text)
      assert.equal(case[3], agents.results(chat)[1])
      assert.equal(case[4], #made)
      agent:close()
    end)
  end

  it("asks again when on_unknown failed", function()
    open_call()
    local _, message, code = resumed_with(function() error("no idea", 0) end)
    assert.same({ "on_unknown: no idea", "EHOOK" }, { message, code })
    _, message = resumed_with(function() return "again" end)
    assert.equal('on_unknown: "rerun", "result" or "fail" expected, got again', message)
    assert.equal("Done.", resumed_with(function() return "fail" end):run().text)
  end)

  it("has the options of the interrupted run", function()
    open_call()
    local agent = resumed_with(function() return "fail" end)
    local seen
    local chat = agent:chat()
    local continue = chat.continue
    function chat.continue(self, given)
      seen = given.temperature
      return continue(self, given)
    end
    assert(agent:run())
    assert.equal(0, seen)
    agent:close()
  end)

  it("keeps the tokens of the model's answers", function()
    local _, messages = whole_run()
    local given = options_of {}
    local agent = assert(moonseek.resume_agent(path, given))
    local resumed = given.chat:messages()
    for i, message in ipairs(messages) do
      assert.same(message.tokens and message.tokens:totable(), resumed[i].tokens and resumed[i].tokens:totable())
    end
    agent:close()
  end)

  it("F01 refuses what is no trace, or not this one", function()
    local function refused(message, code, given)
      local agent, said_message, said_code = moonseek.resume_agent(path, given or options_of {})
      assert.is_nil(agent)
      assert.matches(message, said_message)
      assert.equal(code, said_code)
    end
    refused("No such file or directory", "ENOENT")
    local text = whole_run()
    local lines = lines_of(text)
    support.write_file(path, "")
    refused("journal: it does not begin as the trace of an agent", "EFORMAT")
    support.write_file(path, "moonseek\n" .. text)
    refused("journal: record 1: byte 1: ", "EFORMAT")
    support.write_file(path, lines[2] .. text)
    refused("it does not begin as the trace of an agent", "EFORMAT")
    support.write_file(path, (text:gsub('"version": 1', '"version": 2')))
    refused("the trace has version 2, this program reads 1", "EFORMAT")
    support.write_file(path, lines[1] .. lines[2] .. lines[5])
    refused("record 3 does not follow: no call has the id call_%d", "EFORMAT")
    support.write_file(path, lines[1] .. lines[2]:sub(1, 20) .. "\n" .. lines[3])
    refused("record 2: byte ", "EFORMAT")
    support.write_file(path, lines[1] .. '{"type": "dance"}\n' .. lines[2])
    refused("record 2: unknown record 'dance'", "EFORMAT")
    support.write_file(path, text)
    local given = options_of {}
    given.chat = agents.chat({}, { system = "Be long." })
    refused("message 1 of the chat is not that of the run", "EINVAL", given)
  end)
end)
