--- Random sequences of operations on sessions, one after another; each must leave sessions whose logits are those of
-- a fresh replay. `make test-algebra` runs many, spec/algebra/algebra_spec.lua some. A sequence that fails is made as
-- short as it still fails, and printed with the command that repeats it.
--   lua5.4 spec/algebra/walk.lua [--model tiny|stage|pocket] [--seed first] [--count n] [--keep 1,4,5]
package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
local support = require "spec.support"
local moonseek = require "moonseek"
local plan = require "spec.algebra.plan"
local sequence = require "spec.algebra.sequence"
local Replay = require "spec.algebra.replay"

io.stdout:setvbuf "line"

local walk = {}

-- Which share of all sequences runs on which model: most on the smallest.
walk.shares = { { "stage", 0.8 }, { "tiny", 0.05 }, { "pocket", 0.15 } }

walk.models = { tiny = "spec/oracle/tiny", stage = "spec/oracle/tinystage", pocket = "models/pocket" }

-- On how many threads sequences run, on how many they are replayed, in which numerics. Most need no thread: whoever
-- waits computes, and a sequence takes the same course each time.
local kinds = {
  { threads = 0, replay = 0, numerics = "fast" }, { threads = 0, replay = 0, numerics = "fast" },
  { threads = 0, replay = 2, numerics = "fast" }, { threads = 1, replay = 0, numerics = "fast" },
  { threads = 2, replay = 0, numerics = "fast" }, { threads = 0, replay = 0, numerics = "reference" },
  { threads = 0, replay = 0, numerics = "fast", store = true },
}

--- The engines on which sequences run on a model, opened as they are needed.
function walk.open(model)
  local folder = support.temporary_folder()
  return { model = model, path = assert(walk.models[model], model), engines = {}, replays = {}, folder = folder,
    cache = assert(moonseek.cache { dir = folder .. "/store", budget = 2e6, minimum = 8 }) }
end

local function engine_of(world, threads, kind, role)
  local key = ("%s %s %d"):format(role, kind.numerics, threads)
  world.engines[key] = world.engines[key] or assert(moonseek.open { path = world.path, numerics = kind.numerics,
    threads = threads, cache = role == "store" and world.cache or nil })
  return world.engines[key], key
end

local function place_of(world, number)
  local kind = kinds[number % #kinds + 1]
  local other, key = engine_of(world, kind.replay, kind, "replay")
  world.replays[key] = world.replays[key] or Replay.new(other)
  return { engine = engine_of(world, kind.threads, kind, kind.store and "store" or "walk"), threads = kind.threads,
    store = kind.store, replay = world.replays[key], folder = world.folder }
end

function walk.close(world)
  for _, engine in pairs(world.engines) do engine:close() end
  world.cache:close()
  support.remove(world.folder)
end

local function chosen(made, keep)
  local list = {}
  for _, i in ipairs(keep) do list[#list + 1] = made.operations[i] end
  return list
end

--- Runs the sequence of `seed`, or those of its operations that `keep` lists.
function walk.run(world, seed, keep)
  local made = plan.make(seed)
  return sequence.run(made, keep and chosen(made, keep) or made.operations, place_of(world, made.engine))
end

-- Where threads race, a sequence may fail now and then only.
local function fails(world, seed, keep)
  for _ = 1, 3 do
    local checks, problem = walk.run(world, seed, keep)
    if not checks then return problem end
  end
end

--- The operations of `seed` that are enough to fail, as places, and how they fail.
function walk.shorten(world, seed, problem)
  local keep, again = {}, true
  for i = 1, #plan.make(seed).operations do keep[i] = i end
  while again do
    again = false
    for i = #keep, 1, -1 do
      local left = table.remove(keep, i)
      local found = fails(world, seed, keep)
      if found then problem, again = found, true else table.insert(keep, i, left) end
    end
  end
  return keep, problem
end

--- A failure in words: the operations, and the command that repeats it.
function walk.report(world, seed, problem)
  local keep, shortest = walk.shorten(world, seed, problem)
  local made, lines = plan.make(seed), { shortest, "the shortest sequence that fails:" }
  for _, i in ipairs(keep) do lines[#lines + 1] = "  " .. plan.describe(made.operations[i]) end
  lines[#lines + 1] = ("lua5.4 spec/algebra/walk.lua --model %s --seed %d --keep %s"):format(world.model, seed,
    table.concat(keep, ","))
  return table.concat(lines, "\n")
end

--- Sequences first .. first + count - 1: how many logits were compared; or nil, a report of the first that fails, and
-- which it is. `each`, if given, is called after each.
function walk.walk(world, first, count, each)
  local compared = 0
  for seed = first, first + count - 1 do
    local checks, problem = walk.run(world, seed)
    if not checks then return nil, walk.report(world, seed, problem), seed end
    compared = compared + checks
    if each then each(seed) end
  end
  return compared
end

-- {== As a program ==============================================================================

--- All sequences from `seed` on; returns how many failed.
local function walk_all(model, seed, count)
  local world, start, from, compared, failed = walk.open(model), os.clock(), seed, 0, 0
  repeat
    local checks, report, where = walk.walk(world, from, seed + count - from, function(at)
      if at % 1000 == 0 then print(("%s: sequence %d, %.0f CPU seconds"):format(model, at, os.clock() - start)) end
    end)
    compared, from = compared + (checks or 0), (where or 0) + 1
    if report then
      failed = failed + 1
      print(("%s: sequence %d fails\n%s"):format(model, where, report))
    end
  until not report or from == seed + count
  print(("%s: %d sequences from %d on, %d logits compared, %.0f CPU seconds, %d failed"):format(model, count, seed,
    compared, os.clock() - start, failed))
  walk.close(world)
  return failed
end

local function repeat_one(model, seed, list)
  local keep = {}
  for i in list:gmatch("%d+") do keep[#keep + 1] = tonumber(i) end
  local world = walk.open(model)
  local checks, problem = walk.run(world, seed, keep)
  print(checks and "passed" or problem)
  walk.close(world)
  return checks and 0 or 1
end

local function program(given)
  local options, failed = { seed = "1", count = "1" }, 0
  for i = 1, #given, 2 do
    options[given[i]:match("^%-%-(%a+)$") or error("what is " .. given[i] .. "?")] = given[i + 1]
  end
  local seed, count = tonumber(options.seed), tonumber(options.count)
  if options.keep then return repeat_one(options.model, seed, options.keep) end
  local shares = options.model and { { options.model, 1 } } or walk.shares
  for _, row in ipairs(shares) do failed = failed + walk_all(row[1], seed, math.ceil(row[2] * count)) end
  return failed
end

if arg and arg[0] and arg[0]:match("algebra/walk%.lua$") then os.exit(program(arg) == 0, true) end

return walk
