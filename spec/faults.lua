--- Sweeps of faults (R01): the 1st, 2nd, 3rd ... call fails, until the task gets through.
local assert = require "luassert"
local support = require "spec.support"
local internals = support.internals()
local live = require("moonseek.core").memory_live

local faults = {}

--- One call fails at a time, by `fail(n, task)`: internals.fail_allocation or one of its kind; there have to be more
-- than `expected.least`. `task()` then returns nil, message and one of the codes that are keys of `expected.codes`, or
-- gets by with `expected.sound`. No memory and no descriptor stays.
function faults.each(fail, task, expected)
  support.collect()
  local memory, descriptors = live(), internals.descriptors()
  local n = 0
  repeat
    n = n + 1
    local reached, result, message, code = fail(n, task)
    if type(result) == "userdata" then result:close() end
    if not reached then assert(result, message)
    elseif result == nil then assert.truthy(expected.codes[code], ("call %d: %s"):format(n, message))
    else assert.same(expected.sound, result, ("call %d"):format(n)) end
    assert.equal(memory, live(), "memory stayed allocated")
    assert.equal(descriptors, internals.descriptors(), "a descriptor stayed open")
  until not reached
  assert.is_true(n > expected.least, ("only %d calls were seen"):format(n))
end

--- Calls fail once and then for ever, by `fail(n, for_ever)`: internals.fail_later or one of its kind. `task()` returns
-- something true, or fails by an error or by nil, message, code; `check(message, code)`, if given, looks at each
-- failure, and `works()` has to raise when what follows one is not as it was before. Returns how many there were.
function faults.sweep(fail, task, works, check)
  local failures = 0
  for _, for_ever in ipairs { false, true } do
    local n = 0
    repeat
      n = n + 1
      fail(n, for_ever)
      local ran, result, message, code = pcall(task)
      local reached = fail(0)
      if not ran or not result then
        failures = failures + 1
        if not ran then message = result end
        if check then check(tostring(message), code) end
        works()
      end
    until not reached
  end
  works()
  support.collect()
  return failures
end

return faults
