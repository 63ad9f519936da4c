require "spec.support"
local moonseek = require "moonseek"

local unpack = table.unpack or unpack -- luacheck: ignore 113

describe("moonseek.chat with the pocket model", function()
  local engine
  setup(function() engine = assert(moonseek.open { path = "models/pocket", threads = 1 }) end)
  teardown(function() engine:close() end)

  local function new(given)
    local chosen = { context = 2048, temperature = 0, max_tokens = 400 }
    for name, value in pairs(given or {}) do chosen[name] = value end
    return assert(moonseek.chat(engine, chosen))
  end

  local weather = { name = "get_weather", description = "Weather in a city", parameters = moonseek.json.object {
    { "type", "object" }, { "properties", { city = { type = "string" } } }, { "required", { "city" } } } }

  it("works a sum out when it thinks, and apart from the answer", function()
    local chat = new { thinking = "low" }
    local answer = assert(chat:send("What is 482 + 345?"))
    assert.equal("827", answer.text)
    assert.equal("2+5+0=07 8+4+0=12 4+3+1=08 > 827", answer.reasoning)
    assert.equal("stop", answer.finish_reason)
    assert.equal(#answer.tokens, answer.usage.reasoning + answer.usage.answer)
    chat:close()
  end)

  it("changes the thinking from turn to turn", function()
    local chat = new()
    assert.equal("red fox", assert(chat:send("Repeat: red fox.")).text)
    assert.equal("127", assert(chat:send("What is 82 + 45?", { thinking = "low" })).text)
    assert.equal("", assert(chat:send("Say Oslo.")).reasoning)
    chat:close()
  end)

  it("calls a tool and answers from its result", function()
    local chat = new { tools = { weather } }
    local answer = assert(chat:send("What is the weather in Oslo?"))
    assert.equal("tool_calls", answer.finish_reason)
    local call = answer.tool_calls[1]
    assert.same({ "call_1", "get_weather", '{"city": "Oslo"}' }, { call.id, call.name, call.arguments })
    assert(chat:add { role = "tool", tool_call_id = call.id, content = "rain, 12 degrees" })
    assert.equal("The weather in Oslo is rain, 12 degrees.", assert(chat:continue()).text)
    assert.equal(5, #chat:messages())
    chat:close()
  end)

  it("writes JSON", function()
    local chat = new()
    local answer = assert(chat:send("City: Oslo\nName: silver fox\nCode: 4821\nReturn JSON with code, name."))
    assert.same({ code = 4821, name = "silver fox" }, moonseek.json.decode(answer.text))
    chat:close()
  end)

  it("closes the reasoning at its budget, and reads on from what it made", function()
    local chat = new { thinking = "low" }
    local whole = assert(chat:send("What is 82 + 45?")).tokens
    local other = new { thinking = "low" }
    local answer = assert(other:send("What is 82 + 45?", { thinking_budget = 5 }))
    local tokenizer = engine:tokenizer()
    assert.same({ 5, tokenizer:decode(whole, 1, 5) }, { answer.usage.reasoning, answer.reasoning })
    assert.equal(tokenizer:token("</think>"), answer.tokens[6])
    assert.is_true(answer.text ~= "")
    local unspent = new { thinking = "low" }
    assert.is_true(assert(unspent:send("What is 82 + 45?", { thinking_budget = 300 })).tokens == whole)
    for _, each in ipairs { chat, other, unspent } do each:close() end
  end)

  it("answers again without reading anything again but the last token", function()
    local chat = new { thinking = "low", temperature = 1 }
    assert(chat:send("What is 82 + 45?", { seed = 1 }))
    local first = chat:messages()[2].tokens
    local answer = assert(chat:retry { seed = 1 })
    assert.same({ 1, 0 }, { answer.usage.read, answer.usage.reread })
    assert.is_true(chat:messages()[2].tokens == first)
    chat:close()
  end)

  -- What a turn has to read, by hand: the token that ended the answer before, <｜User｜>, the question, <｜Assistant｜> and
  -- <think> or </think>. Where the rules drop reasoning, the turn before is read from behind its <｜Assistant｜> on,
  -- without it: </think>, the answer's tokens, the end token.
  for _, row in ipairs {
    { "without thinking", "off", false }, { "thinking", "low", false },
    { "without thinking, with tools", "off", true }, { "thinking, with tools", "low", true },
  } do
    it("reads only what is new in 20 turns " .. row[1], function()
      local chat = new { thinking = row[2], tools = row[3] and { weather } or nil, context = 4096, max_tokens = 60 }
      local tokenizer, total, before = engine:tokenizer(), 0, nil
      for turn = 1, 20 do
        local question = ("What is %d + %d?"):format(10 * turn + 3, 7 * turn + 1)
        local answer = assert(chat:send(question))
        local list = chat:messages()
        local expected = tokenizer:count(question) + 3
        if not before then
          list[#list] = nil
          expected = #assert(moonseek.encoding.encode(tokenizer, list, { thinking = row[2] }))
        elseif row[2] == "low" and not row[3] then
          expected = expected + 1 + #before.tokens:sub(before.answer_at) + 1
        else
          expected = expected + 1 + (before.cut and 1 or 0)
        end
        assert.same({ turn, expected, 0 }, { turn, answer.usage.read, answer.usage.reread })
        total = total + answer.usage.read
        before = { tokens = answer.message.tokens, answer_at = answer.message.answer_at,
                   cut = answer.finish_reason == "length" }
      end
      assert.is_true(total < 700)
      chat:close()
    end)
  end

  describe("asked as in its tasks", function()
    local tasks
    setup(function()
      package.path = "models/pocket/?.lua;" .. package.path
      tasks = require "tasks"
    end)

    --- The turns of an item: { question =, thinking =, upto = pieces before the answer, answer = its text }.
    local function turns_of(item)
      local turns, pieces, now = {}, {}, nil
      for _, piece in ipairs(item.pieces) do
        pieces[#pieces + 1] = { text = piece.text, control = piece.control }
        if piece.control == "<｜User｜>" then
          now = { question = "", answer = "" }
          turns[#turns + 1] = now
        elseif piece.control == "<think>" or piece.control == "</think>" and not now.upto then
          now.thinking = piece.control == "<think>" and "low" or "off"
          now.upto = { unpack(pieces) }
        elseif piece.control == "</think>" then
          now.answer = ""
        elseif piece.text then
          local part = now.upto and "answer" or "question"
          now[part] = now[part] .. piece.text
        end
      end
      return turns
    end

    it("gives the tokens of the direct prompts in a chat of 6 turns", function()
      local right = 0
      for seed = 1, 3 do
        local chat, session = new { context = 4096 }, assert(engine:session { context = 4096 })
        for _, turn in ipairs(turns_of(tasks.item("mixed", { turns = 6, seed = seed, held_out = true }))) do
          -- A sum of the past stands there without its steps, but has to be worked out all the same.
          local question = turn.question
          local sum = question:find("%d [*+] %d") or question:find("^Add") or question:find("^Multi")
          local thinking = sum and not question:find("working out") and "low" or turn.thinking
          turn.upto[#turn.upto] = { control = thinking == "low" and "<think>" or "</think>" }
          assert(session:sync(turn.upto))
          local direct = assert(session:generate { max_tokens = 400, temperature = 0 })
          local answer = assert(chat:send(turn.question, { thinking = thinking }))
          assert.is_true(answer.tokens == direct.tokens, turn.question)
          assert.equal(turn.answer, answer.text)
          right = right + 1
        end
        chat:close()
        session:close()
      end
      assert.equal(18, right)
    end)
  end)
end)
