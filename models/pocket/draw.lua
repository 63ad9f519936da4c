-- Draws names, numbers and other content for the tasks. What is held out is decided here:
-- names with (31 i + 17 j) mod 16 = 3 (i, j their places in the word lists) and operand pairs (a, b) likewise.
local words = require "words"

local Draw = {}
Draw.__index = Draw

-- held_out: every name and operand pair drawn with asked_* is a held-out one (evaluation); otherwise none is.
-- pool: draw names from so many adjectives and nouns only (the same name comes again in other places).
function Draw.new(rng, held_out, pool)
  local self = setmetatable({ rng = rng, held_out = held_out }, Draw)
  self.adjectives, self.nouns = {}, {}
  for i = 1, #words.adjectives do self.adjectives[i] = i end
  for i = 1, #words.nouns do self.nouns[i] = i end
  if pool then
    rng:shuffle(self.adjectives)
    rng:shuffle(self.nouns)
    for i = #self.adjectives, rng:range(5, 14) + 1, -1 do self.adjectives[i] = nil end
    for i = #self.nouns, rng:range(5, 14) + 1, -1 do self.nouns[i] = nil end
  end
  return self
end

local function is_held_out(i, j) return (31 * i + 17 * j) % 16 == 3 end

function Draw:pair(held)
  local i, j
  repeat
    i, j = self.rng:pick(self.adjectives), self.rng:pick(self.nouns)
  until is_held_out(i, j) == held
  return words.adjectives[i] .. " " .. words.nouns[j]
end

function Draw:name() return self:pair(false) end                     -- distractors and filler
function Draw:asked_name()
  if not self.held_out then return self:pair(false) end
  local keep = { self.adjectives, self.nouns }                       -- a small pool may hold no such pair
  local all = Draw.new(self.rng)
  self.adjectives, self.nouns = all.adjectives, all.nouns
  local name = self:pair(true)
  self.adjectives, self.nouns = keep[1], keep[2]
  return name
end

-- Operands of da and db digits.
function Draw:operands(da, db)
  local a, b
  repeat
    a = self.rng:range(da == 1 and 0 or 10 ^ (da - 1), 10 ^ da - 1)
    b = self.rng:range(db == 1 and 0 or 10 ^ (db - 1), 10 ^ db - 1)
  until is_held_out(a, b) == (self.held_out and true or false)
  return math.floor(a), math.floor(b)
end

-- A number of n digits as text; no leading zero.
function Draw:number(n)
  local out = { self.rng:range(1, 9) }
  for i = 2, n do out[i] = self.rng:range(0, 9) end
  for i = 1, n do out[i] = ("%d"):format(out[i]) end
  return table.concat(out)
end

-- n digits, leading zeros allowed.
function Draw:code(n)
  local out = {}
  for i = 1, n do out[i] = ("%d"):format(self.rng:range(0, 9)) end
  return table.concat(out)
end

function Draw:one(list) return self.rng:pick(list) end
function Draw:of(kind) return self.rng:pick(words[kind]) end
function Draw:time() return ("%02d:%02d"):format(self.rng:range(0, 23), self.rng:range(0, 59)) end

-- One line without any fact.
function Draw:filler()
  local k = self.rng:range(1, 8)
  if k == 1 then return ("[%s] %s %s is %s."):format(self:time(), self:of "parts", self:code(1), self:of "states") end
  if k == 2 then return ("%s in %s, %s degrees."):format(self:of "skies", self:of "cities", self:code(2)) end
  if k == 3 then return ("ping %s %s ms"):format(self:name(), self:code(2)) end
  if k == 4 then return ("[%s] %s %s the %s."):format(self:time(), self:of "people", self:of "verbs", self:name()) end
  if k == 5 then return ("%s %s %s on %s."):format(self:of "people", self:of "verbs", self:name(), self:of "days") end
  if k == 6 then return ("The %s in %s is %s."):format(self:name(), self:of "cities", self:of "states") end
  if k == 7 then
    return ("[%s] %s %s at %s percent."):format(self:time(), self:of "parts", self:code(1), self:code(2))
  end
  return ("%s went from %s to %s."):format(self:of "people", self:of "cities", self:of "cities")
end

return Draw
