--- Expert policies of sessions: bit for bit what the session would get alone, and counts of what was chosen.
local support = require "spec.support"
local internals = support.internals()
local tiny = require "spec.lua.tiny"
local moonseek = require "moonseek"
local core = require "moonseek.core"

-- Of the tiny model: layers 0 to 2 route by the token's table, 3 to 5 by score.
local layers, hash_layers, experts, top_k = 6, 3, 8, 2

local policies = {
  {},
  { top_k = 1 },
  { disable = { 0, 3, 7 } },
  { bias = { [2] = 0.5, [5] = -1 } },
  { top_k = 1, bias = { [6] = 1000 }, layers = { [4] = { disable = { 1, 2 }, bias = { [6] = -1000 } } } },
}

local function open(engine, count, policy)
  local session = assert(engine:session { context = 1024 })
  assert(session:sync(tiny.tokens(count)))
  if policy then assert(session:routing(policy)) end
  return session
end

local function options(given)
  local all = { seed = 5, temperature = 1, ignore_eos = true }
  for name, value in pairs(given) do all[name] = value end
  return all
end

--- What a session says: tokens it draws, and the bytes of the logits after them.
local function speak(session, count)
  local result = assert(session:generate(options { max_tokens = count }))
  return table.concat(result.tokens:totable(), " "), assert(session:logits()):bytes()
end

local function once(engine, count, policy, drawn)
  local session = open(engine, count, policy)
  local tokens, logits = speak(session, drawn or 8)
  session:close()
  return tokens, logits
end

local function total(counts)
  local sum = 0
  for expert = 0, experts - 1 do sum = sum + counts[expert] end
  return sum
end

for _, numerics in ipairs { "fast", "reference" } do
  describe("in " .. numerics, function()
    local engine
    setup(function() engine = tiny.open { threads = 2, numerics = numerics } end)
    teardown(function() engine:close() end)

    it("sessions with different policies share steps, and each gets what it gets alone", function()
      local company = {}
      for i, policy in ipairs(policies) do
        company[i] = { session = open(engine, 20 + 23 * i, policy) }
        company[i].job = assert(company[i].session:start(options { max_tokens = 8 }))
      end
      for i, member in ipairs(company) do
        while not member.job:finished() do
          member.job:wait(60000)
          member.job:poll()
        end
        local drawn = table.concat(member.job:result().tokens:totable(), " ")
        local tokens, logits = once(engine, 20 + 23 * i, policies[i])
        assert.equal(tokens, drawn)
        assert.is_true(logits == member.session:logits():bytes())
        member.session:close()
      end
    end)

    it("kernels, threads and chunks change no bit", function()
      local policy = policies[5]
      local tokens, logits = once(engine, 100, policy)
      for _, kernels in ipairs(internals.kernel_levels()) do
        local other = tiny.open { numerics = numerics, kernels = kernels, threads = 3 }
        local session = open(other, 31, policy)
        assert(session:logits())
        assert(session:sync(tiny.tokens(100)))
        local other_tokens, other_logits = speak(session, 8)
        assert.equal(tokens, other_tokens)
        assert.is_true(logits == other_logits)
        session:close()
        other:close()
      end
    end)
  end)
end

for _, numerics in ipairs { "fast", "reference", "exact" } do
  describe("in " .. numerics, function()
    local engine
    setup(function() engine = tiny.open { numerics = numerics } end)
    teardown(function() engine:close() end)

    it("a policy that asks for nothing is none", function()
      local _, logits = once(engine, 40)
      for _, policy in ipairs { { top_k = top_k }, { bias = {} }, { disable = {}, layers = { [4] = {} } },
        { bias = { [3] = 0 } } } do
        assert.is_true(logits == select(2, once(engine, 40, policy)))
      end
      for i = 2, #policies do assert.is_false(logits == select(2, once(engine, 40, policies[i]))) end
    end)

    it("bias chooses and does not weigh: to force two experts is to disable all others", function()
      local forced = { bias = { [1] = 1000, [6] = 1000 } }
      local left = { disable = { 0, 2, 3, 4, 5, 7 } }
      assert.is_true(select(2, once(engine, 40, forced)) == select(2, once(engine, 40, left)))
    end)

    it("layers by score choose top_k of what is enabled, layers by table follow it", function()
      local session = open(engine, 60)
      assert(session:logits())
      local plain = session:routing_stats()
      session:close()
      session = open(engine, 60, { top_k = 1, disable = { 0, 3, 7 }, layers = { [5] = { bias = { [4] = 1000 } } } })
      assert(session:logits())
      local stats = session:routing_stats()
      assert.equal(60, stats.tokens)
      for layer = 0, layers - 1 do
        local counts = stats.layers[layer]
        if layer < hash_layers then
          assert.same(plain.layers[layer], counts)
        else
          assert.equal(60, total(counts))
          assert.same({ 0, 0, 0 }, { counts[0], counts[3], counts[7] })
        end
      end
      assert.equal(60, stats.layers[5][4])
      session:close()
    end)
  end)
end

describe("a policy", function()
  local engine
  setup(function() engine = tiny.open() end)
  teardown(function() engine:close() end)

  it("holds for tokens that are held but unread", function()
    local late = open(engine, 40)
    assert(late:routing(policies[3]))
    assert.is_true(select(2, once(engine, 40, policies[3], 0)) == late:logits():bytes())
    late:close()
  end)

  it("leaves what is read, and its logits, as they are", function()
    local session = open(engine, 40)
    local before = session:logits():bytes()
    assert(session:routing(policies[3]))
    assert.is_true(before == session:logits():bytes())
    assert.equal(40, session:generate({ max_tokens = 0 }).usage.cached)
    assert(session:append { 7, 8, 9 })
    local mixed = session:logits():bytes()
    local under = open(engine, 40, policies[3])
    assert(under:append { 7, 8, 9 })
    assert.is_false(mixed == under:logits():bytes())
    under:close()
    session:close()
  end)

  it("is no part of what sync compares; to read a text again under it, begin with nothing", function()
    local session = open(engine, 40)
    assert(session:logits())
    assert(session:routing(policies[3]))
    assert(session:sync(tiny.tokens(40)))
    assert.equal(40, session:generate({ max_tokens = 0 }).usage.cached)
    assert(session:sync {})
    assert(session:sync(tiny.tokens(40)))
    assert.is_true(select(2, once(engine, 40, policies[3], 0)) == session:logits():bytes())
    session:close()
  end)

  it("of its time stays with the rows before a mark; what is read again is read under the present one", function()
    local ids, other = tiny.tokens(100), {}
    for i = 1, 100 do other[i] = ids[i] end
    for i = 101, 110 do other[i] = i end
    local session = open(engine, 70)
    assert(session:logits())                                  -- a mark at 70, read without a policy
    assert(session:sync(ids))
    assert(session:logits())
    assert(session:routing(policies[2]))
    assert(session:sync(other))                               -- back to 70, where they part at 100
    local result = assert(session:generate { max_tokens = 0 })
    local straight = open(engine, 70)
    assert(straight:logits())
    assert(straight:routing(policies[2]))
    assert(straight:sync(other))
    assert.same({ 100, 10, 0 }, { result.usage.cached, result.usage.read, result.usage.reread })
    assert.is_false(straight:logits():bytes() == session:logits():bytes())    -- 70 to 99 were read without

    other[90] = 3
    assert(session:sync(other))
    result = assert(session:generate { max_tokens = 0 })
    assert.same({ 70, 40, 19 }, { result.usage.cached, result.usage.read, result.usage.reread })
    assert(straight:sync(other))
    assert.is_true(straight:logits():bytes() == session:logits():bytes())
    straight:close()
    session:close()
  end)

  it("goes along with a fork; then each has its own, and each its own counts from 0", function()
    local session = open(engine, 40, policies[3])
    assert(session:logits())
    local fork = assert(session:fork())
    assert.same(session:routing(), fork:routing())
    assert.equal(0, fork:routing_stats().tokens)
    assert(fork:append { 7, 8, 9 })
    local under = open(engine, 40, policies[3])
    assert(under:append { 7, 8, 9 })
    assert.is_true(under:logits():bytes() == fork:logits():bytes())
    assert.equal(3, fork:routing_stats().tokens)
    assert.equal(40, session:routing_stats().tokens)
    assert(fork:routing {})
    assert.same({ top_k = 2, disable = { 0, 3, 7 } }, session:routing())
    for _, one in ipairs { under, fork, session } do one:close() end
  end)

  it("of each fork is its own in the steps they share", function()
    local session, forks = open(engine, 60), {}
    assert(session:logits())
    for i, policy in ipairs(policies) do
      local fork = assert(session:fork())
      assert(fork:routing(policy))
      assert(fork:append { 9, 8, 7 })
      forks[i] = { session = fork, job = assert(fork:start(options { max_tokens = 5 })) }
    end
    for i, fork in ipairs(forks) do
      while not fork.job:finished() do
        fork.job:wait(60000)
        fork.job:poll()
      end
      local alone = open(engine, 60)
      assert(alone:logits())
      assert(alone:routing(policies[i]))
      assert(alone:append { 9, 8, 7 })
      local _, logits = speak(alone, 5)
      assert.is_true(logits == fork.session:logits():bytes())
      alone:close()
      fork.session:close()
    end
    session:close()
  end)

  it("at a rewind is the present one, for what is read again", function()
    local session = open(engine, 60)
    assert(session:logits())
    assert(session:append { 1, 2, 3, 4, 5 })
    assert(session:logits())
    assert(session:routing(policies[2]))
    assert(session:rewind(63))                                -- the newest mark is at 60, read without a policy
    local straight = open(engine, 60)
    assert(straight:logits())
    assert(straight:routing(policies[2]))
    assert(straight:append { 1, 2, 3 })
    assert.is_true(straight:logits():bytes() == session:logits():bytes())
    assert.same({ top_k = 1 }, session:routing())
    assert.equal(68, session:routing_stats().tokens)
    straight:close()
    session:close()
  end)

  it("cannot be changed while a job runs, nor after a failure is it changed", function()
    local session = open(engine, 400, policies[2])
    local job = assert(session:start { max_tokens = 0 })
    local done, message, code = session:routing {}
    if done == nil then
      assert.equal("a job runs on the session", message)
      assert.equal("EBUSY", code)
    else
      pending("the job ended first")
    end
    job:close()
    assert.equal("EINVAL", select(3, session:routing { top_k = 9 }))
    assert.same({ top_k = 1 }, session:routing())
    session:close()
  end)
end)

describe("routing_stats", function()
  local engine
  setup(function() engine = tiny.open() end)
  teardown(function() engine:close() end)

  it("counts every token that is read, once for every expert it takes, and again when it is read again", function()
    local session = open(engine, 40)
    assert.equal(0, session:routing_stats().tokens)
    speak(session, 6)
    local stats = session:routing_stats { reset = true }
    assert.equal(46, stats.tokens)
    for layer = 0, layers - 1 do assert.equal(46 * top_k, total(stats.layers[layer])) end
    stats = session:routing_stats()
    assert.equal(0, stats.tokens)
    for layer = 0, layers - 1 do assert.equal(0, total(stats.layers[layer])) end
    assert(session:sync(tiny.tokens(20)))
    assert(session:logits())
    assert.equal(20, session:routing_stats().tokens)
    session:close()
  end)

  it("counts each session's own in company", function()
    local company, expected = {}, {}
    for i = 1, 3 do
      local session = open(engine, 33 * i, policies[i])
      speak(session, 4)
      expected[i] = session:routing_stats()
      session:close()
      company[i] = open(engine, 33 * i, policies[i])
    end
    local jobs = {}
    for i, session in ipairs(company) do jobs[i] = assert(session:start(options { max_tokens = 4 })) end
    for i, job in ipairs(jobs) do
      while not job:finished() do
        job:wait(60000)
        job:poll()
      end
      assert(company[i]:logits())
      assert.same(expected[i], company[i]:routing_stats())
      company[i]:close()
    end
  end)

  it("leaves out what is cancelled", function()
    local session = open(engine, 400)
    local job = assert(session:start { max_tokens = 0 })
    while job:wait(60000) and job:poll().type ~= "prefill" do end
    job:cancel()
    while not job:finished() do
      job:wait(60000)
      job:poll()
    end
    local read = job:result().usage.read
    local stats = session:routing_stats()
    assert.equal(read, stats.tokens)
    assert.equal(read * top_k, total(stats.layers[layers - 1]))
    session:close()
  end)

  it("agrees with the tables of the checkpoint in layers that route by token", function()
    local session = open(engine, 50)
    assert(session:logits())
    local layer_0, bytes = session:routing_stats().layers[0],
      support.oracle("tiny/model.safetensors")["layers.0.ffn.gate.tid2eid"].bytes
    local wanted = {}
    for expert = 0, experts - 1 do wanted[expert] = 0 end
    for _, id in ipairs(tiny.tokens(50)) do
      for k = 0, top_k - 1 do
        local expert = bytes:byte((id * top_k + k) * 8 + 1)
        wanted[expert] = wanted[expert] + 1
      end
    end
    assert.same(wanted, layer_0)
    session:close()
  end)
end)

describe("a policy", function()
  it("that is replaced lives until its step has ended, and no longer", function()
    support.collect()
    local before = core.memory_live()
    local own = tiny.open()
    local session = open(own, 200, policies[5])
    for i = 1, 20 do
      assert(session:sync(tiny.tokens(20 * i)))
      local job = assert(session:start { max_tokens = 3, ignore_eos = true })
      job:wait(i % 4)
      job:close()
      assert(session:routing(policies[i % #policies + 1]))
    end
    session:close()
    own:close()
    support.collect()
    assert.equal(before, core.memory_live())
  end)

  it("R01: costs nothing that is kept when the n-th allocation fails", function()
    local own = tiny.open()
    local session = open(own, 3, policies[2])           -- nothing is read: no thread runs beside this
    support.collect()
    local before, n = core.memory_live(), 0
    repeat
      n = n + 1
      internals.fail_later(n)
      local done, message, code = session:routing(policies[5])
      internals.fail_later(0)
      if not done then
        assert.equal("ENOMEM", code)
        assert.truthy(message:find "an expert policy")
        assert.same({ top_k = 1 }, session:routing())
        assert.equal(before, core.memory_live())
      end
    until done
    assert.is_true(n > 3)
    assert.equal(1000, session:routing().bias[6])
    session:close()
    own:close()
  end)

  it("leaves company that has none untouched", function()
    local engine = assert(moonseek.open { path = tiny.path, threads = 2 })
    local _, alone = once(engine, 130)
    local other, mine = open(engine, 300, policies[2]), open(engine, 130)
    local job = assert(other:start(options { max_tokens = 20 }))
    local _, logits = speak(mine, 8)
    assert.is_true(alone == logits)
    job:close()
    mine:close()
    other:close()
    engine:close()
  end)
end)
