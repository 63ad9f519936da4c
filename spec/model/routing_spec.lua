--- A policy's bytes in a file: what was written comes back, everything else is refused.
local support = require "spec.support"
local internals = support.internals()

local path = "spec/oracle/tiny"      -- layers 3 to 5 of 6 choose 2 of 8 experts by score

local function u32(value)
  value = value % 2 ^ 32
  local bytes = {}
  for i = 1, 4 do bytes[i], value = string.char(value % 256), math.floor(value / 256) end
  return table.concat(bytes)
end

local function image(top_k, ...)
  local parts = { u32(top_k), u32(0) }
  for _, bias in ipairs { ... } do
    parts[#parts + 1] = u32(bias[1]) .. u32(bias[2]) .. (bias.bits or internals.pack_floats { bias[3] }) .. u32(0)
  end
  return table.concat(parts)
end

local every, never = -1, -math.huge

describe("the bytes of a policy", function()
  local good = { "", image(1), image(2, { every, 0, 0.5 }),
    image(1, { every, 7, never }, { 3, 1, -1000 }, { 5, 0, never }, { every, 0, 1000 }) }
  for i, bytes in ipairs(good) do
    it("come back as they were written: " .. i, function()
      assert.equal(bytes, internals.routing_image(path, bytes))
    end)
  end

  it("F01: cut within a number, or with a byte too many, are refused", function()
    local whole = good[4]
    for length = 1, #whole + 1 do
      local result, message, code = internals.routing_image(path, (whole .. "x"):sub(1, length))
      local ends_with_a_bias = (length - 8) % 16 == 0 and length >= 8
      if ends_with_a_bias then
        assert.equal(whole:sub(1, length), result)
      else
        assert.is_nil(result)
        assert.truthy(message:find("the saved expert policy is damaged", 1, true))
        assert.equal("EFORMAT", code)
      end
    end
  end)

  local nan = u32(0x7FC00000)
  local refused = {
    { "damaged", image(0) }, { "top_k is 3", image(3) }, { "top_k", u32(1) .. u32(1) },
    { "expert 8", image(1, { every, 8, 1 }) }, { "expert -1", image(1, { every, -1, 1 }) },
    { "layer 6", image(1, { 6, 1, 1 }) }, { "layer -2", image(1, { -2, 1, 1 }) }, { "layer 0", image(1, { 0, 1, 1 }) },
    { "bias of expert 1", image(1, { every, 1, 1001 }) }, { "bias of expert 1", image(1, { every, 1, math.huge }) },
    { "bias of expert 1", image(1, { every, 1, bits = nan }) },
    { "damaged", image(1, { every, 1, 1 }):sub(1, -2) .. "\1" },
    { "would keep 1 of 8", image(2, { 3, 0, never }, { 3, 1, never }, { 3, 2, never }, { 3, 3, never }, { 3, 4, never },
      { 3, 5, never }, { 3, 6, never }) },
  }
  for i, case in ipairs(refused) do
    it(("F06: are refused when they are no policy of the model: %d, %s"):format(i, case[1]), function()
      local result, message, code = internals.routing_image(path, case[2])
      assert.is_nil(result)
      assert.truthy(message:find(case[1], 1, true), message)
      assert.equal("EFORMAT", code)
    end)
  end
end)
