--- bin/moonseek-convert: what it takes, what it says, and how it ends.
local support = require "spec.support"
local moonseek = require "moonseek"

local source = "spec/oracle/tinystage"
local folder

before_each(function() folder = support.temporary_folder() end)
after_each(function() support.remove(folder) end)

--- Exit status, and all that was printed.
local function command(arguments)
  local pipe = assert(io.popen(("%s -e 'require \"spec.support\"' bin/moonseek-convert %s 2>&1; echo $?"):format(
    support.interpreter(), arguments)))
  local printed = pipe:read("*a")
  pipe:close()
  local text, status = printed:match("^(.-)(%d+)\n$")
  return tonumber(status), text
end

describe("moonseek-convert", function()
  it("writes what moonseek.convert writes, and ends with 0", function()
    local target, same = folder .. "/a.gguf", folder .. "/b.gguf"
    assert.equal(0, (command(("%s %s --attention q8_0 --threads 1"):format(source, target))))
    assert(moonseek.convert { source = source, target = same, attention = "q8_0", threads = 1 })
    assert.is_true(support.read_file(target) == support.read_file(same))
    assert.same({ 0, "" }, { command(("%s %s --attention q8_0 --overwrite --quiet"):format(source, target)) })
  end)

  it("ends with 1 and the message where the conversion fails", function()
    local status, printed = command(("%s/none %s/a.gguf"):format(folder, folder))
    assert.equal(1, status)
    assert.truthy(printed:find(folder .. "/none", 1, true) and printed:find("(ENOENT)", 1, true), printed)
  end)

  it("ends with 2 where it cannot tell what is wanted", function()
    for arguments, words in pairs {
      [""] = "SOURCE and TARGET are needed, got 0 names", ["a b c"] = "got 3 names",
      ["a b --colour red"] = "unknown option --colour", ["a b --head"] = "--head needs a value",
      ["a b --threads many"] = "--threads: a number is needed, not many",
    } do
      local status, printed = command(arguments)
      assert.equal(2, status, arguments)
      assert.truthy(printed:find(words, 1, true) and printed:find("--help", 1, true), printed)
    end
  end)

  it("has a page of help that names every option of moonseek.convert", function()
    local status, printed = command("--help")
    assert.equal(0, status)
    for _, option in ipairs { "experts", "attention", "compressors", "shared", "head", "embedding", "threads",
      "shard-bytes", "overwrite" } do
      assert.truthy(printed:find("--" .. option, 1, true), option)
    end
  end)
end)
