--- One turn of moonseek in bench/compare.lua, in a process of its own: turn.lua FILE THREADS read|generate TOKENS.
-- Prints tokens/s: of reading so many tokens into an empty session, or of generating so many behind the first two, as
-- llama-bench does.
local moonseek = require "moonseek"

local path, threads, work, count = arg[1], tonumber(arg[2]), arg[3], tonumber(arg[4])
local engine = assert(moonseek.open { path = path, threads = threads })
local vocabulary = engine:info().vocabulary
local session = assert(engine:session { context = count + 16 })

local function tokens(n)
  local list = {}
  for i = 1, n do list[i] = i * 7919 % vocabulary end
  return list
end

if work == "read" then
  assert(session:append(tokens(count)))
  local result = assert(session:generate { max_tokens = 0 })
  print(count / result.timing.prefill_ms * 1000)
else
  assert(session:append(tokens(1)))
  assert(session:generate { max_tokens = 1, ignore_eos = true })
  local before = engine:stats()
  assert(session:generate { max_tokens = count + 1, ignore_eos = true, seed = 1 })
  local after = engine:stats()
  print((after.decode_tokens - before.decode_tokens) / (after.decode_ms - before.decode_ms) * 1000)
end
