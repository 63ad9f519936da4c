--- What the specs of the binding share: the oracle's tiny model, and programs run in a process of their own.
local support = require "spec.support"
local moonseek = require "moonseek"

-- patience: seconds that a program may take to end; sanitizers make everything slow.
local tiny = { path = "spec/oracle/tiny", vocabulary = 512, patience = support.sanitized and 10 or 1 }

function tiny.open(options)
  local copy = { path = tiny.path, threads = 1 }
  for name, value in pairs(options or {}) do copy[name] = value end
  return assert(moonseek.open(copy))
end

--- A session that holds `count` tokens (default 7), and its engine.
function tiny.session(count, context)
  local engine = tiny.open()
  local session = assert(engine:session { context = context or 4096 })
  assert(session:sync(tiny.tokens(count or 7)))
  return session, engine
end

function tiny.tokens(count)
  local ids = {}
  for i = 1, count do ids[i] = (i * 37 + 11) % tiny.vocabulary end
  return ids
end

--- Lists of ids one after the other.
function tiny.joined(...)
  local ids = {}
  for _, list in ipairs { ... } do
    for _, id in ipairs(list) do ids[#ids + 1] = id end
  end
  return ids
end

--- The first `count` of them.
function tiny.first(ids, count)
  local list = {}
  for i = 1, count do list[i] = ids[i] end
  return list
end

--- The scenario that has to work however hostile the circumstances: the same text of ids each time.
function tiny.scenario(engine)
  local session = assert(engine:session { context = 256 })
  assert(session:sync { 5, 6, 7 })
  local logits = assert(session:logits())
  assert(#logits == tiny.vocabulary and #logits:top(3) == 3)
  local result = assert(session:generate { max_tokens = 4, seed = 1, ignore_eos = true, on_event = function() end })
  assert(session:append { 8 })
  for event in session:stream { max_tokens = 3, ignore_eos = true } do
    if event.type == "token" then break end
  end
  assert(session:append { 9 })
  local job = assert(session:start { max_tokens = 2, ignore_eos = true })
  while not job:finished() do
    job:poll()
    job:wait(10)
  end
  assert(job:result()).tokens:totable()
  job:close()
  session:close()
  return table.concat(result.tokens:totable(), " ")
end

--- Every method of an object, found without asking it; or of its type, by the type's metatable.
function tiny.methods(object)
  local index = (type(object) == "table" and object or debug.getmetatable(object)).__index
  if type(index) ~= "table" then
    local _, methods = debug.getupvalue(index, 1)
    index = methods
  end
  return index
end

local prelude = [[
  require "spec.support"
  function leaving()
    io.write("leaving ", io.popen("date +%s%N"):read("*l"), "\n")
    io.flush()
  end
  function strike(signal)
    leaving()
    os.execute(("(sleep 0.2; kill -%s $PPID) >/dev/null 2>&1 &"):format(signal))
  end
]]

--- Runs `script` in a new interpreter like this one and returns its exit status (128 + n: ended by signal n), its
-- output, and how many seconds passed between its line "leaving", if it printed one, and its end. `strike(name)` in
-- the script prints that line and sends the program a signal a moment later. `before`: shell commands that set limits.
function tiny.run(script, before)
  local folder = support.temporary_folder()
  support.write_file(folder .. "/script.lua", prelude .. script)
  local command = (before or "") .. "timeout --foreground --preserve-status -s KILL 60 %s %s/script.lua 2>&1; "
    .. "echo status $? $(date +%%s%%N)"
  local pipe = assert(io.popen(command:format(support.interpreter(), folder)))
  local output = pipe:read("*a")
  pipe:close()
  support.remove(folder)
  local text, status, ended = output:match("^(.-)status (%d+) (%d+)%s*$")
  local left = text:match("leaving (%d+)")
  return tonumber(status), text, left and (tonumber(ended) - tonumber(left)) / 1e9
end

return tiny
