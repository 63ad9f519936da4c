require "spec.support"
local moonseek = require "moonseek"
local policies = moonseek.chat.policies

--- A chat in `context` tokens, of a byte each, that answers "answer N"; and what was asked.
local function small(given)
  local asked, say = {}, given.say
  given.say = nil
  local engine = moonseek.mock { context = 4096, answer = function(request)
    asked[#asked + 1] = request.prompt
    return say and say(request) or "answer " .. request.number
  end }
  return assert(moonseek.chat(engine, given)), asked
end

--- Asks `count` questions.
local function talk(chat, count)
  for i = 1, count do assert(chat:send("question " .. i)) end
end

describe("a full context", function()
  it("R02: is refused before any work, with the tokens needed and free", function()
    local chat, asked = small { context = 100, max_tokens = 30 }
    -- begin, User, 80 bytes, Assistant, </think>
    local answer, message, code = chat:send(("x"):rep(80))
    assert.same({ nil, "ECTXFULL" }, { answer, code })
    assert.matches("the prompt takes 84 tokens and the answer needs 30, but 16 of 100 are free", message, 1, true)
    assert.equal(0, #asked)
    assert.equal(0, #chat:messages())
    assert(chat:send(("x"):rep(66)))
  end)

  it("R02: leaves an answer of unknown length an eighth of the context, at most 1024 tokens, or `reserve`", function()
    local chat = small { context = 80 }
    assert.is_nil((chat:send(("x"):rep(67))))
    assert(chat:send(("x"):rep(67), { reserve = 9 }))
  end)

  it("R02: ends an answer that fills it, with reason length", function()
    local chat = small { context = 40, reserve = 1, say = function() return ("y"):rep(100) end }
    local answer = assert(chat:send(("x"):rep(26)))
    assert.same({ 10, "length" }, { #answer.text, answer.finish_reason })
  end)
end)

describe("on_full", function()
  it("gives the messages to go on with, and is told what is needed", function()
    local told
    local chat = small { context = 100, max_tokens = 20, on_full = function(messages, full)
      told = { messages = #messages, needed = full.needed, free = full.free, limit = full.limit,
               context = full.context, count = full.count(messages) }
      return { messages[#messages] }
    end }
    assert(chat:send(("x"):rep(60)))
    assert.is_nil(told)
    assert(chat:send(("y"):rep(60)))
    -- begin, 60 + 3, "answer 1" and its end, 60 + 3
    assert.same({ messages = 3, needed = 156, free = 0, limit = 80, context = 100, count = 136 }, told)
    assert.equal(2, #chat:messages())
  end)

  it("fails as it says, and the chat is as it was", function()
    local chat = small { context = 100, max_tokens = 20 }
    assert(chat:send(("x"):rep(60)))
    for _, row in ipairs {
      { function() return nil, "not now", "EINVAL" end, "not now", "EINVAL" },
      { function() error("broken", 0) end, "broken", "EHOOK" },
      { function() return 5 end, "on_full: list of messages expected, got number", "EHOOK" },
      { function(messages) return messages end, "the context is full: the prompt takes 136 tokens", "ECTXFULL" },
      { function() return { { role = "x" } } end, "message 1: unknown role 'x'", "EINVAL" },
    } do
      local answer, message, code = chat:send(("y"):rep(60), { on_full = row[1] })
      assert.same({ nil, row[3] }, { answer, code })
      assert.equal(row[2], message:sub(1, #row[2]))
      assert.equal(2, #chat:messages())
    end
  end)
end)

describe("the policies", function()
  it("drop the oldest turns, and keep the head", function()
    local chat = small { context = 600, reserve = 50, system = "S", on_full = policies.drop_oldest }
    talk(chat, 40)
    local list = chat:messages()
    assert.equal("system", list[1].role)
    assert.equal("user", list[2].role)
    assert.not_equal("question 1", list[2].content)
    assert.same({ "question 40", "answer 40" }, { list[#list - 1].content, list[#list].content })
  end)

  it("keep the first turn and the newest", function()
    local chat = small { context = 600, reserve = 50, on_full = policies.keep_ends }
    talk(chat, 40)
    local list = chat:messages()
    assert.same({ "question 1", "answer 1" }, { list[1].content, list[2].content })
    assert.same({ "question 40", "answer 40" }, { list[#list - 1].content, list[#list].content })
    assert.not_equal("question 2", list[3].content)
  end)

  it("put a summary that the model writes in place of the oldest turns", function()
    local chat, asked = small { context = 600, reserve = 50, on_full = policies.summarise_oldest,
      say = function(request) return request.prompt:find("Summarise") and "all was said" or "ok" end }
    talk(chat, 45)
    local list = chat:messages()
    assert.equal("Summary of our conversation so far:\nall was said", list[1].content)
    assert.same({ "question 45", "ok" }, { list[#list - 1].content, list[#list].content })
    local summaries = 0
    for _, prompt in ipairs(asked) do
      if prompt:find("Summarise") then summaries = summaries + 1 end
    end
    assert.is_true(summaries >= 1 and summaries < 15, tostring(summaries))
  end)

  it("never part a call from its results", function()
    local tool = { name = "f", description = "F", parameters = { type = "object" } }
    local chat = small { context = 1800, reserve = 50, tools = { tool }, on_full = policies.drop_oldest,
      say = function(request)
        if request.prompt:sub(-40):find("tool_result") then return "done" end
        return { tool_calls = { { name = "f", arguments = "{}" } } }
      end }
    for i = 1, 12 do
      local answer = assert(chat:send("question " .. i))
      assert(chat:send { role = "tool", tool_call_id = answer.tool_calls[1].id, content = "result " .. i })
    end
    local list = chat:messages()
    assert.is_true(#list < 40)
    for i = 2, #list, 4 do
      assert.same({ "user", "assistant", "tool", "assistant" },
        { list[i].role, list[i + 1].role, list[i + 2].role, list[i + 3].role })
      assert.equal(list[i + 1].tool_calls[1].id, list[i + 2].tool_call_id)
    end
  end)

  it("give the last turn back as it is, and the chat says that it does not fit", function()
    for _, policy in pairs(policies) do
      local chat = small { context = 300, reserve = 50, on_full = policy }
      talk(chat, 3)
      assert.equal("ECTXFULL", (select(3, chat:send(("x"):rep(400)))))
      assert(chat:send("short"))
    end
  end)
end)
