-- Streams training sequences: lua generate.lua STAGE SEED [held_out], one line each.
-- A line is the task, then per piece a tab, a kind and the text (newlines as \1): c, t = given, C, a = learnt,
-- v = learnt and looked up.
package.path = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/?.lua;" .. package.path
local Random = require "random"
local tasks = require "tasks"
local stages = require "stages"

local stage, held_out = stages[tonumber(arg[1])], arg[3] == "held_out"
local rng = Random.new(tonumber(arg[2]))
local rows = {}
for i, row in ipairs(stage) do rows[i] = { row, row[2] } end

local function line(item)
  local out = { item.task }
  for _, p in ipairs(item.pieces) do
    local kind = p.control and (p.answer and "C" or "c") or p.mark and "v" or p.answer and "a" or "t"
    out[#out + 1] = kind .. (p.control or p.text:gsub("\n", "\1"))
  end
  return table.concat(out, "\t")
end

while true do
  local row = rng:weighted(rows)
  local o = { seed = rng:range(1, 2147480000), tokens = stage.tokens, held_out = held_out }
  for k, v in pairs(row[3]) do o[k] = v end
  if type(o.facts) == "table" then o.facts = rng:range(o.facts[1], o.facts[2]) end
  if o.filler_chance then o.filler = rng:chance(o.filler_chance) end
  if o.pool_chance then o.pool = rng:chance(o.pool_chance) end
  if row[1] == "needle" then                    -- leave room for the questions, which are longer with thoughts
    local each, more = o.thinking == true and 90 or 28, o.thinking and 64 or 0
    o.facts = math.min(o.facts, math.floor((stage.tokens - 10 - more) / 17))
    o.questions = math.max(1, math.min(o.questions, math.floor((stage.tokens - o.facts * 16) / each)))
  end
  if not io.write(line(tasks.item(row[1], o)), "\n") then break end
end
