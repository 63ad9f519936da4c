--- What the specs of saved sessions share: their file taken apart, changed, and put together with right hashes,
-- as an attacker would.
local support = require "spec.support"
local internals = support.internals()

local saved = { header_bytes = 192, sections = { tokens = 80, logits = 104, policy = 128, rows = 152 } }

-- Where the numbers of the header stand, and their bytes.
saved.fields = {
  version = { 8, 4 }, order = { 12, 4 }, bytes = { 16, 8 }, fingerprint = { 24, 8 }, numerics = { 40, 8 },
  context = { 48, 8 }, read = { 56, 8 }, reread_end = { 64, 8 }, steered = { 72, 8 }, hash = { 184, 8 },
}
for name, at in pairs(saved.sections) do
  saved.fields[name .. "_offset"], saved.fields[name .. "_bytes"] = { at, 8 }, { at + 8, 8 }
  saved.fields[name .. "_hash"] = { at + 16, 8 }
end

--- `value` as `count` little-endian bytes; a negative one wraps.
function saved.number(value, count)
  local bytes = {}
  for i = 1, count do
    bytes[i] = string.char(value % 256)
    value = math.floor(value / 256)
  end
  return table.concat(bytes)
end

--- The file with `bytes` in place of those from `offset` (counted from 0) on.
function saved.patch(file, offset, bytes)
  return file:sub(1, offset) .. bytes .. file:sub(offset + #bytes + 1)
end

function saved.get(file, field)
  local at, value = saved.fields[field], 0
  for i = at[1] + at[2], at[1] + 1, -1 do value = value * 256 + file:byte(i) end
  return value
end

function saved.set(file, field, value)
  local at = saved.fields[field]
  return saved.patch(file, at[1], saved.number(value, at[2]))
end

--- The file with every hash made right again for what it holds and says.
function saved.sealed(file)
  for name, at in pairs(saved.sections) do
    local offset, bytes = saved.get(file, name .. "_offset"), saved.get(file, name .. "_bytes")
    if offset + bytes <= #file then
      local whole = math.ceil(bytes / 64) * 64
      file = saved.patch(file, at + 16, internals.xxh3(file:sub(offset + 1, offset + whole)))
    end
  end
  return saved.patch(file, saved.fields.hash[1], internals.xxh3(file:sub(1, saved.fields.hash[1])))
end

--- The names in a folder, sorted.
function saved.listing(folder)
  local pipe, names = assert(io.popen(("ls -A '%s'"):format(folder))), {}
  for name in pipe:lines() do names[#names + 1] = name end
  pipe:close()
  return names
end

return saved
