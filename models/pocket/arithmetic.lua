-- Worked steps of sums and products, the way they are written between <think> and </think>.
local arithmetic = {}

local function digit(n, k)            -- k-th digit from the right, 0 beyond the number
  return math.floor(n / 10 ^ k) % 10
end

local function text(n) return ("%d"):format(n) end

-- 85 + 347 -> "5+7+0=12 8+4+1=13 0+3+1=04 > 432"
function arithmetic.add(a, b)
  local out, carry = {}, 0
  for k = 0, math.max(#text(a), #text(b)) - 1 do
    local s = digit(a, k) + digit(b, k) + carry
    out[#out + 1] = ("%d+%d+%d=%02d"):format(digit(a, k), digit(b, k), carry, s)
    carry = math.floor(s / 10)
  end
  return table.concat(out, " ") .. " > " .. text(a + b)
end

local function times_digit(a, d)
  local out, carry = {}, 0
  for k = 0, #text(a) - 1 do
    local s = digit(a, k) * d + carry
    out[#out + 1] = ("%d*%d+%d=%02d"):format(digit(a, k), d, carry, s)
    carry = math.floor(s / 10)
  end
  return ("%d*%d: %s > %d"):format(a, d, table.concat(out, " "), a * d)
end

-- One line per digit of b, each followed by the running sum where there is one.
function arithmetic.mul(a, b)
  local lines, sum = {}, 0
  for k = 0, #text(b) - 1 do
    local d = digit(b, k)
    lines[#lines + 1] = times_digit(a, d)
    local part = a * d * math.floor(10 ^ k + 0.5)
    if k > 0 then lines[#lines + 1] = ("%d+%d: %s"):format(sum, part, arithmetic.add(sum, part)) end
    sum = sum + part
  end
  return table.concat(lines, "\n")
end

return arithmetic
