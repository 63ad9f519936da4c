--- Sessions under random sequences of append, sync, generate, stream, score, choose, fork, rewind, cancel, pause, save
-- and load, in company: whatever happens to them, what they hold and say is what a fresh replay of their tokens gives.
local support = require "spec.support"
local walk = require "spec.algebra.walk"
local plan = require "spec.algebra.plan"

local total = support.sanitized and 300 or 2000

describe("a session after any sequence of operations", function()
  for _, row in ipairs(walk.shares) do
    local count = math.ceil(total * row[2])
    it(("equals a fresh replay, bit for bit: %d sequences on the model '%s'"):format(count, row[1]), function()
      local world = walk.open(row[1])
      local compared, report = walk.walk(world, 1, count)
      walk.close(world)
      assert(compared, report)
      assert.is_true(compared > count)
    end)
  end
end)

describe("a sequence of operations", function()
  it("is a function of its number, equal on every Lua", function()
    local sum = 0
    for seed = 1, 50 do
      for _, op in ipairs(plan.make(seed).operations) do
        local line = plan.describe(op)
        for i = 1, #line do sum = (sum * 31 + line:byte(i)) % 2 ^ 40 end
      end
    end
    assert.equal(899662149697, sum)                    -- changes with the plan alone
  end)

  it("that fails is made short, and printed with the command that repeats it", function()
    local run = walk.run
    walk.run = function(_, _, keep)                      -- fails as long as its third and fifth operation are there
      local has = {}
      for _, i in ipairs(keep) do has[i] = true end
      if has[3] and has[5] then return nil, "wrong" end
      return 0
    end
    local report = walk.report({ model = "stage" }, 12, "wrong")
    walk.run = run
    local operations = plan.make(12).operations
    assert.equal(table.concat({ "wrong", "the shortest sequence that fails:", "  " .. plan.describe(operations[3]),
      "  " .. plan.describe(operations[5]), "lua5.4 spec/algebra/walk.lua --model stage --seed 12 --keep 3,5" }, "\n"),
      report)
  end)
end)
