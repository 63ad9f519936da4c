--- A chat in the terminal.
--
-- What the small model in models/pocket can do: what its page lists, worded as there, for example "What is 482 + 345?"
-- (right with /think low, a guess with /think off), "Repeat: silver fox.", or a few lines of facts and a question. What
-- it cannot: talk. A real checkpoint can: `--model PATH`.
--
-- Run it with `make chat`, perhaps with ARGS="--model PATH", or from the repository's root with the module on Lua's
-- paths: lua examples/chat.lua [--model PATH]. Ctrl-C stops an answer and keeps the chat. Lua's own interpreter hears
-- one Ctrl-C in a run and ends at the second; with lua-luv, which `make chat` installs, every one is heard.
local moonseek = require "moonseek"

local help = [[
/think off|low|high|max   how long the model thinks before it answers
/retry                    answers the last message again
/edit TEXT                in place of your last message
/save FILE, /load FILE    the chat with what was read
/new                      forgets what was said
/help, /quit]]

-- {== Ctrl-C ===========================================================================================

--- A function that says whether Ctrl-C was pressed since it was last asked; without luv it never was.
local function listen()
  local found, uv = pcall(require, "luv")
  if not found then return function() return false end end
  local pressed = false
  local signal = uv.new_signal()
  signal:start("sigint", function() pressed = true end)
  return function()
    uv.run("nowait")
    local was = pressed
    pressed = false
    return was
  end
end

local stopped = listen()

--- How the chat of a state waits for the model: Ctrl-C is heard meanwhile.
local function waiting(state)
  return function(job, ms)
    job:wait(ms)
    if stopped() then state.chat:cancel() end
  end
end

-- {== Answers ==========================================================================================

local function show(chat, events, message)
  if not events then return print("  " .. message) end
  local thinks = false
  for event in events do
    if event.type == "reasoning" or event.type == "text" then
      if thinks ~= (event.type == "reasoning") then
        thinks = not thinks
        io.write(thinks and "  (thinks) " or "\n")
      end
      io.write(event.text)
      io.flush()
    elseif event.type == "done" then
      local usage = event.usage
      print(("\n  [%d read, %d of thought, %d answered%s]"):format(usage.read, usage.reasoning, usage.answer,
        event.finish_reason == "stop" and "" or ", " .. event.finish_reason))
    elseif event.type == "error" then
      print("  " .. event.message)
    end
    if stopped() then chat:cancel() end
  end
end

--- Runs what answers, and comes back however that ends: an interrupt of Lua's own interpreter is an error in it.
local function answer(run)
  stopped()
  local ok, problem = pcall(run)
  if ok then return end
  if not tostring(problem):find("interrupted!", 1, true) then error(problem, 0) end
  print("\n  [stopped]")
end

--- What retry and edit give, whole.
local function tell(said, message)
  print(said and said.text or "  " .. message)
end

-- {== Commands =========================================================================================

local modes = { off = true, low = true, high = true, max = true }

--- Commands get the state and the rest of their line; they return false to end.
local commands = {}

function commands.help() print(help) end
function commands.quit() return false end

function commands.think(state, mode)
  if not modes[mode] then return print("  /think off, low, high or max") end
  state.thinking = mode
end

function commands.retry(state)
  answer(function() tell(state.chat:retry { thinking = state.thinking, seed = os.time() }) end)
end

function commands.edit(state, text)
  answer(function() tell(state.chat:edit(text, { thinking = state.thinking })) end)
end

function commands.new(state) assert(state.chat:rewind(0)) end

function commands.save(state, path)
  local done, message = state.chat:save(path)
  print(done and "  saved" or "  " .. message)
end

function commands.load(state, path)
  local chat, message = moonseek.load_chat(state.engine, path, { wait = waiting(state) })
  if not chat then return print("  " .. message) end
  state.chat:close()
  state.chat = chat
  for _, said in ipairs(chat:messages()) do print(said.role .. ": " .. tostring(said.content)) end
end

--- One line of the user's; false when it ends the chat.
local function take(state, line)
  local name, rest = line:match("^/(%a+)%s*(.-)%s*$")
  if name then
    local command = commands[name]
    if not command then return print(help) end
    return command(state, rest)
  end
  if line:find("%S") then
    answer(function() show(state.chat, state.chat:stream(line, { thinking = state.thinking })) end)
  end
end

-- {== The program ======================================================================================

local POCKET = "models/pocket"
local path = POCKET
for i, word in ipairs(arg) do
  if word == "--model" then path = arg[i + 1] or path end
end
local engine, message = moonseek.open { path = path }
if not engine then
  io.stderr:write(message, "\n")
  os.exit(1)
end
local state = { engine = engine, thinking = "low" }
-- The small model knows one way to say a thing; a real one is to be sampled as its folder says.
local temperature = path == POCKET and 0 or nil
state.chat = assert(moonseek.chat(engine, { wait = waiting(state), temperature = temperature }))
print(("%s, %.1f million parameters. /help tells what else there is."):format(path, engine:info().parameters / 1e6))
while true do
  io.write("> ")
  io.flush()
  local read, line = pcall(io.read, "*l")
  if not read or not line or take(state, line) == false then break end
end
print()
