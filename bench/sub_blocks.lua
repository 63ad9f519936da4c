--- A form of 4.5 bits that no file has: what bench/encodings.lua measures beside those that files have.
-- 256 values share a half d; each 16 of them have five bits of scale, a sign and one of two codebooks:
-- value = d * scale * sign * book[code], 128 + 14 + 2 bytes. The codebooks are centroids over normal and heavy-tailed
-- rows and half of the pocket model's attention weights.
local support = require "spec.support"
local internals = support.internals()

local sub_blocks = {}

local books = {
  { -127, -106, -80, -62, -47, -33, -21, -9, 2, 13, 25, 37, 51, 65, 81, 108 },
  { -127, -104, -80, -56, -42, -30, -20, -11, -2, 6, 16, 29, 44, 63, 85, 121 },
}
local size, subs, largest_scale, reach = 16, 16, 31, 130

-- nearest[book][floor(2 * value)]: entries are halfway between levels at multiples of a half
local nearest = {}
for k, book in ipairs(books) do
  nearest[k] = {}
  for twice = -2 * reach, 2 * reach do
    local best = book[1]
    for _, level in ipairs(book) do
      if math.abs(twice / 2 + 0.25 - level) < math.abs(twice / 2 + 0.25 - best) then best = level end
    end
    nearest[k][twice] = best
  end
end

--- Levels nearest to x[from ..] / scale into `out`.
local function levels(x, from, scale, book, out)
  local near, factor, floor = nearest[book], 2 / scale, math.floor
  for i = 1, size do
    local twice = floor(x[from + i] * factor)
    out[i] = near[twice] or (twice < 0 and books[book][1] or books[book][16])
  end
end

local function fitted(x, from, scale, book, out)
  levels(x, from, scale, book, out)
  local xy, yy = 0, 0
  for i = 1, size do
    xy, yy = xy + x[from + i] * out[i], yy + out[i] * out[i]
  end
  return xy / yy, xy * xy / yy
end

--- The scale of a sub-block under each book.
local function search(x, from, out)
  local largest, scales = 0, { 0, 0 }
  for i = 1, size do largest = math.max(largest, math.abs(x[from + i])) end
  for book = 1, largest > 0 and 2 or 0 do
    local most = -1
    for k = 0, 21 do
      local scale, lowers = fitted(x, from, (k % 2 == 0 and 1 or -1) * largest / (92 + 2.5 * k), book, out)
      if lowers > most then scales[book], most = scale, lowers end
    end
  end
  return scales
end

--- As a half holds it, but for denormals.
local function half(value)
  local step = 2 ^ (math.floor(math.log(value) / math.log(2)) - 10)
  return math.floor(value / step + 0.5) * step
end

--- Sub-block with the stored scale and book that suit it best: the squared error, the values into `kept`.
local function store(x, from, scales, d, out, kept)
  local least = math.huge
  for book = 1, 2 do
    local wanted = math.floor(math.abs(scales[book]) / d + 0.5)
    for code = math.max(1, wanted - 1), math.min(largest_scale, wanted + 1) do
      local scale, error = d * code * (scales[book] < 0 and -1 or 1), 0
      levels(x, from, scale, book, out)
      for i = 1, size do error = error + (x[from + i] - scale * out[i]) ^ 2 end
      if error < least then
        least = error
        for i = 1, size do kept[from + i] = scale * out[i] end
      end
    end
  end
  return least
end

local function store_block(x, from, kept)
  local wanted, out, largest, least, best = {}, {}, 0, math.huge, nil
  for s = 1, subs do
    wanted[s] = search(x, from + (s - 1) * size, out)
    largest = math.max(largest, math.abs(wanted[s][1]), math.abs(wanted[s][2]))
  end
  for k = -2, largest > 0 and 2 or -3 do
    local d, error, values = half(largest / largest_scale * (1 + 0.02 * k)), 0, {}
    for s = 1, subs do error = error + store(x, from + (s - 1) * size, wanted[s], d, out, values) end
    if error < least then least, best = error, values end
  end
  for i = 1, subs * size do kept[from + i] = best and best[from + i] or 0 end
end

--- A matrix's values ({ values = packed float32 }) as this form holds them.
function sub_blocks.stored(matrix)
  local x, kept = internals.floats(matrix.values), {}
  for from = 0, #x - 1, subs * size do store_block(x, from, kept) end
  return internals.pack_floats(kept)
end

return sub_blocks
