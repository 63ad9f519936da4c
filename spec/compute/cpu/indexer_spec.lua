local support = require "spec.support"
local internals = support.internals()
local stages = require "spec.compute.cpu.stages"

local top_k, heads, width, ratio = 8, 3, 64, 4

local function inputs(numerics)
  return { u = stages.array(numerics, "layers.1.attn_norm"),
    latent = stages.array(numerics, "layers.1.attn.q_latent_norm") }
end

--- Rows of `top_k` ids as sets: ascending, -1 behind the last.
local function choices(array)
  local ids, rows = internals.ids(array), {}
  for at = 0, #ids - 1, top_k do
    local row = {}
    for i = 1, top_k do row[i] = ids[at + i] end
    rows[#rows + 1] = row
  end
  return rows
end

local function sorted(row)
  table.sort(row, function(a, b) return a ~= b and a ~= -1 and (b == -1 or a < b) end)
  return row
end

--- Scores of every visible row for the last token, from its query heads and the decoded keys, in double precision.
local function scores_by_hand(query, keys, weights)
  local scores, q, k = {}, internals.floats(query), internals.floats(keys)
  for j = 0, #k / width - 1 do
    scores[j] = 0
    for h = 0, heads - 1 do
      local product = 0
      for c = 1, width do product = product + q[h * width + c] * k[j * width + c] end
      if product > 0 then scores[j] = scores[j] + product * weights[h + 1] end
    end
  end
  return scores
end

--- weights_proj . u of one token, times width^-0.5 and heads^-0.5.
local function head_weights(u)
  local matrix = internals.floats(internals.widen(
    support.oracle("tinystage/model.safetensors")["layers.1.attn.indexer.weights_proj.weight"].bytes))
  local weights, x = {}, internals.floats(u)
  for h = 0, heads - 1 do
    local sum = 0
    for c = 1, #x do sum = sum + matrix[h * #x + c] * x[c] end
    weights[h + 1] = sum / math.sqrt(width * heads)
  end
  return weights
end

--- A long text of noise.
local function long_inputs(tokens)
  local function noise(seed) return internals.pack_floats(stages.noise(tokens * 128, seed)) end
  return { u = noise(5), latent = noise(6) }
end

--- What FP4 keeps of rows after the Hadamard transform.
local function quantised(rows, size)
  return internals.floats(internals.round_trip_fp4(internals.hadamard(rows, size)))
end

describe("index_products", function()
  for _, size in ipairs { 32, 64, 128, 256 } do
    it(("multiplies what the codes hold, alike at every level: %d values"):format(size), function()
      local count, rows = 48, 7
      local keys = internals.pack_floats(stages.noise(count * size, 3))
      local queries = internals.pack_floats(stages.noise(rows * size, 4))
      local got = assert(internals.index_products(keys, queries, size, "scalar"))
      local scores, k, q = internals.floats(got), quantised(keys, size), quantised(queries, size)
      for r = 0, rows - 1 do
        for j = 0, count - 1 do
          local want = 0
          for c = 1, size do want = want + q[r * size + c] * k[j * size + c] end
          assert.is_true(math.abs(want - scores[r * count + j + 1]) < 1e-5)
        end
      end
      for _, level in ipairs(internals.kernel_levels()) do
        stages.assert_equal_bits(got, assert(internals.index_products(keys, queries, size, level)), level)
      end
    end)
  end
end)

describe("select", function()
  for _, numerics in ipairs(stages.modes) do
    it("gives the oracle's rows: " .. numerics, function()
      local got = stages.run("select", { numerics = numerics, layer = 1 }, inputs(numerics))
      stages.accept(numerics, "layers.1.attn.indexer.rows", got.index_rows)
    end)

    it("chooses what the oracle chooses: " .. numerics, function()
      local got = choices(stages.run("select", { numerics = numerics, layer = 1 }, inputs(numerics)).chosen)
      local want = choices(stages.array(numerics, "layers.1.attn.indexer.topk"))
      assert.equal(stages.tokens, #got)
      for t = 1, #want do assert.same(sorted(want[t]), got[t]) end
    end)

    it("makes the oracle's queries: " .. numerics, function()
      local got = stages.run("index_query", { numerics = numerics, layer = 1 }, { latent = inputs(numerics).latent })
      stages.accept(numerics, "layers.1.attn.indexer.q", got.q)
    end)
  end

  it("chooses every visible row while there are at most top_k", function()
    local got = choices(stages.run("select", { numerics = "fast", layer = 1 }, inputs("exact")).chosen)
    for t = 0, ratio * top_k + ratio - 2 do
      for i = 1, top_k do
        assert.equal(i <= math.floor((t + 1) / ratio) and i - 1 or -1, got[t + 1][i])
      end
    end
  end)

  for _, numerics in ipairs { "fast", "reference" } do
    it("gives the same choice whichever way it is computed: " .. numerics, function()
      stages.assert_same_bits("select", { numerics = numerics, layer = 1 }, inputs("reference"))
    end)
  end

  it("chooses the highest scores over many tiles and pages", function()
    local tokens = 3000
    local given = long_inputs(tokens)
    local last = (tokens - 1) * 128 * 4
    for _, numerics in ipairs { "exact", "fast" } do
      local options = { numerics = numerics, layer = 1, tokens = tokens, chunk = 512, rows_per_page = 48, threads = 2 }
      local got = stages.run("select", options, given)
      local query = stages.run("index_query", options, { latent = given.latent }).q:sub(-heads * width * 4)
      local scores = scores_by_hand(query, got.index_rows, head_weights(given.u:sub(last + 1)))
      local chosen, worst = {}, math.huge
      for _, j in ipairs(choices(got.chosen)[tokens]) do
        chosen[j] = true
        worst = math.min(worst, scores[j])
      end
      local count = 0
      for j, score in pairs(scores) do
        if chosen[j] then count = count + 1
        else assert.is_true(score <= worst + 1e-5, ("row %d was not chosen"):format(j)) end
      end
      assert.equal(top_k, count)
    end
  end)

  it("gives the same choice when threads share the keys of one token", function()
    local tokens = 4 * 1100        -- two parts
    local given = long_inputs(tokens)
    local options = { numerics = "fast", layer = 1, tokens = tokens, chunk = tokens - 3, rows_per_page = 256 }
    local alone = stages.run("select", options, given)
    options.threads = 3
    stages.assert_equal_bits(alone.chosen, stages.run("select", options, given).chosen)
  end)

  it("never prefers a row whose score is NaN", function()
    local given, nan = inputs("exact"), internals.pack_floats { 0 / 0 }
    local at = 50 * 128 * 4                                 -- token 50: pooled rows 12 and 13
    given.u = given.u:sub(1, at) .. nan .. given.u:sub(at + 5)
    for _, numerics in ipairs { "exact", "fast", "reference" } do
      local got = choices(stages.run("select", { numerics = numerics, layer = 1 }, given).chosen)
      for t = 100, stages.tokens do
        for i = 1, top_k do assert.is_true(got[t][i] ~= 12 and got[t][i] ~= 13 and got[t][i] >= 0) end
      end
    end
  end)

  it("refuses pages that hold no whole groups of rows", function()
    local given = inputs("reference")
    local options = { layer = 1, tokens = stages.tokens, numerics = "fast", rows_per_page = 8 }
    local got, message, code = internals.run_stage("select", options, given)
    assert.same({ nil, "a page of indexer rows holds 8, not a multiple of 16", "EINVAL" }, { got, message, code })
  end)

  local equal_scores = { zero = 0, NaN = 0 / 0 }
  for name, value in pairs(equal_scores) do
    it(("takes the lowest rows when all scores are %s"):format(name), function()
      local tokens, zeros = 1500, {}
      for i = 1, tokens * 128 do zeros[i] = value end
      local given = { u = long_inputs(tokens).u, latent = internals.pack_floats(zeros) }
      for _, numerics in ipairs { "exact", "fast", "reference" } do
        local options = { numerics = numerics, layer = 1, tokens = tokens, chunk = 700 }
        local got = choices(stages.run("select", options, given).chosen)
        for t = 100, tokens, 100 do assert.same({ 0, 1, 2, 3, 4, 5, 6, 7 }, got[t]) end
      end
    end)
  end
end)
