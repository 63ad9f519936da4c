--- Generating deep in a session against generating at its beginning, and the memory of both: `make bench-depth`, or
-- depth.lua MODEL [PAIRS] [READ]. The first READ tokens are read; the rows of the others are copies of theirs (filled
-- in, spec/internals/fill.c): what is generated means nothing and takes the time that it would. Sessions of all depths
-- generate in turns, one token each; a pair is a token at some depth and one behind the first, of the same turn.
package.path = "./?.lua;./bench/?.lua;" .. package.path
local internals = require("spec.support").internals()
local moonseek, core = require "moonseek", require "moonseek.core"
local measure = require "measure"

local path, pairs_wanted, period = arg[1], tonumber(arg[2]) or 40, tonumber(arg[3]) or 512
local depths = { 1, 8192, 32768, 131072 }

local engine = assert(moonseek.open { path = path })
local vocabulary = engine:info().vocabulary

--- `count` tokens from position `from` on: the first `period` again and again.
local function tokens(from, count)
  local ids = {}
  for i = 1, count do ids[i] = (from + i - 1) % period * 7919 % vocabulary end
  return moonseek.tokens(ids)
end

local function append(session, depth)
  assert(session:append(tokens(session:position(), depth - session:position())))
  return session
end

--- Milliseconds of the step that follows one token.
local function step(session, seed)
  assert(session:append { seed * 31 % vocabulary })
  local before = engine:stats()
  assert(session:generate { max_tokens = 0 })
  local after = engine:stats()
  return after.prefill_ms - before.prefill_ms
end

--- Sessions of `depths` tokens, all read or filled in; after a step of each, the bytes of work space, what is held
-- besides the sessions' pages (work space, page tables, token ids), and what the process takes besides them.
local function sessions()
  local list, scratch, held, taken = {}, {}, {}, {}
  local trunk = append(assert(engine:session { context = depths[#depths] + 4 * pairs_wanted }), period)
  assert(trunk:generate { max_tokens = 0 })
  for i, depth in ipairs(depths) do
    if depth < period then
      list[i] = append(assert(engine:session { context = 4096 }), depth)
      assert(list[i]:generate { max_tokens = 0 })
    else
      append(trunk, depth)
      assert(internals.fill(trunk, period))
      list[i] = assert(trunk:fork())
    end
    step(list[i], 1)
    local stats = engine:stats()
    scratch[i], held[i] = stats.scratch_bytes, core.memory_live() - stats.session_bytes
    taken[i] = measure.own_memory() - stats.session_bytes
  end
  return list, scratch, held, taken
end

local list, scratch, held, taken = sessions()
local ratios, times = {}, {}
for i = 1, #depths do ratios[i], times[i] = {}, {} end
for turn = 1, pairs_wanted + 2 do       -- the first two copy shared pages and warm up
  local lasted = {}
  for k = 1, #depths do
    local i = (turn + k) % #depths + 1  -- no depth always comes behind the same one
    lasted[i] = step(list[i], turn)
  end
  if turn > 2 then
    for i = 1, #depths do
      ratios[i][#ratios[i] + 1], times[i][#times[i] + 1] = lasted[1] / lasted[i], lasted[i]
    end
  end
end

print(("moonseek %s, %s kernels, %d threads for one answer; %d turns; %d tokens read, the others filled in"):format(
  moonseek._VERSION, engine:info().kernels, engine:stats().answer_threads, pairs_wanted, period))
print "| tokens | ms a token, median | against the first | session | work space | held besides pages | of the process |"
print "|---|---|---|---|---|---|---|"
for i, depth in ipairs(depths) do
  print(("| %d | %.2f | %.3f | %.1f MB | %.2f MiB | %.1f MiB | %.1f MiB |"):format(depth, measure.median(times[i]),
    measure.median(ratios[i]), engine:memory { context = depth }.session / 1e6, scratch[i] / 2 ^ 20, held[i] / 2 ^ 20,
    taken[i] / 2 ^ 20))
end
