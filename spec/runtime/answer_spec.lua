--- What a job makes of its tokens: the text of an answer, token by token and as a whole.
local support = require "spec.support"
local internals = support.internals()
local tiny = require "spec.lua.tiny"

local folder, engine, tokenizer

setup(function()                                         -- the tiny model, whose 512 ids the pocket's tokenizer names
  folder = support.temporary_folder()
  os.execute(("cp %s/* models/pocket/tokenizer.json %s/"):format(tiny.path, folder))
  engine = tiny.open { path = folder, threads = 1 }
  tokenizer = assert(engine:tokenizer())
end)
teardown(function()
  engine:close()
  support.remove(folder)
end)

--- An answer of `count` tokens drawn from the one-token texts or ids in `allowed`: every event, and the result.
local function answer(allowed, count, given)
  local session, bias, events = assert(engine:session { context = 1024 }), {}, {}
  session:sync { 20, 21, 22 }
  for _, one in ipairs(allowed) do bias[type(one) == "number" and one or tokenizer:encode(one)[1]] = 10000 end
  local options = { max_tokens = count, seed = 6, temperature = 100, logit_bias = bias }
  for name, value in pairs(given or {}) do options[name] = value end
  local cancel_at = options.cancel_at
  options.cancel_at = nil
  local job = assert(session:start(options))
  while not job:finished() do
    job:wait(60000)
    local event = job:poll()
    if event and event.type == "token" then events[#events + 1] = event end
    if event and cancel_at == #events then job:cancel() end
    if event and event.type == "done" then events.tail = event.tail end
  end
  local result = assert(job:result())
  session:close()
  return result, events
end

local function shown(events)
  local parts = {}
  for i, event in ipairs(events) do parts[i] = event.text end
  return table.concat(parts) .. events.tail
end

local function ids_of(events)
  local ids = {}
  for i, event in ipairs(events) do ids[i] = event.token end
  return ids
end

--- The id of the token that stands for one byte.
local function byte(value)
  for id = 16, 271 do
    if tokenizer:decode { id } == string.char(value) then return id end
  end
end

describe("the text of an answer", function()
  it("is what its tokens decode to, shown piece by piece", function()
    local result, events = answer({ "a", "b", " w", "ing", ">\n" }, 60)
    assert.equal(tokenizer:decode(result.tokens), result.text)
    assert.equal(result.text, shown(events))
    assert.same(result.tokens:totable(), ids_of(events))
  end)

  local pieces = {}
  setup(function()
    for i, value in ipairs { 0xF0, 0x9F, 0x8F, 0xBD, 0xE2, 0x88, 0x61 } do pieces[i] = byte(value) end
  end)

  it("is well-formed UTF-8 whatever bytes are drawn, and the bytes themselves when raw", function()
    local result, events = answer(pieces, 200)
    local bytes = tokenizer:decode(result.tokens)
    assert.is_false(internals.is_utf8(bytes))
    assert.equal(table.concat((internals.text { bytes })), result.text)
    assert.is_true(internals.is_utf8(result.text))
    for _, event in ipairs(events) do assert.is_true(internals.is_utf8(event.text)) end
    assert.equal(result.text, shown(events))
    local raw
    raw, events = answer(pieces, 200, { raw = true })
    assert.equal(bytes, raw.text)
    assert.equal(bytes, shown(events))
  end)

  it("names control tokens, but for those that begin and end a text", function()
    local result = answer({ 0, 1, 5, 6, 7, "a" }, 40, { ignore_eos = true })
    assert.equal(40, #result.tokens)
    local expected = {}
    for i, id in ipairs(result.tokens:totable()) do expected[i] = id > 1 and tokenizer:decode { id } or "" end
    assert.equal(table.concat(expected), result.text)
    assert.truthy(result.text:find("</think>", 1, true))
  end)
end)

describe("a stop string", function()
  local letters = { "s", "t", "o", "p" }

  it("ends the answer and is not shown, wherever tokens end; the tokens stay", function()
    local whole = answer(letters, 300).text
    for _, stop in ipairs { whole:sub(40, 46), whole:sub(100, 104), whole:sub(9, 9) } do
      local result, events = answer(letters, 300, { stop = { stop } })
      local at = whole:find(stop, 1, true)
      assert.equal("stop", result.finish_reason)
      assert.equal(whole:sub(1, at - 1), result.text)
      assert.equal(result.text, shown(events))
      assert.equal(whole:sub(1, at + #stop - 1), tokenizer:decode(result.tokens))
    end
  end)

  it("that never comes is only waited for", function()
    local whole = answer(letters, 50)
    local result, events = answer(letters, 50, { stop = { whole.text:sub(-3) .. "x", "nowhere" } })
    assert.same({ "length", whole.text, whole.text }, { result.finish_reason, result.text, shown(events) })
    assert.equal("", events.tail)                        -- the last token knew that it was the last
  end)

  it("half seen when the job is cancelled is shown with the end", function()
    local result, events = answer({ "s" }, 300, { stop = { ("s"):rep(200) .. "t" }, cancel_at = 7 })
    assert.equal("cancel", result.finish_reason)
    assert.equal(("s"):rep(#events), result.text)
    assert.equal(result.text, events.tail)
  end)

  it("and a stop id together end at whichever comes first", function()
    local result = answer({ "s", 5 }, 300, { stop = { "ssss", 5 } })
    assert.equal("stop", result.finish_reason)
    assert.is_nil(result.text:find("<think>", 1, true))
    assert.is_true(#result.text < 4)
  end)
end)
