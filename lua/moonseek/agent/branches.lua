--- Variants of a run on forks of the chat, side by side, of which the best goes on.
local problem = require "moonseek.problem"
local together = require "moonseek.agent.together"
local work = require "moonseek.agent.work"

local branches = {}

--- A second agent that shares all but the chat and where it stands.
local function variant(self, index)
  local chat = problem.try(self.current:fork())
  return setmetatable({ shared = self.shared, current = chat, variant = index, started = self.started,
    given = self.given, held = self.held, pause = together.possible and together.pause or nil }, getmetatable(self))
end

local function check_score(points)
  if points == nil or type(points) == "number" and points == points then return points end
  problem.fail(("score: number or nil expected, got %s"):format(points ~= points and "NaN" or type(points)), "EHOOK")
end

--- Runs a variant: { twin =, result = }, or { message =, code = } of its failure. What a hook raises ends all.
local function try_variant(twin, chosen)
  local ok, result = pcall(work.run, twin, chosen.task, (chosen.variants or {})[twin.variant] or {})
  if ok then return { twin = twin, result = result } end
  if not problem.is(result) or result.code == "EHOOK" then error(result, 0) end
  twin.current:close()
  return { message = result.message, code = result.code }
end

--- Runs all into `tried`, side by side; one that cannot be forked has failed.
local function try_all(self, count, chosen, tried)
  local functions = {}
  for i = 1, count do
    local twin, message, code = problem.catch("EINVAL", variant, self, i)
    tried[i] = { twin = twin, message = message, code = code }
    if twin then functions[#functions + 1] = function() tried[i] = try_variant(twin, chosen) end end
  end
  together.run(functions, work.host(self))
end

--- The scores, and the place of the best.
local function judge(chosen, tried)
  local best
  for i, one in ipairs(tried) do
    one.score = one.result and check_score(work.call_hook("score", chosen.score, one.result, i))
    if one.score and (not best or one.score > tried[best].score) then best = i end
  end
  return best
end

local function close_all_but(tried, kept)
  for i, one in ipairs(tried) do
    if one.twin and i ~= kept then one.twin.current:close() end
  end
end

--- The agent goes on where this one ended.
local function adopt(self, chosen, index)
  work.record(self, "adopt", { adopted = index, score = chosen.score })
  if self.owns_chat then self.current:close() end
  local twin = chosen.twin
  self.current, self.owns_chat = twin.current, true
  self.given, self.held, self.started = twin.given, twin.held, twin.started
end

local function fail_all(tried)
  for _, one in ipairs(tried) do
    if one.message then problem.fail("no branch has a result; the first to fail: " .. one.message, one.code) end
  end
  problem.fail("no branch was given a score", "ECANCELED")
end

function branches.run(self, count, chosen)
  work.settle(self)
  work.record(self, "branch", { count = count })
  local tried = {}
  local ok, best = pcall(function()
    try_all(self, count, chosen, tried)
    return judge(chosen, tried)
  end)
  close_all_but(tried, ok and best or nil)
  if not ok or not best then
    work.record(self, "adopt", {})
    if not ok then error(best, 0) end
    fail_all(tried)
  end
  adopt(self, tried[best], best)
  local result = work.result_of(work.state_of(self))
  result.branch, result.branches = best, {}
  for i, one in ipairs(tried) do
    result.branches[i] = { result = one.result, score = one.score, message = one.message, code = one.code }
  end
  return result
end

return branches
