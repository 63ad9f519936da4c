--- Expected failures inside a module: raised where they are found, and nil, message, code for its caller.
local problem = {}

local meta = {}

function problem.raise(message, ...)
  error(setmetatable({ message = select("#", ...) > 0 and message:format(...) or message }, meta), 0)
end

--- Raises a failure that has a code of its own.
function problem.fail(message, code)
  error(setmetatable({ message = message, code = code }, meta), 0)
end

--- `value`, or what a function returned in its place, raised.
function problem.try(value, message, code)
  if value == nil then problem.fail(message, code) end
  return value
end

--- Whether something that was raised is a failure of this kind: it has a message, and perhaps a code.
function problem.is(raised)
  return getmetatable(raised) == meta
end

local function caught(code, ok, first, ...)
  if ok then return first, ... end
  if problem.is(first) then return nil, first.message, first.code or code end
  error(first, 0)
end

--- What `run` returns; of a problem nil, its message and its code or `code`. Whatever else is raised passes.
function problem.catch(code, run, ...)
  return caught(code, pcall(run, ...))
end

return problem
