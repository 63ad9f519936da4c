--- What a router is worth on the pocket model: the tables of docs/router.md. `make bench-routing`
-- usage: lua bench/routing.lua [measure | tune] [ITEMS OF EACH TASK]
--
-- The workload and both seeds were fixed before anything was tuned; thresholds come from `tune`, which draws from its
-- own seed. Every way answers every item, in turn, on one thread. CPU-seconds are of the whole process (os.clock),
-- reading, judging and Lua included. Names and operands are held out of the model's training.
package.path = "./models/pocket/?.lua;" .. package.path
local moonseek = require "moonseek"
local Random = require "random"
local tasks = require "tasks"

local SEEDS = { measure = 20260801, tune = 20260802 }
local ITEMS = { measure = 350, tune = 60 }       -- of each task
local RESAMPLES = 1000

--- `worked` marks what the model cannot do without thinking.
local WORKLOAD = {
  { name = "lookup", task = "needle", options = { tokens = 150, facts = 4, questions = 1 } },
  { name = "JSON", task = "json", options = { turns = 1 } },
  { name = "mail", task = "mail", options = { turns = 1 } },
  { name = "repeat", task = "echo", options = { turns = 1 } },
  { name = "sum", task = "add", options = { turns = 1, thinking = true }, worked = true },
  { name = "product", task = "mul", options = { turns = 1, thinking = true }, worked = true },
}

-- Found by `tune`.
local MARGIN, LEAST = 0, -0.5

-- {== Items ===========================================================================================

--- { kind = row of WORKLOAD, text = the request, expected = the answer } of all tasks in turn.
local function draw(seed, count)
  local items = {}
  for k = 1, count do
    for place, kind in ipairs(WORKLOAD) do
      local options = { seed = seed + k * 131 + place * 100003, held_out = true }
      for name, value in pairs(kind.options) do options[name] = value end
      local turn = tasks.turns(tasks.item(kind.task, options))[1]
      items[#items + 1] = { kind = kind, text = turn.prompt[3].text, expected = turn.text:match("([^>]*)$") }
    end
  end
  return items
end

-- {== Ways ============================================================================================

local router = moonseek.router

local function last_line(request) return request.text:match("([^\n]*)$") end

--- Asks the model whether the last line needs working out.
local function effort(margin)
  return router.choose { ask = function(request) return "Does this need working out?\n" .. last_line(request) end,
    choices = { "yes", "no" }, margin = margin, otherwise = "unclear" }
end

local function reckons(request)
  local line = last_line(request)
  return line:find("%d+ [+*] %d+") or line:find("^Add %d") or line:find("^Multiply %d")
end

local thinks, few = { thinking = "low" }, { top_k = 1 }
local think_after_all = { thinking = "low", experts = {} }

local function escalating(judge, experts)
  return { { name = "direct", plan = { experts = experts, escalate = {
    when = judge, plan = experts and think_after_all or thinks } } } }
end

local function says_yes(_, judge) return judge.effort == "yes" end

--- The judge is asked only where there is something to reckon with.
local function digits_and_yes(request, judge) return last_line(request):find("%d") and judge.effort == "yes" end

local function thinking_when(applies, experts)
  return { { name = "work out", when = applies, plan = thinks }, { name = "direct", plan = { experts = experts } } }
end

local ways = {
  { "always thinking", { { name = "all", plan = thinks } } },
  { "never thinking", {} },
  { "rule: reckoning by its words", thinking_when(reckons) },
  { "routed by choose", thinking_when(says_yes) },
  { "choose where there are digits", thinking_when(digits_and_yes) },
  { "routed by log-probability", escalating(router.unlikely { least = LEAST }) },
  { "routed by disagreement", escalating(router.disagreement { samples = 2, seed = 1 }) },
  { "never thinking, 1 expert", { { name = "all", plan = { experts = few } } } },
  { "rule, 1 expert if easy", thinking_when(reckons, few) },
  { "choose where there are digits, 1 expert if easy", thinking_when(digits_and_yes, few) },
  { "log-probability, 1 expert if easy", escalating(router.unlikely { least = LEAST }, few) },
}

--- Takes an item: whether the answer is right, tokens read and generated, CPU-seconds.
local function ask(route, item)
  local cpu = os.clock()
  local answer = assert(route:answer(item.text))
  cpu = os.clock() - cpu
  local cost = answer.record.cost
  return { right = answer.text == item.expected and 1 or 0, read = cost.read, generated = cost.generated, cpu = cpu,
           record = answer.record }
end

local function open_routes(engine)
  local routes = {}
  for i, way in ipairs(ways) do
    routes[i] = router { engines = { pocket = engine }, rules = way[2], keep = 0, judges = { effort = effort(MARGIN) },
      defaults = { context = 4096, temperature = 0, max_tokens = 300, thinking = "off" } }
  end
  return routes
end

--- results[way][item]. Each item begins with another way, so that none is always the first.
local function run(engine, items)
  local routes, results = open_routes(engine), {}
  for i = 1, #ways do
    results[i] = {}
    ask(routes[i], items[1])                      -- the first answer warms caches
  end
  for n, item in ipairs(items) do
    for i = 1, #ways do
      local way = (n + i) % #ways + 1
      local taken = ask(routes[way], item)
      taken.record = nil
      results[way][n] = taken
    end
  end
  return results
end

-- {== Statistics ======================================================================================

--- Wilson's 95 % interval of a share, in per cent.
local function wilson(right, n)
  local z, p = 1.96, right / n
  local middle = (p + z * z / (2 * n)) / (1 + z * z / n)
  local half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
  return 100 * (middle - half), 100 * (middle + half)
end

local function sum(list, field, places)
  local total = 0
  for i = 1, places and #places or #list do total = total + list[places and places[i] or i][field] end
  return total
end

--- Percentile bootstrap over items: 95 % intervals of the difference in accuracy (points) and of the ratio of
-- CPU-seconds.
local function bootstrap(base, other)
  local rng, n = Random.new(1), #base
  local differences, ratios, places = {}, {}, {}
  for r = 1, RESAMPLES do
    for i = 1, n do places[i] = rng:range(1, n) end
    differences[r] = 100 * (sum(other, "right", places) - sum(base, "right", places)) / n
    ratios[r] = sum(other, "cpu", places) / sum(base, "cpu", places)
  end
  table.sort(differences)
  table.sort(ratios)
  local low, high = math.ceil(0.025 * RESAMPLES), math.floor(0.975 * RESAMPLES)
  return differences[low], differences[high], ratios[low], ratios[high]
end

-- {== Tables ==========================================================================================

local function signed(x) return ("%+.1f"):format(x) end

local function row(name, base, list)
  local right, n = sum(list, "right"), #list
  local low, high = wilson(right, n)
  local d1, d2, r1, r2 = bootstrap(base, list)
  print(("| %s | %.1f (%.1f to %.1f) | %s (%s to %s) | %.1f | %.1f | %.2f | %.2f (%.2f to %.2f) |"):format(name,
    100 * right / n, low, high, signed(100 * (right - sum(base, "right")) / n), signed(d1), signed(d2),
    sum(list, "read") / n, sum(list, "generated") / n, sum(list, "cpu"),
    sum(list, "cpu") / sum(base, "cpu"), r1, r2))
end

local function of_kind(list, items, kept)
  local made = {}
  for n, item in ipairs(items) do
    if kept(item.kind) then made[#made + 1] = list[n] end
  end
  return made
end

local function table_of(title, items, results, kept)
  local lists = {}
  for i = 1, #ways do lists[i] = of_kind(results[i], items, kept) end
  print(("\n%s, %d items\n"):format(title, #lists[1]))
  print("| way | right, % (95 %: Wilson) | points against always thinking (95 %: bootstrap) | read | generated | CPU s "
    .. "| CPU against always thinking (95 %: bootstrap) |\n|---|---|---|---|---|---|---|")
  for i, way in ipairs(ways) do row(way[1], lists[1], lists[i]) end
end

local function tasks_table(items, results)
  print("\nBy task: right, %, and CPU-ms an item\n")
  local head, rule = { "| way" }, { "|---" }
  for _, kind in ipairs(WORKLOAD) do
    head[#head + 1], rule[#rule + 1] = kind.name, "---"
  end
  print(table.concat(head, " | ") .. " |\n" .. table.concat(rule, "|") .. "|")
  for i, way in ipairs(ways) do
    local cells = { "| " .. way[1] }
    for _, kind in ipairs(WORKLOAD) do
      local list = of_kind(results[i], items, function(other) return other == kind end)
      cells[#cells + 1] = ("%.1f, %.1f"):format(100 * sum(list, "right") / #list, 1000 * sum(list, "cpu") / #list)
    end
    print(table.concat(cells, " | ") .. " |")
  end
end

local function measure(engine, items)
  local results = run(engine, items)
  table_of("All tasks", items, results, function() return true end)
  table_of("Sums and products, which need thinking", items, results,
    function(kind) return kind.worked end)
  tasks_table(items, results)
end

-- {== Tuning ==========================================================================================

--- Prints, for thresholds of both judges, how many answers would be right and how many tokens generated.
local function sweep(name, seen, field, thresholds, below)
  print(("\n| %s | right, %% | tokens generated an item |\n|---|---|---|"):format(name))
  for _, threshold in ipairs(thresholds) do
    local right, generated = 0, 0
    for _, item in ipairs(seen) do
      local think = below and item[field] < threshold or not below and item[field] >= threshold
      local taken = think and item.thinking or item.direct
      right, generated = right + taken.right, generated + taken.generated
    end
    print(("| %g | %.2f | %.2f |"):format(threshold, 100 * right / #seen, generated / #seen))
  end
end

local function tune(engine, items)
  local routes, seen = open_routes(engine), {}
  for n, item in ipairs(items) do
    local thinking, direct, judged = ask(routes[1], item), ask(routes[2], item), ask(routes[4], item)
    local figures = judged.record.judges[1].figures
    local try = direct.record.tries[1]
    seen[n] = { thinking = thinking, direct = direct, logprob = try.logprob,
                yes = figures.likeliest == "yes" and figures.margin or -figures.margin }
  end
  sweep("lead of yes", seen, "yes", { -8, -4, -2, 0, 1, 2, 4, 8, 12, 15, 16, 17 })
  sweep("log-probability below", seen, "logprob", { -0.02, -0.05, -0.1, -0.2, -0.3, -0.5, -0.7, -1, -1.5, -2, -3, -4 },
    true)
end

local mode = arg[1] or "measure"
assert(SEEDS[mode], "usage: lua bench/routing.lua [measure | tune] [ITEMS OF EACH TASK]")
local engine = assert(moonseek.open { path = "models/pocket", threads = 1 })
local items = draw(SEEDS[mode], tonumber(arg[2]) or ITEMS[mode])
print(("moonseek %s, models/pocket, %s kernels, 1 thread, %s; seed %d, lead %g, log-probability %g"):format(
  moonseek._VERSION, engine:info().kernels, _VERSION, SEEDS[mode], MARGIN, LEAST))
if mode == "tune" then tune(engine, items) else measure(engine, items) end
engine:close()
