--- How many rows of reading a step holds beside answers, from what steps have taken: durations made up here.
local internals = require("spec.support").internals()

local slice, most = 50, 256

local function rows_after(steps, answering, slice_ms)
  return internals.pace(steps, answering, slice_ms or slice, most)
end

--- `count` steps behind `steps`, as long as the pace says, where `rows` rows beside `answering` answers take
-- took(rows, step) ms: by how much each was longer than the answers alone; false for those that read nothing.
local function simulate(steps, count, answering, took)
  local added, last = {}, 0
  for step = 1, count do
    local rows = rows_after(steps, answering)
    if rows > 0 then
      rows = internals.pace_next(last, rows)
      last = rows
    end
    steps[#steps + 1] = { rows, answering, took(rows, step) }
    added[step] = rows > 0 and took(rows, step) - took(0, step)
  end
  return added
end

local function assert_within(limit, added, from)
  for step = from or 1, #added do
    assert.is_true(not added[step] or added[step] <= limit, ("step %d: %s ms"):format(step, added[step]))
  end
end

describe("the pace of reading beside answers", function()
  it("lets the answers go alone when it does not know what they take, then reads a few rows", function()
    assert.equal(0, rows_after({}, 3))
    assert.equal(16, rows_after({ { 0, 3, 7 } }, 3))
    assert.equal(16, rows_after({ { 0, 3, 7 } }, 6))
    assert.equal(0, rows_after({ { 0, 3, 7 } }, 7))
    assert.equal(0, rows_after({ { 0, 3, 7 } }, 1))
  end)

  it("is what fits a slice, from one row to a whole step", function()
    for _, case in ipairs { { 1, 50 }, { 0.5, 100 }, { 0.001, 256 }, { 49, 1 }, { 51, 1 }, { 1000, 1 } } do
      local row_ms, rows = case[1], case[2]
      assert.equal(rows, rows_after({ { 0, 1, 2 }, { 10, 1, 2 + 10 * row_ms } }, 1), row_ms)
      assert.equal(rows, rows_after({ { 0, 1, 2 }, { 10, 0, 10 * row_ms } }, 1), row_ms)
    end
    assert.equal(1, rows_after({ { 0, 1, 1 }, { 10, 1, 11 } }, 1, 0))
  end)

  it("measures the answers alone again after sixteen steps of both", function()
    local added = simulate({ { 0, 8, 100 } }, 51, 8, function(rows) return 100 + rows end)
    for step, by in ipairs(added) do assert.equal(step % 17 ~= 0, by ~= false, step) end
    assert.equal(slice, added[50])
  end)

  it("follows what rows take: one slow step counts a quarter", function()
    local steps = { { 0, 1, 1 }, { 50, 1, 51 }, { 50, 1, 501 } }
    assert.equal(math.floor(50 / 3.25), rows_after(steps, 1))
  end)

  it("is not told by a few rows that are read alone: they are mostly the cost of a step", function()
    assert.equal(50, rows_after({ { 0, 1, 1 }, { 50, 0, 50 }, { 2, 0, 40 } }, 1))
  end)

  it("keeps to the slice while a text becomes longer and rows with it", function()
    assert_within(1.05 * slice, simulate({ { 0, 1, 2 } }, 400, 1, function(rows, step)
      return 2 + rows * (0.4 + step / 400)
    end))
  end)

  it("keeps to the slice when most answers have ended: one does not take what sixteen took", function()
    assert_within(slice, simulate({ { 50, 0, 50 }, { 0, 16, 160 } }, 60, 1, function(rows) return 10 + rows end))
  end)

  it("goes on reading when answers become slower, and all the machine", function()
    local steps = { { 0, 1, 10 }, { 50, 1, 60 } }
    local added = simulate(steps, 100, 2, function(rows) return 300 + 3 * rows end)
    assert_within(1.05 * slice, added, 2 * 17)
    assert.is_true(added[100] > 0.7 * slice, added[100])
  end)

  it("notices by a few rows that a job's take thirty times as long as those before", function()
    local added = simulate({ { 0, 1, 1 }, { 100, 1, 41 } }, 30, 1, function(rows) return 1 + 12 * rows end)
    assert.equal(16 * 12, added[1])                         -- 125 rows would have taken 1.5 s
    assert_within(16 * 12, added)
    assert_within(1.2 * slice, added, 12)
  end)

  it("finds the slice where the first rows of a step cost most", function()
    local added = simulate({ { 0, 2, 5 } }, 60, 2, function(rows) return 5 + 20 * math.sqrt(rows / 4) end)
    assert_within(1.05 * slice, added)
    assert.is_true(added[60] > 0.8 * slice, added[60])
  end)

  it("doubles a job's slices from the first on", function()
    local rows, last = {}, 0
    for i = 1, 6 do
      last = internals.pace_next(last, 200)
      rows[i] = last
    end
    assert.same({ 16, 32, 64, 128, 200, 200 }, rows)
    assert.equal(3, internals.pace_next(0, 3))
    assert.equal(16, internals.pace_next(1, 200))
  end)
end)
