--- What a router did for one request, and what it cost: a plain table that can be printed.
local record = {}

local metatable = { __name = "moonseek.record" }

local function nothing()
  return { read = 0, generated = 0, ms = 0, cpu_seconds = 0 }
end

function record.new(number)
  return setmetatable({ number = number, judges = {}, tries = {}, cost = nothing() }, metatable)
end

record.nothing = nothing

function record.add(sum, cost)
  for name, value in pairs(cost) do sum[name] = sum[name] + value end
end

--- Measures one step of the work: stop(usage) gives its cost, and adds it to `sums`.
function record.begin(clock, sums)
  local ms, cpu = clock(), os.clock()
  return function(read, generated)
    local cost = { read = read, generated = generated, ms = clock() - ms, cpu_seconds = os.clock() - cpu }
    for _, sum in ipairs(sums) do record.add(sum, cost) end
    return cost
  end
end

-- {== Printing ========================================================================================

local function cost_text(cost)
  return ("%d tokens read, %d generated, %.1f ms, %.4f CPU s")
    :format(cost.read, cost.generated, cost.ms, cost.cpu_seconds)
end

local function value_text(value)
  if type(value) == "number" then return ("%.4g"):format(value) end
  return tostring(value)
end

local function figures_text(figures)
  local names, parts = {}, {}
  for name in pairs(figures or {}) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = (", %s %s"):format(name, value_text(figures[name])) end
  return table.concat(parts)
end

--- How evenly the experts were used: of each layer the share that its most frequent expert has of all choices.
local function experts_text(stats)
  local layers, parts = {}, {}
  for layer in pairs(stats.layers) do layers[#layers + 1] = layer end
  table.sort(layers)
  for i, layer in ipairs(layers) do
    local sum, most, which = 0, -1, nil
    for expert, count in pairs(stats.layers[layer]) do
      sum = sum + count
      if count > most or count == most and expert < which then most, which = count, expert end
    end
    parts[i] = ("layer %d: %d of %d by expert %d"):format(layer, math.max(most, 0), sum, which or 0)
  end
  return ("    experts, for %d tokens: %s"):format(stats.tokens, table.concat(parts, "; "))
end

local function try_lines(lines, try)
  local said = try.error and ("failed with %s: %s"):format(try.code, tostring(try.error)) or try.finish_reason
  lines[#lines + 1] = ("  %s: engine %s, thinking %s, %s; %s"):format(try.why, try.engine, try.thinking, said,
    cost_text(try.cost))
  if try.experts then lines[#lines + 1] = experts_text(try.experts) end
  if try.unsure ~= nil then
    lines[#lines + 1] = ("    %s%s%s; %s"):format(try.unsure and "unsure" or "sure", figures_text(try.figures),
      try.kept and (", kept: " .. try.kept) or "", cost_text(try.judging))
  end
end

function metatable.__tostring(self)
  local lines = { ("request %d: rule %s"):format(self.number, self.rule or "none") }
  for _, judged in ipairs(self.judges) do
    local said = judged.error and ("failed with %s: %s"):format(judged.code, tostring(judged.error))
      or "says " .. tostring(judged.verdict)
    lines[#lines + 1] = ("  judge %s %s%s; %s"):format(judged.name, said, figures_text(judged.figures),
      cost_text(judged.cost))
  end
  for _, try in ipairs(self.tries) do try_lines(lines, try) end
  lines[#lines + 1] = ("  in all: %s"):format(cost_text(self.cost))
  return table.concat(lines, "\n")
end

return record
