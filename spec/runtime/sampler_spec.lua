--- The sampler against a plain one written here, and every edge of every option.
local internals = require("spec.support").internals()

local infinity = math.huge
local nan = infinity - infinity

local function sample(options, logits, position, count)
  return internals.sample(options, logits, position or 0, count or 1)
end

--- Log-odds that are all different, in no order.
local function spread(count, step)
  local logits = {}
  for i = 1, count do logits[i] = ((i * 37) % count) * (step or 0.25) - count * 0.1 end
  return logits
end

--- The order that sampler.h states, with a sort: the weight of every token, by id + 1.
local function weights_of(options, logits)
  local highest, order, weights = -infinity, {}, {}
  for i, value in ipairs(logits) do
    highest = math.max(highest, value)
    order[i] = i
  end
  for i, value in ipairs(logits) do weights[i] = math.exp((value - highest) / options.temperature) end
  table.sort(order, function(a, b) return logits[a] > logits[b] or (logits[a] == logits[b] and a < b) end)
  local limit = options.top_k ~= 0 and math.min(options.top_k or #order, #order) or #order
  local sum, reached, kept = 0, 0, {}
  for i = 1, limit do sum = sum + weights[order[i]] end
  for i = 1, limit do
    if i > 1 and reached >= (options.top_p or 1) * sum then break end
    kept[order[i]] = true
    reached = reached + weights[order[i]]
  end
  for i = 1, #weights do
    if not kept[i] or weights[i] < (options.min_p or 0) then weights[i] = 0 end
  end
  return weights
end

local function draw(weights, u)
  local sum, passed, last = 0, 0, nil
  for _, weight in ipairs(weights) do sum = sum + weight end
  for i, weight in ipairs(weights) do
    passed = passed + weight
    if weight > 0 then
      last = i - 1
      if passed > u * sum then return last end
    end
  end
  return last
end

describe("sampler_random", function()
  it("is SplitMix64 by position", function()
    local published = { "599ed017fb08fc85", "2c73f08458540fa5", "883ebce5a3f27c77", "3fbef740e9177b3f" }
    for i, digits in ipairs(published) do assert.equal(digits, (internals.random(1234567, i - 1))) end
    assert.equal("e220a8397b1dcdaf", (internals.random(0, 0)))
  end)

  it("gives numbers from 0 to less than 1", function()
    local digits, u = internals.random("61c8864680b583eb", 0)
    assert.equal("0000000000000000", digits)
    assert.equal(0, u)
    digits, u = internals.random("31628af67b2131ab", 0)
    assert.equal("ffffffffffffffff", digits)
    assert.equal(1 - 2 ^ -53, u)
  end)
end)

describe("sampler_choose", function()
  local cases = {
    { temperature = 1 }, { temperature = 0.3 }, { temperature = 5 },
    { temperature = 1, top_k = 1 }, { temperature = 1, top_k = 7 }, { temperature = 2, top_k = 40 },
    { temperature = 1, top_k = 1000 },
    { temperature = 1, top_p = 0 }, { temperature = 1, top_p = 0.1 }, { temperature = 2, top_p = 0.9 },
    { temperature = 9, top_p = 0.999 },
    { temperature = 1, min_p = 0.05 }, { temperature = 3, min_p = 1 },
    { temperature = 2, top_k = 30, top_p = 0.8, min_p = 0.02 }, { temperature = 4, top_k = 5, top_p = 0.5 }
  }
  local fields = { "temperature", "top_k", "top_p", "min_p" }
  for _, options in ipairs(cases) do
    local name = {}
    for _, field in ipairs(fields) do if options[field] then name[#name + 1] = field .. " " .. options[field] end end
    it("draws as a plain sampler does: " .. table.concat(name, ", "), function()
      local logits = spread(101)
      local weights = weights_of(options, logits)
      options.seed = 99
      local drawn = assert(sample(options, logits, 1000, 500))
      for i = 1, 500 do
        local _, u = internals.random(99, 1000 + i - 1)
        assert.equal(draw(weights, u), drawn[i])
      end
    end)
  end

  it("draws by the probabilities: chi-square", function()
    local logits, count = { 0, 1, 2, -1, 0.5, 1.5, -2, 0 }, 20000
    local drawn, seen, sum, statistic = assert(sample({ temperature = 1.3, seed = 4 }, logits, 0, count)), {}, 0, 0
    for _, id in ipairs(drawn) do seen[id] = (seen[id] or 0) + 1 end
    for _, value in ipairs(logits) do sum = sum + math.exp(value / 1.3) end
    for i, value in ipairs(logits) do
      local expected = count * math.exp(value / 1.3) / sum
      statistic = statistic + (seen[i - 1] - expected) ^ 2 / expected
    end
    assert.is_true(statistic < 24.3)   -- 0.999 quantile at 7 degrees of freedom
  end)

  it("depends on seed and position alone", function()
    local logits = spread(50)
    local twenty = assert(sample({ seed = 3 }, logits, 10, 20))
    for i = 1, 20 do assert.same({ twenty[i] }, sample({ seed = 3 }, logits, 9 + i)) end
    assert.not_same(twenty, sample({ seed = 5 }, logits, 10, 20))
  end)

  it("takes the lowest id among equals", function()
    assert.same({ 1 }, sample({ temperature = 0 }, { 1, 3, 2, 3 }))
    for _, options in ipairs { { top_k = 1 }, { top_p = 0 } } do
      for seed = 0, 20 do
        options.seed = seed
        assert.same({ 1 }, sample(options, { 1, 3, 2, 3 }))
      end
    end
    local two = {}
    for _, id in ipairs(sample({ top_k = 2, seed = 1 }, { 5, 5, 5, 5 }, 0, 200)) do two[id] = true end
    assert.same({ [0] = true, [1] = true }, two)
  end)

  it("chooses as the same sort over a large vocabulary", function()
    local logits = spread(129280, 0.0001)
    local drawn = assert(sample({ temperature = 0.05, top_k = 100, top_p = 0.9, seed = 8 }, logits, 0, 3))
    local weights = weights_of({ temperature = 0.05, top_k = 100, top_p = 0.9 }, logits)
    for i = 1, 3 do assert.is_true(weights[drawn[i] + 1] > 0) end
  end)
end)

describe("bias and penalties", function()
  it("are applied in the order bias, repetition, frequency, presence", function()
    -- 2 + 4 = 6, / 2 = 3, - 2 * 0.5 = 2, - 0.25 = 1.75
    local options = { temperature = 0, bias = { { 1, 4 } }, repetition_penalty = 2, frequency_penalty = 0.5,
      presence_penalty = 0.25, generated = { 1, 1 } }
    assert.same({ 1 }, sample(options, { 1.74, 2 }))
    assert.same({ 0 }, sample(options, { 1.76, 2 }))
  end)

  it("repetition divides what is positive and multiplies what is negative, over all tokens held", function()
    local options = { temperature = 0, repetition_penalty = 2, held = { 0, 0 } }
    assert.same({ 1 }, sample(options, { 3, 1.6 }))
    assert.same({ 0 }, sample(options, { 3, 1.4 }))
    assert.same({ 1 }, sample(options, { -1, -1.9 }))
    assert.same({ 0 }, sample(options, { -1, -2.1 }))
  end)

  it("frequency and presence count what the job drew, not what the session held", function()
    local options = { temperature = 0, frequency_penalty = 1, presence_penalty = 1, held = { 0, 0, 0 } }
    assert.same({ 0 }, sample(options, { 1, 0.9 }))
    options.generated = { 0, 0 }
    assert.same({ 1 }, sample(options, { 3.8, 0.9 }))
    assert.same({ 0 }, sample(options, { 4, 0.9 }))
  end)

  it("a bias of -inf forbids a token", function()
    for seed = 0, 50 do assert.same({ 1 }, sample({ bias = { { 0, -infinity } }, seed = seed }, { 50, 0 })) end
  end)
end)

describe("C08", function()
  local zero, ones = "61c8864680b583eb", "31628af67b2131ab"   -- seeds whose first number is 0 and 1 - 2^-53

  local refused = {
    { "temperature is -1: it must lie between 0 and 100", { temperature = -1 } },
    { "temperature is inf: it must lie between 0 and 100", { temperature = infinity } },
    { "temperature is nan: it must lie between 0 and 100", { temperature = nan } },
    { "temperature is 101: it must lie between 0 and 100", { temperature = 101 } },
    { "top_p is 2: it must lie between 0 and 1", { top_p = 2 } },
    { "top_p is -0.1: it must lie between 0 and 1", { top_p = -0.1 } },
    { "top_p is nan: it must lie between 0 and 1", { top_p = nan } },
    { "min_p is 1.5: it must lie between 0 and 1", { min_p = 1.5 } },
    { "min_p is nan: it must lie between 0 and 1", { min_p = nan } },
    { "repetition_penalty is 0: it must lie between 0.01 and 100", { repetition_penalty = 0 } },
    { "frequency_penalty is -101: it must lie between -100 and 100", { frequency_penalty = -101 } },
    { "presence_penalty is inf: it must lie between -100 and 100", { presence_penalty = infinity } },
    { "logprobs is 21: it must lie between 0 and 20", { logprobs = 21 } },
    { "logit_bias: token 3 does not exist: the vocabulary has 3", { bias = { { 3, 1 } } } },
    { "logit_bias: token -1 does not exist: the vocabulary has 3", { bias = { { -1, 1 } } } },
    { "logit_bias of token 0 is nan: it must be -inf or lie between -10000 and 10000", { bias = { { 0, nan } } } },
    { "logit_bias of token 0 is inf: it must be -inf or lie between -10000 and 10000", { bias = { { 0, infinity } } } }
  }
  for _, case in ipairs(refused) do
    it("C08: refuses: " .. case[1], function()
      local result, message, code = sample(case[2], { 1, 2, 3 })
      assert.is_nil(result)
      assert.equal(case[1], message)
      assert.equal("EINVAL", code)
    end)
  end

  it("C08: temperature 0 is the likeliest token; a tiny one is it too, without overflow", function()
    local logits = { -80, 88, 87.9, -infinity }
    for _, temperature in ipairs { 0, 1e-30, 1e-300, 5e-324 } do
      for _, seed in ipairs { zero, ones, "5" } do
        assert.same({ 1 }, sample({ temperature = temperature, seed = seed }, logits))
      end
    end
  end)

  it("C08: top_k above the vocabulary is all of it, top_p 1 and min_p 0 leave everything", function()
    local logits = spread(40, 0.01)
    local plain = sample({ seed = 1 }, logits, 0, 200)
    assert.same(plain, sample({ seed = 1, top_k = 1e9 }, logits, 0, 200))
    assert.same(plain, sample({ seed = 1, top_k = 40, top_p = 1, min_p = 0 }, logits, 0, 200))
  end)

  it("C08: seeds 0, 2^64 - 1 and 2^53 draw", function()
    for _, seed in ipairs { "0", "ffffffffffffffff", "20000000000000" } do
      assert.equal(10, #sample({ seed = seed }, spread(10), 0, 10))
    end
  end)

  it("C08: never a token of probability zero, at u = 0 and at u = 1 - 2^-53", function()
    local lists = {
      { { -infinity, 1, -infinity, 2, -infinity }, { 1, 3 } },
      { { -infinity, -infinity, 0 }, { 2, 2 } },
      { { 0, -2000, -2000 }, { 0, 0 } },                  -- exp(-2000) is 0
      { { -2000, 0, -2000 }, { 1, 1 } },
      { { 7, 7, 7, 7 }, { 0, 3 } }
    }
    for _, case in ipairs(lists) do
      assert.same({ case[2][1] }, sample({ seed = zero }, case[1]))
      assert.same({ case[2][2] }, sample({ seed = ones }, case[1]))
    end
    for _, options in ipairs { { top_k = 2 }, { top_p = 0.9 }, { min_p = 0.3 } } do
      options.seed = ones
      assert.same({ 1 }, sample(options, { 3, 3, -3, -3 }))
    end
  end)

  it("C08: logits that are all equal are drawn alike, at every size", function()
    local logits = {}
    for i = 1, 1000 do logits[i] = -3.25 end
    assert.same({ 999 }, sample({ seed = ones }, logits))
    assert.same({ 0 }, sample({ seed = zero }, logits))
  end)

  it("C08: one finite logit is drawn, whatever the options", function()
    local logits = { -infinity, -infinity, -5, -infinity }
    local penalty = { repetition_penalty = 3, held = { 2 } }
    for _, options in ipairs { {}, { temperature = 0 }, { top_k = 3 }, { top_p = 0.5 }, { min_p = 1 }, penalty } do
      assert.same({ 2 }, sample(options, logits))
    end
  end)

  it("C08: no possible token is an error, never token 0", function()
    local _, message, code = sample({}, { -infinity, -infinity }, 17)
    assert.equal("no token is possible at position 17: the logits of all 2 are -inf", message)
    assert.equal("EINVAL", code)
    _, message = sample({ temperature = 0, bias = { { 0, -infinity } } }, { 3 })
    assert.equal("no token is possible at position 0: the logits of all 1 are -inf", message)
  end)

  for _, value in ipairs { nan, infinity } do
    it("C08: a logit of " .. tostring(value):gsub("%-", "") .. " is an error that names it", function()
      for _, temperature in ipairs { 0, 1 } do
        local _, message, code = sample({ temperature = temperature }, { 0, 1, value, 2 }, 5)
        assert.equal("the logit of token 2 at position 5 is not finite", message)
        assert.equal("EFORMAT", code)
      end
    end)
  end
end)

describe("sampler_logprobs", function()
  it("are of the logits as they are, best first, lower id first among equals", function()
    local logits, sum = { 1, 3, -1, 3, 0 }, 0
    for _, value in ipairs(logits) do sum = sum + math.exp(value) end
    local own, top = internals.logprobs(logits, 4, 4)
    assert.is_true(math.abs(own - (0 - math.log(sum))) < 1e-6)
    local ids = {}
    for i, entry in ipairs(top) do
      ids[i] = entry[1]
      assert.is_true(math.abs(entry[2] - (logits[entry[1] + 1] - math.log(sum))) < 1e-6)
    end
    assert.same({ 1, 3, 0, 4 }, ids)
  end)

  it("is -inf for what cannot be, and no trouble for large values", function()
    local own, top = internals.logprobs({ -infinity, 1e30, 1e30 }, 0, 2)
    assert.equal(-infinity, own)
    assert.is_true(math.abs(top[1][2] + math.log(2)) < 1e-6)
  end)
end)
