local support = require "spec.support"
local moonseek = require "moonseek"

describe("a chat on the disk", function()
  local folder, path
  before_each(function()
    folder = support.temporary_folder()
    path = folder .. "/chat"
  end)
  after_each(function() support.remove(folder) end)

  local tool = { name = "f", description = "F", parameters = { type = "object", properties = { b = { type = "string" },
    a = { type = "integer" } }, required = { "b" } } }

  it("comes back as it was: messages, options, kept tokens", function()
    local prompts = {}
    local engine = moonseek.mock { answer = function(request)
      prompts[#prompts + 1] = request.prompt
      if request.number > 1 then return "done \255" end
      return { reasoning = "hm", tool_calls = { { name = "f", arguments = '{"b": "é"}' } } }
    end }
    local chat = assert(moonseek.chat(engine, { system = "S", tools = { tool }, thinking = "high", temperature = 0,
      logit_bias = { [300] = -1 }, stop = { "END" }, context = 5000, max_tokens = 300 }))
    assert(chat:send("Go"))
    assert(chat:send { role = "tool", tool_call_id = "call_1", content = "ok" })
    assert(chat:save(path))
    local again = assert(moonseek.load_chat(engine, path))
    local before, after = chat:messages(), again:messages()
    assert.equal(#before, #after)
    for i, message in ipairs(before) do
      assert.same({ message.role, message.content, message.reasoning, message.tokens, message.answer_at },
        { after[i].role, after[i].content, after[i].reasoning, after[i].tokens, after[i].answer_at })
    end
    assert.equal('{"b": "é"}', after[3].tool_calls[1].arguments)
    assert(chat:send("On"))
    assert(again:send("On"))
    assert.equal(prompts[3], prompts[4])
    assert.equal(5000, again.session:position() + again.session:room())
  end)

  it("can be given other options, and those that no file can hold", function()
    local chat = assert(moonseek.chat(moonseek.mock { answers = { "one" } }, { thinking = "high" }))
    assert(chat:send("Go"))
    assert(chat:save(path))
    local told = 0
    local again = assert(moonseek.load_chat(moonseek.mock { answers = { "two" } }, path,
      { thinking = "off", on_event = function() told = told + 1 end }))
    assert.same({ "two", "" }, { assert(again:send("On")).text, assert(again:messages()[4].reasoning or "") })
    assert.is_true(told > 0)
  end)

  it("leaves out tokens that say something else than their message", function()
    local engine = moonseek.mock { answers = { "one" } }
    local chat = assert(moonseek.chat(engine))
    assert(chat:send("Go"))
    assert(chat:save(path))
    local forged, count = support.read_file(path):gsub('"content": "one"', '"content": "two"')
    assert.equal(1, count)
    support.write_file(path, forged)
    local last = assert(moonseek.load_chat(engine, path)):messages()[2]
    assert.same({ "two", nil, nil }, { last.content, last.tokens, last.answer_at })
  end)

  for _, row in ipairs {
    { "no JSON", "{", "EFORMAT", "" }, { "another thing", "{}", "EFORMAT", "no saved chat" },
    { "another version", '{"format": "moonseek.chat", "version": 2}', "EUNSUPPORTED", "version 2" },
    { "no messages", '{"format": "moonseek.chat", "version": 1, "options": {}}', "EFORMAT", "messages: array" },
    { "an unknown option",
      '{"format": "moonseek.chat", "version": 1, "context": 9, "options": {"x": 1}, "messages": []}',
      "EFORMAT", "unknown option 'x'" },
    { "an option of a wrong type",
      '{"format": "moonseek.chat", "version": 1, "context": 9, "options": {"thinking": 1}, "messages": []}',
      "EFORMAT", "option 'thinking' is a number" },
    { "a message that is none",
      '{"format": "moonseek.chat", "version": 1, "context": 99, "options": {}, "messages": [1]}',
      "EFORMAT", "message 1: object expected" },
    { "a message of no role",
      '{"format": "moonseek.chat", "version": 1, "context": 99, "options": {}, "messages": [{"role": "x"}]}',
      "EINVAL", "message 1: unknown role 'x'" },
  } do
    it("is refused with a reason: " .. row[1], function()
      support.write_file(path, row[2])
      local chat, message, code = moonseek.load_chat(moonseek.mock {}, path)
      assert.same({ nil, row[3] }, { chat, code })
      assert.matches(row[4], message, 1, true)
    end)
  end

  it("is refused with a reason: a file that is not there, or cannot be written", function()
    assert.equal("ENOENT", (select(3, moonseek.load_chat(moonseek.mock {}, path))))
    local chat = assert(moonseek.chat(moonseek.mock {}))
    assert.equal("ENOENT", (select(3, chat:save(folder .. "/none/chat"))))
  end)

  it("is refused with a reason: a message that holds what no file can", function()
    local chat = assert(moonseek.chat(moonseek.mock {}))
    assert(chat:add { role = "user", content = "x", mine = print })
    local done, message, code = chat:save(path)
    assert.same({ nil, "EINVAL" }, { done, code })
    assert.matches("function cannot be written", message, 1, true)
    assert.is_nil(io.open(path))
  end)

  it("raises for mistakes in the program", function()
    assert.has_error(function() moonseek.load_chat(nil, path) end, "moonseek.load_chat: engine expected, got nil")
    assert.has_error(function() moonseek.load_chat(moonseek.mock {}) end, "moonseek.load_chat: path expected, got nil")
  end)

  describe("with the pocket model", function()
    local engine
    setup(function() engine = assert(moonseek.open { path = "models/pocket", threads = 1 }) end)
    teardown(function() engine:close() end)

    local function saved(given)
      local chat = assert(moonseek.chat(engine, { context = 1024, temperature = 0, thinking = given, max_tokens = 99 }))
      assert(chat:send("What is 482 + 345?"))
      assert(chat:save(path))
      return chat
    end

    for _, thinking in ipairs { "off", "low" } do
      it("reads nothing again but the new question, thinking " .. thinking, function()
        local chat = saved(thinking)
        local again, note = moonseek.load_chat(engine, path)
        assert.is_nil(note)
        local here, there = assert(chat:send("What is 11 + 12?")), assert(again:send("What is 11 + 12?"))
        assert.is_true(here.tokens == there.tokens)
        local question = engine:tokenizer():count("What is 11 + 12?")
        assert.equal(question + 3, there.usage.read) -- User, Assistant, think or its end
        chat:close()
        again:close()
      end)
    end

    it("is read again, and says so, where the rows are missing, damaged or of other numerics", function()
      local chat = saved("low")
      local rows = support.read_file(path .. ".session")
      local exact = assert(moonseek.open { path = "models/pocket", threads = 1, numerics = "exact" })
      for _, row in ipairs {
        { engine, nil, "cannot" }, { engine, rows:sub(1, -2), "cut" }, { exact, rows, "numerics" },
      } do
        os.remove(path .. ".session")
        if row[2] then support.write_file(path .. ".session", row[2]) end
        local again, note = assert(moonseek.load_chat(row[1], path))
        assert.matches("what the chat had read is read again: ", note, 1, true)
        assert.equal(0, again.session:position())
        assert.equal("23", assert(again:send("What is 11 + 12?")).text)
        again:close()
      end
      exact:close()
      chat:close()
    end)

    it("is right with rows of an older state, as a crash may leave them", function()
      local chat = saved("low")
      local rows = support.read_file(path .. ".session")
      assert(chat:send("What is 82 + 45?"))
      assert(chat:save(path))
      support.write_file(path .. ".session", rows)
      local again, note = moonseek.load_chat(engine, path)
      assert.is_nil(note)
      local here, there = assert(chat:send("What is 11 + 12?")), assert(again:send("What is 11 + 12?"))
      assert.is_true(here.tokens == there.tokens)
      chat:close()
      again:close()
    end)
  end)
end)
