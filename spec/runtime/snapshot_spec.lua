--- The file of a saved session: what comes back out of it, and everything it is refused for.
local support = require "spec.support"
local internals = support.internals()
local moonseek = require "moonseek"
local core = require "moonseek.core"
local files = require "spec.format.files"
local saved = require "spec.runtime.saved"
local tiny = require "spec.lua.tiny"
local first = tiny.first

local folder, path, engine, original

setup(function()
  folder = support.temporary_folder()
  path = folder .. "/session"
  engine = tiny.open { threads = 2 }
  local session = assert(engine:session { context = 300 })
  assert(session:sync(tiny.tokens(133)))
  assert(session:save(path))
  original = support.read_file(path)
  session:close()
end)

teardown(function()
  engine:close()
  support.remove(folder)
end)

local function fresh(from, ids)
  local session = assert(from:session {})
  assert(session:sync(ids))
  local bytes = assert(session:logits()):bytes()
  session:close()
  return bytes
end

local function generate(session, count)
  return assert(session:generate { max_tokens = count, seed = 5, temperature = 1, ignore_eos = true })
end

--- What loading a file of these bytes says; nothing of it may stay. Whoever asks collects what was garbage before.
local function refused(bytes, into)
  local live = core.memory_live()
  support.write_file(folder .. "/changed", bytes)
  local session, message, code = (into or engine):load_session(folder .. "/changed")
  assert.is_nil(session)
  assert.equal(live, core.memory_live())
  assert.truthy(message:find(folder .. "/changed", 1, true), message)
  return message, code
end

local function refusal(bytes, into)
  support.collect()
  return refused(bytes, into)
end

describe("a session that was saved and loaded", function()
  for _, model in ipairs { "spec/oracle/tiny", "models/pocket" } do
    for _, numerics in ipairs { "fast", "reference", "exact" } do
      it(("goes on with the same bits: %s, %s"):format(model, numerics), function()
        local here = assert(moonseek.open { path = model, numerics = numerics, threads = 2 })
        local there = assert(moonseek.open { path = model, numerics = numerics, threads = 2, mmap = false })
        for _, count in ipairs { 1, 16, 128, 129, 300 } do
          local session = assert(here:session { context = 1000 })
          assert(session:sync(tiny.tokens(count)))
          assert(session:save(folder .. "/equal"))
          local size = #support.read_file(folder .. "/equal")
          assert.equal(size, here:memory { context = count }.saved)
          local loaded = assert(there:load_session(folder .. "/equal"))
          assert.same({ count, 1000 - count }, { loaded:position(), loaded:room() })
          assert.is_true(session:logits():bytes() == loaded:logits():bytes())
          local wanted, got = generate(session, 40), generate(loaded, 40)
          assert.same(wanted.tokens:totable(), got.tokens:totable())
          assert.same({ count, 0 }, { got.usage.cached, got.usage.read })
          assert.is_true(session:logits():bytes() == loaded:logits():bytes())
          session:close()
          loaded:close()
        end
        here:close()
        there:close()
      end)
    end
  end

  -- 20: a block of tokens that ends within a page of their raw rows leaves no row in reach there
  it("may end with a block of any ratio", function()
    local model, entries = support.temporary_folder(), files.entries("tiny/model.safetensors")
    for _, entry in ipairs(entries) do
      if entry.name:find("compressor.ape", 1, true) and entry.shape[1] == 128 then
        entry.bytes, entry.shape[1] = entry.bytes:sub(1, #entry.bytes / 128 * 20), 20
      end
    end
    support.write_file(model .. "/model.safetensors", files.encode(entries))
    support.write_file(model .. "/config.json", (support.read_file("spec/oracle/tiny/config.json")
      :gsub('"compress_ratios": %b[]', function(list) return (list:gsub("128", "20")) end)))
    local here = assert(moonseek.open { path = model, threads = 2 })
    for _, count in ipairs { 19, 20, 21, 40, 80 } do
      local session = assert(here:session {})
      assert(session:sync(tiny.tokens(count)))
      assert(session:save(folder .. "/block"))
      local loaded = assert(here:load_session(folder .. "/block"))
      assert.same(generate(session, 30).tokens:totable(), generate(loaded, 30).tokens:totable())
      assert.is_true(session:logits():bytes() == loaded:logits():bytes())
      session:close()
      loaded:close()
    end
    here:close()
    support.remove(model)
  end)

  it("keeps its context unless another is asked for", function()
    local loaded = assert(engine:load_session(path, { context = 1000 }))
    assert.equal(1000 - 133, loaded:room())
    loaded:close()
    local session, message, code = engine:load_session(path, { context = 132 })
    assert.is_nil(session)
    assert.equal(path .. ": holds 133 tokens: the session's context is 132", message)
    assert.equal("ECTXFULL", code)
    assert.equal("EINVAL", select(3, engine:load_session(path, { context = 2 ^ 31 })))
  end)

  it("F12: forks, rewinds and goes on as one that was never saved", function()
    local ids, loaded = tiny.tokens(133), assert(engine:load_session(path))
    local fork = assert(loaded:fork())
    assert(fork:append { 3, 4 })
    assert(loaded:rewind(60))
    assert.is_true(fresh(engine, first(ids, 60)) == loaded:logits():bytes())
    ids[134], ids[135] = 3, 4
    assert.is_true(fresh(engine, ids) == fork:logits():bytes())
    assert(fork:save(folder .. "/fork"))
    local again = assert(engine:load_session(folder .. "/fork"))
    generate(again, 3)
    assert(again:rewind(135))
    local job = assert(again:start { max_tokens = 0 })
    while job:wait(1000) and not job:finished() do job:poll() end
    assert.same({ 135, 0 }, { job:result().usage.cached, job:result().usage.read })
    assert.is_true(fresh(engine, ids) == again:logits():bytes())
    for _, session in ipairs { loaded, fork, again } do session:close() end
  end)

  it("has its expert policy, and goes on under it", function()
    local session = assert(engine:session { context = 300 })
    assert(session:routing { disable = { 1, 3 }, bias = { [2] = 0.5 }, layers = { [3] = { disable = { 0 } } } })
    assert(session:sync(tiny.tokens(50)))
    assert(session:save(folder .. "/steered"))
    local loaded = assert(engine:load_session(folder .. "/steered"))
    assert.same(session:routing(), loaded:routing())
    assert.is_true(session:logits():bytes() == loaded:logits():bytes())
    assert.same(generate(session, 20).tokens:totable(), generate(loaded, 20).tokens:totable())
    local bytes = support.read_file(folder .. "/steered")
    local offset = saved.get(bytes, "policy_offset")
    for at, wrong in pairs { [0] = "\255", [8 + 4] = "\200", [8 + 8] = "\0\0\192\127", [8 + 12] = "\1" } do
      local message, code = refusal(saved.sealed(saved.patch(bytes, offset + at, wrong)))
      assert.matches("the saved expert policy", message, 1, true)
      assert.equal("EFORMAT", code)
    end
    session:close()
    loaded:close()
  end)

  it("never writes to its file, and does not need it any more", function()
    support.write_file(folder .. "/passing", original)
    local one = assert(engine:load_session(folder .. "/passing"))
    local two = assert(engine:load_session(folder .. "/passing"))
    generate(one, 40)
    assert.is_true(original == support.read_file(folder .. "/passing"))
    os.remove(folder .. "/passing")
    assert.is_true(fresh(engine, tiny.tokens(133)) == two:logits():bytes())
    assert(two:sync(tiny.tokens(280))) -- a long step begins in a page of the file
    assert.is_true(fresh(engine, tiny.tokens(280)) == two:logits():bytes())
    one:close()
    two:close()
  end)

  it("of no tokens holds none", function()
    local session = assert(engine:session { context = 77 })
    assert(session:save(folder .. "/empty"))
    local loaded = assert(engine:load_session(folder .. "/empty"))
    assert.same({ 0, 77 }, { loaded:position(), loaded:room() })
    loaded:close()
    session:close()
  end)

  it("maps its rows, which count as its memory all the same", function()
    support.collect()
    local live = core.memory_live()
    local loaded = assert(engine:load_session(path))
    assert.is_true(core.memory_live() - live < 200000)
    assert.is_true(engine:stats().session_bytes > 200000)
    loaded:close()
    assert.equal(live, core.memory_live())
  end)
end)

describe("a file that is cut", function()
  local function cut(count)
    local _, code = refused(original:sub(1, count))
    assert.equal("EFORMAT", code)
  end

  before_each(support.collect)

  it("F01: is refused, at every byte of the header, every 4 KiB, and the last byte", function()
    for count = 0, saved.header_bytes do cut(count) end
    for count = 4096, #original - 1, 4096 do cut(count) end
    cut(#original - 1)
  end)

  it("F01: and a sparse one", function()
    local message, code = refusal(("\0"):rep(#original))
    assert.matches("is no saved session", message, 1, true)
    assert.equal("EFORMAT", code)
    refusal(original:sub(1, 4096) .. ("\0"):rep(#original - 4096))
  end)

  it("F01: while a session that was loaded lives on", function()
    local live = assert(engine:load_session(path))
    cut(5000)
    assert.is_true(fresh(engine, tiny.tokens(133)) == live:logits():bytes())
    live:close()
  end)
end)

describe("a flipped bit", function()
  local function flip(byte, bit)
    local value = original:byte(byte + 1)
    local flipped = value % (2 ^ (bit + 1)) >= 2 ^ bit and value - 2 ^ bit or value + 2 ^ bit
    refused(saved.patch(original, byte, string.char(flipped)))
  end

  before_each(support.collect)

  it("F02: is found, every single one of the header", function()
    for byte = 0, saved.header_bytes - 1 do
      for bit = 0, 7 do flip(byte, bit) end
    end
  end)

  it("F02: is found anywhere behind it", function()
    local state = 1
    for _ = 1, 400 do
      state = state * 16807 % 2147483647
      flip(saved.header_bytes + state % (#original - saved.header_bytes), state % 8)
    end
  end)
end)

describe("a file of another kind", function()
  it("F03: by its first bytes", function()
    local message, code = refusal("SQLite format 3" .. original:sub(16))
    assert.matches('does not begin with "moonseek"', message, 1, true)
    assert.equal("EFORMAT", code)
  end)

  for _, version in ipairs { 0, 2, 4294967295 } do
    it(("F03: of format version %.0f names both"):format(version), function()
      local message, code = refusal(saved.sealed(saved.set(original, "version", version)))
      assert.matches(("format version %.0f: this version of moonseek reads 1"):format(version), message, 1, true)
      assert.equal("EUNSUPPORTED", code)
    end)
  end

  it("F03: of the other byte order names both", function()
    local message, code = refusal(saved.sealed(saved.patch(original, 12, "\1\2\3\4")))
    assert.matches("byte order 04030201, this machine has 01020304", message, 1, true)
    assert.equal("EUNSUPPORTED", code)
  end)
end)

describe("a file of another model", function()
  --- A copy of the tiny model in which `change` may alter the files; the engine that opens it.
  local function relative(change)
    local copy = support.temporary_folder()
    local weights, config = change(support.read_file(tiny.path .. "/model.safetensors"),
      support.read_file(tiny.path .. "/config.json"), copy)
    support.write_file(copy .. "/model.safetensors", weights)
    support.write_file(copy .. "/config.json", config)
    return assert(moonseek.open { path = copy, threads = 1 }), copy
  end

  local function flipped(bytes, at)
    return saved.patch(bytes, at - 1, string.char((bytes:byte(at) + 1) % 256))
  end

  local relatives = {
    ["a fine-tune of one shape"] = function(weights, config) return flipped(weights, #weights), config end,
    ["another rope base"] = function(weights, config)
      local changed, count = config:gsub('("rope_theta": *)[%d.]+', "%1 12345.0")
      assert(count == 1)
      return weights, changed
    end,
    ["another tokenizer"] = function(weights, config, copy)
      support.write_file(copy .. "/tokenizer.json", support.read_file("models/pocket/tokenizer.json"))
      return weights, config
    end,
  }
  for name, change in pairs(relatives) do
    it("F04: is refused: " .. name, function()
      local other, copy = relative(change)
      local tokenizer = other:tokenizer()              -- opened for good by the first session
      local message, code = refusal(original, other)
      assert.matches("was saved by the model %x+, this one is %x+$", message)
      assert.equal(32, #message:match("model (%x+)"))
      assert.equal("EMODEL", code)
      if tokenizer then tokenizer:close() end
      other:close()
      support.remove(copy)
    end)
  end

  it("F04: and one with other numerics, which names both", function()
    for _, numerics in ipairs { "reference", "exact" } do
      local other = tiny.open { numerics = numerics }
      local message, code = refusal(original, other)
      assert.matches(('was saved with numerics "fast", this engine has "%s"'):format(numerics), message, 1, true)
      assert.equal("EMODEL", code)
      other:close()
    end
  end)

  it("but the same model in another folder is the same", function()
    local other, copy = relative(function(weights, config) return weights, config end)
    local loaded = assert(other:load_session(path))
    assert.is_true(fresh(engine, tiny.tokens(133)) == loaded:logits():bytes())
    loaded:close()
    other:close()
    support.remove(copy)
  end)
end)

describe("a file with right hashes over wrong contents", function()
  local function forged(change)
    return refusal(saved.sealed(change(original)))
  end

  local function setting(field, value)
    return function(file) return saved.set(file, field, value) end
  end

  local huge = 2 ^ 63
  local wrong = {
    { "F05: more tokens than bytes", setting("tokens_bytes", 2 ^ 40), "its tokens take 1099511627776 bytes" },
    { "F05: tokens that wrap", setting("tokens_bytes", huge), "its tokens take 9223372036854775808 bytes" },
    { "F05: a section elsewhere", setting("rows_offset", huge), "its rows begin at byte 9223372036854775808" },
    { "F05: a section before its place", setting("logits_offset", 192), "its logits begin at byte 192" },
    { "F05: half a token", setting("tokens_bytes", 133 * 4 - 2), "its tokens take 530 bytes: no multiple of 4" },
    { "F05: a context of nothing", setting("context", 0), "its context is 0: the model allows from 1 to" },
    { "F05: a context beyond the model's", setting("context", huge), "its context is 9223372036854775808" },
    { "F05: more tokens than context", setting("context", 132), "holds 133 tokens, its context is 132" },
    { "F05: another length", setting("bytes", 2 ^ 40), "its header says 1099511627776" },
    { "F06: more read than held", setting("read", 134), "134 tokens are read and 0 were: it holds 133" },
    { "F06: a mark that is none", setting("steered", 2), "its mark of policies is 2" },
    { "F06: more read again than held", setting("reread_end", huge), "9223372036854775808 were: it holds 133" },
    { "F06: fewer rows than tokens read need", setting("read", 1), "bytes of rows: 1 tokens that are read have" },
    { "F06: logits after nothing", setting("read", 0), "bytes of logits after 0 tokens read" },
    { "F06: logits of another vocabulary", function(file)
      local offset, bytes = saved.get(file, "logits_offset"), tiny.vocabulary * 4
      return saved.set(saved.patch(file, offset + bytes - 4, "\0\0\0\0"), "logits_bytes", bytes - 4)
    end, "bytes of logits after 133 tokens read" },
    { "F06: a number where zeros are", function(file) return saved.patch(file, 180, "\1") end, "other bytes" },
    { "F06: a filling that is none", function(file) return saved.patch(file, 192 + 133 * 4, "\1") end, "is no zero" },
  }
  for _, case in ipairs(wrong) do
    it(case[1], function()
      local message, code = forged(case[2])
      assert.truthy(message:find(case[3], 1, true), message)
      assert.equal("EFORMAT", code)
    end)
  end

  for _, id in ipairs { tiny.vocabulary, 2 ^ 31 - 1, 2 ^ 31, 2 ^ 32 - 1 } do
    it(("F06: token %.0f of a vocabulary of %d"):format(id, tiny.vocabulary), function()
      local message, code = forged(function(file) return saved.patch(file, 192 + 4 * 7, saved.number(id, 4)) end)
      assert.matches("token 7 is %-?%d+: the vocabulary has 512", message)
      assert.equal("EFORMAT", code)
    end)
  end

  for name, float in pairs { NaN = "\0\0\192\127", infinity = "\0\0\128\255" } do
    it("F06: a logit that is " .. name, function()
      local message = forged(function(file) return saved.patch(file, saved.get(file, "logits_offset") + 12, float) end)
      assert.matches("the logit of token 3 is not finite", message, 1, true)
    end)

    it("F06: a row of floats with " .. name, function()
      local exact = tiny.open { numerics = "exact" }
      local session = assert(exact:session {})
      session:sync(tiny.tokens(9))
      assert(session:save(folder .. "/exact"))
      local file = support.read_file(folder .. "/exact")
      local offset = saved.get(file, "rows_offset") + 4 * 5
      local message, code = refusal(saved.sealed(saved.patch(file, offset, float)), exact)
      assert.matches(("layer 0 holds a number that is not finite at byte %d"):format(offset), message, 1, true)
      assert.equal("EFORMAT", code)
      session:close()
      exact:close()
    end)
  end

  it("F07: and bytes behind the last", function()
    local longer = original .. ("\0"):rep(64)
    assert.matches("its header says", (refusal(longer)), 1, true)
    local message, code = forged(function() return saved.set(longer, "bytes", #longer) end)
    assert.matches("64 bytes follow the last that belongs to it", message, 1, true)
    assert.equal("EFORMAT", code)
  end)

  it("F07: bytes that come later are none of it", function()
    support.write_file(folder .. "/growing", original)
    local loaded = assert(engine:load_session(folder .. "/growing"))
    local file = assert(io.open(folder .. "/growing", "ab"))
    file:write(("x"):rep(10000))
    file:close()
    assert.is_true(fresh(engine, tiny.tokens(133)) == loaded:logits():bytes())
    loaded:close()
  end)

  it("F05: takes no memory for what it says", function()
    support.write_file(folder .. "/huge", saved.sealed(saved.set(original, "tokens_bytes", 2 ^ 40)))
    assert.is_true(internals.peak_memory(function() return engine:load_session(folder .. "/huge") end) < 100000)
  end)
end)

describe("a file of format version 1", function()
  -- written by the first version that saved: spec/data/session-1.saved holds tiny.tokens(5), fast
  it("F13: loads with the same bits for ever", function()
    local loaded = assert(engine:load_session("spec/data/session-1.saved"))
    assert.same(tiny.tokens(5), loaded:tokens():totable())
    local logits = loaded:logits():bytes()
    assert.is_truthy(support.read_file("spec/data/session-1.saved"):find(logits, 1, true))
    assert.is_true(internals.agreement(fresh(engine, tiny.tokens(5)), logits) < 0.05)   -- sums may change since
    local again = assert(engine:load_session("spec/data/session-1.saved"))
    assert.same(generate(again, 30).tokens:totable(), generate(loaded, 30).tokens:totable())
    assert.equal(29, loaded:room())
    again:close()
    loaded:close()
  end)
end)
