local support = require "spec.support"
local moonseek = require "moonseek"
local tiny = require "spec.lua.tiny"

describe("require", function()
  it("gives the functions of the reference, makes no global and changes no mode of the processor", function()
    local internals = support.internals()
    local before = { internals.floating_point() }
    local names = {}
    for name in pairs(_G) do names[name] = true end
    for name in pairs(package.loaded) do
      if name:match("^moonseek") and name ~= "moonseek.internals" then package.loaded[name] = nil end
    end
    assert.is_function(require("moonseek").open)
    for name in pairs(_G) do assert.is_true(names[name], name) end
    assert.same(before, { internals.floating_point() })
  end)

  it("L20: gives working objects again when package.loaded was cleared in between", function()
    package.loaded["moonseek"], package.loaded["moonseek.core"], package.loaded["moonseek.session"] = nil, nil, nil
    assert.is_function(require("moonseek.core").open)
    package.loaded["moonseek.core"] = nil
    local again = require "moonseek"
    assert.is_true(again ~= moonseek)
    for _, module in ipairs { moonseek, again } do
      local engine = assert(module.open { path = tiny.path })
      local session = assert(engine:session { context = 16 })
      assert(session:sync { 1, 2, 3 })
      assert.equal(1, #assert(session:generate { max_tokens = 1, temperature = 0 }).tokens)
      engine:close()
    end
  end)
end)

describe("moonseek.version", function()
  it("names the module, the Lua ABI, the backends and the kernel levels", function()
    local version = moonseek.version()
    assert.equal(moonseek._VERSION, version.module)
    assert.matches("^%d+%.%d+%.%d+$", version.module)
    assert.equal(support.abi, version.abi)
    assert.matches(" cpu ", (" %s "):format(table.concat(version.backends, " ")))
    assert.matches("scalar", version.cpu)
  end)
end)

describe("moonseek.probe", function()
  it("describes a model from its header", function()
    local model = assert(moonseek.probe(tiny.path))
    assert.equal(tiny.vocabulary, model.vocabulary)
    assert.equal("deepseek_v4", model.architecture)
    local tensors, bytes = 0, 0
    for _, type in pairs(model.types) do
      tensors, bytes = tensors + type.tensors, bytes + type.bytes
    end
    assert.equal(model.tensors, tensors)
    assert.equal(model.bytes, bytes)
  end)

  it("fails with the path and a code", function()
    local model, message, code = moonseek.probe("spec/oracle/nothing")
    assert.is_nil(model)
    assert.matches("spec/oracle/nothing", message, 1, true)
    assert.equal("ENOENT", code)
    assert.equal("EINVAL", select(3, moonseek.probe("a\0b")))
  end)
end)

-- L01: what is passed where something else belongs. Light userdata exist only through debug.upvalueid.
local values = {
  ["nil"] = false, boolean = true, ["-1"] = -1, ["2^53+1"] = 2 ^ 53 + 2, nan = 0 / 0, inf = math.huge,
  ["-inf"] = -math.huge, ["1.5"] = 1.5, [""] = "", ["long string"] = ("x"):rep(2 ^ 20), ["zero byte"] = "a\0b",
  table = {}, ["function"] = function() end, thread = coroutine.create(function() end), userdata = io.stdout,
  ["light userdata"] = debug.upvalueid and debug.upvalueid(function() return support end, 1),
}

local function set(text)
  local names = {}
  for name in text:gmatch("[^,]+") do names[name] = true end
  return names
end

-- Every public function: the kinds of value that each argument accepts beside what `good` shows. An options table
-- is described by its options, each with a good value first.
local tokens_accepts = set "table"
local generation = {
  max_tokens = { 1, "" }, temperature = { 0.5, "1.5" }, top_k = { 3, "" }, top_p = { 0.5, "" }, min_p = { 0, "" },
  seed = { 7, "" }, repetition_penalty = { 1.1, "1.5" }, frequency_penalty = { 0.5, "-1,1.5" },
  presence_penalty = { 0.5, "-1,1.5" }, logit_bias = { { [3] = 1 }, "table" }, stop = { { 5 }, "table" },
  ignore_eos = { true, "boolean" }, logprobs = { 2, "" }, raw = { true, "boolean" }, deadline_ms = { 60000, "" },
  priority = { 1, "-1" },
}
local with_hook = { on_event = { function() end, "function" } }
for name, row in pairs(generation) do with_hook[name] = row end
generation.max_tokens[1] = 0
local open_options = {
  path = { tiny.path, "" }, backend = { "cpu", "" }, kernels = { "scalar", "" }, threads = { 1, "" },
  numerics = { "exact", "" }, mmap = { false, "boolean" }, check = { true, "boolean" },
  on_progress = { function() end, "function" }, cache = { nil, "" },
}

local saved, prefixes = os.tmpname(), support.temporary_folder()
teardown(function()
  os.remove(saved)
  support.remove(prefixes)
end)

local functions = {
  moonseek = {
    attach = { { 2 ^ 40, "" } },
    mock = { options = { answers = { {}, "table" }, answer = { function() end, "function" },
      choose = { function() end, "function" }, context = { 100, "" }, token_ms = { 5, "" } } },
    open = { options = open_options, required = { "path" } },
    cache = { options = { dir = { prefixes, "" }, budget = { 1, "" }, minimum = { 1, "" } }, required = { "dir" } },
    convert = { options = { source = { tiny.path, "" }, target = { prefixes .. "/x.gguf", "" },
      experts = { "bf16", "" }, attention = { "bf16", "" }, shared = { "bf16", "" }, head = { "bf16", "" },
      embedding = { "bf16", "" },
      threads = { 1, "" }, overwrite = { true, "boolean" }, on_progress = { function() end, "function" },
      shard_bytes = { 1000, "" } }, required = { "source", "target" } },
    probe = { { tiny.path } },
    tokenizer = { { tiny.path } },
    tokens = { { { 1, 2 }, tokens_accepts } },
    version = {},
  },
  engine = {
    close = {}, id = {}, info = {}, stats = {}, tokenizer = {},
    load_session = { { "spec/data/session-1.saved" } },
    memory = { options = { context = { 100, "" } } },
    session = { options = { context = { 100, "" } } },
    set = { options = { threads = { 1, "" }, max_jobs = { 100, "" }, slice_ms = { 10, "1.5" } } },
  },
  session = {
    append = { { { 1, 2 }, tokens_accepts } }, sync = { { { 1, 2 }, tokens_accepts } },
    close = {}, fork = {}, logits = {}, position = {}, rewind = { { 1 } }, room = {}, tokenizer = {}, tokens = {},
    save = { { saved } },
    routing = { options = { top_k = { 1, "" }, bias = { { 1 }, "table" }, disable = { { 1 }, "table" },
      layers = { {}, "table" } } },
    routing_stats = { options = { reset = { true, "boolean" } } },
    generate = { options = with_hook }, start = { options = generation }, stream = { options = generation },
    step = { options = generation }, score = { { { 1, 2 }, tokens_accepts } },
    choose = { { { { 1 }, { 2 } }, tokens_accepts } },
  },
  job = {
    cancel = {}, close = {}, dirty = {}, events = {}, finished = {}, getfd = {}, pause = {}, poll = {}, pollfd = {},
    result = {}, resume = {}, timeout = {}, wait = { { 0 } },
  },
  logits = { bytes = {}, top = { { 3 } } },
  cache = { close = {}, stats = {} },
}

local function owners()
  local session, engine = tiny.session()
  local logits = assert(session:logits())
  return { moonseek = moonseek, engine = engine, session = session, logits = logits,
           cache = assert(moonseek.cache { dir = prefixes, budget = 1 }),
           job = assert(session:start { max_tokens = 0 }) }, session
end

--- Either raises a text or returns nil, a text and a code.
local function check_refused(what, ok, ...)
  local first, message, code = ...
  if not ok then
    assert.equal("string", type(first), what)
  else
    assert.is_nil(first, what .. " was accepted")
    assert.equal("string", type(message), what)
    assert.matches("^E%u+$", code, 1, false, what)
  end
end

describe("L01: a wrong argument", function()
  local all

  before_each(function() all = owners() end)
  after_each(function()
    for _, name in ipairs { "job", "session", "engine" } do all[name]:close() end
  end)

  for owner, methods in pairs(functions) do
    it("the table below holds every function of " .. owner, function()
      local given = owner == "moonseek" and moonseek or tiny.methods(all[owner])
      for name, value in pairs(given) do
        if type(value) == "function" then assert.is_table(methods[name], owner .. "." .. name) end
      end
      for name in pairs(methods) do assert.is_function(given[name], name) end
    end)

    for name, spec in pairs(methods) do
      local function call(...)
        if owner == "moonseek" then return pcall(moonseek[name], ...) end
        all.job:close()
        all.session:sync { 1, 2, 3 }
        if owner == "job" then all.job = assert(all.session:start { max_tokens = 0 }) end
        return pcall(all[owner][name], all[owner], ...)
      end

      if owner ~= "moonseek" then
        it(("refuses another object as the self of %s:%s"):format(owner, name), function()
          for kind, value in pairs(values) do
            if kind == "nil" then value = nil end
            local ok, message = pcall(all[owner][name], value, {})
            assert.is_false(ok, kind)
            assert.equal("string", type(message))
          end
          for other, object in pairs(all) do
            if other ~= owner then assert.is_false((pcall(all[owner][name], object, {})), other) end
          end
          assert.is_false((pcall(all[owner][name])))
        end)
      end

      if spec[1] then
        it(("refuses it in %s.%s"):format(owner, name), function()
          local good, accepts = spec[1][1], spec[1][2] or {}
          for kind, value in pairs(values) do
            if kind == "nil" then value = nil end
            if not accepts[kind] then check_refused(kind, call(value)) end
          end
          assert.is_false((call()))
          call(good, good, good, {}, print)
        end)
      end

      if spec.options then
        it(("refuses it as the options of %s.%s"):format(owner, name), function()
          for kind, value in pairs(values) do
            if kind ~= "nil" and kind ~= "table" then check_refused(kind, call(value)) end
          end
        end)

        it(("refuses it in the options of %s.%s"):format(owner, name), function()
          for option, row in pairs(spec.options) do
            local accepts = set(row[2])
            for kind, value in pairs(values) do
              local given = { [option] = value }
              for _, needed in ipairs(spec.required or {}) do
                given[needed] = given[needed] or spec.options[needed][1]
              end
              if kind ~= "nil" and not accepts[kind] then check_refused(option .. " " .. kind, call(given)) end
            end
          end
        end)

        it(("refuses names that %s.%s does not know, and says which"):format(owner, name), function()
          local ok, message = call { treads = 1 }
          assert.is_false(ok)
          assert.matches(name, message, 1, true)
          assert.matches("treads", message, 1, true)
          assert.is_false((call { 1 }))
          assert.is_false((call { [{}] = 1 }))
          if spec.required then assert.matches(spec.required[1], select(2, call {}), 1, true) end
        end)
      end
    end
  end

  it("is named with its limits at the caller's line", function()
    local function line() return debug.getinfo(2, "l").currentline end
    local expected
    local _, message = pcall(function()
      expected = line() + 1
      all.session:generate { top_p = 0 / 0 }
    end)
    assert.matches(("module_spec.lua:%d: session:generate: option 'top_p': number expected, got nan"):format(expected),
      message)
    _, message = pcall(function()
      expected = line() + 1
      moonseek.open { path = 3 }
    end)
    assert.matches(("module_spec.lua:%d: moonseek.open: option 'path': string expected, got number"):format(expected),
      message)
    local _, limits, code = all.engine:session { context = -1 }
    assert.matches("engine:session: option 'context': -1 is not within 1 to ", limits, 1, true)
    assert.equal("EINVAL", code)
  end)
end)

describe("L02: a hostile table", function()
  local session, engine

  setup(function() session, engine = tiny.session() end)
  teardown(function()
    session:close()
    engine:close()
  end)

  local function trap() error("a metamethod ran") end
  local metatable = { __index = trap, __newindex = trap, __len = trap, __pairs = trap, __ipairs = trap, __call = trap,
    __tostring = trap, __eq = trap }

  it("is read raw: no metamethod runs", function()
    assert(session:sync(setmetatable({ 1, 2, 3 }, metatable)))
    assert.equal(3, session:position())
    local result = assert(session:generate(setmetatable({ max_tokens = 1, ignore_eos = true,
      stop = setmetatable({ 9 }, metatable), logit_bias = setmetatable({ [1] = 2 }, metatable) }, metatable)))
    assert.equal(1, #result.tokens)
    local ok, message = pcall(moonseek.open, setmetatable({}, { __index = function() return tiny.path end }))
    assert.is_false(ok)
    assert.matches("path", message)
  end)

  it("may hold itself, or more than fits", function()
    local cyclic = {}
    cyclic[1], cyclic.stop = cyclic, cyclic
    assert.is_false((pcall(session.generate, session, cyclic)))
    assert.is_false((pcall(session.generate, session, { stop = cyclic })))
    assert.is_false((pcall(session.generate, session, { logit_bias = cyclic })))
    check_refused("cyclic tokens", pcall(session.sync, session, cyclic))
    local many = {}
    for i = 1, 10000000 do many[i] = 1 end
    local before = session:position()
    assert.equal("ECTXFULL", select(3, session:sync(many)))
    check_refused("a long stop list", pcall(session.generate, session, { max_tokens = 1, stop = many }))
    assert.is_false((pcall(session.generate, session, many)))
    assert.equal(before, session:position())
  end)

  it("with holes is no list", function()
    assert.is_false((pcall(session.generate, session, { stop = { "a", nil, "b" } })))
    assert.is_false((pcall(session.generate, session, { stop = { "a", x = "b" } })))
    check_refused("a bias for no id", pcall(session.generate, session, { logit_bias = { x = 1 } }))
    check_refused("a bias for half an id", pcall(session.generate, session, { logit_bias = { [1.5] = 1 } }))
    check_refused("a bias beyond the vocabulary", pcall(session.generate, session, { logit_bias = { [2 ^ 40] = 1 } }))
  end)

  it("changes nothing when it changes after the call", function()
    local options = { max_tokens = 3, ignore_eos = true, stop = { 511 } }
    session:sync { 1, 2, 3 }
    local job = assert(session:start(options))
    options.max_tokens, options.stop[1] = 1, nil
    while not job:finished() do
      job:poll()
      job:wait(10)
    end
    assert.equal(3, #assert(job:result()).tokens)
  end)
end)
