local support = require "spec.support"

--- What the example prints, as a program of its own.
local function run(arguments)
  local path = os.tmpname()
  support.write_file(path, ([[
    package.preload["moonseek.core"] = package.loadlib(%q, "luaopen_moonseek_core")
    package.path = "./lua/?.lua;./lua/?/init.lua"
    dofile "examples/mail_triage.lua"
  ]]):format(support.object))
  local pipe = assert(io.popen(("%s %s %s 2>&1"):format(support.interpreter(), path, arguments)))
  local printed = pipe:read("*a")
  pipe:close()
  os.remove(path)
  return printed
end

describe("examples/mail_triage.lua", function()
  it("sorts its mails, answers what it can, and hands the rest to a person", function()
    local printed, said = run "", {}
    for line in printed:gmatch("[^\n]+") do
      if line:find("^  [at]") then said[#said + 1] = line:sub(3) end
    end
    assert.same({
      "answered: The locker of red fox is 2057.", "answered: 1020", "to a person (sales)",
      "answered: The locker of golden bell is 1690.", "to a person (urgent)", "answered: 720", "to a person (shipping)",
    }, said, printed)
  end)

  it("takes mails from files, and another model", function()
    local mail = os.tmpname()
    support.write_file(mail, "Hello,\nThe lion is broken again.\n")
    assert.truthy(run("--model models/pocket " .. mail):find("to a person (support)", 1, true))
    assert.truthy(run("--model no/such/model " .. mail):find("no/such/model", 1, true))
    os.remove(mail)
  end)
end)
