--- Runs a sequence of operations beside a model of what each session must hold. A place (slot) of the model:
--   session, held    the tokens that it must hold
--   rows             for tokens that are read, the number of the policy under which they were
--   policy           the present one
--   job, stream      what runs on it: { job =, from =, options =, verify = }, or a stream that was left
--   marks            lengths at which jobs began, and at which reading was cancelled
-- Whatever is not as the model has it raises.
local core = require "moonseek.core"
local plan = require "spec.algebra.plan"

local sequence = {}
local operations = {}

local function expect(condition, text, ...)
  if not condition then error(text:format(...), 2) end
end

local function same(expected, given, what)
  local a, b = table.concat(expected, " "), table.concat(given, " ")
  expect(a == b, "%s: %s, not %s", what, b, a)
end

local function copy(list, count)
  local new = {}
  for i = 1, count or #list do new[i] = list[i] end
  return new
end

--- The token at a place of one of the texts.
local function token(text, place)
  return (place * 37 + text * 19) % 151
end

local function extend(list, text, count)
  for _ = 1, count do list[#list + 1] = token(text, #list + 1) end
  return list
end

-- {== Slots =====================================================================================

local function open(walk, index)
  local slot = { session = assert(walk.engine:session { context = walk.context }), held = {}, rows = {}, policy = 1,
    marks = {} }
  walk.slots[index] = slot
  return slot
end

local function place(walk, op)
  return walk.slots[op.slot] or open(walk, op.slot)
end

local function check_held(slot)
  same(slot.held, slot.session:tokens():totable(), "tokens held")
end

local function truncate(slot, count)
  for i = #slot.held, count + 1, -1 do slot.held[i] = nil end
  for i = #slot.rows, count + 1, -1 do slot.rows[i] = nil end
end

--- Whether all that can have been read was read under the present policy.
local function is_uniform(slot)
  for _, policy in ipairs(slot.rows) do
    if policy ~= slot.policy then return false end
  end
  return true
end

-- {== Jobs ======================================================================================

--- What `options` generated is what they give alone.
local function verify(walk, slot, from, options, tokens, finish)
  local again = copy({})
  for name, value in pairs(options) do again[name] = value end
  again.priority, again.deadline_ms = nil, nil
  local whole = finish == "length" or finish == "stop"
  if not whole then again.max_tokens = #tokens end
  if #tokens == 0 and not whole then return end
  local expected, reason = walk.replay:generate(copy(slot.held, from), copy(slot.rows, from), slot.policy, again,
    walk.context)
  same(expected, tokens, "tokens generated")
  expect(not whole or reason == finish, "finish_reason is %s, not %s", finish, reason)
end

--- From what was read on, the session has rows of the present policy; behind it are the tokens generated.
local function take(walk, slot, begun, cached, tokens, finish)
  expect(walk.store or cached <= #slot.rows, "%d tokens cached, %d were read", cached, #slot.rows)
  for i = #slot.rows + 1, cached do slot.rows[i] = slot.policy end
  for i = cached + 1, begun.from do slot.rows[i] = slot.policy end
  if begun.verify and begun.options.max_tokens > 0 then
    verify(walk, slot, begun.from, begun.options, tokens, finish)
  end
  for _, id in ipairs(tokens) do
    slot.held[#slot.held + 1] = id
    slot.rows[#slot.held] = slot.policy
  end
end

local function take_result(walk, slot, begun, result)
  local usage, from, finish = result.usage, begun.from, result.finish_reason
  local tokens = result.tokens:totable()
  expect(usage.cached + usage.read <= from and usage.reread <= usage.read,
    "usage %d + %d (%d) of %d", usage.cached, usage.read, usage.reread, from)
  if finish == "length" or finish == "stop" or #tokens > 0 then
    expect(usage.cached + usage.read == from, "usage %d + %d of %d", usage.cached, usage.read, from)
  end
  expect(#tokens == usage.completion, "usage.completion %d of %d", usage.completion, #tokens)
  expect(#tokens <= begun.options.max_tokens, "%d tokens", #tokens)
  if begun.seen then same(tokens, begun.seen, "tokens of events") end
  if usage.cached + usage.read < from then slot.marks[#slot.marks + 1] = usage.cached + usage.read end
  take(walk, slot, begun, usage.cached, tokens, finish)
end

local function note_event(begun, event)
  expect(event.type ~= "error", "%s", event.message)
  if event.type == "prefill" then expect(event.done <= event.total and #begun.seen == 0, "progress") end
  if event.type ~= "token" then return end
  begun.seen[#begun.seen + 1] = event.token
  expect(event.position == begun.from + #begun.seen - 1, "token %d stands at %d", #begun.seen, event.position)
end

--- Takes at most `count` events of a job; on an engine without threads at most as many steps are computed.
local function poll(begun, count)
  for _ = 1, count do
    if begun.job:finished() then return end
    if not core.step(begun.job) then begun.job:wait(1) end   -- refused where threads compute
    local event = begun.job:poll()
    if event then note_event(begun, event) end
  end
end

local function finish(begun)
  begun.job:resume()
  while not begun.job:finished() do
    expect(begun.job:wait(4000), "no event within 4 seconds")
    local event = begun.job:poll()
    if event then note_event(begun, event) end
  end
  local result = assert(begun.job:result())
  begun.job:close()
  return result
end

--- The session is free, and the model knows what it holds.
local function settle(walk, slot)
  local begun = slot.job or slot.stream
  slot.job, slot.stream = nil, nil
  if not begun then return end
  if begun.job then
    take_result(walk, slot, begun, finish(begun))
  else
    assert(slot.session:append {})                       -- ends the stream
    local now = slot.session:tokens():totable()
    local tokens = {}
    for i = begun.from + 1, #now do tokens[#tokens + 1] = now[i] end
    take(walk, slot, begun, 0, tokens, nil)
  end
  check_held(slot)
end

local function settled(walk, op)
  local slot = place(walk, op)
  settle(walk, slot)
  return slot
end

--- Why a job with these options cannot begin, or nil.
local function refusal(walk, slot, options)
  if options.max_tokens == 0 then return nil end
  if #slot.held == 0 then return "EINVAL" end
  if #slot.held >= walk.context then return "ECTXFULL" end
end

local function begin(walk, slot, op, method)
  local expected = refusal(walk, slot, op.options)
  local job, message, code, closing = slot.session[method](slot.session, op.options)
  if expected then
    expect(job == nil and code == expected, "%s: %s", tostring(code), tostring(message))
    return nil
  end
  expect(job, "%s: %s", tostring(code), tostring(message))
  slot.marks[#slot.marks + 1] = #slot.held
  return { job = job, from = #slot.held, options = op.options, verify = op.verify, seen = {} }, closing
end

local function read(walk, slot)
  local job = begin(walk, slot, { options = { max_tokens = 0 } }, "generate")
  job.seen = nil
  take_result(walk, slot, job, job.job)                  -- generate gives its result
end

--- Logits are those of a fresh replay.
local function check(walk, slot)
  settle(walk, slot)
  if #slot.held == 0 then
    expect(select(3, slot.session:logits()) == "EINVAL", "logits of nothing")
    return
  end
  read(walk, slot)
  local expected = walk.replay:logits(slot.held, slot.rows)
  expect(assert(slot.session:logits()):bytes() == expected, "logits after %d tokens differ from a replay's", #slot.held)
  walk.checks = walk.checks + 1
end

-- {== Operations ================================================================================

local function refuse_full(slot, wanted, done, message, code)
  expect(done == nil and code == "ECTXFULL", "%d tokens: %s %s", wanted, tostring(code), tostring(message))
  check_held(slot)
end

local function change(walk, slot, method, ids, wanted, common)
  local done, message, code = slot.session[method](slot.session, ids)
  if #wanted > walk.context then return refuse_full(slot, #wanted, done, message, code) end
  expect(done == #wanted, "%s: %s", method, tostring(message))
  truncate(slot, common)
  slot.held = wanted
end

function operations.append(walk, op)
  local slot = settled(walk, op)
  local held, count = #slot.held, op.count
  if op.edge then
    local edges = {}
    for _, edge in ipairs(plan.edges) do
      if edge > held and edge <= walk.limit then edges[#edges + 1] = edge end
    end
    count = #edges == 0 and 1 or edges[op.edge % #edges + 1] - held
  end
  local ids, wanted = {}, extend(copy(slot.held), op.text, count)
  for i = held + 1, #wanted do ids[#ids + 1] = wanted[i] end
  change(walk, slot, "append", ids, wanted, held)
end

function operations.sync(walk, op)
  local slot = settled(walk, op)
  local wanted = extend(copy(slot.held, math.floor(#slot.held * op.share)), op.text, op.count)
  local common = 0
  while common < #slot.held and slot.held[common + 1] == wanted[common + 1] do common = common + 1 end
  change(walk, slot, "sync", wanted, wanted, common)
end

function operations.rewind(walk, op)
  local slot = settled(walk, op)
  local position = op.share and math.floor(#slot.held * op.share)
    or slot.marks[#slot.marks - op.mark % (#slot.marks + 1)] or 0
  position = math.max(0, math.min(position, #slot.held) - op.back)
  expect(slot.session:rewind(position) == position, "rewind to %d", position)
  truncate(slot, position)
  check_held(slot)
end

function operations.start(walk, op)
  local slot = settled(walk, op)
  slot.job = begin(walk, slot, op, "start")
end

function operations.generate(walk, op)
  local slot = settled(walk, op)
  local begun = begin(walk, slot, op, "generate")
  if not begun then return end
  begun.seen = nil
  take_result(walk, slot, begun, begun.job)
  check_held(slot)
end

function operations.leave(walk, op)
  local slot = settled(walk, op)
  if not is_uniform(slot) then read(walk, slot) end      -- a left stream does not tell what it read
  if not is_uniform(slot) then return end
  local begun = begin(walk, slot, op, "stream")
  if not begun then return end
  for _ = 1, op.steps do
    local event = begun.job()                            -- the iterator
    if not event then break end
    note_event(begun, event)
  end
  begun.job = nil
  slot.stream = begun
end

function operations.cancel(walk, op)
  local slot = place(walk, op)
  if not slot.job then return end
  poll(slot.job, op.steps)
  slot.job.job:cancel()
  settle(walk, slot)
end

function operations.finish(walk, op) settled(walk, op) end

function operations.poll(walk, op)
  local slot = place(walk, op)
  if slot.job then poll(slot.job, op.steps) end
end

function operations.pause(walk, op)
  local slot = place(walk, op)
  if slot.job then slot.job.job:pause() end
end

function operations.resume(walk, op)
  local slot = place(walk, op)
  if slot.job then slot.job.job:resume() end
end

--- While a job runs the session refuses; when it goes through, the job had ended.
function operations.busy(walk, op)
  local slot = place(walk, op)
  if not slot.job then return end
  local begun, done, message, code = slot.job, slot.session:append { op.id }
  if not done and code == "EBUSY" then return end
  slot.job = nil
  take_result(walk, slot, begun, finish(begun))
  if #slot.held == walk.context then return refuse_full(slot, #slot.held + 1, done, message, code) end
  slot.held[#slot.held + 1] = op.id
  check_held(slot)
end

function operations.fork(walk, op)
  local slot = settled(walk, op)
  if op.to == op.slot then return end
  operations.close(walk, { slot = op.to })
  walk.slots[op.to] = { session = assert(slot.session:fork()), held = copy(slot.held), rows = copy(slot.rows),
    policy = slot.policy, marks = copy(slot.marks) }
end

function operations.read(walk, op)
  read(walk, settled(walk, op))
end

function operations.score(walk, op)
  local slot = settled(walk, op)
  read(walk, slot)
  local scores, message, code = slot.session:score(op.ids)
  if #slot.held == 0 or #slot.held + #op.ids > walk.context then
    return expect(code == (#slot.held == 0 and "EINVAL" or "ECTXFULL"), "score: %s", tostring(message))
  end
  same(walk.replay:score(slot.held, slot.rows, slot.policy, op.ids), assert(scores, message), "scores")
  check_held(slot)
end

function operations.choose(walk, op)
  local slot = settled(walk, op)
  if #slot.held == 0 or #slot.held + 2 > walk.context then return end
  read(walk, slot)
  local best, sums = assert(slot.session:choose(op.choices))
  local expected, first = {}, 1
  for i, ids in ipairs(op.choices) do
    expected[i] = 0
    local scores = walk.replay:score(slot.held, slot.rows, slot.policy, ids)
    for _, score in ipairs(scores) do expected[i] = expected[i] + score end
    if expected[i] > expected[first] then first = i end
  end
  same(expected, sums, "sums")
  expect(best == first, "choice %d, not %d", best, first)
  check_held(slot)
end

function operations.routing(walk, op)
  if walk.store then return end                          -- what comes from a store was read without a policy
  local slot = settled(walk, op)
  assert(slot.session:routing(plan.policies[op.policy]))
  slot.policy = op.policy
end

--- A reading that goes on a row a step, because an answer is under way beside it, and is cancelled in the middle.
function operations.part(walk, op)
  local slot = settled(walk, op)
  if #slot.held + op.count > walk.context then return end
  operations.append(walk, op)
  local company = assert(walk.engine:session { context = 64 })
  assert(company:append { 1, 2 })
  local answer = assert(company:start { max_tokens = op.steps + 2, ignore_eos = true })
  assert(walk.engine:set { slice_ms = 0 })
  slot.job = begin(walk, slot, { options = { max_tokens = 0 } }, "start")
  operations.cancel(walk, op)
  assert(walk.engine:set { slice_ms = 50 })
  answer:close()
  company:close()
end

function operations.save(walk, op)
  local slot = settled(walk, op)
  if not is_uniform(slot) then read(walk, slot) end      -- of which saving would not tell
  assert(slot.session:save(walk.folder .. "/" .. op.file))
  for i = #slot.rows + 1, #slot.held do slot.rows[i] = slot.policy end
  walk.saved[op.file] = { held = copy(slot.held), rows = copy(slot.rows), policy = slot.policy }
  check_held(slot)
end

function operations.load(walk, op)
  local saved = walk.saved[op.file]
  if not saved then return end
  local engine = op.elsewhere and walk.replay.engine or walk.engine
  local session = assert(engine:load_session(walk.folder .. "/" .. op.file))
  local slot = { session = session, held = copy(saved.held), rows = copy(saved.rows), policy = saved.policy,
    marks = {} }
  check_held(slot)
  if op.elsewhere then
    check(walk, slot)
    session:close()
  else
    operations.close(walk, op)
    walk.slots[op.slot] = slot
  end
end

function operations.set(walk, op)
  if walk.threads > 0 then assert(walk.engine:set { threads = op.threads }) end
  assert(walk.engine:set { slice_ms = op.slice_ms })
end

function operations.check(walk, op)
  check(walk, place(walk, op))
end

--- Also with a job under way.
function operations.close(walk, op)
  local slot = walk.slots[op.slot]
  walk.slots[op.slot] = nil
  if not slot then return end
  slot.session:close()
  if slot.job then slot.job.job:close() end
end

-- {== The sequence ==============================================================================

local function run(walk, given)
  for _, op in ipairs(given) do operations[op.name](walk, op) end
  for index = 1, plan.slots do
    local slot = walk.slots[index]
    if slot then settle(walk, slot) end
  end
  for index = 1, plan.slots do
    local slot = walk.slots[index]
    if slot and (index + walk.seed) % 2 == 0 or slot and index == 1 then check(walk, slot) end
  end
end

--- Runs `given`, operations of the plan `made`, on `where`: { engine =, threads =, store =, replay =, folder = }.
-- Returns how many logits were compared; or nil, and what was wrong.
function sequence.run(made, given, where)
  local walk = { slots = {}, saved = {}, checks = 0, context = made.context, limit = made.limit, seed = made.seed }
  for name, value in pairs(where) do walk[name] = value end
  local ran, problem = xpcall(run, debug.traceback, walk, given)
  for index = 1, plan.slots do pcall(operations.close, walk, { slot = index }) end
  local left = where.threads == 0 and not where.store and where.engine:stats()
  if ran and left and (left.sessions ~= 0 or left.jobs ~= 0 or left.session_bytes ~= 0) then
    ran, problem = false, ("%d sessions, %d jobs, %d bytes left"):format(left.sessions, left.jobs, left.session_bytes)
  end
  if ran then return walk.checks end
  return nil, tostring(problem)
end

return sequence
