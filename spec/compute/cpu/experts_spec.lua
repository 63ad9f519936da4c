--- Routing and experts, fed with the oracle's values (oracle/README.md) and with routes made by hand.
local support = require "spec.support"
local stages = require "spec.compute.cpu.stages"
local internals = support.internals()

local model = support.oracle("tinystage/model.safetensors")
local tokens = internals.pack_ids(support.oracle_tokens("stage"))
local rows, width, experts, top_k = 140, 128, 4, 2

local value, weight, row_of = stages.value, stages.weight, stages.row_of

--- The oracle lists ids by score; the stage by id. Both sorted by id, weights with them.
local function by_id(ids, weights, columns)
  ids, weights = internals.ids(ids), internals.floats(weights)
  local sorted_ids, sorted_weights = {}, {}
  for first = 1, #ids, columns do
    local pairs_of_row = {}
    for i = first, first + columns - 1 do pairs_of_row[#pairs_of_row + 1] = { ids[i], weights[i] } end
    table.sort(pairs_of_row, function(a, b) return a[1] < b[1] end)
    for _, pair in ipairs(pairs_of_row) do
      sorted_ids[#sorted_ids + 1], sorted_weights[#sorted_weights + 1] = pair[1], pair[2]
    end
  end
  return internals.pack_ids(sorted_ids), internals.pack_floats(sorted_weights)
end

--- The recorded ids and weights of a layer, [140, 2].
local function routes(mode, key)
  return by_id(value(mode, key .. "router_ids"), value(mode, key .. "router_weights"), top_k)
end

local function split(result) return result:sub(1, #result / 2), result:sub(#result / 2 + 1) end

describe("route", function()
  local unit = { type = "F32", shape = { experts, experts }, bytes = internals.pack_floats
    { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1 } }

  -- Layer 1 follows the token's table, layer 2 score and bias, there from recorded logits.
  local function arguments(mode, layer)
    local key = ("layers.%d.ffn"):format(layer)
    local from_table = layer == 1
    return { x = value(mode, from_table and key .. "_norm" or key .. ".router_logits"),
      gate = from_table and weight(key .. ".gate") or unit, bias = model[key .. ".gate.bias"],
      table = from_table and model[key .. ".gate.tid2eid"].bytes or nil, tokens = tokens, top_k = top_k,
      route_scale = 1.5 }
  end

  for layer, how in pairs { [1] = "by the token's table", [2] = "by score and bias" } do
    local key = ("layers.%d.ffn."):format(layer)
    for _, mode in ipairs { "exact", "reference", "fast" } do
      it(how .. " as the oracle: " .. mode, function()
        local given = arguments(mode, layer)
        local result = assert(internals.dense_stage("route", { numerics = mode, threads = 2 }, given))
        local ids, weights = split(result)
        local want_ids, want_weights = routes(mode, key)
        assert.equal(want_ids, ids)
        assert.is_true(internals.agreement(want_weights, weights) < 2e-5)
        for _, kernels in ipairs(internals.kernel_levels()) do
          local options = { numerics = mode, kernels = kernels, threads = 3 }
          assert.equal(result, internals.dense_stage("route", options, given))
        end
      end)
    end
  end

  --- One row whose logits are given: a gate of one column, and x is 1.
  local function route(logits, more)
    local given = { x = internals.pack_floats { 1 }, gate = { type = "F32", shape = { #logits, 1 },
      bytes = internals.pack_floats(logits) }, top_k = 2, route_scale = 2 }
    for name, thing in pairs(more or {}) do given[name] = thing end
    local ids, weights = split(assert(internals.dense_stage("route", {}, given)))
    return internals.ids(ids), internals.floats(weights)
  end

  it("gives the oracle's ids and weights from its logits", function()
    local vectors = support.oracle("vectors.safetensors")
    local want_ids, want_weights = by_id(vectors["router.ids"].bytes, vectors["router.weights"].bytes, 4)
    for row = 1, 6 do
      local ids, weights = route(internals.floats(row_of(vectors["router.logits"].bytes, row, 16)),
        { top_k = 4, route_scale = 1.5, bias = { type = "F32", shape = { 16 }, bytes = vectors["router.bias"].bytes } })
      assert.same(internals.ids(row_of(want_ids, row, 4)), ids)
      assert.is_true(internals.agreement(row_of(want_weights, row, 4), internals.pack_floats(weights)) < 1e-6)
    end
  end)

  it("takes the lowest of equal scores and gives ids ascending", function()
    assert.same({ 0, 3 }, (route { 1, 1, 1, 2, 1 }))
    assert.same({ 0, 1 }, (route { 0, 0, 0, 0 }))
    assert.same({ 1, 2 }, (route { -9, 5, 5, 5 }))
  end)

  it("chooses by score plus bias and weighs by score alone", function()
    local bias = { type = "F32", shape = { 4 }, bytes = internals.pack_floats { 0, 9, 9, 0 } }
    local ids, weights = route({ 0, 0, 0, 3 }, { bias = bias })
    assert.same({ 1, 2 }, ids)
    assert.same({ 1, 1 }, weights)
  end)

  it("gives valid, different ids even for NaN", function()
    local nan = 0 / 0
    for _, logits in ipairs { { nan, nan, nan }, { nan, 1, 2 }, { 1, nan, nan }, { 1 / 0, nan, -1 / 0 } } do
      local ids = route(logits)
      assert.is_true(ids[1] >= 0 and ids[1] < ids[2] and ids[2] < 3)
    end
  end)

  it("reads an unaligned table of 64-bit ids", function()
    local entries = ("\2\0\0\0\0\0\0\0" .. "\0\0\0\0\0\0\0\0"):rep(2) .. "\3\0\0\0\0\0\0\0" .. "\1\0\0\0\0\0\0\0"
    assert.same({ 1, 3 }, (route({ 1, 1, 1, 1 }, { table = entries, tokens = internals.pack_ids { 2 } })))
  end)
end)

describe("route with policies", function()
  local count, model_top_k, scale = 10, 4, 1.5
  local identity, model_bias = {}, { 0, 0.3, -0.2, 0.1, 0, 0, 0.05, -0.4, 0.2, 0 }
  for i = 1, count * count do identity[i] = (i - 1) % (count + 1) == 0 and 1 or 0 end

  local state = 11
  local function random()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
  local function list(n, f)
    local values = {}
    for i = 1, n do values[i] = f(i) end
    return values
  end

  local none, never = 0, -math.huge
  local policies = {
    false,
    { top_k = 1 }, { top_k = 2 }, { top_k = model_top_k },
    { top_k = model_top_k, bias = { none, never, never, none, none, never, none, never, none, none } },
    { top_k = 3, bias = { never, none, 2, never, -1, none, 0.5, none, none, 900 } },
    { top_k = 1, bias = { never, never, never, never, never, -50, never, never, never, never } },
    { top_k = 2, bias = { 1000, 1000, -1000, none, none, none, none, none, none, 1000 } },
    false,
  }
  local logits = list(#policies, function() return list(count, function() return 8 * random() - 4 end) end)

  --- The definition, in doubles: ids ascending, -1 behind them, and their weights.
  local function defined(row, policy)
    local scores, order = {}, {}
    local taken, bias = policy and policy.top_k or model_top_k, policy and policy.bias or {}
    for e = 1, count do
      scores[e] = math.sqrt(math.log(1 + math.exp(row[e])))
      if bias[e] ~= never then order[#order + 1] = e end
    end
    table.sort(order, function(a, b)
      return scores[a] + model_bias[a] + (bias[a] or 0) > scores[b] + model_bias[b] + (bias[b] or 0)
    end)
    for i = #order, taken + 1, -1 do order[i] = nil end
    table.sort(order)
    local sum, ids, weights = 0, {}, {}
    for _, e in ipairs(order) do sum = sum + scores[e] end
    for i = 1, model_top_k do
      ids[i] = order[i] and order[i] - 1 or -1
      weights[i] = order[i] and scores[order[i]] / sum * scale or 0
    end
    return ids, weights
  end

  local function signed(ids)
    return list(#ids, function(i) return ids[i] >= 2 ^ 31 and ids[i] - 2 ^ 32 or ids[i] end)
  end

  local function pack(policy)
    return policy and { top_k = policy.top_k, bias = policy.bias and internals.pack_floats(policy.bias) }
  end

  --- Rows first .. last, each under its policy: packed ids, packed weights, and both as they came.
  local function route(first, last, options, more)
    local x, given_policies = {}, {}
    for row = first, last do
      for e = 1, count do x[#x + 1] = logits[row][e] end
      given_policies[#given_policies + 1] = pack(policies[row])
    end
    local given = { x = internals.pack_floats(x), gate = { type = "F32", shape = { count, count },
      bytes = internals.pack_floats(identity) }, bias = { type = "F32", shape = { count },
      bytes = internals.pack_floats(model_bias) }, top_k = model_top_k, route_scale = scale,
      policies = given_policies }
    for name, thing in pairs(more or {}) do given[name] = thing end
    if given.policies == "none" then given.policies = nil end
    local result = assert(internals.dense_stage("route", options or {}, given))
    local ids, weights = split(result)
    return ids, weights, result
  end

  it("chooses and weighs every row by its own, as defined", function()
    local ids, weights = route(1, #policies)
    for row, policy in ipairs(policies) do
      local want_ids, want_weights = defined(logits[row], policy)
      assert.same(want_ids, signed(internals.ids(row_of(ids, row, model_top_k))), "row " .. row)
      local got, sum = internals.floats(row_of(weights, row, model_top_k)), 0
      for i = 1, model_top_k do
        assert.is_true(math.abs(got[i] - want_weights[i]) < 1e-5, "row " .. row)
        sum = sum + got[i]
      end
      assert.is_true(math.abs(sum - scale) < 1e-6, "row " .. row)
    end
  end)

  for _, mode in ipairs { "exact", "reference", "fast" } do
    it("gives each row the bits it has alone, at any kernels and threads: " .. mode, function()
      local ids, weights, expected = route(1, #policies, { numerics = mode, kernels = "scalar" })
      for _, kernels in ipairs(internals.kernel_levels()) do
        assert.equal(expected, (select(3, route(1, #policies, { numerics = mode, kernels = kernels, threads = 3 }))))
      end
      for row = 1, #policies do
        local alone_ids, alone_weights = route(row, row, { numerics = mode })
        assert.equal(row_of(ids, row, model_top_k), alone_ids)
        assert.equal(row_of(weights, row, model_top_k), alone_weights)
      end
    end)
  end

  it("leaves rows without one, and with one that asks for nothing, as they are without policies", function()
    local with, with_weights = route(1, #policies)
    local without, without_weights = route(1, #policies, {}, { policies = "none" })
    for _, row in ipairs { 1, 4, #policies } do
      assert.equal(row_of(without, row, model_top_k), row_of(with, row, model_top_k))
      assert.equal(row_of(without_weights, row, model_top_k), row_of(with_weights, row, model_top_k))
    end
    assert.not_equal(without, with)
  end)

  it("leaves a row that follows its table as it is", function()
    local entries = {}
    for _, id in ipairs { 7, 2, 9, 4 } do entries[#entries + 1] = string.char(id) .. ("\0"):rep(7) end
    local table_of = { table = table.concat(entries), tokens = internals.pack_ids { 0 } }
    local bare = { table = table_of.table, tokens = table_of.tokens, policies = "none" }
    for _, row in ipairs { 2, 5, 7 } do
      local _, _, with = route(row, row, {}, table_of)
      local ids, _, without = route(row, row, {}, bare)
      assert.equal(without, with)
      assert.same({ 2, 4, 7, 9 }, internals.ids(ids))
    end
  end)

  it("gives finite weights when all that it may take scores nothing", function()
    local ids, weights = route(7, 7, {}, { gate = { type = "F32", shape = { count, count },
      bytes = internals.pack_floats(list(count * count, function(i) return identity[i] * -1e6 * 4 end)) },
      x = internals.pack_floats(list(count, function() return 1 end)) })
    assert.same({ 5, -1, -1, -1 }, signed(internals.ids(ids)))
    assert.same({ scale, 0, 0, 0 }, internals.floats(weights))
  end)

  it("never takes a disabled expert, even among NaN", function()
    local ids = route(5, 5, {}, { x = internals.pack_floats(list(count, function() return 0 / 0 end)) })
    for _, id in ipairs(internals.ids(ids)) do
      assert.equal(none, policies[5].bias[id + 1])
    end
  end)
end)

describe("experts", function()
  local function set_of(layer)
    local all = {}
    for e = 0, experts do
      local prefix = e == experts and "layers.%d.ffn.shared_experts." or "layers.%d.ffn.experts." .. e .. "."
      local parts = {}
      for _, part in ipairs { "w1", "w2", "w3" } do parts[part] = weight(prefix:format(layer) .. part) end
      all[e + 1] = parts
    end
    return all
  end

  local function arguments(mode, layer)
    local key = ("layers.%d."):format(layer)
    local chosen, weights = routes(mode, key .. "ffn.")
    return { x = value(mode, key .. "ffn_norm"), experts = set_of(layer), limit = 10, top_k = top_k, chosen = chosen,
      weights = weights }
  end

  --- The same for one row.
  local function only(given, row, columns)
    return { x = row_of(given.x, row, columns or width), experts = given.experts, limit = given.limit, top_k = top_k,
      chosen = row_of(given.chosen, row, top_k), weights = row_of(given.weights, row, top_k) }
  end

  for _, case in ipairs { { "exact", 1 }, { "reference", 1 }, { "reference", 2 } } do
    local mode, layer = case[1], case[2]
    it(("give the oracle's ffn_out of layer %d: %s"):format(layer, mode), function()
      local got = assert(internals.dense_stage("experts", { numerics = mode, threads = 2 }, arguments(mode, layer)))
      local off, differing = internals.agreement(value(mode, ("layers.%d.ffn_out"):format(layer)), got)
      assert.is_true(off <= (mode == "exact" and 2e-5 or 0.03), ("%g rms"):format(off))
      if mode == "reference" then assert.is_true(differing <= 0.05, ("%g differ"):format(differing)) end
    end)

    it(("give the shared expert alone when the others weigh nothing: layer %d, %s"):format(layer, mode), function()
      local given = arguments(mode, layer)
      given.weights = ("\0"):rep(#given.weights)
      local got = assert(internals.dense_stage("experts", { numerics = mode }, given))
      local off, differing = internals.agreement(value(mode, ("layers.%d.ffn.shared"):format(layer)), got)
      assert.is_true(off <= (mode == "exact" and 2e-5 or 0.03), ("%g rms"):format(off))
      if mode == "reference" then assert.is_true(differing <= 0.01, ("%g differ"):format(differing)) end
    end)
  end

  it("in fast stay near exact: int8 activations cost about a percent", function()
    local given = arguments("exact", 1)
    local fast = assert(internals.dense_stage("experts", { numerics = "fast" }, given))
    local off = internals.agreement(value("exact", "layers.1.ffn_out"), fast)
    assert.is_true(off > 1e-5 and off < 0.05, ("%g rms"):format(off))
  end)

  for _, mode in ipairs { "fast", "reference" } do
    it("have the same bits for any kernels, threads and company: " .. mode, function()
      local given = arguments(mode, 1)
      local expected = assert(internals.dense_stage("experts", { numerics = mode, kernels = "scalar" }, given))
      for _, kernels in ipairs(internals.kernel_levels()) do
        for threads = 1, 3 do
          local options = { numerics = mode, kernels = kernels, threads = threads }
          assert.equal(expected, internals.dense_stage("experts", options, given))
        end
      end
      for row = 1, rows, 13 do
        local options = { numerics = mode, threads = 2 }
        assert.equal(row_of(expected, row, width), internals.dense_stage("experts", options, only(given, row)))
      end
    end)
  end

  it("have the same bits for any threads: exact", function()
    local given = arguments("exact", 1)
    local expected = assert(internals.dense_stage("experts", { numerics = "exact" }, given))
    for threads = 2, 3 do
      assert.equal(expected, internals.dense_stage("experts", { numerics = "exact", threads = threads }, given))
    end
  end)

  for _, mode in ipairs { "exact", "reference", "fast" } do
    it("skip the places that a row leaves free: " .. mode, function()
      local given = arguments(mode, 1)
      local ids, weights = internals.ids(given.chosen), internals.floats(given.weights)
      local full = assert(internals.dense_stage("experts", { numerics = mode }, given))
      local zeroed = {}
      for i, w in ipairs(weights) do zeroed[i] = w end
      for row = 1, rows, 3 do ids[2 * row], weights[2 * row], zeroed[2 * row] = -1, 0, 0 end
      for row = 2, rows, 9 do
        for i = 2 * row - 1, 2 * row do ids[i], weights[i], zeroed[i] = -1, 0, 0 end
      end
      local free = { x = given.x, experts = given.experts, limit = given.limit, top_k = top_k,
        chosen = internals.pack_ids(ids), weights = internals.pack_floats(weights) }
      local got = assert(internals.dense_stage("experts", { numerics = mode, threads = 2 }, free))
      given.weights = internals.pack_floats(zeroed)       -- an expert that weighs nothing adds nothing
      local want = assert(internals.dense_stage("experts", { numerics = mode }, given))
      for row = 1, rows do
        assert.is_true(internals.agreement(row_of(want, row, width), row_of(got, row, width)) < 1e-6)
        if row % 3 == 0 and row % 9 ~= 2 then
          assert.equal(row_of(full, row, width), row_of(got, row, width))
        end
      end
    end)
  end

  it("take rows that all want one expert, and experts that nobody wants", function()
    local given = arguments("exact", 1)
    local one = {}
    for _ = 1, rows do one[#one + 1] = 1; one[#one + 1] = 3 end
    given.chosen = internals.pack_ids(one)
    local got = assert(internals.dense_stage("experts", { numerics = "fast", threads = 3 }, given))
    assert.equal(row_of(got, 5, width), internals.dense_stage("experts", { numerics = "fast" }, only(given, 5)))
  end)

  describe("of widths that no block divides", function()
    local in_width, hidden, shared_hidden, count = 288, 160, 200, 37    -- rows: more than are gathered at once
    local seed = 7
    local function random()
      seed = seed * 16807 % 2147483647
      return seed / 2147483647
    end
    local function codes(bytes, low, high)
      local out = {}
      for i = 1, bytes do out[i] = string.char(low + math.floor(random() * (high - low + 1))) end
      return table.concat(out)
    end
    local function fp4(to, from)
      return { type = "I8", shape = { to, from / 2 }, bytes = codes(to * from / 2, 0, 255),
        scales = codes(to * from / 32, 121, 123) }
    end
    local function fp8(to, from)
      return { type = "F8_E4M3", shape = { to, from }, bytes = codes(to * from, 1, 50),
        scales = codes(math.ceil(to / 128) * math.ceil(from / 128), 125, 127) }
    end
    local set, x, chosen, weights = {}, {}, {}, {}
    for e = 1, 5 do set[e] = { w1 = fp4(hidden, in_width), w3 = fp4(hidden, in_width), w2 = fp4(in_width, hidden) } end
    set[6] = { w1 = fp8(shared_hidden, in_width), w3 = fp8(shared_hidden, in_width), w2 = fp8(in_width, shared_hidden) }
    for i = 1, count * in_width do x[i] = random() - 0.5 end
    for row = 0, count - 1 do
      local first = math.floor(random() * 3)
      chosen[2 * row + 1], chosen[2 * row + 2] = first, first + 1 + math.floor(random() * 2)
      weights[2 * row + 1], weights[2 * row + 2] = random(), random()
    end
    local given = { experts = set, limit = 0, top_k = 2, x = internals.pack_floats(x),
      chosen = internals.pack_ids(chosen), weights = internals.pack_floats(weights) }

    --- One expert at one row, put together from other stages.
    local function expert_of(e, row, factor)
      local function linear(w, input)
        return assert(internals.dense_stage("linear", { numerics = "exact" }, { w = w, x = input }))
      end
      local input = row_of(given.x, row, in_width)
      local h = internals.kernel_elements("scalar", "swiglu", linear(e.w1, input), 0, linear(e.w3, input))
      return internals.floats(linear(e.w2, internals.kernel_elements("scalar", "scale", h, factor)))
    end

    it("agree with the same put together from single stages", function()
      local got = assert(internals.dense_stage("experts", { numerics = "exact", threads = 2 }, given))
      for row = 1, count do
        local sum = expert_of(set[6], row, 1)
        for k = 2 * row - 1, 2 * row do
          for i, term in ipairs(expert_of(set[chosen[k] + 1], row, weights[k])) do sum[i] = sum[i] + term end
        end
        assert.is_true(internals.agreement(internals.pack_floats(sum), row_of(got, row, in_width)) < 1e-5)
      end
    end)

    for _, mode in ipairs { "fast", "reference" } do
      it("have the same bits for any kernels, threads and company: " .. mode, function()
        local expected = assert(internals.dense_stage("experts", { numerics = mode, kernels = "scalar" }, given))
        for _, kernels in ipairs(internals.kernel_levels()) do
          local options = { numerics = mode, kernels = kernels, threads = 3 }
          assert.equal(expected, internals.dense_stage("experts", options, given))
        end
        for row = 1, count, 5 do
          local alone = only(given, row, in_width)
          assert.equal(row_of(expected, row, in_width), internals.dense_stage("experts", { numerics = mode }, alone))
        end
      end)
    end
  end)

  it("refuse FP4 experts of different widths in one layer", function()
    local given = arguments("exact", 1)
    local w1 = given.experts[1].w1
    local function cut(w, to_rows, columns)      -- any codes will do
      return { type = "I8", shape = { to_rows, columns / 2 }, bytes = w.bytes:sub(1, to_rows * columns / 2),
        scales = w.scales:sub(1, to_rows * columns / 32) }
    end
    local e = given.experts[2]
    e.w1, e.w3, e.w2 = cut(w1, 96, 128), cut(w1, 96, 128), cut(e.w2, 128, 96)
    local _, message, code = internals.dense_stage("experts", { numerics = "fast" }, given)
    assert.equal("EUNSUPPORTED", code)
    assert.is_truthy(message:find("96", 1, true) or message:find("128", 1, true))
  end)
end)
