--- Single stages of the CPU backend against the oracle's stage files: what the specs beside this one share.
-- Arrays are strings of packed float32, one row a token; tolerances are those of spec/oracle/README.md.
local assert = require "luassert"
local support = require "spec.support"
local internals = support.internals()
local stages = {}

local files = {
  exact = support.oracle("stages_plain.safetensors"),
  reference = support.oracle("stages_ref.safetensors"),
}

stages.tokens = #support.oracle_tokens("stage")
stages.modes = { "exact", "reference" }

local streams = 4

--- The oracle's array as packed float32 (ids: packed int32), or nil.
function stages.array(numerics, key)
  local tensor = files[numerics][key]
  if not tensor then return nil end
  return tensor.type == "BF16" and internals.widen(tensor.bytes) or tensor.bytes
end

--- The same for a numerics mode that the oracle may lack: `fast` is compared with the unrounded values.
function stages.value(numerics, key)
  return assert(stages.array(numerics == "reference" and numerics or "exact", key), key)
end

local model = support.oracle("tinystage/model.safetensors")

--- A matrix of spec/oracle/tinystage as the windows take it.
function stages.weight(name)
  local tensor, scale = model[name .. ".weight"], model[name .. ".scale"]
  return { type = tensor.type, shape = tensor.shape, bytes = tensor.bytes, scales = scale and scale.bytes }
end

--- Row `row`, from 1, of a packed array.
function stages.row_of(packed, row, columns)
  return packed:sub(4 * (row - 1) * columns + 1, 4 * row * columns)
end

--- What a layer takes: the streams of the one before, or the embedding once a stream.
function stages.input_streams(numerics, layer)
  if layer > 0 then return stages.array(numerics, ("layers.%d.streams"):format(layer - 1)) end
  local embedding, rows = stages.array(numerics, "embed"), {}
  local bytes = #embedding / stages.tokens
  for t = 0, stages.tokens - 1 do rows[t + 1] = embedding:sub(t * bytes + 1, (t + 1) * bytes):rep(streams) end
  return table.concat(rows)
end

--- Equal bits, without printing them.
function stages.assert_equal_bits(want, got, message)
  assert.is_true(want == got, message or "other bits than expected")
end

--- The first `bytes` of every `stride` bytes, from `offset` on.
function stages.columns(array, stride, offset, bytes)
  local rows = {}
  for at = offset, #array - bytes, stride do rows[#rows + 1] = array:sub(at + 1, at + bytes) end
  return table.concat(rows)
end

--- Raises unless `got` begins with the oracle's values within the accepted tolerance of their type.
function stages.accept(numerics, key, got)
  local want = assert(stages.array(numerics, key), key)
  local error, differ = internals.agreement(want, got:sub(1, #want))
  local rounded = numerics == "reference" and files[numerics][key].type == "BF16"
  local message = ("%s, %s: error %.2e of the rms, %.2f %% differ"):format(numerics, key, error, 100 * differ)
  assert.is_true(error <= (rounded and 0.03 or 2e-5), message)
  assert.is_true(not rounded or differ <= 0.01, message)
end

--- Runs a stage on a layer of spec/oracle/tinystage; raises when it fails.
function stages.run(name, options, inputs)
  local given = { tokens = stages.tokens }
  for key, value in pairs(options) do given[key] = value end
  return assert(internals.run_stage(name, given, inputs))
end

--- Ways to cut, share out and compute the same text, all of which must give the same bits.
local ways = {
  { chunk = 1 }, { chunk = 7 }, { chunk = 64, threads = 2 }, { threads = 3 }, { chunk = 5, sessions = 2, threads = 2 },
  { chunk = 1, sessions = 3, threads = 3 }, { rows_per_page = 64, chunk = 33 },
  { rows_per_page = 32, kernels = "scalar" },
}
for i, level in ipairs(internals.kernel_levels()) do
  if i > 1 then ways[#ways + 1] = { kernels = level, chunk = i % 2 == 1 and 31 or nil } end
end

--- Calls `compare(base, other, sessions)` for every way.
function stages.each_way(name, options, inputs, compare)
  local base = stages.run(name, options, inputs)
  for _, way in ipairs(ways) do
    local given = {}
    for key, value in pairs(options) do given[key] = value end
    for key, value in pairs(way) do given[key] = value end
    compare(base, stages.run(name, given, inputs), way.sessions or 1)
  end
end

--- Raises unless a stage gives the same bits whichever way its tokens are cut and computed.
function stages.assert_same_bits(name, options, inputs)
  local compared = 0
  stages.each_way(name, options, inputs, function(base, other, sessions)
    for key, bytes in pairs(base) do
      local same = other[key] == bytes or other[key] == bytes:rep(sessions)
      assert.is_true(same, ("%s: %s differs"):format(name, key))
      compared = compared + #bytes
    end
  end)
  assert.is_true(compared > 0, "nothing was compared")
end

--- `count` reproducible values in (-1, 1) from a seed, as a list.
function stages.noise(count, seed)
  local state, list = seed, {}
  for i = 1, count do
    state = (state * 16807) % 2147483647
    list[i] = state / 1073741824 - 1
  end
  return list
end

return stages
