--- The pocket model at work: reads a long document, answers from it, thinks, is interrupted and goes on.
-- Run it with `make demo`, or from the repository's root with the module on Lua's paths.
package.path = "./models/pocket/?.lua;" .. package.path
local moonseek = require "moonseek"
local tasks = require "tasks"

local MODEL = "models/pocket"
local DOCUMENT = { tokens = 16000, facts = 64, questions = 4, held_out = true, seed = 1 }

-- {== The terminal

local function shown_on_terminal()
  local answer = os.execute("test -t 1")          -- 5.1 gives the exit status, later versions true
  return (answer == true or answer == 0) and os.getenv("TERM") ~= "dumb" and os.getenv("NO_COLOR") == nil
end

local terminal = shown_on_terminal()

local function style(code, text)
  return terminal and ("\27[%sm%s\27[0m"):format(code, text) or text
end

local function bold(text) return style("1", text) end
local function dim(text) return style("2", text) end
local function green(text) return style("32", text) end
local function red(text) return style("31", text) end

local function show(...)
  io.write(...)
  io.flush()
end

local function heading(text)
  show("\n", bold(text), "\n")
end

local function bar(done, total)
  local width = 30
  local full = math.floor(width * done / total)
  return ("█"):rep(full) .. ("░"):rep(width - full)
end

-- {== Reading and answering

local function show_progress(done, total)
  show("\r  ", bar(done, total), (" %6d of %d tokens"):format(done, total))
end

--- Reads what the session holds, with a line that shows how far it is. Stops when `enough(done, total)` says so.
local function read_with_progress(session, enough)
  local job = assert(session:start { max_tokens = 0 })
  local clock, last = os.clock(), nil
  while not job:finished() do
    job:wait(100)
    local event = job:poll()
    while event do
      if event.type == "prefill" then
        last = event
        if terminal then show_progress(event.done, event.total) end
        if enough and enough(event.done, event.total) then job:cancel() end
      end
      event = job:poll()
    end
  end
  local result = assert(job:result())
  job:close()
  if last then show_progress(last.done, last.total) end
  show("\n")
  return result, os.clock() - clock
end

local function plain(text) return text end

--- Streams one answer to the terminal, its reasoning painted by `paint` until </think> closes it.
local function answer(session, indent, paint)
  return assert(session:generate { max_tokens = 300, temperature = 0, on_event = function(event)
    if event.type ~= "token" then return end
    local text = event.text:gsub("\n", "\n" .. indent)
    local before, after = text:match("^(.-)</think>(.*)$")
    if before then
      show(paint(before), "\n", indent, after)
      paint = plain
    elseif text ~= "" then
      show(paint(text))
    end
  end })
end

local function check(text, expected)
  show("  ", text == expected and green("✓") or red("✗ expected " .. expected), "\n")
end

-- {== The tour

local function open()
  heading("Opening " .. MODEL)
  local engine = assert(moonseek.open { path = MODEL })
  local info = engine:info()
  show(("  %s, %d layers, %d experts, %.1f million parameters in %.1f MB, %d threads, %s kernels\n"):format(
    info.architecture, info.layers, info.experts, info.parameters / 1e6, info.bytes / 1e6, info.threads, info.kernels))
  return engine
end

local function document(engine)
  local turns = tasks.turns(tasks.item("needle", DOCUMENT))
  local session = assert(engine:session { context = 65536 })
  assert(session:append(turns[1].prompt))
  heading(("Reading a document of %d tokens with %d facts in it"):format(session:position(), DOCUMENT.facts))
  local lines = {}
  for line in turns[1].prompt[3].text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  for i = 1, 4 do show(dim("  │ " .. lines[i]), "\n") end
  show(dim(("  │ … and %d more lines"):format(#lines - 4)), "\n")
  local result, cpu = read_with_progress(session)
  local wall = result.timing.prefill_ms / 1000
  show(("  read in %.1f s: %.0f tokens/s, %.1f s of CPU time\n"):format(wall, result.usage.read / wall, cpu))

  heading("Asking about it")
  for i, turn in ipairs(turns) do
    if i > 1 then assert(session:sync(turn.prompt)) end
    local question = turn.prompt[#turn.prompt - 2].text:match("([^\n]+)$")
    show("  ", bold(question), " ")
    check(answer(session, "  ", plain).text, turn.text)
  end
  return session
end

local function sum(engine)
  heading("One product, without and with thinking")
  local function ask(mode, paint)
    local session = assert(engine:session { context = 4096 })
    assert(session:append {
      { control = "<｜begin▁of▁sentence｜>" }, { control = "<｜User｜>" }, { text = "What is 4817 * 36?" },
      { control = "<｜Assistant｜>" }, { control = mode },
    })
    local result = answer(session, "    ", paint)
    session:close()
    return result.text:match("([^>]*)$")
  end
  show("  ", bold("What is 4817 * 36?"), " ", dim("(thinking off)"), " ")
  check(ask("</think>", plain), tostring(4817 * 36))
  show("  ", bold("What is 4817 * 36?"), " ", dim("(thinking on)"), "\n    ")
  check(ask("<think>", dim), tostring(4817 * 36))
end

local function interruption(engine)
  heading("Interrupting")
  local session = assert(engine:session { context = 65536 })
  local item = tasks.item("needle", { tokens = 8000, facts = 16, questions = 1, held_out = true, seed = 7 })
  local turn = tasks.turns(item)[1]
  assert(session:append(turn.prompt))
  local result = read_with_progress(session, function(done, total) return done > total / 3 end)
  show(("  cancelled (finish_reason \"%s\"); %d tokens are read and kept. Going on:\n"):format(
    result.finish_reason, result.usage.read))
  read_with_progress(session)
  show("  ", bold(turn.prompt[#turn.prompt - 2].text:match("([^\n]+)$")), " ")
  check(answer(session, "  ", plain).text, turn.text)
  session:close()
end

local function summary(engine, session)
  heading("What it took")
  local stats = engine:stats()
  local plan = assert(engine:memory { context = 1048576 })
  for _, row in ipairs { { "reading", "prefill" }, { "generating", "decode" } } do
    local tokens, ms = stats[row[2] .. "_tokens"], stats[row[2] .. "_ms"]
    show(("  %-10s %7.0f tokens/s   (%d tokens)\n"):format(row[1], tokens / ms * 1000, tokens))
  end
  show(("  a session of %d tokens holds %.1f MB; one of 1,048,576 would hold %.0f MB (%d bytes a token)\n"):format(
    session:position(), stats.session_bytes / 1e6, plan.session / 1e6, plan.per_token))
end

show(bold("moonseek " .. moonseek._VERSION), dim(" — DeepSeek-V4 models, scripted in Lua"), "\n")
local engine = open()
local session = document(engine)
sum(engine)
interruption(engine)
summary(engine, session)
session:close()
engine:close()
