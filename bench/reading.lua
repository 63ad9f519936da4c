--- Reading a text of TOKENS ids REPETITIONS times, each in a session of its own: `make bench-reading MODEL=PATH`, or
-- reading.lua PATH [TOKENS] [THREADS] [REPETITIONS]. Tokens a second on the wall and of CPU time, then the time of each
-- stage. The first repetition fills the page cache.
local moonseek = require "moonseek"
package.path = "./bench/?.lua;" .. package.path
local measure = require "measure"

local path, tokens, threads, repetitions = arg[1], tonumber(arg[2]) or 512, tonumber(arg[3]), tonumber(arg[4]) or 3

local engine = assert(moonseek.open { path = path, threads = threads })
local info = engine:info()

local from, order
for repetition = 1, repetitions do
  local session, ids = assert(engine:session { context = tokens + 8 }), {}
  for i = 1, tokens do ids[i] = (i * 3709 + repetition * 17) % info.vocabulary end
  assert(session:append(ids))
  from, order = measure.stages(engine)
  local cpu = os.clock()
  local result = assert(session:generate { max_tokens = 1, ignore_eos = true, temperature = 0 })
  cpu = os.clock() - cpu
  print(("%d tokens, %s kernels, %d threads: %.1f tokens/s, %.1f a CPU second (%.1f CPU seconds)"):format(tokens,
    info.kernels, info.threads, tokens / result.timing.prefill_ms * 1000, tokens / cpu, cpu))
  session:close()
end
measure.print_stages(from, measure.stages(engine), order, tokens)
engine:close()
