local json = require "moonseek.json"
local characters = require "moonseek.parser.characters"
local parser = require "moonseek.parser"
local conversation = require "spec.moonseek.conversation"
local official = require "spec.moonseek.official"
require "spec.support"

local tokenizer = conversation.tokenizer
local vectors = conversation.vectors.parser
local TOOLS = { "f", "g" }

-- {== Streams

local controls = {}
local names = { "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<think>", "</think>", "｜DSML｜",
  "<｜User｜>" }
for _, name in ipairs(names) do
  controls[name] = tokenizer:token(name)
end

--- A stream: texts, and { name } for control tokens, of a text in which these are written out.
local function stream_of(text)
  local stream, at, places = {}, 1, {}
  while at <= #text do
    local first, name = #text + 1, nil
    for control in pairs(controls) do
      if (places[control] or 0) < at then places[control] = text:find(control, at, true) or #text + 1 end
      if places[control] < first then first, name = places[control], control end
    end
    if first > at then stream[#stream + 1] = text:sub(at, first - 1) end
    if name then stream[#stream + 1] = { name } end
    at = first + #(name or "")
  end
  return stream
end

--- Feeds a stream, texts in the lengths that `length()` gives, and returns the result or nil, what the events said
-- (texts
-- joined), and the parser.
local function parse(stream, options, length, reason)
  options.tokenizer = tokenizer
  local p = parser.new(options)
  local said = { reasoning = {}, text = {}, arguments = {}, calls = {} }
  local function hear(events)
    for _, event in ipairs(events) do
      if event.type == "call_delta" then
        local parts = said.arguments[event.index] or {}
        said.arguments[event.index] = parts
        parts[#parts + 1] = event.arguments
      elseif event.type == "call" then
        said.calls[event.index] = event.call
      else
        assert(event.text ~= "")
        said[event.type][#said[event.type] + 1] = event.text
      end
    end
  end
  for _, part in ipairs(stream) do
    if type(part) == "table" then
      hear(p:feed(controls[part[1]]))
    else
      local at = 1
      while at <= #part do
        local last = math.min(#part, at + (length and length() or #part) - 1)
        hear(p:feed(100, part:sub(at, last)))
        at = last + 1
      end
    end
  end
  hear(p:finish(reason))
  said.reasoning, said.text = table.concat(said.reasoning), table.concat(said.text)
  for i, parts in pairs(said.arguments) do said.arguments[i] = table.concat(parts) end
  return p:result(), said, p
end

local function tolerant(text, thinking, reason, tools)
  return parse(stream_of(text), { thinking = thinking, tools = tools or TOOLS }, nil, reason)
end

--- What a result holds, as one text: for comparisons.
local function summary(result, said)
  local parts = {}
  if result then
    parts = { result.reasoning, result.text, result.finish_reason, table.concat(result.dropped or {}, "|") }
    for _, call in ipairs(result.tool_calls) do
      for _, key in ipairs { "index", "name", "arguments", "malformed", "message", "raw" } do
        parts[#parts + 1] = key .. "=" .. tostring(call[key])
      end
    end
  end
  parts[#parts + 1] = said.reasoning
  parts[#parts + 1] = said.text
  for i = 1, 20 do parts[#parts + 1] = said.arguments[i] end
  return table.concat(parts, "\1")
end

local function calls_of(result)
  local calls = {}
  for i, call in ipairs(result.tool_calls) do calls[i] = { call.name, call.arguments } end
  return calls
end

local OPEN, CLOSE = "\n\n<｜DSML｜tool_calls>\n", "\n</｜DSML｜tool_calls>"
local EOS = "<｜end▁of▁sentence｜>"

local function parameter(key, value, kind)
  return ('<｜DSML｜parameter name="%s" string="%s">%s</｜DSML｜parameter>'):format(key, kind or "true", value)
end

local function invoke(name, ...)
  return ('<｜DSML｜invoke name="%s">\n%s\n</｜DSML｜invoke>'):format(name, table.concat({ ... }, "\n"))
end

local function calls(...) return OPEN .. table.concat({ ... }, "\n") .. CLOSE end

-- {== The strict form

describe("the strict parser", function()
  local function strict(text, mode, length)
    return parse(stream_of(text), { thinking = mode == "thinking", strict = true }, length)
  end

  for _, vector in ipairs(vectors) do
    it("makes of " .. vector.name .. " what the official one does", function()
      local result, said = strict(vector.text, vector.mode)
      if vector.strict == json.null then
        assert.is_nil(result)
        assert.is_nil(official(vector.text, vector.mode == "thinking"))
        return
      end
      local wanted = { vector.strict[1], vector.strict[2], {} }
      for i, call in ipairs(vector.strict[3]) do wanted[3][i] = { call[1], call[2] } end
      assert.same(wanted, { result.reasoning, result.text, calls_of(result) })
      assert.same(wanted, official(vector.text, vector.mode == "thinking"))
      assert.same({ result.reasoning, result.text }, { said.reasoning, said.text })
    end)
  end

  it("takes the turns of O1 and O2 as the official test does, however they are cut", function()
    local prompts = {}
    for _, vector in ipairs(conversation.vectors.encoding) do prompts[vector.name] = vector.expected end
    local HEAD = "<｜Assistant｜><think>"
    local function turn(name, last)
      local text = prompts[name]
      local _, first = text:find(HEAD, 1, true)
      while last and text:find(HEAD, first, true) do _, first = text:find(HEAD, first, true) end
      local at = text:find("<｜User｜>", first, true) or #text + 1
      return text:sub(first + 1, at - 1)
    end
    local weather = "The user wants to know the weather in Beijing. I should use the get_weather tool."
    local rows = {
      { turn("O1"), weather, "", { { "get_weather", '{"location": "Beijing", "unit": "celsius"}' } } },
      { turn("O1", true), "Got the weather data. Let me format a nice response.",
        "The weather in Beijing is currently sunny with a temperature of 22°C and 45% humidity.", {} },
      { turn("O2", true), "The user asks about the capital of France. It is Paris.",
        "The capital of France is Paris.", {} },
    }
    for _, row in ipairs(rows) do
      for _, length in ipairs { 1, 2, 3, 7, 1000 } do
        for _, form in ipairs { { strict = true }, { tools = { "get_weather" } } } do
          local result = parse(stream_of(row[1]), { thinking = true, strict = form.strict, tools = form.tools },
            function() return length end)
          assert.same({ row[2], row[3], row[4] }, { result.reasoning, result.text, calls_of(result) })
        end
      end
    end
    assert.is_nil(prompts.O2:find("I should greet back", 1, true))
  end)

  it("says why it refuses", function()
    local reasons = {
      { "the reasoning has no end", "t" .. EOS }, { "the output ended without an end token", "t</think>a" },
      { "'</think>' stands in the text", "</think></think>" .. EOS }, { "'<think>' stands in the reasoning",
        "<think>" },
      { "'｜DSML｜' stands in the text", "</think>a\n<｜DSML｜tool_calls" },
      { "'｜DSML｜' stands outside of tool calls", "</think>\n\n<｜DSML｜toolcalls" },
      { "there is a token after the end token", "</think>" .. EOS .. EOS },
      { "there is text after the end token", "</think>" .. EOS .. "x" },
      { "there is text after the tool calls", "</think>" .. calls(invoke("f")) .. "x" .. EOS },
      { "the tool calls have no end", "</think>" .. OPEN .. invoke("f") .. EOS },
      { "tool calls: parameter 'a' stands twice", "</think>" .. calls(invoke("f", parameter("a", "1"),
        parameter("a", "1"))) },
    }
    for _, row in ipairs(reasons) do
      local p = parser.new { tokenizer = tokenizer, thinking = true, strict = true }
      for _, part in ipairs(stream_of(row[2])) do
        if type(part) == "table" then p:feed(controls[part[1]]) else p:feed(100, part) end
      end
      p:finish()
      local result, message, code = p:result()
      assert.is_nil(result)
      assert.same({ row[1], "EFORMAT" }, { message, code })
      if row[1] ~= "the reasoning has no end" then assert.is_nil(official(row[2], true)) end
    end
  end)

  it("takes an end token within a call for a part of it, as the official one does", function()
    local text = calls(invoke("f", parameter("a", "x" .. EOS .. "y"))) .. EOS
    local result = strict(text, "chat")
    assert.same({ { "f", '{"a": "x' .. EOS .. 'y"}' } }, calls_of(result))
    assert.same({ "", "", calls_of(result) }, official(text, false))
    for _, refused in ipairs { text .. EOS, text .. "x", calls(invoke "f") .. "x" .. EOS, OPEN .. invoke "f" .. EOS } do
      assert.is_nil((strict(refused, "chat")))
      assert.is_nil(official(refused, false))
    end
  end)

  it("refuses control tokens that were typed, which the official one would take for generated ones", function()
    local typed = { "a</think>b", "<think>", "｜DSML｜", EOS, "\n\n<｜DSML｜tool_calls>" }
    for _, text in ipairs(typed) do
      assert.is_nil((parse({ text, { "</think>" }, "x", { EOS } }, { thinking = true, strict = true })))
      assert.is_nil((parse({ "x", { "</think>" }, text, { EOS } }, { thinking = true, strict = true })))
    end
    local typed_end = { "\n\n<", { "｜DSML｜" }, 'tool_calls>\n<', { "｜DSML｜" }, 'invoke name="f">\n<',
      { "｜DSML｜" },
      'parameter name="a" string="true">x</｜DSML｜parameter>\n</', { "｜DSML｜" }, "invoke>\n</",
        { "｜DSML｜" }, "tool_calls>" }
    assert.is_nil((parse(typed_end, { strict = true })))
  end)

  it("takes linear time", function()
    local function seconds(n)
      local text = calls((invoke("f", parameter("a", ("x\n"):rep(n))) .. "\n"):rep(20) .. invoke("g")) .. EOS
      collectgarbage()
      local start = os.clock()
      assert(strict(text, "chat", function() return 50 end))
      return os.clock() - start
    end
    local ratio = math.huge
    for _ = 1, 3 do ratio = math.min(ratio, (seconds(8000) + 1e-3) / (seconds(1000) + 1e-3)) end
    assert.is_true(ratio < 30, ("eight times the length takes %.0f times as long"):format(ratio))
  end)
end)

-- {== The tolerant form: one row a malformed output

describe("the tolerant parser", function()
  local function is(wanted, text, thinking, reason, tools)
    local result = tolerant(text, thinking, reason, tools)
    local got = { result.reasoning, result.text, result.finish_reason }
    for i, call in ipairs(result.tool_calls) do
      got[3 + i] = call.malformed and { call.name, call.malformed } or { call.name, call.arguments }
    end
    assert.same(wanted, got)
    return result
  end

  it("takes what is well formed", function()
    is({ "think", "hi", "tool_calls", { "f", '{"a": "x \\"y\\"\\n<z>", "n": 3}' }, { "g", "{}" } },
      "think</think>hi" .. calls(invoke("f", parameter("a", 'x "y"\n<z>'), parameter("n", "3", "false")),
        invoke("g")) .. EOS,
      true)
    is({ "", "2 + 2 = 4.", "stop" }, "2 + 2 = 4." .. EOS)
  end)

  it("takes newlines off around the reasoning, before the answer and before calls", function()
    is({ "t", "hello\n", "stop" }, "\nt\n</think>\n\nhello\n" .. EOS, true)
    is({ "t\n\nu", "a\n\nb", "tool_calls", { "f", "{}" } },
      "\n\nt\n\nu\n</think>\na\n\nb\n\n" .. calls(invoke "f"):sub(2), true)
    is({ "", "", "stop" }, "\n\n\n" .. EOS)
  end)

  it("ended inside the reasoning: reasoning only", function()
    is({ "no close", "", "stop" }, "no close" .. EOS, true)
    is({ "no close\n<", "", "length" }, "no close\n<", true, "length")
  end)

  it("no </think> before a block: the reasoning is closed, the calls are taken", function()
    local result, _, p = tolerant("t" .. calls(invoke "f") .. EOS, true)
    assert.same({ "t", "", { { "f", "{}" } } }, { result.reasoning, result.text, calls_of(result) })
    assert.equal(0, p:answer_at())
  end)

  it("tells whether it is within the reasoning", function()
    local p = parser.new { tokenizer = tokenizer, thinking = true, tools = { "f" } }
    assert.is_true(p:reasoning())
    p:feed(nil, "hm")
    assert.is_true(p:reasoning())
    p:feed(tokenizer:token("</think>"))
    assert.is_false(p:reasoning())
    assert.is_false(parser.new { tokenizer = tokenizer }:reasoning())
    assert.is_true(parser.new { tokenizer = tokenizer, thinking = true, strict = true }:reasoning())
  end)

  it("a second </think> in the answer is dropped, and reported", function()
    assert.same({ "</think>" }, is({ "t", "ab", "stop" }, "t</think>a</think>b" .. EOS, true).dropped)
    is({ "", "ab", "stop" }, "a</think>b" .. EOS)
  end)

  it("<think> at the start begins reasoning; elsewhere it is text", function()
    is({ "t", "a", "stop" }, "<think>t</think>a" .. EOS, true)
    is({ "t", "a", "stop" }, "\n<think>t</think>a" .. EOS)
    is({ "t<think>u", "a<think>", "stop" }, "t<think>u</think>a<think>" .. EOS, true)
  end)

  it("a block after any whitespace, or none, is one", function()
    for _, space in ipairs { "", "\n", "\n\n\n", " ", "\n \n" } do
      local result = tolerant("a" .. space .. calls(invoke "f"):sub(3) .. EOS)
      assert.same({ { "f", "{}" } }, calls_of(result))
      assert.equal("a" .. space:gsub("\n*$", ""), result.text)
    end
    local result = tolerant("\n<｜DSML｜tool_calls>  " .. invoke "f":gsub("\n",
      " \n\n ") .. "\t</｜DSML｜tool_calls>")
    assert.same({ { "f", "{}" } }, calls_of(result))
  end)

  it("a bare invoke counts for a known tool; of another it is text", function()
    is({ "", "a", "tool_calls", { "f", '{"a": "1"}' }, { "g", "{}" } },
      "a\n\n" .. invoke("f", parameter("a", "1")) .. "\n" .. invoke "g" .. EOS)
    is({ "", "a\n\n" .. invoke "h", "stop" }, "a\n\n" .. invoke "h" .. EOS)
  end)

  it("C05: other tags are text: toolcalls, plain ones, ASCII pipes, drifted markers", function()
    for _, block in ipairs { "<｜DSML｜toolcalls>x</｜DSML｜toolcalls>",
      "<tool_calls>\n<invoke name=\"f\">\n</invoke>\n</tool_calls>",
                             "<|DSML|tool_calls>", "<‖DSML‖tool_calls>", "<｜｜DSML｜｜tool_calls>",
                               "<｜DSML｜ calls>",
                             "｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", "<｜DSML｜",
                               "<｜DSML｜tool_call" } do
      is({ "", "a\n\n" .. block .. " b", "stop" }, "a\n\n" .. block .. " b" .. EOS)
    end
  end)

  it("a parameter without its string attribute is a string", function()
    is({ "t", "", "tool_calls", { "f", '{"a": "1"}' } },
      "t</think>" .. calls(invoke("f", '<｜DSML｜parameter name="a">1</｜DSML｜parameter>')), true)
  end)

  it("a string stays one, whatever the schema says; entities stay as they are", function()
    is({ "", "", "tool_calls", { "f", '{"n": "3", "x": "&amp;lt;"}' } },
      calls(invoke("f", parameter("n", "3"), parameter("x", "&amp;lt;"))))
  end)

  it("a JSON object in place of parameters is the arguments", function()
    is({ "", "", "tool_calls", { "f", '{"a": [1, "x"]}' } }, calls(invoke("f", ' {"a": [1, "x"]}')))
  end)

  local malformed = {
    { "duplicate_parameter", "f", invoke("f", parameter("a", "1"), parameter("a", "2")),
      "parameter 'a' stands twice" },
    { "invalid_json", "f", invoke("f", parameter("n", "{bad", "false")),
      "parameter 'n': byte 2: a key in quotes expected, got 'b'" },
    { "invalid_json", "f", invoke("f", parameter("n", "", "false")),
      "parameter 'n': byte 1: a value expected, got the end" },
    { "unknown_tool", "h", invoke("h", parameter("a", "1")), "no tool 'h' was offered" },
    { "invalid_tag", "f", invoke("f", parameter("a", "1", "maybe")), "a parameter's tag is not as it should be" },
    { "invalid_tag", nil, "<｜DSML｜invoke>\n</｜DSML｜invoke>", "the call's tag holds no name" },
    { "invalid_tag", "f", invoke("f", "<｜DSML｜parameter>1</｜DSML｜parameter>"),
      "a parameter's tag is not as it should be" },
    { "invalid_tag", "f", invoke("f", "</｜DSML｜parameter>"), "a parameter ends that was not begun" },
    { "stray_text", "f", invoke("f", "some words"), "there is text beside the parameters" },
    { "stray_text", "f", invoke("f", "[1]"), "there is text beside the parameters" },
    { "stray_text", "f", invoke("f", parameter("a", "1"), '{"b": 2}'), "there is text beside the parameters" },
    { "not_closed", "f",
      '<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="true">1\n</｜DSML｜invoke>',
      "parameter 'a' has no end" },
    { "not_closed", "f", '<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="true">1\n'
      .. parameter("b", "2")
      .. "\n</｜DSML｜invoke>", "parameter 'a' has no end" },
  }
  for _, row in ipairs(malformed) do
    it(("C05: is delivered with its raw text: %s, %s"):format(row[1], row[4]), function()
      local result = is({ "", "", "tool_calls", { row[2], row[1] }, { "g", "{}" } }, calls(row[3], invoke "g") .. EOS)
      assert.equal(row[3], result.tool_calls[1].raw)
      assert.equal(row[4], result.tool_calls[1].message)
      assert.is_nil(result.tool_calls[1].arguments)
    end)
  end

  it("C05: a call within a call: the first has no end, the second stands", function()
    local result = is({ "", "", "tool_calls", { "f", "not_closed" }, { "g", "{}" } },
      OPEN .. '<｜DSML｜invoke name="f">\n' .. parameter("a", "1") .. "\n" .. invoke "g" .. CLOSE .. EOS)
    assert.equal('<｜DSML｜invoke name="f">\n' .. parameter("a", "1") .. "\n", result.tool_calls[1].raw)
    is({ "", "", "tool_calls", { "f", "not_closed" } }, OPEN .. '<｜DSML｜invoke name="f">\n' .. CLOSE .. EOS)
  end)

  it("cut off within the block: what is complete is delivered, the rest as malformed", function()
    local text = calls(invoke "g", invoke("f", parameter("a", "12")))
    local cut = text:find("12", 1, true)
    local result = is({ "", "", "length", { "g", "{}" }, { "f", "cut_off" } }, text:sub(1, cut), false, "length")
    assert.equal('<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="true">1',
      result.tool_calls[2].raw)
    is({ "", "", "tool_calls", { "g", "{}" } }, calls(invoke "g"), false, "length")
    is({ "t", "cut off", "length" }, "t</think>cut off", true)
  end)

  it("text after the block is dropped, and reported", function()
    local result = is({ "", "", "tool_calls", { "f", "{}" } }, calls(invoke "f") .. " done\n" .. EOS)
    assert.same({ "done" }, result.dropped)
    assert.same({ "x", "y" }, is({ "", "", "tool_calls", { "f", "{}" } },
      OPEN .. " x " .. invoke "f" .. "\ny\n" .. CLOSE .. EOS).dropped)
    assert.same({ "more</think>" }, is({ "", "a", "stop" }, "a" .. EOS .. "more</think>").dropped)
  end)

  it("without tools nothing is a call", function()
    local block = calls(invoke "f")
    is({ "", "a" .. block, "stop" }, "a" .. block .. EOS, false, nil, {})
    is({ "t" .. block, "", "stop" }, "t" .. block .. EOS, true, nil, {})
  end)

  it("C06: markers typed as text stay text, in reasoning, code, quotes and values", function()
    local block = calls(invoke("f", parameter("a", "1")))
    for _, text in ipairs { block, "```\n" .. block .. "\n```", "> " .. block:gsub("\n", "\n> "), "</think>",
      "<think>" .. EOS } do
      local result = parse({ "t" .. text, { "</think>" }, "a" .. text, { EOS } }, { thinking = true, tools = TOOLS })
      assert.same({ "t" .. text:gsub("\n*$", ""), "a" .. text, 0 }, { result.reasoning, result.text,
        #result.tool_calls })
    end
    local result = parse({ "\n\n<", { "｜DSML｜" }, "tool_calls>\n<", { "｜DSML｜" }, 'invoke name="f">\n<',
      { "｜DSML｜" },
      'parameter name="a" string="true">' .. block .. "</", { "｜DSML｜" }, "parameter>\n</", { "｜DSML｜" },
        "invoke>\n</",
      { "｜DSML｜" }, "tool_calls>" }, { tools = TOOLS })
    assert.same({ a = block }, json.decode(result.tool_calls[1].arguments))
  end)

  it("other tags within a value belong to it", function()
    local value = "<｜DSML｜foo> ｜DSML｜ <think></think> </｜DSML｜x> <｜User｜>"
    local result = tolerant(calls(invoke("f", parameter("a", value))) .. EOS)
    assert.same({ a = value }, json.decode(result.tool_calls[1].arguments))
  end)

  it("tells where the answer begins among the ids", function()
    local function place(text, thinking)
      local _, _, p = parse(stream_of(text), { thinking = thinking, tools = TOOLS })
      return p:answer_at()
    end
    assert.same({ 1, 3, 0, 4 }, { place("a", false), place("t</think>a", true), place("t", true),
      place("<think>t</think>a", false) })
  end)

  it("T07: holds the bytes of a character until it is whole; what never becomes one is U+FFFD", function()
    local p = parser.new { tokenizer = tokenizer }
    assert.same({}, p:feed(100, "\240\159"))
    assert.same({ { type = "text", text = "\240\159\152\128x" } }, p:feed(100, "\152\128x\226"))
    assert.same({ { type = "text", text = "\239\191\189\239\191\189a" } }, p:feed(100, "\255a"))
    p:feed(100, "\226\130")
    assert.same({ { type = "text", text = "\239\191\189" } }, p:feed(controls[EOS]))
    assert.same({}, p:finish())
    assert.equal("\240\159\152\128x\239\191\189\239\191\189a\239\191\189", p:result().text)
  end)

  it("reads ids by their tokenizer when no bytes come with them", function()
    local p = parser.new { tokenizer = tokenizer, thinking = true, tools = { { name = "f" } } }
    local block = { 271, 30, 128825, 72461, 4941, 12548, 1018, 30, 128825, 40148, 5406, 2329, 1281, 72, 3816, 1718,
      128825, 40148,
                    5406, 1018, 1718, 128825, 72461, 4941, 12548, 32, 1 }
    for _, id in ipairs { 19923, 128822, 2058 } do p:feed(id) end
    for _, id in ipairs(block) do p:feed(id) end
    p:finish()
    local result = p:result()
    assert.same({ "Hello", " world", { { "f", "{}" } } }, { result.reasoning, result.text, calls_of(result) })
  end)

  it("raises for wrong arguments, and after its end", function()
    for _, given in ipairs { {}, { tokenizer = tokenizer, thinking = "on" }, { tokenizer = tokenizer, tools = { 5 } },
                             { tokenizer = tokenizer, tool = {} } } do
      assert.is_false(pcall(parser.new, given))
    end
    local p = parser.new { tokenizer = tokenizer }
    assert.is_false(pcall(p.feed, p))
    assert.is_false(pcall(p.feed, p, "x"))
    assert.is_false(pcall(p.feed, p, 1, 2))
    assert.is_false(pcall(p.result, p))
    p:finish()
    assert.is_false(pcall(p.finish, p))
    assert.is_false(pcall(p.feed, p, 100, "x"))
  end)
end)

-- {== Cuts

describe("the way a stream is cut", function()
  local random = conversation.generator(20260731)
  local forms = { { tools = TOOLS }, { tools = {} }, { strict = true } }

  local function each_form(thinking, run)
    for _, form in ipairs(forms) do run { thinking = thinking, tools = form.tools, strict = form.strict } end
  end

  it("C05: changes nothing: all vectors, at every byte, and byte by byte", function()
    for _, vector in ipairs(vectors) do
      local stream = stream_of(vector.text)
      each_form(vector.mode == "thinking", function(options)
        local whole = summary(parse(stream, options))
        assert.equal(whole, summary(parse(stream, options, function() return 1 end)))
        for i, part in ipairs(stream) do
          for at = 1, type(part) == "string" and #part - 1 or 0 do
            local cut = {}
            for k, other in ipairs(stream) do
              if k == i then
                cut[#cut + 1], cut[#cut + 2] = part:sub(1, at), part:sub(at + 1)
              else
                cut[#cut + 1] = other
              end
            end
            assert.equal(whole, summary(parse(cut, options)))
          end
        end
      end)
    end
  end)

  local pieces = {
    "<｜DSML｜", "</｜DSML｜", "｜DSML｜", "tool_calls>", "invoke name=\"f\">", "invoke name=\"h\">",
      "invoke", "parameter>",
    'parameter name="a" string="true">', 'parameter name="b" string="false">', "invoke>", "<think>", "</think>",
      EOS, "\n", "\n\n",
    " ", "<", "</", ">", '"', '">', "1", "{}", "x", "\227\129\130", "\227", "\255", "\\", parameter("a", "1"),
      invoke("g"),
    "<｜begin▁of▁sentence｜>",
  }
  local sources = {}
  for i, vector in ipairs(vectors) do sources[i] = vector.text end
  sources[#sources + 1] = "t</think>" .. calls(invoke("f", parameter("a", "x\ny"), parameter("b", "[1, 2]",
    "false")), invoke "g") .. EOS

  local function mutated()
    local text = sources[random(#sources)]
    for _ = 1, random(3) - 1 do
      local at, kind = random(#text + 1), random(3)
      local piece = pieces[random(#pieces)]
      if kind == 1 then
        text = text:sub(1, at - 1) .. piece .. text:sub(at)
      elseif kind == 2 then
        text = text:sub(1, at - 1) .. text:sub(at + random(12))
      else
        text = text:sub(1, at - 1) .. piece .. text:sub(at + random(20))
      end
    end
    return text
  end

  it("C05: changes nothing, and no call is lost or guessed: 10,000 mutated outputs at random cuts", function()
    local accepted = 0
    for _ = 1, 10000 do
      local text, thinking = mutated(), random(2) == 1
      local stream = stream_of(text)
      local options = { thinking = thinking, tools = TOOLS, strict = random(3) == 1 }
      local result, said = parse(stream, options)
      assert.equal(summary(result, said), summary(parse(stream, options, function() return random(7) end)))
      if options.strict then
        -- the official parser reads a decoded text, in which broken characters are U+FFFD
        local whole, held = characters.take("", text)
        local wanted = official(whole .. characters.rest(held), thinking)
        assert.same(wanted, result and { result.reasoning, result.text, calls_of(result) })
        accepted = accepted + (result and 1 or 0)
      else
        for i, call in ipairs(result.tool_calls) do
          assert.equal(i, call.index)
          if call.malformed then
            assert.equal("string", type(call.raw) == "string" and type(call.message))
          else
            assert.equal("object", json.type(json.decode(call.arguments)), text)
            assert.equal(call.arguments, said.arguments[i])
          end
          assert.equal(call, said.calls[i])
        end
        assert.same({ result.reasoning, result.text }, { said.reasoning, said.text })
      end
    end
    assert.is_true(accepted > 200, accepted .. " accepted")
  end)

  it("C05: takes linear time: long values, many calls, runs of what is held back", function()
    local texts = {
      function(n) return calls(invoke("f", parameter("a", ("x\n<"):rep(n)))) end,
      function(n) return calls((invoke("f") .. "\n"):rep(n / 10) .. invoke "g") end,
      function(n) return ("\n"):rep(n) .. "x" end, function(n) return "a" .. ("\n"):rep(n) end,
      function(n) return ("<"):rep(n) end, function(n) return ("<｜DSML｜"):rep(n / 5) end,
      function(n) return OPEN .. '<｜DSML｜invoke name="' .. ("x"):rep(n) end,
      function(n) return OPEN .. ("</｜DSML｜invoke>"):rep(n / 10) end,
      function(n) return calls(invoke("f", (" "):rep(n) .. "x" .. (" "):rep(n) .. "y")) end,
      function(n) return calls(invoke("f", parameter("a", ("["):rep(n), "false"))) end,
      function(n) return ("\227"):rep(n) end,
    }
    local function seconds(make, n)
      local stream = stream_of(make(n))
      collectgarbage()
      local start = os.clock()
      parse(stream, { tools = TOOLS }, function() return 3 end)
      return os.clock() - start
    end
    for i, make in ipairs(texts) do
      local ratio = math.huge
      for _ = 1, 3 do ratio = math.min(ratio, (seconds(make, 8000) + 1e-3) / (seconds(make, 1000) + 1e-3)) end
      assert.is_true(ratio < 30, ("text %d: eight times the length takes %.0f times as long"):format(i, ratio))
    end
  end)

  it("C05: takes a value of 10 MB", function()
    local value = ("0123456789abcde\n"):rep(655360)
    local result = parse(stream_of(calls(invoke("f", parameter("a", value)))), { tools = TOOLS },
      function() return 4096 end)
    assert.equal(#value, #json.decode(result.tool_calls[1].arguments).a)
  end)

  it("C05: takes 100,000 calls", function()
    local count = 100000
    local result = parse(stream_of(calls((invoke "f" .. "\n"):rep(count - 1) .. invoke "g")), { tools = TOOLS })
    assert.equal(count, #result.tool_calls)
    assert.equal("g", result.tool_calls[count].name)
  end)
end)
