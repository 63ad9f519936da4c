--- What the specs of event loops share: several jobs on one engine, and what a loop took from each.
local assert = require "luassert"
local tiny = require "spec.lua.tiny"

local program = {}

--- `count` sessions with a job each, long enough that they run side by side; and what each has to generate.
function program.jobs(engine, count, max_tokens)
  local list, expected = {}, {}
  for i = 1, count do
    local options = { max_tokens = max_tokens, seed = i, ignore_eos = true }
    local alone = assert(engine:session { context = 4096 })
    alone:sync(tiny.tokens(100 * i))
    expected[i] = assert(alone:generate(options)).tokens:totable()
    alone:close()
    local session = assert(engine:session { context = 4096 })
    session:sync(tiny.tokens(100 * i))
    list[i] = { session = session, job = assert(session:start(options)), tokens = {}, wakes = 0, events = 0 }
  end
  return list, expected
end

--- Takes every event that waits; true when the job has finished.
function program.take(entry)
  entry.wakes = entry.wakes + 1
  for event in entry.job.poll, entry.job do
    entry.events = entry.events + 1
    if event.type == "prefill" then entry.read = event.done end
    if event.type == "token" then entry.tokens[#entry.tokens + 1] = event.token end
    if event.type == "done" then entry.finish = event.finish_reason end
  end
  return entry.job:finished()
end

--- Every job came to its end with the tokens it has alone, was told of its reading, and nobody woke for nothing.
function program.check(list, expected)
  for i, entry in ipairs(list) do
    assert.equal("length", entry.finish)
    assert.same(expected[i], entry.tokens)
    assert.equal(100 * i, entry.read)
    assert.is_true(entry.wakes <= entry.events, ("%d wakes for %d events"):format(entry.wakes, entry.events))
  end
end

function program.close(list)
  for _, entry in ipairs(list) do
    entry.job:close()
    entry.session:close()
  end
end

return program
