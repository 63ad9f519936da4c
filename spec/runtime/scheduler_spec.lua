--- Many sessions in one step, threads, forks of the process, faults.
local support = require "spec.support"
local internals = support.internals()
local tiny = require "spec.lua.tiny"
local moonseek = require "moonseek"
local core = require "moonseek.core"

local function options(given)
  local all = { seed = 31, temperature = 1, ignore_eos = true }
  for name, value in pairs(given or {}) do all[name] = value end
  return all
end

local function drain(job)
  local events = {}
  while not job:finished() do
    job:wait(60000)
    events[#events + 1] = job:poll()
  end
  return events
end

--- The `i`-th conversation of a company: a length and a seed of its own.
local function open(engine, i)
  local session, ids = assert(engine:session { context = 4096 }), {}
  for j = 1, 3 + (i * 67) % 331 do ids[j] = (i * 13 + j * 29) % tiny.vocabulary end
  assert(session:sync(ids))
  return session
end

local function alone(engine, i, count)
  local session = open(engine, i)
  local ids = assert(session:generate(options { max_tokens = count, seed = i })).tokens:totable()
  session:close()
  return ids
end

describe("company", function()
  it("changes nobody's tokens, nor does the number of threads", function()
    local reference, expected = tiny.open { threads = 1 }, {}
    local members = 10
    for i = 1, members do expected[i] = alone(reference, i, 8) end
    for _, threads in ipairs { 1, 2, 3 } do
      local engine, sessions, jobs = tiny.open { threads = threads }, {}, {}
      for i = 1, members do sessions[i] = open(engine, i) end
      for i = 1, members do jobs[i] = assert(sessions[i]:start(options { max_tokens = 8, seed = i })) end
      for i = members, 1, -1 do
        drain(jobs[i])
        assert.same(expected[i], jobs[i]:result().tokens:totable())
      end
      engine:close()
    end
    reference:close()
  end)

  it("changes nobody's tokens when members come, go and are cancelled", function()
    local engine = tiny.open { threads = 2 }
    local expected = alone(engine, 1, 30)
    local session = open(engine, 1)
    local job, seen, others = assert(session:start(options { max_tokens = 30, seed = 1 })), 0, {}
    while not job:finished() do
      job:wait(60000)
      if job:poll() then
        seen = seen + 1
        local other = open(engine, seen)
        others[#others + 1] = assert(other:start(options { max_tokens = 5 }))
        if seen % 3 == 0 then others[#others]:close() end
        if seen % 3 == 1 then others[#others]:cancel() end
      end
    end
    assert.same(expected, job:result().tokens:totable())
    engine:close()
  end)

  it("shares the rows of a step: one long text does not keep others waiting", function()
    local engine = tiny.open { threads = 1 }
    local long, short = assert(engine:session { context = 8192 }), assert(engine:session { context = 64 })
    long:sync(tiny.tokens(internals.STEP_ROWS * 12))
    short:sync(tiny.tokens(8))
    local first = assert(long:start(options { max_tokens = 1 }))
    local second = assert(short:start(options { max_tokens = 4 }))
    drain(second)
    local event = first:poll()
    assert.same({ "prefill", true }, { event.type, event.done < event.total })
    first:close()
    engine:close()
  end)

  it("takes most rows of a text that is read alone, fewer where a job or the host's thread waits", function()
    local function first_step(threads, texts)
      local engine, jobs = tiny.open { threads = threads }, {}
      local long = tiny.tokens(internals.STEP_ROWS * 4)
      for i = 1, texts do
        local session = assert(engine:session { context = 4096 })
        session:sync(long)
        jobs[i] = assert(session:start(options { max_tokens = 1 }))
      end
      local last, event = jobs[texts]
      repeat
        last:wait(60000)
        event = last:poll()
      until event
      engine:close()
      return event.done
    end
    assert.equal(0, first_step(1, 1) % internals.STEP_ROWS)       -- an event tells of all steps since the last
    assert.equal(internals.SHARED_ROWS, first_step(0, 1))
    assert.equal(internals.SHARED_ROWS / 2, first_step(0, 2))
  end)

  it("R07: a hundred jobs at once all end", function()
    local engine, jobs = tiny.open { threads = 2 }, {}
    for i = 1, 100 do
      local session = assert(engine:session { context = 64 })
      session:sync { i, i + 1 }
      jobs[i] = assert(session:start(options { max_tokens = 3 }))
    end
    for i = 1, 100 do
      local events = drain(jobs[i])
      assert.equal("length", events[#events].finish_reason)
    end
    assert.equal(0, engine:stats().jobs)
    engine:close()
  end)

  it("of threads that start, cancel and give up jobs at random keeps its balance", function()
    for seed = 1, 3 * support.fuzz do assert.is_true(assert(internals.crowd(tiny.path, seed)) > 0) end
  end)
end)

describe("threads", function()
  it("R06: are changed from the next step on, and any number is brought within limits", function()
    local engine = tiny.open { threads = 1 }
    local expected = alone(engine, 4, 6)
    for _, threads in ipairs { 2, 10000, 1, 3 } do
      assert(engine:set { threads = threads })
      assert.same(expected, alone(engine, 4, 6))
      assert.is_true(engine:info().threads <= threads)
    end
    assert.equal(3, engine:info().threads)
    engine:close()
  end)
end)

describe("a fork of the process", function()
  it("L13: leaves an engine that was only opened to the child, which starts its own threads", function()
    local engine = tiny.open { threads = 2 }
    local session = open(engine, 5)
    local text = internals.in_child(function()
      return table.concat(session:generate(options { max_tokens = 5, seed = 5 }).tokens:totable(), " ")
    end)
    assert.equal(table.concat(alone(engine, 5, 5), " "), text)
    engine:close()
  end)

  it("L13: leaves the child what was read before it", function()
    local engine = tiny.open { threads = 2 }
    local session = open(engine, 5)
    local expected = session:generate(options { max_tokens = 4 })
    local text = internals.in_child(function()
      local ids = session:tokens():totable()
      for _ = 1, 4 do ids[#ids] = nil end
      session:sync(ids)
      local result = session:generate(options { max_tokens = 4 })
      session:close()
      engine:close()
      return ("%d %s"):format(result.usage.read, table.concat(result.tokens:totable(), " "))
    end)
    assert.equal("0 " .. table.concat(expected.tokens:totable(), " "), text)
    engine:close()
  end)

  it("L13: during a job fails it in the child, keeps the session, and leaves the parent alone", function()
    local engine = tiny.open { threads = 2 }
    local expected, other = alone(engine, 6, 8), alone(engine, 7, 4)
    for delay = 0, 9 do
      local session = open(engine, 6)
      local job = assert(session:start(options { max_tokens = 8, seed = 6 }))
      local descriptor = job:pollfd()
      job:wait(delay * 3)
      local text = internals.in_child(function()
        local events = drain(job)
        local last = events[#events]
        assert(not internals.readable(descriptor), "still readable")
        if last.type == "error" then
          assert(last.code == "ECANCELED" and last.message:find "forked", last.message)
          local left = 8 - (session:position() - 3 - (6 * 67) % 331)
          local again = assert(session:generate(options { max_tokens = left, seed = 6 }))
          assert(again.finish_reason == "length")
        end
        assert(table.concat(alone(engine, 7, 4), " ") == table.concat(other, " "), "another result")
        return table.concat(session:tokens():sub(-8):totable(), " ")
      end)
      assert.equal(table.concat(expected, " "), text)
      local events = drain(job)
      assert.equal("length", events[#events].finish_reason)
      assert.same(expected, job:result().tokens:totable())
      session:close()
    end
    engine:close()
  end)
end)

describe("a fault", function()
  local function scenario(engine)
    local session = assert(engine:session { context = 512 })
    assert(session:sync(tiny.tokens(9)))
    local first = assert(session:generate(options { max_tokens = 3, repetition_penalty = 1.1, presence_penalty = 0.1 }))
    assert(session:sync(tiny.tokens(8)))
    local second = assert(session:generate(options { max_tokens = 2, stop = { 600 % 512 } }))
    session:close()
    return table.concat(first.tokens:totable(), " ") .. " / " .. table.concat(second.tokens:totable(), " ")
  end

  it("R01: of the n-th allocation is an error, and the engine goes on", function()
    local engine = tiny.open { threads = 2 }
    local expected, failures, n = scenario(engine), 0, 0
    repeat
      n = n + 1
      internals.fail_later(n)
      local worked, result = pcall(scenario, engine)
      local hit = internals.fail_later(0)
      if not worked then
        failures = failures + 1
        assert.truthy(tostring(result):find("out of memory", 1, true), result)
        if n % 7 == 0 then assert.equal(expected, scenario(engine)) end
      else
        assert.equal(expected, result)
      end
    until not hit
    assert.is_true(failures > 20)
    assert.equal(expected, scenario(engine))
    engine:close()
  end)

  it("R01: in a step fails its jobs and leaves their sessions as they were before it", function()
    local engine = tiny.open { threads = 1 }
    local expected = alone(engine, 5, 5)
    for n = 1, 60 do
      local session = open(engine, 5)
      local held = session:tokens():totable()
      internals.fail_later(n)
      local result, _, code = session:generate(options { max_tokens = 5, seed = 5 })
      internals.fail_later(0)
      if not result then
        assert.equal("ENOMEM", code)
        local kept = session:tokens():totable()
        for i = #held + 1, #kept do held[i] = expected[i - #held] end
        assert.same(held, kept)
        session:sync(open(engine, 5):tokens())
        assert.same(expected, session:generate(options { max_tokens = 5, seed = 5 }).tokens:totable())
      end
      session:close()
    end
    engine:close()
  end)
end)

--- A copy of the tiny model that a spec may change.
local function copy()
  local folder = support.temporary_folder()
  os.execute(("cp %s/* %s/"):format(tiny.path, folder))
  return folder
end

--- Writes NaN over the embedding of token `id` (bfloat16) and returns the shard's path.
local function poison(folder, id)
  for name in io.popen(("ls %s/*.safetensors"):format(folder)):lines() do
    local bytes = support.read_file(name)
    local length = 0
    for i = 8, 1, -1 do length = length * 256 + bytes:byte(i) end
    local kind, width, first = bytes:sub(9, 8 + length):match(
      '"embed%.weight":{"dtype":"([^"]+)","shape":%[%d+,%s*(%d+)%],%s*"data_offsets":%[(%d+)')
    if kind then
      assert(kind == "BF16")
      local at = 8 + length + first + id * width * 2
      support.write_file(name, bytes:sub(1, at) .. ("\192\127"):rep(width) .. bytes:sub(at + 2 * width + 1))
      return name
    end
  end
  error("no embed.weight")
end

describe("weights that are no numbers", function()
  it("R08: fail the job that meets them, with the position, and nobody else", function()
    local folder = copy()
    poison(folder, 400)
    local engine = tiny.open { path = folder, threads = 2 }
    local expected = alone(engine, 2, 6)
    local well, ill = open(engine, 2), assert(engine:session { context = 64 })
    ill:sync { 5, 6, 400 }
    local good = assert(well:start(options { max_tokens = 6, seed = 2 }))
    local bad = assert(ill:start(options { max_tokens = 6, logit_bias = { [400] = -10000 } }))
    local events = drain(bad)
    local last = events[#events]
    assert.same({ "error", "EFORMAT" }, { last.type, last.code })
    assert.truthy(last.message:find("at position 2 is not finite", 1, true), last.message)
    assert.same({ 5, 6, 400 }, ill:tokens():totable())
    drain(good)
    assert.same(expected, good:result().tokens:totable())
    assert(ill:sync { 5, 6, 7 })
    assert(ill:logits())
    engine:close()
    support.remove(folder)
  end)
end)

describe("files", function()
  it("G19: that were changed since the engine was opened are noticed at the next session", function()
    local folder = copy()
    local engine = tiny.open { path = folder }
    local session = assert(engine:session { context = 64 })
    local name = io.popen(("ls %s/*.safetensors"):format(folder)):read "*l"
    local file = assert(io.open(name, "ab"))
    file:write "x"
    file:close()
    local none, message, code = engine:session { context = 64 }
    assert.is_nil(none)
    assert.truthy(message:find(name, 1, true) and message:find("changed", 1, true), message)
    assert.equal("EIO", code)
    session:close()
    engine:close()
    support.remove(folder)
  end)
end)

describe("an engine", function()
  it("starts nothing before its first job, and leaves nothing behind", function()
    local function threads() return tonumber(support.read_file("/proc/self/status"):match "Threads:%s*(%d+)") end
    collectgarbage()
    collectgarbage()
    local before, live = threads(), core.memory_live()
    local engine = tiny.open { threads = 3 }
    local session = open(engine, 1)
    assert.equal(before, threads())
    assert(session:generate(options { max_tokens = 2 }))
    assert.is_true(threads() > before)
    session:sync(tiny.tokens(20))
    local job = assert(session:start(options()))
    job:wait(60000)
    for _, object in ipairs { job, session, engine } do object:close() end
    assert.equal(before, threads())
    collectgarbage()                                     -- packed ids of results
    collectgarbage()
    assert.equal(live, core.memory_live())
  end)

  it("counts what it did and what it holds", function()
    local engine = tiny.open { threads = 1 }
    local session = open(engine, 1)
    local count = session:position()
    assert(session:generate(options { max_tokens = 5 }))
    local stats = engine:stats()
    assert.same({ count, 4, 1, 0 }, { stats.prefill_tokens, stats.decode_tokens, stats.sessions, stats.jobs })
    assert.is_true(stats.session_bytes > 0 and stats.scratch_bytes > 0)
    session:close()
    stats = engine:stats()
    assert.same({ 0, 0 }, { stats.sessions, stats.session_bytes })
    engine:close()
  end)

  it("plans at least what a session comes to take", function()
    local engine = tiny.open { threads = 1 }
    local plan = assert(engine:memory { context = 2048 })
    local session = assert(engine:session { context = 2048 })
    session:sync(tiny.tokens(2000))
    assert(session:generate(options { max_tokens = 48 }))
    local stats = engine:stats()
    assert.is_true(stats.session_bytes <= plan.session, stats.session_bytes .. " of " .. plan.session)
    assert.is_nil(engine:memory { context = 2 ^ 31 })
    engine:close()
  end)

  it("checks every weight when asked to", function()
    local folder = copy()
    poison(folder, 9)
    local engine, message, code = moonseek.open { path = folder, check = true }
    assert.is_nil(engine)
    assert.truthy(message:find("embed.weight", 1, true), message)
    assert.equal("EFORMAT", code)
    support.remove(folder)
  end)
end)
