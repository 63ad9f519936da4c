--- Random sequences of operations on sessions: plain data, a function of the seed alone and equal on every Lua. What an
-- operation names (places, shares of a length) always has a meaning, so any of a sequence can be left out.
local Random = require "models.pocket.random"

local plan = {}

plan.slots = 4                                           -- sessions that live side by side

-- Where rows begin a page, a window or a block of a compressor, and their neighbours.
plan.edges = { 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257 }

-- How long a sequence's sessions may become, and how many sequences are of that kind.
local limits = { { 20, 46 }, { 36, 42 }, { 68, 9 }, { 132, 2 }, { 260, 1 } }

local samplings = {
  { temperature = 0 }, { temperature = 1 }, { temperature = 0.8, top_k = 20, top_p = 0.9 },
  { temperature = 1.5, min_p = 0.05, repetition_penalty = 1.3 },
  { temperature = 1, frequency_penalty = 0.5, presence_penalty = 0.4 },
  { temperature = 1, logit_bias = { [7] = 4, [1] = 6 } }, { temperature = 1.2, logprobs = 3 },
}

plan.policies = {
  {}, { top_k = 1 }, { disable = { 1 } }, { bias = { [2] = 0.5 }, layers = { [3] = { disable = { 0 } } } },
}

local function options(random, most)
  local given = { max_tokens = random:range(0, most), seed = random:range(0, 2 ^ 31 - 1) }
  given.ignore_eos = random:chance(0.7)
  for name, value in pairs(random:pick(samplings)) do given[name] = value end
  if random:chance(0.1) then given.stop = { random:range(0, 40), random:range(0, 40) } end
  if random:chance(0.3) then given.priority = random:range(-2, 2) end
  if random:chance(0.03) then given.deadline_ms = random:range(0, 2) end
  return given
end

local function ids(random, count)
  local list = {}
  for i = 1, count do list[i] = random:range(0, 150) end
  return list
end

-- Each: how often, and what it draws. `edge`: up to the edge of that number among those in reach.
local operations = {
  append = { 14, function(op, random)
    op.text = random:range(1, 5)
    if random:chance(0.3) then op.edge = random:range(0, 20) else op.count = random:range(1, 9) end
  end },
  sync = { 6, function(op, random)
    op.share, op.count, op.text = random:range(0, 100) / 100, random:range(0, 9), random:range(1, 5)
  end },
  generate = { 10, function(op, random) op.options, op.verify = options(random, 6), random:chance(0.5) end },
  start = { 14, function(op, random) op.options, op.verify = options(random, 12), random:chance(0.5) end },
  cancel = { 6, function(op, random) op.steps = random:range(0, 4) end },
  finish = { 3 },
  leave = { 4, function(op, random) op.options, op.steps, op.verify = options(random, 9), random:range(0, 4),
    random:chance(0.5) end },
  busy = { 2, function(op, random) op.id = random:range(0, 150) end },
  poll = { 3, function(op, random) op.steps = random:range(1, 4) end },
  pause = { 3 },
  resume = { 2 },
  fork = { 10, function(op, random) op.to = random:range(1, plan.slots) end },
  rewind = { 12, function(op, random)
    if random:chance(0.3) then op.share = random:range(0, 100) / 100 else op.mark = random:range(0, 3) end
    op.back = random:chance(0.2) and 1 or 0
  end },
  read = { 4 },
  score = { 3, function(op, random) op.ids = ids(random, random:range(1, 4)) end },
  choose = { 2, function(op, random)
    op.choices = {}
    for i = 1, random:range(1, 3) do
      op.choices[i] = ids(random, random:range(1, 2))
      op.choices[i][1] = i * 40 + random:range(0, 30)
    end
  end },
  routing = { 6, function(op, random) op.policy = random:range(1, #plan.policies) end },
  part = { 4, function(op, random)
    op.text, op.count, op.steps = random:range(1, 5), random:range(4, 20), random:range(0, 12)
  end },
  save = { 3, function(op, random) op.file = random:range(1, 2) end },
  load = { 4, function(op, random) op.file, op.elsewhere = random:range(1, 2), random:chance(0.3) end },
  set = { 2, function(op, random) op.threads, op.slice_ms = random:range(1, 3), random:pick { 0, 0.2, 5, 50 } end },
  check = { 3 },
  close = { 3 },
}

local names = {}
for name in pairs(operations) do names[#names + 1] = name end
table.sort(names)

--- The kinds of operations of a sequence: all of them, or a few, which then meet in more ways.
local function draw_weights(random)
  local weights, share = {}, random:pick { 0.25, 0.5, 1 }
  for _, name in ipairs(names) do
    if name == "append" or random:chance(share) then weights[#weights + 1] = { name, operations[name][1] } end
  end
  return weights
end

--- The sequence of `seed`: { limit =, context =, operations = { { name =, slot =, ... }, ... } }.
function plan.make(seed)
  local random = Random.new(seed)
  local limit = random:weighted(limits)
  local made = { seed = seed, limit = limit, context = limit + random:range(0, 8), engine = random:range(0, 1000),
    operations = {} }
  -- each session that is used is opened with a text: most sequences begin with one
  made.operations[1] = { name = "append", slot = 1, text = random:range(1, 5), edge = random:range(0, 20) }
  local live = random:range(1, plan.slots)               -- few sessions meet oftener
  local weights = draw_weights(random)
  for i = 2, random:range(5, 18) do
    local op = { name = random:weighted(weights), slot = random:range(1, live) }
    local draw = operations[op.name][2]
    if draw then draw(op, random) end
    made.operations[i] = op
  end
  return made
end

local function text_of(value)
  if type(value) ~= "table" then return tostring(value) end
  local parts, keys = {}, {}
  for _, item in ipairs(value) do parts[#parts + 1] = text_of(item) end
  for name in pairs(value) do
    if type(name) ~= "number" or name > #value or name < 1 then keys[#keys + 1] = name end
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(keys) do parts[#parts + 1] = ("%s=%s"):format(name, text_of(value[name])) end
  return "{" .. table.concat(parts, " ") .. "}"
end

--- One operation in a line.
function plan.describe(op)
  local rest = {}
  for name, value in pairs(op) do
    if name ~= "name" and name ~= "slot" then rest[name] = value end
  end
  return ("%s of %d %s"):format(op.name, op.slot, text_of(rest))
end

return plan
