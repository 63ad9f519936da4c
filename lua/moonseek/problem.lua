--- Expected failures inside a module: raised where they are found, and nil, message, code for its caller.
local problem = {}

local meta = {}

function problem.raise(message, ...)
  error(setmetatable({ message = select("#", ...) > 0 and message:format(...) or message }, meta), 0)
end

--- What `run` returns (two values at most); of a problem nil, its message and `code`. Whatever else is raised passes.
function problem.catch(code, run, ...)
  local ok, first, second = pcall(run, ...)
  if ok then return first, second end
  if getmetatable(first) == meta then return nil, first.message, code end
  error(first, 0)
end

return problem
