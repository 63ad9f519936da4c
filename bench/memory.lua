--- The tables of docs/memory.md, made by the engine's own planner from checkpoints in the shape of the releases:
-- `make memory`. Needs a file system with sparse files; nothing is read of their 160 and 865 GB.
local memory = {}

package.path = "./bench/?.lua;" .. package.path
local moonseek = require "moonseek"
local release = require "release"

local contexts = { 4096, 32768, 131072, 1048576 }
local names = { flash = "V4-Flash", pro = "V4-Pro" }

local function temporary_folder()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute(("mkdir '%s'"):format(path)))
  return path
end

--- Opens the shape of a release, and returns what use(engine) returns; nil and why where it cannot be written.
function memory.with(name, use)
  local folder = temporary_folder()
  local ok, result, message = pcall(function()
    local written, problem = release.write(release[name], folder)
    if not written then return nil, problem end
    local engine = assert(moonseek.open { path = folder, threads = 1 })
    local value = use(engine)
    engine:close()
    return value
  end)
  os.execute(("rm -r '%s'"):format(folder))
  if not ok then error(result, 0) end
  return result, message
end

local function megabytes(bytes) return (bytes < 1e8 and "%.1f MB" or "%.0f MB"):format(bytes / 1e6) end

--- What the tables say of one engine: a list of lines.
function memory.lines(name, engine)
  local info, lines = engine:info(), {}
  lines[1] = ("| %s | %d | %.1f billion | %.1f GB | %d bytes | %s |"):format(names[name], info.layers,
    info.parameters / 1e9, info.bytes / 1e9, engine:memory().per_token, megabytes(engine:memory().scratch))
  for _, context in ipairs(contexts) do
    local plan = assert(engine:memory { context = context })
    lines[#lines + 1] = ("| %s | %d | %s | %s |"):format(names[name], context, megabytes(context * plan.per_token),
      megabytes(plan.session))
  end
  return lines
end

if ... == nil then -- run as a program, not required
  for _, name in ipairs { "flash", "pro" } do
    local lines = assert(memory.with(name, function(engine) return memory.lines(name, engine) end))
    print(table.concat(lines, "\n"))
  end
end

return memory
