--- A file that remembers what is done: a line of JSON an item, written and flushed when the item is. A later run with
-- the same documents and questions takes from it what is there. Lines that are cut off are passed over.
local json = require "moonseek.json"

local journal = {}
local metatable = { __name = "moonseek.documents.journal", __index = journal }

local FORMAT = "moonseek documents journal 1"

-- Four hashes with secret bases: nobody can make two texts that a journal takes for one, who has not seen it.
local moduli = { 67108859, 67108837, 67108819, 67108777 }

local function bases_of(salt)
  local bases, value = {}, salt
  for i, modulus in ipairs(moduli) do
    value = value * 16807 % 2147483647
    bases[i] = 65536 + value % (modulus - 65536)
  end
  return bases
end

--- A text's key under these bases: 104 bits and its length.
local function key_of(bases, text)
  local a, b, c, d = 1, 1, 1, 1
  local p, q, r, s = bases[1], bases[2], bases[3], bases[4]
  local m, n, o, l = moduli[1], moduli[2], moduli[3], moduli[4]
  local byte = string.byte
  for at = 1, #text, 3 do
    local x, y, z = byte(text, at, at + 2)
    local value = x + 256 * (y or 0) + 65536 * (z or 0)
    a, b, c, d = (a * p + value) % m, (b * q + value) % n, (c * r + value) % o, (d * s + value) % l
  end
  return ("%07x%07x%07x%07x-%x"):format(a, b, c, d, #text)
end

local function new_salt()
  local salt = os.time() % 2147483647
  for digit in (tostring({}) .. os.clock()):gmatch("%x") do
    salt = (salt * 16 + tonumber(digit, 16)) % 2147483647
  end
  return salt + 1
end

--- The lines of a journal that are whole, and how many bytes they take.
local function lines_of(text)
  local lines, at = {}, 1
  while true do
    local last = text:find("\n", at, true)
    if not last then return lines, at - 1 end
    lines[#lines + 1] = text:sub(at, last - 1)
    at = last + 1
  end
end

--- The first line; `salt` is a text of digits.
local function header(salt) return ('{"format": "%s", "salt": %s}'):format(FORMAT, salt) end

--- What a journal's text holds: salt and rows by key; nothing when its first line is not whole.
local function content(text)
  local lines = lines_of(text)
  local head = lines[1] and json.decode(lines[1])
  if type(head) ~= "table" or type(head.salt) ~= "number" then return nil end
  local rows = {}
  for i = 2, #lines do
    local row = json.decode(lines[i])
    if type(row) == "table" and type(row.key) == "string" then rows[row.key] = row end
  end
  return head.salt, rows
end

--- The bytes of a journal, none when there is no such file; what is no journal is not read beyond its first bytes.
local function bytes_of(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local begin = header(""):match("^.*: ")
  local text, problem = file:read(#begin)
  if problem then
    file:close()
    return nil, ("%s: %s"):format(path, problem), "EIO"
  end
  text = text or ""
  if begin:sub(1, #text) ~= text then
    file:close()
    return nil, ("%s: is no journal of documents"):format(path), "EFORMAT"
  end
  text = text .. (file:read("*a") or "")
  file:close()
  return text
end

--- Opens a journal, or begins one.
function journal.open(path)
  local text, message, code = bytes_of(path)
  if not text then return nil, message, code end
  local salt, rows = content(text)
  local begins = not salt
  salt, rows = salt or new_salt(), rows or {}
  local out, problem = io.open(path, begins and "wb" or "ab")
  if not out then return nil, problem, "EIO" end
  local self = setmetatable({ path = path, file = out, rows = rows, bases = bases_of(salt) }, metatable)
  -- What a run that was killed left of its last line ends here.
  local done
  if begins then done, message, code = self:line(header(("%d"):format(salt)))
  elseif text:sub(-1) ~= "\n" then done, message, code = self:line("") else done = true end
  if not done then
    out:close()
    return nil, message, code
  end
  return self
end

function journal:line(text)
  local ok, message = self.file:write(text, "\n")
  if ok then ok, message = self.file:flush() end
  if not ok then return nil, ("%s: %s"):format(self.path, message), "EIO" end
  return true
end

function journal:key(text) return key_of(self.bases, text) end

--- What was done for this key: a row, nil without one.
function journal:get(key)
  local row = self.rows[key]
  return row and not row.error and row or nil
end

--- Writes a row; a failure is written, too, but it is tried again by the next run.
function journal:put(key, row)
  self.rows[key] = row
  local line, message = json.encode(json.object { { "key", key }, { "document", row.document }, { "text", row.text },
    { "value", row.value }, { "finish_reason", row.finish_reason }, { "error", row.error }, { "code", row.code } })
  if not line then return nil, message, "EINVAL" end
  return self:line(line)
end

function journal:close()
  self.file:close()
end

return journal
