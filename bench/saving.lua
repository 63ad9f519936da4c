--- Saving and loading a session of the pocket model against reading it again: bench/saving.lua [TOKENS] [NUMERICS].
-- CPU time is that of all threads of the process.
package.path = "./models/pocket/?.lua;" .. package.path
local moonseek = require "moonseek"
local tasks = require "tasks"

local count, numerics = tonumber(arg[1]) or 8192, arg[2] or "fast"
local rounds = 20

local engine = assert(moonseek.open { path = "models/pocket", numerics = numerics })
local path = os.tmpname()

--- CPU milliseconds of `rounds` calls, a call.
local function cpu(calls, task)
  local clock = os.clock()
  for _ = 1, calls do task() end
  return (os.clock() - clock) * 1000 / calls
end

local item = tasks.turns(tasks.item("needle", { tokens = count, facts = 16, questions = 1, seed = count }))[1]
local session = assert(engine:session {})
assert(session:append(item.prompt))
local read = cpu(1, function() assert(session:generate { max_tokens = 0 }) end)
local first = cpu(1, function() assert(session:save(path)) end)
local save = cpu(rounds, function() assert(session:save(path)) end)
local load = cpu(rounds, function() assert(engine:load_session(path)):close() end)
assert(session:logits():bytes() == assert(engine:load_session(path)):logits():bytes())

local file = assert(io.open(path, "rb"))
local bytes = file:seek("end")
file:close()
os.remove(path)
print(("%d tokens, %s: file %.2f MB, predicted %.2f MB"):format(session:position(), numerics, bytes / 1e6,
  engine:memory { context = session:position() }.saved / 1e6))
print(("CPU ms: read %.1f, save %.2f (the first, with the model's fingerprint, %.2f), load %.2f"):format(read, save,
  first, load))
print(("loading is %.0f times faster than reading, the next logits are bit-equal"):format(read / load))
engine:close()
