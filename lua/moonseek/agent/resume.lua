--- Goes on with a run from its file: the records are applied again, and what a killed process left open is settled.
local journal = require "moonseek.agent.journal"
local problem = require "moonseek.problem"
local state = require "moonseek.agent.state"
local tools = require "moonseek.agent.tools"
local work = require "moonseek.agent.work"

local resume = {}

resume.VERSION = 1   -- of the trace

local function apply_all(self, path, records)
  for i, record in ipairs(records) do
    local ok, message = pcall(state.apply, self.shared.root, record)
    if not ok then problem.fail(("%s: record %d does not follow: %s"):format(path, i, tostring(message)), "EFORMAT") end
    self.shared.trace[i] = record
  end
end

--- The chat begins as the traced one did: what it lacks is added to it.
local function check_chat(self, path)
  local held, recorded = self.current:messages(), work.state_of(self).messages
  for i, message in ipairs(held) do
    local there = recorded[i]
    if not there or there.role ~= message.role or there.content ~= message.content then
      problem.fail(("%s: message %d of the chat is not that of the run"):format(path, i), "EINVAL")
    end
  end
  self.given, self.held = #held, #held
end

--- The calls that were begun and have no result, of the run and of branches that were not brought to an end.
local function unknown_calls(self)
  local root, list = self.shared.root, {}
  local function look(at, branch)
    for _, call in ipairs(at.phase == "calls" and at.calls or {}) do
      if call.begun and not call.result then list[#list + 1] = { call = call, at = at, branch = branch } end
    end
  end
  look(root, nil)
  local branches = {}
  for branch in next, root.branches or {} do branches[#branches + 1] = branch end
  table.sort(branches)
  for _, branch in ipairs(branches) do look(root.branches[branch], branch) end
  return list
end

local function give(self, unknown, status, content)
  work.record({ shared = self.shared, started = self.started, variant = unknown.branch }, "result",
    { round = unknown.at.round, id = unknown.call.id, name = unknown.call.name, status = status, content = content })
end

-- What on_unknown may say of a call.
local decisions = {
  rerun = function(_, unknown) unknown.call.begun = nil end,
  result = function(self, unknown, value)
    local text, message = tools.content(value)
    if not text then problem.fail("on_unknown: " .. message, "EHOOK") end
    give(self, unknown, "ok", tools.cap(text, self.shared.max_result))
  end,
  fail = function(self, unknown, message)
    give(self, unknown, "unknown", "Error: " .. (message
      or "it is not known whether the call was carried out; the program was interrupted"))
  end,
}

local function settle(self, on_unknown, unknown)
  local call = unknown.call
  local decision, value = work.call_hook("on_unknown", on_unknown,
    work.described(call, tools.arguments(call), unknown.at.round, unknown.branch))
  if not decisions[decision] then
    problem.fail(('on_unknown: "rerun", "result" or "fail" expected, got %s'):format(tostring(decision)), "EHOOK")
  end
  decisions[decision](self, unknown, value)
end

local function check_unknown(path, list, on_unknown)
  if list[1] and not on_unknown then
    problem.fail(("%s: %sgive on_unknown to decide"):format(path, work.unknown(list[1].call)), "ETOOL")
  end
end

--- Brings an agent without records to where the file's run stands.
function resume.run(self, path, on_unknown)
  local records = problem.try(journal.read(path))
  if records[1].version ~= resume.VERSION then
    problem.fail(("%s: the trace has version %s, this program reads %d"):format(
      path, tostring(records[1].version), resume.VERSION), "EFORMAT")
  end
  apply_all(self, path, records)
  check_chat(self, path)
  local list = unknown_calls(self)
  check_unknown(path, list, on_unknown)
  self.started = self.shared.clock() - work.state_of(self).at
  self.shared.journal = problem.try(journal.append(path))
  work.record(self, "resume", {})
  for _, unknown in ipairs(list) do settle(self, on_unknown, unknown) end
  if self.shared.root.branches then work.record(self, "adopt", {}) end
  work.bring_along(self)
  return self
end

return resume
