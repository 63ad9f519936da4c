require "spec.support"
local moonseek = require "moonseek"

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
end)
