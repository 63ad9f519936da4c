--- Options tables: one declaration says which names a function takes, of which type, and what stands for absent ones.
local options = {}

--- A copy of `given` (nil: no options), checked against `declared`: name -> { type =, required =, default = }; no type
-- allows any. A default is never a table, every object would share it. Raises in the code that called `what`, or at
-- `level` as `error` counts it.
function options.read(what, given, declared, level)
  level = level or 3
  if given ~= nil and type(given) ~= "table" then
    error(("%s: options table expected, got %s"):format(what, type(given)), level)
  end
  given = given or {}
  for name in next, given do
    if not declared[name] then error(("%s: unknown option '%s'"):format(what, tostring(name)), level) end
  end
  local read = {}
  for name, rule in next, declared do
    local value = rawget(given, name)
    if value == nil then
      if rule.required then error(("%s: option '%s' is missing"):format(what, name), level) end
      value = rule.default
    elseif rule.type and type(value) ~= rule.type then
      error(("%s: option '%s': %s expected, got %s"):format(what, name, rule.type, type(value)), level)
    end
    read[name] = value
  end
  return read
end

return options
