--- How many threads one answer takes, from what steps have taken: durations made up here.
local support = require "spec.support"
local internals = support.internals()
local moonseek = require "moonseek"

--- Milliseconds of a step on a machine where `draws` threads draw all that the memory gives.
local function machine(draws)
  return function(threads) return 100 / math.min(threads, draws) end
end

describe("the threads of one answer", function()
  for _, case in ipairs { { 1, 1 }, { 2, 1 }, { 2, 2 }, { 8, 1 }, { 8, 3 }, { 16, 8 }, { 64, 11 }, { 16, 16 } } do
    local all, draws = case[1], case[2]
    it(("are %d of %d where so many draw all that the memory gives"):format(draws, all), function()
      local threads, found = internals.saturation(all, 200, machine(draws))
      assert.same({ draws, draws }, { threads, found })
    end)
  end

  it("are found in no more than 16 steps a half, of which half take all threads", function()
    for _, all in ipairs { 2, 16, 64 } do
      local trials = math.ceil(math.log(all) / math.log(2))
      local _, found, taken = internals.saturation(all, 16 * trials, machine(1))
      assert.equal(1, found)
      local with_all = 0
      for _, threads in ipairs(taken) do with_all = with_all + (threads == all and 1 or 0) end
      assert.equal(8 * trials, with_all)
    end
  end)

  it("are fewer only where a step takes at most a twentieth longer", function()
    for _, case in ipairs { { 1.04, 1 }, { 1.06, 2 } } do
      assert.equal(case[2], (internals.saturation(2, 50, function(threads) return threads == 1 and case[1] or 1 end)))
    end
  end)

  it("are not judged by steps that waited for the disk", function()
    local function cold(threads, step) return step <= 40 and 1000 or 100 / threads, step <= 40 end
    local threads, found = internals.saturation(2, 40, cold)
    assert.same({ 2, 0 }, { threads, found })
    assert.equal(2, (internals.saturation(2, 60, cold)))
  end)

  it("are not judged by the first step after a change, nor by one disturbed step", function()
    local before
    local function woken(threads, step)
      local changed = threads ~= before
      before = threads
      return 100 / threads + (changed and 500 or 0) + (step % 7 == 0 and 300 or 0)
    end
    assert.equal(4, (internals.saturation(4, 80, woken)))
  end)
end)

describe("engine:stats().answer_threads", function()
  local function answered(options)
    options.path = "models/pocket"
    local engine = assert(moonseek.open(options))
    local session = assert(engine:session { context = 512 })
    session:append(assert(assert(engine:tokenizer()):encode "One and one"))
    local result = assert(session:generate { max_tokens = 40, ignore_eos = true, temperature = 0 })
    local found = engine:stats().answer_threads
    engine:close()
    return found, table.concat(result.tokens:totable(), " ")
  end

  it("is at most the cores, when the number is left to the engine, and found within 40 tokens on two", function()
    local found, text = answered {}
    local threads = moonseek.open { path = "models/pocket" }:info().threads
    assert.is_true(found <= threads and (found > 0 or threads > 4))
    assert.equal(text, (select(2, answered { threads = 1 })))
  end)

  it("is the number asked for, when one was", function()
    assert.equal(2, (answered { threads = 2 }))
    assert.equal(1, (answered { threads = 0 }))
  end)
end)
