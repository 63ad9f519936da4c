--- What the README and the pages in docs/ show runs, and prints what they say.
-- A page's first block of Lua comes before each of its others: it opens what they use. A block followed by one of
-- text prints that text. A block for a host that this machine lacks is pending; one marked `lua HOST` can run nowhere
-- but in that host, and is only compiled.
local support = require "spec.support"

local compile = loadstring or load -- luacheck: ignore 113

--- Runs code that sees a copy of the globals, and returns what it prints and writes.
local function run(code, name)
  local written = {}
  local function write(...)
    for i = 1, select("#", ...) do written[#written + 1] = tostring((select(i, ...))) end
  end
  local environment = setmetatable({ io = setmetatable({ write = write }, { __index = io }) }, { __index = _G })
  function environment.print(...)
    for i = 1, select("#", ...) do write(i > 1 and "\t" or "", (select(i, ...))) end
    write("\n")
  end
  local chunk
  if setfenv then -- luacheck: ignore 113
    chunk = setfenv(assert(loadstring(code, name)), environment) -- luacheck: ignore 113
  else
    chunk = assert(load(code, name, "t", environment))
  end
  chunk()
  support.collect()
  return table.concat(written)
end

--- The blocks of a page: { code =, host =, prints =, line = }.
local function blocks_of(path)
  local text, blocks, at = support.read_file(path), {}, 1
  while true do
    local first, last, host, code = text:find("```lua *(%w*)\n(.-)```\n", at)
    if not first then return blocks end
    local _, line = text:sub(1, first):gsub("\n", "")
    local prints = text:match("^\n?```text\n(.-)```", last + 1)
    blocks[#blocks + 1] = { code = code, host = host, line = line + 1, prints = prints }
    at = last
  end
end

--- A module that the code requires and this machine lacks.
local function missing_module(code)
  for name in code:gmatch('require "([%w_.]+)"') do
    if not pcall(require, name) then return name end
  end
end

local function describe_page(path)
  describe(path, function()
    local blocks = blocks_of(path)
    for i, block in ipairs(blocks) do
      it("shows Lua that runs, at line " .. block.line, function()
        local code = i > 1 and blocks[1].code .. block.code or block.code
        if block.host ~= "" then
          assert(compile(code, path))
          return
        end
        local missing = missing_module(code)
        if missing then pending("needs " .. missing) return end
        local printed = run(code, "@" .. path):gsub("\r\n", "\n")
        if block.prints then assert.equal(block.prints, (printed:gsub("([^\n])$", "%1\n"))) end
      end)
    end
  end)
end

describe_page("README.md")
local pipe = assert(io.popen("ls docs/*.md"))
for path in pipe:lines() do describe_page(path) end
pipe:close()

describe("README.md", function()
  it("shows a program that answers as it should", function()
    assert.equal('{"code": 4821, "name": "silver fox"}', run(blocks_of("README.md")[1].code, "@README.md"))
  end)
end)
