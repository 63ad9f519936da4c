--- The floors of docs/architecture.md: a file of the engine includes from its own folder and from lower ones.
local support = require "spec.support"

local floors = { base = 1, format = 2, text = 3, compute = 3, model = 4, convert = 5, runtime = 5, lua = 6 }

local function sources()
  local pipe = assert(io.popen("find csrc -name '*.[ch]' | sort"))
  local paths = {}
  for path in pipe:lines() do paths[#paths + 1] = path end
  pipe:close()
  return paths
end

--- The folder under csrc/ that `include`, written in a file of `folder`, leads to; nil for csrc/moonseek.h.
local function folder_of(path, include)
  local parts = {}
  for part in (path:match("^(.*)/") .. "/" .. include):gmatch("[^/]+") do
    if part == ".." then parts[#parts] = nil else parts[#parts + 1] = part end
  end
  return #parts > 2 and parts[2] or nil
end

describe("the sources of the engine", function()
  for _, path in ipairs(sources()) do
    local folder = path:match("^csrc/([^/]+)/")
    if folder then
      it(path .. " includes from its own or a lower floor", function()
        for include in support.read_file(path):gmatch('#%s*include%s+"([^"]+)"') do
          local target = folder_of(path, include)
          assert.is_true(target == nil or target == folder or floors[target] < floors[folder], include)
          assert.is_true(folder ~= "lua" or target == nil or target == "lua", "the binding includes " .. include)
        end
      end)
    end
  end

  it("S10: open no file to write but a new one, or one under way, that is then renamed: a mapped model cannot be "
    .. "overwritten", function()
    for _, path in ipairs(sources()) do
      local text = support.read_file(path)
      for _, word in ipairs { "O_RDWR", "O_TRUNC", "PROT_WRITE", "fwrite", "fputs" } do
        assert.is_nil(text:match(word), path .. " has " .. word)
      end
      local writes = { text:match("O_WRONLY"), text:match("O_CREAT") }
      if path == "csrc/base/file.c" then
        text = text:gsub("O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW", ""):gsub("O_WRONLY | O_CREAT | O_NOFOLLOW", "", 1)
        writes = { text:match("O_WRONLY") }
      end
      assert.is_nil(next(writes), path)
    end
  end)

  it("never exit, abort, assert or print", function()
    for _, path in ipairs(sources()) do
      local text = support.read_file(path):gsub("/%*.-%*/", "")
      for _, word in ipairs { "exit", "abort", "assert", "printf", "fprintf", "perror", "puts" } do
        assert.is_nil(text:match("[^%w_]" .. word .. "%s*%("), path .. " calls " .. word)
      end
    end
  end)
end)
