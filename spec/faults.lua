--- Sweeps of faults (R01): the 1st, 2nd, 3rd ... call fails, once and then for ever, until the task gets through.
local support = require "spec.support"

local faults = {}

--- `fail(n, for_ever)`: internals.fail_later or one of its kind. `task()` returns something true, or fails by an error
-- or by nil, message, code; `check(message, code)`, if given, looks at each failure, and `works()` has to raise when
-- what follows a failure is not as it was before. Returns how many faults made the task fail.
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
