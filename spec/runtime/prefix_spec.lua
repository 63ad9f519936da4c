--- The prefix store: what one session has read, another, also of another process, need not read again.
local support = require "spec.support"
local internals = support.internals()
local moonseek = require "moonseek"
local core = require "moonseek.core"
local saved = require "spec.runtime.saved"
local tiny = require "spec.lua.tiny"
local joined = tiny.joined

local folder, plain
local file_bytes                          -- of a prefix of 60 tokens

setup(function()
  plain = tiny.open {}
  file_bytes = plain:memory { context = 60 }.saved
end)

teardown(function() plain:close() end)

before_each(function()
  folder = support.temporary_folder()
end)

after_each(function() support.remove(folder) end)

local function open_cache(options)
  local given = { dir = folder .. "/prefixes", budget = 2 ^ 30, minimum = 50 }
  for name, value in pairs(options or {}) do given[name] = value end
  return assert(moonseek.cache(given))
end

--- The first `count` of a text of ids; another `text` is another one.
local function ids_of(text, count)
  local ids = {}
  for i = 1, count do ids[i] = (i * 37 + text * 101 + 11) % tiny.vocabulary end
  return ids
end

local function fresh(ids)
  local session = assert(plain:session {})
  assert(session:sync(ids))
  local bytes = assert(session:logits()):bytes()
  session:close()
  return bytes
end

--- Reads `ids` in a session of a new engine on the cache, and checks what comes of it. The engine is gone afterwards,
-- so all that it stores is stored. Gives the usage.
local function read(cache, ids, options)
  local given = { cache = cache }
  for name, value in pairs(options or {}) do given[name] = value end
  local engine = tiny.open(given)
  local session = assert(engine:session {})
  assert(session:sync(ids))
  local usage = assert(session:generate { max_tokens = 0 }).usage
  if not given.numerics then assert.is_true(fresh(ids) == session:logits():bytes()) end
  session:close()
  engine:close()
  return { usage.cached, usage.read }
end

local function files()
  local list = {}
  for _, name in ipairs(saved.listing(folder .. "/prefixes")) do list[#list + 1] = folder .. "/prefixes/" .. name end
  return list
end

describe("a prefix that was read", function()
  it("is not read again by another session, engine or process", function()
    local cache = open_cache()
    assert.same({ 0, 60 }, read(cache, ids_of(1, 60)))
    assert.same({ 60, 0 }, read(cache, ids_of(1, 60)))
    assert.same({ 60, 7 }, read(cache, joined(ids_of(1, 60), ids_of(2, 7))))
    assert.same({ 60, 1 }, read(cache, joined(ids_of(1, 60), { 5 }), { threads = 2, mmap = false }))
    local answer = internals.in_child(function()
      return table.concat(read(open_cache(), joined(ids_of(1, 60), ids_of(3, 4))), " ")
    end)
    assert.equal("60 4", answer)
    assert.same({ found = 3, stored = 1, removed = 0, failed = 0 }, cache:stats())
    cache:close()
  end)

  it("serves every kind of job: generate, start, stream, logits, save", function()
    local cache = open_cache()
    read(cache, ids_of(1, 60))
    local engine = tiny.open { cache = cache }
    local function session()
      local made = assert(engine:session {})
      assert(made:append(joined(ids_of(1, 60), { 5 })))
      return made
    end
    local expected = fresh(joined(ids_of(1, 60), { 5 }))
    assert.equal(60, session():generate({ max_tokens = 2, ignore_eos = true }).usage.cached)
    local job = assert(session():start { max_tokens = 1 })
    while job:wait(1000) and not job:finished() do job:poll() end
    assert.equal(60, job:result().usage.cached)
    for event in session():stream { max_tokens = 1 } do
      if event.type == "done" then assert.equal(60, event.usage.cached) end
    end
    assert.is_true(expected == session():logits():bytes())
    assert(session():save(folder .. "/whole"))
    assert.is_true(expected == plain:load_session(folder .. "/whole"):logits():bytes())
    assert.equal(5, cache:stats().found)
    engine:close()
    cache:close()
  end)

  it("is the longest there is, beyond what the session has read", function()
    local cache, ids = open_cache(), ids_of(1, 300)
    local function first(count)
      local list = {}
      for i = 1, count do list[i] = ids[i] end
      return list
    end
    for _, count in ipairs { 60, 180, 120 } do read(cache, first(count)) end
    assert.same({ 180, 120 }, read(cache, ids))
    assert.same({ 120, 59 }, read(cache, first(179)))
    local engine = tiny.open { cache = cache }
    local session = assert(engine:session {})
    session:sync(first(130))
    assert.equal(120, session:generate({ max_tokens = 0 }).usage.cached)
    session:sync(first(250))
    assert.equal(180, session:generate({ max_tokens = 0 }).usage.cached)
    session:sync(first(200))                             -- a mark is nearer than the disk
    assert.is_true(fresh(first(200)) == session:logits():bytes())
    engine:close()
    cache:close()
  end)

  it("goes on as one that was read: answers, going back, forks", function()
    local cache, ids = open_cache(), joined(ids_of(1, 60), { 5 })
    read(cache, ids_of(1, 60))
    local engine = tiny.open { cache = cache }
    local one, two = assert(engine:session {}), assert(plain:session {})
    for _, session in ipairs { one, two } do session:sync(ids) end
    local options = { max_tokens = 30, seed = 3, temperature = 1, ignore_eos = true }
    assert.same(two:generate(options).tokens:totable(), one:generate(options).tokens:totable())
    local fork = assert(one:fork())
    assert(one:rewind(20))
    assert.is_true(fresh(ids_of(1, 20)) == one:logits():bytes())
    assert.is_true(two:logits():bytes() == fork:logits():bytes())
    for _, object in ipairs { one, two, fork, engine, cache } do object:close() end
  end)
end)

describe("what is stored", function()
  it("is a prompt of which at least the minimum was read", function()
    local cache = open_cache()
    read(cache, ids_of(1, 49))
    assert.same({}, files())
    read(cache, ids_of(1, 50))
    assert.equal(1, #files())
    read(cache, joined(ids_of(1, 50), ids_of(2, 49)))    -- 49 new ones
    assert.equal(1, #files())
    assert.equal(1, cache:stats().stored)
    cache:close()
  end)

  it("ends with the prompt, not with the answer", function()
    local cache = open_cache()
    local engine = tiny.open { cache = cache }
    local session = assert(engine:session {})
    session:sync(ids_of(1, 60))
    session:generate { max_tokens = 20, ignore_eos = true }
    engine:close()
    session:close()
    assert.equal(1, #files())
    assert.matches("/60%-%x+%.prefix$", files()[1])
    assert.same({ 60, 0 }, read(cache, ids_of(1, 60)))
    cache:close()
  end)

  it("is stored by an engine without threads, too", function()
    local cache = open_cache()
    assert.same({ 0, 60 }, read(cache, ids_of(1, 60), { threads = 0 }))
    assert.equal(1, #files())
    assert.same({ 60, 0 }, read(cache, ids_of(1, 60), { threads = 0 }))
    cache:close()
  end)

  it("is not taken in place of what is to be scored", function()
    local cache = open_cache()
    read(cache, joined(ids_of(1, 20), ids_of(2, 60)))
    local engine = tiny.open { cache = cache }
    local scores = {}
    for i, from in ipairs { engine, plain } do
      local session = assert(from:session {})
      session:sync(ids_of(1, 20))
      scores[i] = assert(session:score(ids_of(2, 60)))
      session:close()
    end
    assert.same(scores[2], scores[1])
    engine:close()
    assert.equal(1, #files())
    cache:close()
  end)

  it("is of one model and one numerics", function()
    local cache = open_cache()
    read(cache, ids_of(1, 60))
    assert.same({ 0, 60 }, read(cache, ids_of(1, 60), { numerics = "reference" }))
    assert.same({ 60, 0 }, read(cache, ids_of(1, 60), { numerics = "reference" }))
    local pocket = assert(moonseek.open { path = "models/pocket", threads = 1, cache = cache })
    local session = assert(pocket:session {})
    session:sync(ids_of(1, 60))
    assert.equal(0, session:generate({ max_tokens = 0 }).usage.cached)
    session:close()
    pocket:close()
    assert.equal(3, #files())
    cache:close()
  end)

  it("is never what an expert policy steered, nor is it given to one", function()
    local cache = open_cache()
    local engine = tiny.open { cache = cache }
    local session = assert(engine:session {})
    assert(session:routing { disable = { 1 } })
    session:sync(ids_of(1, 60))
    session:generate { max_tokens = 0 }
    assert(session:routing {})
    session:append(ids_of(2, 60))
    session:generate { max_tokens = 0 }
    session:close()
    engine:close()
    assert.same({}, files())
    read(cache, ids_of(1, 60))
    engine = tiny.open { cache = cache }
    session = assert(engine:session {})
    assert(session:routing { disable = { 1 } })
    session:sync(ids_of(1, 60))
    assert.equal(0, session:generate({ max_tokens = 0 }).usage.cached)
    session:close()
    engine:close()
    cache:close()
  end)

  it("stays within the budget: what was not used for longest goes", function()
    local cache = open_cache { budget = 3 * file_bytes }
    for text = 1, 3 do read(cache, ids_of(text, 60)) end
    assert.same({ 60, 0 }, read(cache, ids_of(1, 60)))   -- used again
    read(cache, ids_of(4, 60))
    assert.equal(3, #files())
    assert.same({ 60, 0 }, read(cache, ids_of(1, 60)))
    assert.equal(1, cache:stats().removed)
    assert.same({ 0, 60 }, read(cache, ids_of(2, 60)))
    cache:close()
  end)

  it("is nothing when one file is more than the budget", function()
    local cache = open_cache { budget = file_bytes - 1 }
    read(cache, ids_of(1, 60))
    assert.same({}, files())
    cache:close()
  end)

  it("does not touch files of others in the folder, but what killed processes left", function()
    local cache = open_cache { budget = file_bytes }
    for _, name in ipairs { "notes.txt", "60-1.prefix", ".moonseek-new", ".moonseek-0123456789abcdef" } do
      support.write_file(folder .. "/prefixes/" .. name, "x")
    end
    os.execute(("touch -d '2 hours ago' '%s/prefixes/.moonseek-0123456789abcdef'"):format(folder))
    read(cache, ids_of(1, 60))
    read(cache, ids_of(2, 60))
    local names = saved.listing(folder .. "/prefixes")
    table.sort(names)
    assert.equal(4, #names)
    assert.equal(".moonseek-new 60-1.prefix notes.txt", table.concat({ names[1], names[2], names[4] }, " "))
    cache:close()
  end)
end)

describe("a stored file", function()
  local damage = {
    ["is cut"] = function(bytes) return bytes:sub(1, 5000) end,
    ["is empty"] = function() return "" end,
    ["has a flipped bit"] = function(bytes) return saved.patch(bytes, 9000, "\255") end,
    ["is of another format version"] = function(bytes) return saved.sealed(saved.set(bytes, "version", 2)) end,
    ["holds other tokens than its name says"] = function(bytes)
      return saved.sealed(saved.patch(bytes, 192, saved.number(7, 4)))
    end,
    ["holds fewer tokens"] = function()
      local other = assert(plain:session {})
      other:sync(ids_of(1, 30))
      assert(other:save(folder .. "/other"))
      return support.read_file(folder .. "/other")
    end,
  }
  for name, change in pairs(damage) do
    it("that " .. name .. " is removed, and the prompt is read and stored anew", function()
      local cache = open_cache()
      read(cache, ids_of(1, 60))
      local path = files()[1]
      support.write_file(path, change(support.read_file(path)))
      assert.same({ 0, 60 }, read(cache, ids_of(1, 60)))
      assert.same({ found = 0, stored = 2, removed = 1, failed = 0 }, cache:stats())
      assert.same({ 60, 0 }, read(cache, ids_of(1, 60)))
      cache:close()
    end)
  end

  it("that cannot be used gives way to a shorter one", function()
    local cache = open_cache()
    read(cache, ids_of(1, 60))
    read(cache, ids_of(1, 120))
    for _, path in ipairs(files()) do
      if path:find("/120-", 1, true) then support.write_file(path, "broken") end
    end
    assert.same({ 60, 80 }, read(cache, ids_of(1, 140)))
    cache:close()
  end)

  it("that vanishes, with the whole folder, is no matter to anybody", function()
    local cache = open_cache()
    local engine = tiny.open { cache = cache }
    read(cache, ids_of(1, 60))
    local session = assert(engine:session {})
    session:sync(ids_of(1, 60))
    assert.equal(60, session:generate({ max_tokens = 0 }).usage.cached)
    support.remove(folder .. "/prefixes")
    assert.is_true(fresh(ids_of(1, 60)) == session:logits():bytes())
    session:append(ids_of(2, 60))
    session:generate { max_tokens = 3, ignore_eos = true }
    session:close()
    engine:close()
    assert.equal(1, cache:stats().failed)
    cache:close()
  end)
end)

describe("a store", function()
  it("works however often the disk or memory fails", function()
    local cache = open_cache()
    read(cache, ids_of(1, 60))
    local ids, expected = joined(ids_of(1, 60), { 5 }), fresh(joined(ids_of(1, 60), { 5 }))
    local engine = tiny.open { cache = cache }
    for _, fail in ipairs { "fail_files_later", "fail_later", "fail_threads_later" } do
      local n, hits, misses = 0, 0, 0
      repeat
        n = n + 1
        local session = assert(engine:session {})
        session:sync(ids)
        internals[fail](n)
        local result, message, code = session:generate { max_tokens = 0 }
        local reached = internals[fail](0)
        if result then
          if result.usage.cached >= 60 then hits = hits + 1 else misses = misses + 1 end
          assert.is_true(expected == session:logits():bytes())
        else
          assert.is_true(code == "ENOMEM" or message:find("tokenizer.json", 1, true) ~= nil, message)
        end
        session:close()
      until not reached
      assert.is_true(hits >= 1, fail)
      assert.is_true(misses >= 1 or fail == "fail_threads_later", fail)
    end
    engine:close()
    cache:close()
  end)

  it("is shared by processes that store and remove at the same time", function()
    local cache = open_cache { budget = 2 * file_bytes }
    local scripts = {}
    for i = 1, 4 do
      scripts[i] = ([[
        require "spec.support"
        local moonseek, tiny = require "moonseek", require "spec.lua.tiny"
        local cache = assert(moonseek.cache { dir = %q, budget = %d, minimum = 50 })
        local engine = tiny.open { cache = cache }
        for round = 1, 12 do
          local session, ids = assert(engine:session {}), {}
          for i = 1, 60 do ids[i] = (i * 37 + ((round + %d) %% 4) * 101 + 11) %% tiny.vocabulary end
          assert(session:sync(ids))
          assert(session:generate { max_tokens = 0 })
          session:close()
        end
        return "done"]]):format(folder .. "/prefixes", 2 * file_bytes, i)
    end
    local pipes = {}
    for i, script in ipairs(scripts) do
      local path = ("%s/%d.lua"):format(folder, i)
      support.write_file(path, script .. "")
      pipes[i] = io.popen(("%s -e 'io.write(tostring(dofile(%q)))' 2>&1"):format(support.interpreter(), path))
    end
    for _, pipe in ipairs(pipes) do
      assert.equal("done", pipe:read("*a"))
      pipe:close()
    end
    for text = 0, 3 do read(cache, ids_of(text, 60)) end
    assert.is_true(#files() <= 3)
    cache:close()
  end)

  it("leaves nothing behind", function()
    support.collect()
    local live, descriptors = core.memory_live(), internals.descriptors()
    local cache = open_cache()
    read(cache, ids_of(1, 60))
    read(cache, ids_of(1, 70))
    cache:close()
    support.collect()
    assert.equal(live, core.memory_live())
    assert.equal(descriptors, internals.descriptors())
  end)

  it("in a forked process begins anew", function()
    local cache = open_cache()
    local engine = tiny.open { cache = cache }
    local session = assert(engine:session {})
    session:sync(ids_of(1, 60))
    session:generate { max_tokens = 0 }
    local answer = internals.in_child(function()
      local child = assert(engine:session {})
      child:sync(ids_of(2, 60))
      child:generate { max_tokens = 0 }
      child:close()
      session:close()
      engine:close()
      return "stored " .. tostring(cache:stats().stored > 0)
    end)
    assert.equal("stored true", answer)
    session:close()
    engine:close()
    assert.equal(2, #files())
    cache:close()
  end)

  it("lives until the last engine that was opened with it", function()
    local cache = open_cache()
    local engine = tiny.open { cache = cache }
    cache:close()
    local session = assert(engine:session {})
    session:sync(ids_of(1, 60))
    session:generate { max_tokens = 0 }
    session:close()
    engine:close()
    assert.equal(1, #files())
    assert.has_error(function() cache:stats() end)
    local ok, message = pcall(moonseek.open, { path = tiny.path, cache = cache })
    assert.is_false(ok)
    assert.matches("moonseek.open: cache is closed", message, 1, true)
  end)

  it("makes its folder, its owner's alone, and refuses what cannot be one", function()
    open_cache():close()
    local pipe = io.popen(("stat -c %%a '%s/prefixes'"):format(folder))
    assert.equal("700", pipe:read("*l"))
    pipe:close()
    support.write_file(folder .. "/file", "x")
    local cache, message, code = moonseek.cache { dir = folder .. "/file", budget = 1 }
    assert.is_nil(cache)
    assert.equal(folder .. "/file: is a file, a folder is needed", message)
    assert.equal("EINVAL", code)
    assert.equal("ENOENT", select(3, moonseek.cache { dir = folder .. "/none/prefixes", budget = 1 }))
    assert.equal("EINVAL", select(3, moonseek.cache { dir = folder, budget = 0 }))
  end)
end)
