--- The thread pool: every task once, whatever the threads do, and after a fork.
local support = require "spec.support"
local internals = support.internals()

describe("cpu_pool_run", function()
  local cases = {   -- threads, tasks, runs, work a task
    { 1, 10, 20, 0 }, { 2, 1, 2000, 0 }, { 2, 2, 5000, 0 }, { 2, 100, 500, 0 }, { 3, 64, 500, 100 },
    { 8, 7, 500, 10 }, { 4, 4096, 20, 0 }, { 2, 0, 10, 0 }, { 2, 3, 200, 20000 },
  }
  for _, case in ipairs(cases) do
    it(("runs %d x %d tasks on %d threads, each once"):format(case[3], case[2], case[1]), function()
      local right, faults = internals.pool_run(case[1], case[2], case[3], case[4])
      assert.is_true(right)
      assert.equal(0, faults)      -- a worker's number, its signal mask, its floating-point mode
    end)
  end

  it("goes on after a resize, up and down", function()
    assert.is_true(internals.pool_run(2, 50, 200, 0, 5))
    assert.is_true(internals.pool_run(5, 50, 200, 0, 1))
  end)

  it("works in the default floating-point mode and leaves the caller's alone", function()
    for _, threads in ipairs { 1, 3 } do
      local right, faults, kept = internals.pool_flushed(threads, 20, 10)
      assert.is_true(right and kept)
      assert.equal(0, faults)
    end
  end)
end)

describe("cpu_pool_use", function()
  for _, case in ipairs { { 2, 100, 2000 }, { 3, 64, 2000 }, { 8, 33, 1000 }, { 1, 5, 50 } } do
    it(("runs %d tasks on one thread, on more up to %d, and on fewer again"):format(case[2], case[1]), function()
      local right, faults = internals.pool_widths(case[1], case[2], case[3])
      assert.is_true(right)
      assert.equal(0, faults)      -- no thread beyond those in use
    end)
  end
end)

describe("cpu_pool_start", function()
  it("makes new threads in a child process, and the parent's go on", function()
    for _ = 1, 5 do
      local parent, child = internals.pool_fork(3, 100)
      assert.is_true(parent)
      assert.is_true(child)
    end
  end)
end)
