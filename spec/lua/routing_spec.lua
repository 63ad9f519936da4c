--- session:routing and session:routing_stats as tables.
require "spec.support"
local tiny = require "spec.lua.tiny"

describe("session:routing", function()
  local session, engine
  setup(function() session, engine = tiny.session(5) end)
  teardown(function()
    session:close()
    engine:close()
  end)

  it("gives what it was given, and nil when there is nothing", function()
    assert.is_nil(session:routing())
    local policy = { top_k = 1, bias = { [0] = 0.5, [7] = -2 }, disable = { 3, 1 },
      layers = { [3] = { bias = { [2] = 1 } }, [5] = { disable = { 0 }, bias = { [1] = 4 } } } }
    assert.is_true(session:routing(policy))
    assert.same(policy, session:routing())
    assert.is_true(session:routing { bias = { [2] = 1 } })          -- the whole policy is replaced
    assert.same({ top_k = 2, bias = { [2] = 1 } }, session:routing())
    assert.is_true(session:routing {})
    assert.is_nil(session:routing())
  end)

  it("is copied by giving it to another session, also when it is none", function()
    local other = assert(engine:session())
    assert(session:routing { disable = { 4 } })
    assert(other:routing(session:routing()))
    assert.same({ top_k = 2, disable = { 4 } }, other:routing())
    assert(session:routing {})
    assert(other:routing(session:routing()))
    assert.is_nil(other:routing())
    other:close()
  end)

  it("keeps a copy: what happens to the table changes nothing", function()
    local policy = { disable = { 4 } }
    assert(session:routing(policy))
    policy.disable[1], policy.top_k = 5, 1
    assert.same({ top_k = 2, disable = { 4 } }, session:routing())
  end)

  local raised = {
    { "unknown option 'topk'", { topk = 1 } },
    { "option 'top_k': integer expected, got 1.5", { top_k = 1.5 } },
    { "option 'top_k': integer expected, got string", { top_k = "1" } },
    { "option 'bias': table expected, got number", { bias = 3 } },
    { "option 'bias': expert id expected, got string", { bias = { a = 1 } } },
    { "option 'bias': expert 1: number expected, got boolean", { bias = { true } } },
    { "option 'bias': expert 1: number expected, got nan", { bias = { 0 / 0 } } },
    { "option 'disable': a list without holes is expected", { disable = { [4] = 1 } } },
    { "option 'disable': expert id expected, got string", { disable = { "1" } } },
    { "layer 3: options table expected, got number", { layers = { [3] = 1 } } },
    { "layer 3: unknown option 'top_k'", { layers = { [3] = { top_k = 1 } } } },
    { "layer 3: option 'disable': expert id expected, got table", { layers = { [3] = { disable = { {} } } } } },
    { "option 'layers': layer id expected, got boolean", { layers = { [true] = {} } } },
    { "options table expected, got boolean", false },
  }
  for _, case in ipairs(raised) do
    it("raises: " .. case[1], function()
      local ok, message = pcall(function() session:routing(case[2]) end)
      assert.is_false(ok)
      assert.truthy(message:find("spec/lua/routing_spec.lua:%d+: session:routing: "), message)
      assert.truthy(message:find(case[1], 1, true), message)
    end)
  end

  local refused = {
    { "top_k is 3: the model allows from 1 to 2 experts a token", { top_k = 3 } },
    { "session:routing: option 'top_k': 0 is not within 1 to 9007199254740991", { top_k = 0 } },
    { "expert 8 does not exist: a layer has 8, from 0", { bias = { [8] = 1 } } },
    { "expert 8 does not exist: a layer has 8, from 0", { disable = { 8 } } },
    { "session:routing: option 'disable': expert id -1 is not within 0 to 2147483647", { disable = { -1 } } },
    { "the bias of expert 1 is 1001, not within -1000 to 1000", { bias = { 1001 } } },
    { "session:routing: option 'bias': expert 1: -inf (name it in 'disable' to have it never chosen)",
      { bias = { -math.huge } } },
    { "layer 6 does not exist: the model has 6, from 0", { layers = { [6] = { disable = { 1 } } } } },
    { "layer 2 takes its experts from a table by token, so nothing can be preferred or disabled there; the first that "
      .. "chooses by score is layer 3", { layers = { [2] = { bias = { 1 } } } } },
    { "layer 3 would keep 1 of 8 experts enabled, fewer than top_k, 2", { disable = { 0, 1, 2, 3, 4, 5, 6 } } },
    { "layer 4 would keep 0 of 8 experts enabled, fewer than top_k, 1",
      { top_k = 1, disable = { 0, 1, 2, 3, 4, 5, 6 }, layers = { [4] = { disable = { 7 } } } } },
  }
  for _, case in ipairs(refused) do
    it("refuses: " .. case[1], function()
      assert(session:routing { top_k = 1 })
      local done, message, code = session:routing(case[2])
      assert.is_nil(done)
      assert.equal(case[1], message)
      assert.equal("EINVAL", code)
      assert.same({ top_k = 1 }, session:routing())
    end)
  end

  it("ends a stream that was left, as every call that changes the session", function()
    local step = assert(session:stream { max_tokens = 50, ignore_eos = true })
    assert.equal("prefill", step().type)
    assert.is_true(session:routing {})
  end)

  it("raises on a closed session", function()
    local closed = assert(engine:session())
    closed:close()
    for _, call in ipairs { "routing", "routing_stats" } do
      assert.is_false(pcall(closed[call], closed))
      assert.is_false(pcall(closed[call], closed, {}))
    end
  end)
end)

describe("session:routing_stats", function()
  it("has a count for every expert of every layer, from 0", function()
    local session, engine = tiny.session(5)
    assert(session:logits())
    local stats = session:routing_stats()
    assert.equal(5, stats.tokens)
    for layer = 0, 5 do
      local sum = 0
      for expert = 0, 7 do sum = sum + stats.layers[layer][expert] end
      assert.equal(10, sum)
      assert.is_nil(stats.layers[layer][8])
    end
    assert.is_nil(stats.layers[6])
    assert.has_error(function() session:routing_stats { rest = true } end)
    session:close()
    engine:close()
  end)
end)
