require "spec.support"
local core = require "moonseek.core"
local encoding = require "moonseek.encoding"
local mock = require "moonseek.mock"
local parser = require "moonseek.parser"

local function asked(engine, thinking)
  local session = assert(engine:session())
  assert(session:sync(assert(encoding.pieces({ { role = "user", content = "hi" } }, { thinking = thinking }))))
  return session
end

local function parsed(engine, session, thinking)
  local p = parser.new { tokenizer = engine:tokenizer(), thinking = thinking, tools = { "f" } }
  local result = assert(session:generate())
  for i = 1, #result.tokens do p:feed(result.tokens[i]) end
  p:finish(result.finish_reason)
  return p:result()
end

describe("moonseek.mock", function()
  it("answers from a list, request by request, then fails", function()
    local engine = mock { answers = { "one", { content = "zwei" } } }
    local session = asked(engine)
    assert.equal("one", session:generate().text)
    assert.equal("zwei", tostring(session:generate()))
    local result, message, code = session:generate()
    assert.is_nil(result)
    assert.same({ "the mock has no answer to request 3", "EINVAL" }, { message, code })
  end)

  it("answers from a function, which is told the prompt", function()
    local engine = mock { answer = function(request) return ("%d %s"):format(request.number, request.prompt) end }
    assert.equal("1 <｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜></think>", asked(engine):generate().text)
  end)

  it("thinks where the prompt says so, and makes calls", function()
    local answer = { content = "a", reasoning = "r", tool_calls = { { name = "f", arguments = { x = 1 } } } }
    local engine = mock { answers = { answer, answer } }
    local result = parsed(engine, asked(engine, "low"), true)
    assert.same({ "r", "a", '{"x": 1}' }, { result.reasoning, result.text, result.tool_calls[1].arguments })
    assert.equal("", parsed(engine, asked(engine), false).reasoning)
  end)

  it("makes malformed calls from pieces", function()
    local dsml = { control = "｜DSML｜" }
    local engine = mock { answers = { { "<", dsml, "tool_calls>\n<", dsml, 'invoke name="g">\n</', dsml, "invoke>" } } }
    assert.equal("unknown_tool", parsed(engine, asked(engine), false).tool_calls[1].malformed)
  end)

  it("counts what is read, and what was kept", function()
    local engine = mock { answers = { "a", "b" } }
    local session = asked(engine)
    local usage = session:generate().usage
    assert.same({ prompt = 6, cached = 0, read = 6, reread = 0, completion = 2 }, usage)
    assert.equal(8, session:position())
    assert(session:append "more")
    assert.same({ prompt = 12, cached = 8, read = 4, reread = 0, completion = 2 }, session:generate().usage)
    assert.equal(7, session:rewind(7))
    assert.equal(engine:info().context - 7, session:room())
  end)

  it("forks: neither changes the other", function()
    local engine = mock { answers = { "a", "b" } }
    local session = asked(engine)
    local fork = session:fork()
    session:generate()
    assert.equal(6, fork:position())
    assert.equal("b", fork:generate().text)
    assert.is_true(session:tokens() ~= fork:tokens())
  end)

  it("streams events as an engine does", function()
    local engine = mock { answers = { "é" } }
    local kinds = {}
    for event in asked(engine):stream() do kinds[#kinds + 1] = event.type .. (event.text or "") end
    assert.same({ "prefill", "token", "tokené", "token", "doneé" }, kinds)
  end)

  it("keeps a pace that costs no time", function()
    local engine = mock { answers = { "abc" }, token_ms = 1000 }
    local job = asked(engine):start { deadline_ms = 2500 }
    assert.equal("prefill", job:poll().type)
    assert.is_nil(job:poll())
    assert.is_false(job:wait(500))
    assert.is_true(job:wait(500))
    assert.equal("a", job:poll().text)
    while not job:finished() do
      job:wait(100)
      job:poll()
    end
    assert.same({ "deadline", "ab" }, { job:result().finish_reason, job:result().text })
  end)

  it("ends at a stop string, at max_tokens and at the end of the context", function()
    local engine = mock { answers = { "one two", "one two", "one two" }, context = 11 }
    local result = asked(engine):generate { stop = { " t" } }
    assert.same({ "stop", "one" }, { result.finish_reason, result.text })
    result = asked(engine):generate { max_tokens = 2 }
    assert.same({ "length", "on" }, { result.finish_reason, result.text })
    result = asked(engine):generate()
    assert.same({ "length", "one t" }, { result.finish_reason, result.text })
    local held, _, code = asked(engine):append("123456")
    assert.is_nil(held)
    assert.equal("ECTXFULL", code)
  end)

  it("has faults on request: an error, a stall, a cancel", function()
    local engine = mock { answers = {
      { content = "abc", error = "the disk is gone", code = "EIO", after = 1 },
      { content = "abc", stall = true, after = 2 },
      { content = "abc", cancel = true, after = 1 }, { content = "abc", stall = true },
    } }
    local session = asked(engine)
    local result, message, code = session:generate()
    assert.is_nil(result)
    assert.same({ "the disk is gone", "EIO" }, { message, code })
    assert.equal(7, session:position())
    assert.equal("deadline", session:generate({ deadline_ms = 50 }).finish_reason)
    assert.equal("cancel", session:generate().finish_reason)
    local job = session:start()
    for _ = 1, 20 do job:poll() end
    assert.is_false(job:wait(60000))
    local held, _, busy = session:append("x")
    assert.is_nil(held)
    assert.equal("EBUSY", busy)
    job:cancel()
    assert.equal("done", job:poll().type)
    assert.equal("cancel", job:result().finish_reason)
  end)

  it("chooses as it is told", function()
    local engine = mock { answers = {}, choose = function(_, choices) return #choices end }
    assert.equal(2, (asked(engine):choose { "yes", "no" }))
    assert.equal(1, (asked(mock {}):choose { "yes", "no" }))
  end)

  it("says what it lacks", function()
    local logits, _, code = asked(mock {}):logits()
    assert.is_nil(logits)
    assert.equal("EUNSUPPORTED", code)
    assert.is_false(pcall(mock, { answer = "x" }))
    assert.is_false(pcall(function() asked(mock {}):generate { temprature = 1 } end))
    local engine, message, code2 = mock { token_ms = -1 }
    assert.is_nil(engine)
    assert.same({ "option 'token_ms' is -1, allowed are 0 to 60000", "EINVAL" }, { message, code2 })
  end)

  it("has a tokenizer of bytes and control tokens, without a file", function()
    local tokenizer = mock {}:tokenizer()
    local tokens, offsets = tokenizer:encode { "é", { control = "<think>" }, { ids = core.tokens { 0 } } }
    assert.equal("é<think><｜begin▁of▁sentence｜>", tokenizer:decode(tokens))
    assert.same({ 0, 1, 2, 9 }, offsets)
    assert.equal(tokenizer:token("<think>"), tokens[3])
    assert.same({ 3, "é" }, { tokenizer:count "abc", tokenizer:decode(tokens, 1, 2) })
    assert.is_nil((tokenizer:encode { { control = "<x>" } }))
  end)
end)
