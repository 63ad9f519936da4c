-- Random numbers that are the same on every Lua: two linear congruential generators combined (L'Ecuyer 1988).
-- All products stay below 2^53, so doubles and integers give the same values.
local Random = {}
Random.__index = Random

function Random.new(seed)
  local self = setmetatable({ a = seed % 2147483562 + 1, b = (seed * 7 + 12345) % 2147483398 + 1 }, Random)
  for _ = 1, 20 do self:next() end
  return self
end

function Random:next()
  self.a = (self.a * 40014) % 2147483563
  self.b = (self.b * 40692) % 2147483399
  local z = (self.a - self.b) % 2147483562
  return z
end

-- An integer from low to high, both included.
function Random:range(low, high)
  return low + math.floor(self:next() / 2147483562 * (high - low + 1))
end

function Random:chance(p)
  return self:next() < p * 2147483562
end

function Random:pick(list)
  return list[self:range(1, #list)]
end

-- A key of a table of weights { {name, weight}, ... }.
function Random:weighted(rows)
  local sum = 0
  for _, row in ipairs(rows) do sum = sum + row[2] end
  local x = self:next() / 2147483562 * sum
  for _, row in ipairs(rows) do
    x = x - row[2]
    if x < 0 then return row[1] end
  end
  return rows[#rows][1]
end

function Random:shuffle(list)
  for i = #list, 2, -1 do
    local j = self:range(1, i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

return Random
