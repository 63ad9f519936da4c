--- Products of every stored type, by one thread's CPU time, with a matrix 4096 x 4096 whose copies fill more than any
-- cache: GB of weights a second with one row of activations, and multiplications a nanosecond with one row or several.
-- `make bench-kernels`, or kernels.lua [ROWS,ROWS ..] [TYPE] [LEVEL].
-- The types' blocks are the oracle's random ones (MXFP4's with a usual scale, or denormal sums would be measured). FP4
-- and types with integer products take int8 activations, as `fast` does; the others float32.
package.path = "./?.lua;" .. package.path
local support = require "spec.support"
local internals = support.internals()

local rows, only, only_level = {}, arg[2], arg[3]
for count in (arg[1] or "1,4,8,12,32,256"):gmatch("%d+") do rows[#rows + 1] = tonumber(count) end
local size, least_bytes, passes = 4096, 256e6, 3
local integer = {}
for _, name in ipairs { "FP4", "Q8_0", "MXFP4", "Q4_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S", "IQ1_M",
  "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS" } do
  integer[name] = true
end

local vectors = support.oracle("blocks.safetensors")

--- A weight of `size` rows and columns, its bytes a repetition of `sample`.
local function weight_of(type, bytes, sample, scale_bytes)
  return { type = type == "FP4" and "I8" or type, shape = { size, type == "FP4" and size / 2 or size },
    bytes = sample:rep(math.ceil(bytes / #sample)):sub(1, bytes), scales = scale_bytes and ("\127"):rep(scale_bytes) }
end

local noise = {}
for i = 1, 4093 do noise[i] = string.char(i * 37 % 119) end       -- no NaN in any of the codes
noise = table.concat(noise)

local types = {
  { "F32", weight_of("F32", 4 * size * size, noise) }, { "BF16", weight_of("BF16", 2 * size * size, noise) },
  { "F16", weight_of("F16", 2 * size * size, noise) },
  { "FP8", weight_of("F8_E4M3", size * size, noise, (size / 128) ^ 2) },
  { "FP4", weight_of("FP4", size * size / 2, noise, size * size / 32) },
}
for _, name in ipairs { "Q8_0", "MXFP4", "Q4_K", "Q2_K", "IQ2_XXS", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q3_K", "Q5_K",
  "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ1_S", "IQ1_M" } do
  local blocks, values = vectors[name .. ".blocks"], vectors[name .. ".values"]
  local bytes = size * size / values.shape[2] * blocks.shape[2]
  local sample = blocks.bytes:sub(1, 8 * blocks.shape[2])
  if name == "MXFP4" then sample = sample:gsub("(.)(" .. ("."):rep(16) .. ")", "\127%2") end
  types[#types + 1] = { name, weight_of(name, bytes, sample) }
end

print("| type | level | bits a weight | GB/s, 1 row | products/ns, rows: " .. table.concat(rows, " | ") .. " |")
print(("|---"):rep(4 + #rows) .. "|")
for _, entry in ipairs(types) do
  local name, w = entry[1], entry[2]
  local bytes = #w.bytes + (w.scales and #w.scales or 0)
  for _, level in ipairs(internals.kernel_levels()) do
    if (not only or only == name) and (level == only_level or not only_level and level ~= "scalar") then
      local line = { name, level, ("%.2f"):format(bytes * 8 / size / size), "" }
      for _, some in ipairs(rows) do
        local count = math.ceil(least_bytes / bytes / some)
        local seconds = internals.kernel_speed(level, w, count, some, passes, integer[name])
        if some == 1 then line[4] = ("%.1f"):format(bytes * count / seconds / 1e9) end
        line[#line + 1] = ("%.1f"):format(size * size * count * some / seconds / 1e9)
      end
      print("| " .. table.concat(line, " | ") .. " |")
    end
  end
end
