--- The values of JSON in Lua: what reader and writer share, and scripts make.
local values = {}

local byte = string.byte

values.DEPTH = 200 -- levels of containers: what a recursion may use on every Lua's stack

--- Stands for null, which a Lua table cannot hold. It is true in a condition.
values.null = setmetatable({}, {
  __name = "moonseek.json.null",
  __tostring = function() return "null" end,
  __newindex = function() error("json.null cannot be changed", 2) end,
})

-- An object's metatable is its own: keys lists what was ever set, in order; lexemes[key] is how a number was written;
-- known is the set of keys, made when the first one is added by assignment. Arrays with lexemes have one too.
local array_meta = { __name = "moonseek.json.array" }

local function add_key(object, key, value)
  local meta = getmetatable(object)
  if not meta.known then
    meta.known = {}
    for _, known in ipairs(meta.keys) do meta.known[known] = true end
  end
  if not meta.known[key] then
    meta.known[key] = true
    meta.keys[#meta.keys + 1] = key
  end
  rawset(object, key, value)
end

--- The meta data of a table that json made, and whether it is an "object" or an "array".
function values.meta_of(value)
  local meta = getmetatable(value)
  if type(meta) ~= "table" then return nil end
  if rawequal(meta, array_meta) or meta.array then return meta, "array" end
  if meta.__newindex == add_key then return meta, "object" end
end

--- By bytes: `<` follows the host's locale.
local function comes_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function sorted(keys, rank)
  table.sort(keys, function(a, b)
    local x, y = rank[a] or math.huge, rank[b] or math.huge
    if x ~= y then return x < y end
    return comes_before(a, b)
  end)
end

--- The keys of an object in order: as they were read or set; of a plain table sorted, those with a rank first.
function values.keys(object, rank)
  local meta, kind = values.meta_of(object)
  local keys = {}
  if kind == "object" then
    for _, key in ipairs(meta.keys) do
      if rawget(object, key) ~= nil then keys[#keys + 1] = key end
    end
  else
    -- LuaJIT 2.1.0-beta3 may pass over all of a table that `for key in next` walks within a deep recursion.
    local key = next(object)
    while key ~= nil do
      if type(key) == "string" then keys[#keys + 1] = key end
      key = next(object, key)
    end
    sorted(keys, rank or {})
  end
  return keys
end

local function iterate(object)
  local keys, at = values.keys(object), 0
  return function()
    at = at + 1
    return keys[at], rawget(object, keys[at])
  end
end

--- An empty object; `keys` becomes its list of them.
function values.new_object(keys)
  return setmetatable({}, { __name = "moonseek.json.object", __newindex = add_key, __pairs = iterate, keys = keys })
end

--- An array of `list`; lexemes[i] is how the number list[i] was written, where that has to be remembered.
function values.new_array(list, lexemes)
  return setmetatable(list, lexemes and { __name = array_meta.__name, array = true, lexemes = lexemes } or array_meta)
end

--- An object with its keys in order, from a list of pairs: json.object { { "city", "Oslo" }, { "days", 3 } }.
function values.object(pairs_in_order)
  if pairs_in_order ~= nil and type(pairs_in_order) ~= "table" then
    error(("json.object: list of pairs expected, got %s"):format(type(pairs_in_order)), 2)
  end
  local object = values.new_object {}
  for i, pair in ipairs(pairs_in_order or {}) do
    if type(pair) ~= "table" or type(pair[1]) ~= "string" then
      error(("json.object: pair %d: { key, value } with a string as key expected"):format(i), 2)
    end
    object[pair[1]] = pair[2]
  end
  return object
end

--- The list itself, marked as an array: also an empty one is written as [].
function values.array(list)
  if list ~= nil and type(list) ~= "table" then
    error(("json.array: list expected, got %s"):format(type(list)), 2)
  end
  return values.new_array(list or {})
end

--- "object", "array", "string", "number", "boolean" or "null": what a value is written as; nil when it cannot be.
function values.type(value)
  if rawequal(value, values.null) then return "null" end
  local kind = type(value)
  if kind == "table" then
    local _, made = values.meta_of(value)
    return made or (rawget(value, 1) ~= nil and "array" or "object")
  end
  return (kind == "string" or kind == "number" or kind == "boolean") and kind or nil
end

return values
