--- GGUF files made by hand (specs/formats.md 1.2): bytes of their parts, sound or broken, and whole files of key/values
-- and tensors.
local gguf = {}

gguf.type = { F32 = 0, F16 = 1, I8 = 24, I16 = 25, I32 = 26, I64 = 27, F64 = 28, BF16 = 30 }

--- GGML's block types: { id, values a block, bytes a block } (specs/formats.md 5, and the gguf package's table).
gguf.blocks = { Q4_0 = { 2, 32, 18 }, Q4_1 = { 3, 32, 20 }, Q5_0 = { 6, 32, 22 }, Q5_1 = { 7, 32, 24 },
  Q8_0 = { 8, 32, 34 }, Q2_K = { 10, 256, 84 }, Q3_K = { 11, 256, 110 }, Q4_K = { 12, 256, 144 },
  Q5_K = { 13, 256, 176 }, Q6_K = { 14, 256, 210 }, IQ2_XXS = { 16, 256, 66 }, IQ2_XS = { 17, 256, 74 },
  IQ3_XXS = { 18, 256, 98 }, IQ1_S = { 19, 256, 50 }, IQ4_NL = { 20, 32, 18 }, IQ3_S = { 21, 256, 110 },
  IQ2_S = { 22, 256, 82 }, IQ4_XS = { 23, 256, 136 }, IQ1_M = { 29, 256, 56 }, MXFP4 = { 39, 32, 17 } }
for name, block in pairs(gguf.blocks) do gguf.type[name] = block[1] end

local kinds = { u8 = 0, i8 = 1, u16 = 2, i16 = 3, u32 = 4, i32 = 5, f32 = 6, bool = 7, string = 8, array = 9, u64 = 10,
  i64 = 11, f64 = 12 }
local widths = { u8 = 1, i8 = 1, u16 = 2, i16 = 2, u32 = 4, i32 = 4, u64 = 8, i64 = 8 }

--- An integer as `width` bytes, low first; a negative one as its complement.
function gguf.integer(value, width)
  local bytes, borrow = {}, value < 0
  if borrow then value = -value - 1 end
  for i = 1, width do
    local byte = value % 256
    bytes[i] = string.char(borrow and 255 - byte or byte)
    value = math.floor(value / 256)
  end
  return table.concat(bytes)
end

function gguf.u32(value) return gguf.integer(value, 4) end
function gguf.u64(value) return gguf.integer(value, 8) end
function gguf.string(text) return gguf.u64(#text) .. text end

--- The bits of a float with `exponent_bits` and `mantissa_bits`, as an integer; ties to even.
function gguf.float_bits(value, exponent_bits, mantissa_bits)
  local bias, top = 2 ^ (exponent_bits - 1) - 1, 2 ^ (exponent_bits + mantissa_bits)
  local sign = (value < 0 or 1 / value < 0) and top or 0
  if value ~= value then return top - 1 end
  local size, exponent = math.abs(value), 0
  if size == math.huge then return sign + (2 ^ exponent_bits - 1) * 2 ^ mantissa_bits end
  if size == 0 then return sign end
  while size >= 2 do size, exponent = size / 2, exponent + 1 end
  while size < 1 and exponent > 1 - bias do size, exponent = size * 2, exponent - 1 end
  local scaled = size * 2 ^ mantissa_bits                    -- below 2^mantissa_bits: a denormal
  local rounded = math.floor(scaled)
  local rest = scaled - rounded
  if rest > 0.5 or rest == 0.5 and rounded % 2 == 1 then rounded = rounded + 1 end
  return sign + (exponent + bias - 1) * 2 ^ mantissa_bits + rounded
end

function gguf.f32(value) return gguf.u32(gguf.float_bits(value, 8, 23)) end
function gguf.f16(value) return gguf.integer(gguf.float_bits(value, 5, 10), 2) end

--- A value without its type. An array is { element type, list }.
function gguf.value(kind, value)
  if widths[kind] then return gguf.integer(value, widths[kind]) end
  if kind == "f32" then return gguf.f32(value) end
  if kind == "bool" then return value and "\1" or "\0" end
  if kind == "string" then return gguf.string(value) end
  if kind == "f64" then return ("\0"):rep(8) end             -- only its place matters to specs
  local parts = { gguf.u32(kinds[value[1]]), gguf.u64(#value[2]) }
  for _, element in ipairs(value[2]) do parts[#parts + 1] = gguf.value(value[1], element) end
  return table.concat(parts)
end

--- A key/value; `kind` may be a number, and `bytes` given instead of a value.
function gguf.pair(key, kind, value, bytes)
  return gguf.string(key) .. gguf.u32(kinds[kind] or kind) .. (bytes or gguf.value(kind, value))
end

--- A tensor info; `shape` is row-major, as everywhere else.
function gguf.info(name, shape, type, offset)
  local parts = { gguf.string(name), gguf.u32(#shape) }
  for i = #shape, 1, -1 do parts[#parts + 1] = gguf.u64(shape[i]) end
  parts[#parts + 1] = gguf.u32(gguf.type[type] or type)
  parts[#parts + 1] = gguf.u64(offset)
  return table.concat(parts)
end

function gguf.header(tensors, pairs_count, version)
  return "GGUF" .. gguf.u32(version or 3) .. gguf.u64(tensors) .. gguf.u64(pairs_count)
end

local function padded(bytes, alignment)
  return bytes .. ("\0"):rep(-#bytes % alignment)
end

--- A file of these pairs and infos, as bytes, and this data, whatever they say.
function gguf.wrap(all_pairs, infos, data, alignment)
  local bytes = gguf.header(#infos, #all_pairs) .. table.concat(all_pairs) .. table.concat(infos)
  return data and padded(bytes, alignment or 32) .. data or bytes
end

--- A sound file. `keys`: a list of { key, kind, value }; `tensors`: of { name =, type =, shape =, bytes = }, one of
-- which may lie where another does: { name =, type =, shape =, at = its name }. Of `options`: version, alignment.
function gguf.encode(keys, tensors, options)
  local alignment = options and options.alignment or 32
  local parts, data, offsets, at = { gguf.header(#tensors, #keys, options and options.version) }, {}, {}, 0
  for _, key in ipairs(keys) do parts[#parts + 1] = gguf.pair(key[1], key[2], key[3]) end
  for _, tensor in ipairs(tensors) do
    offsets[tensor.name] = tensor.at and offsets[tensor.at] or at
    if not tensor.at then
      data[#data + 1] = padded(tensor.bytes, alignment)
      at = at + #data[#data]
    end
    parts[#parts + 1] = gguf.info(tensor.name, tensor.shape, tensor.type, offsets[tensor.name])
  end
  return padded(table.concat(parts), alignment) .. table.concat(data)
end

--- The name of part `number` (from 1) of `count`.
function gguf.part_name(stem, number, count)
  return ("%s-%05d-of-%05d.gguf"):format(stem, number, count)
end

--- The same tensors in `count` files, as bytes: the keys are the first one's, what says which part it is is in all.
function gguf.split(keys, tensors, count)
  local parts, each = {}, math.ceil(#tensors / count)
  for number = 1, count do
    local own, part_keys = {}, {}
    for i = (number - 1) * each + 1, math.min(number * each, #tensors) do own[#own + 1] = tensors[i] end
    for _, key in ipairs(number == 1 and keys or {}) do part_keys[#part_keys + 1] = key end
    for _, key in ipairs { { "split.no", "u16", number - 1 }, { "split.count", "u16", count },
      { "split.tensors.count", "i32", #tensors } } do part_keys[#part_keys + 1] = key end
    parts[number] = gguf.encode(part_keys, own)
  end
  return parts
end

return gguf
