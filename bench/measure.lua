--- What several benches measure with.
local measure = {}

function measure.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local middle = #sorted // 2
  return #sorted % 2 == 1 and sorted[middle + 1] or (sorted[middle] + sorted[middle + 1]) / 2
end

--- Bytes of memory that the process has of its own, mapped files apart; 0 where the system does not tell.
function measure.own_memory()
  local status = io.open "/proc/self/status"
  if not status then return 0 end
  local own = status:read("*a"):match("RssAnon:%s*(%d+) kB")
  status:close()
  return (tonumber(own) or 0) * 1024
end

--- Times of all stages, in milliseconds by name, and their order.
function measure.stages(engine)
  local times, order = {}, {}
  for i, stage in ipairs(engine:stats { stages = true }.stages) do
    times[stage.name], order[i] = stage.ms, stage.name
  end
  return times, order
end

--- Prints what each stage took between two of these, a token.
function measure.print_stages(from, to, order, tokens)
  print(("%-18s %12s"):format("stage", "ms a token"))
  for _, name in ipairs(order) do print(("%-18s %12.3f"):format(name, (to[name] - from[name]) / tokens)) end
end

return measure
