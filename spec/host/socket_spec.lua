--- Jobs in LuaSocket's select, beside sockets (Debian: lua-socket).
local socket = require "socket"
local program = require "spec.host.program"
local tiny = require "spec.lua.tiny"

describe("socket.select", function()
  local engine

  setup(function() engine = tiny.open { threads = 2 } end)
  teardown(function() engine:close() end)

  it("wakes for each of several jobs, and only for events", function()
    local list, expected = program.jobs(engine, 4, 12)
    local open, owner = {}, {}
    for i, entry in ipairs(list) do open[i], owner[entry.job] = entry.job, entry end
    while #open > 0 do
      local ready = socket.select(open, nil, 60)
      assert.is_true(#ready > 0)
      for _, job in ipairs(ready) do
        if program.take(owner[job]) then
          for i = #open, 1, -1 do
            if open[i] == job then table.remove(open, i) end
          end
        end
      end
    end
    program.check(list, expected)
    program.close(list)
  end)

  it("serves a socket while a job runs, and cancels the job when its client says so", function()
    local server = assert(socket.bind("127.0.0.1", 0))
    local address, port = server:getsockname()
    local client = assert(socket.connect(address, port))
    local peer = assert(server:accept())
    local session = tiny.session(7)
    local job = assert(session:start { ignore_eos = true })
    local tokens, last = 0, nil
    repeat
      for _, ready in ipairs((socket.select({ job, peer }, nil, 60))) do
        if ready == peer then
          assert.equal("stop", peer:receive())
          job:cancel()
        else
          last = job:poll() or last
          if last.type == "token" then
            tokens = tokens + 1
            if tokens == 3 then client:send "stop\n" end
          end
        end
      end
    until job:finished()
    assert.equal("cancel", last.finish_reason)
    assert.is_true(tokens >= 3)
    job:close()
    session:close()
    for _, object in ipairs { peer, client, server } do object:close() end
  end)

  it("needs no descriptor to be made while an event waits already: the job is dirty", function()
    local session = tiny.session(7)
    local job = assert(session:start { max_tokens = 1, ignore_eos = true })
    while not job:wait(60000) do end
    assert.is_true(job:dirty())
    assert.equal(job, (socket.select({ job }, nil, 0))[1])
    job:close()
    session:close()
  end)
end)
