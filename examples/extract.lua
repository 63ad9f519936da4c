--- A folder of documents to a table: some fields of each, as CSV on the standard output.
--   make extract                                           the notes in examples/notes
--   make extract ARGS="FOLDER --fields code,name,city --model PATH --journal FILE --parallel N --json"
-- The pocket model finds the fields name, code, city, room, day, owner, state and total in lines such as "Code: 4821"
-- among others. It cannot understand anything else: for that give --model PATH. With --journal a run that was stopped
-- goes on where it was, and only new and changed documents are asked about.
local moonseek = require "moonseek"
local documents = moonseek.documents

local function usage()
  io.stderr:write("usage: extract.lua [FOLDER] [--fields a,b] [--model PATH] [--journal FILE] [--parallel N] "
    .. "[--json]\n")
  os.exit(2)
end

local function arguments()
  local given, i = { model = "models/pocket", fields = "code,name", parallel = "4" }, 1
  local takes_value = { model = true, fields = true, journal = true, parallel = true }
  while arg[i] do
    local name = arg[i]:match("^%-%-(%a+)$")
    if name == "json" then
      given.json = true
    elseif takes_value[name] and arg[i + 1] then
      i = i + 1
      given[name] = arg[i]
    elseif name or given.folder then
      usage()
    else
      given.folder = arg[i]
    end
    i = i + 1
  end
  return given
end

local given = arguments()
local fields, resumed = {}, 0
for name in given.fields:gmatch("[^,]+") do fields[#fields + 1] = name end

local paths = assert(documents.list(given.folder or "examples/notes"))
local engine = assert(moonseek.open { path = given.model })
local result = assert(documents.map(engine, paths, {
  fields = fields, max_tokens = 200, parallel = tonumber(given.parallel), journal = given.journal,
  on_progress = function(progress)
    if progress.row.resumed then resumed = resumed + 1 end
    io.stderr:write(("\r%d of %d documents, %d failed"):format(progress.done, progress.total, progress.failed))
  end,
}))
engine:close()
io.stderr:write(("; %d from the journal, %d tokens read, %d made\n"):format(resumed, result.usage.read,
  result.usage.completion))
io.write((given.json and documents.json_lines or documents.csv)(result))
