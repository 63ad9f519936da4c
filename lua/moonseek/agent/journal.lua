--- The trace of an agent in a file: a record a line, JSON, each on the disk before the agent goes on. A process that is
-- killed leaves at most its last line in part; the next one ends it and writes "resume", which marks such a line.
local core = require "moonseek.core"
local json = require "moonseek.json"
local problem = require "moonseek.problem"
local state = require "moonseek.agent.state"

local journal = {}
local metatable = { __index = journal }

local first = { "type", "branch", "round", "id", "name" }   -- keys that a line begins with

--- A record as its line, without the end of line.
function journal.encode(record)
  return json.encode(record, { first = first })
end

local function failed(path, message)
  message = tostring(message)
  if message:sub(1, #path) ~= path then message = path .. ": " .. message end
  return nil, message, "EIO"
end

--- After a failure the file may end in part of a line, so it takes nothing more.
function journal:write(record)
  if self.broken then return failed(self.path, self.broken) end
  local line, message = journal.encode(record)
  if not line then return nil, ("%s: record '%s': %s"):format(self.path, record.type, message), "EINVAL" end
  local ok
  ok, message = self.file:write(line, "\n")
  if ok then ok, message = self.file:flush() end
  if ok then ok, message = core.sync(self.path) end
  if ok then return true end
  self.broken = message
  return failed(self.path, message)
end

function journal:close()
  self.file:close()
end

local function open(path, mode)
  local file, message = io.open(path, mode)
  if not file then return failed(path, message) end
  return setmetatable({ path = path, file = file }, metatable)
end

local function read_all(path)
  local file, message, errno = io.open(path, "rb")
  if not file then
    local _, _, code = failed(path, message)
    return nil, message, errno == 2 and "ENOENT" or code
  end
  local text
  text, message = file:read("*a")
  file:close()
  if not text then return failed(path, message) end
  return text
end

--- A new file with these records. One that is there is never overwritten: it may be what a run is to be resumed from.
function journal.create(path, records)
  local there = io.open(path, "rb")
  if there then
    there:close()
    return nil, ("%s: the file exists; go on with it by moonseek.resume_agent, or remove it"):format(path), "EINVAL"
  end
  local self, message, code = open(path, "wb")
  if not self then return nil, message, code end
  for _, record in ipairs(records) do
    local ok
    ok, message, code = self:write(record)
    if not ok then
      self:close()
      return nil, message, code
    end
  end
  core.sync(path:match("^(.*/)") or ".")
  return self
end

local function read_record(line)
  local record, message = json.decode(line)
  if message then return nil, message end
  if json.type(record) ~= "object" then return nil, "an object expected" end
  if not state.knows(record.type) then return nil, ("unknown record '%s'"):format(tostring(record.type)) end
  return record
end

--- The records of a text. A line that cannot be read is passed over at the end, and where "resume" follows: that is how
-- a killed process leaves it.
local function parse(text)
  local records, torn, number = {}, nil, 0
  for line in text:gmatch("[^\n]+") do
    number = number + 1
    local record, message = read_record(line)
    if record and torn and record.type ~= "resume" then problem.raise("record %d: %s", torn.number, torn.message) end
    torn = nil
    if record then records[#records + 1] = record else torn = { number = number, message = message } end
  end
  if not records[1] or records[1].type ~= "agent" then problem.raise("it does not begin as the trace of an agent") end
  return records
end

--- The records of a file; nil, message, "ENOENT", "EIO" or "EFORMAT".
function journal.read(path)
  local text, message, code = read_all(path)
  if not text then return nil, message, code end
  local records
  records, message, code = problem.catch("EFORMAT", parse, text)
  if not records then return nil, ("%s: %s"):format(path, message), code end
  return records
end

--- Opens a file for more records, behind those that are in it.
function journal.append(path)
  local text, message, code = read_all(path)
  if not text then return nil, message, code end
  local self
  self, message, code = open(path, "ab")
  if not self then return nil, message, code end
  if text:sub(-1) ~= "\n" then self.file:write("\n") end   -- a failure shows at the next write
  return self
end

return journal
