--- The pocket model can still do what models/pocket/README.md says: seventy held-out items, answered through the
-- module in `fast`. Bits are the same everywhere, so a failure here is a change of the code, not chance.
require "spec.support"
package.path = "./models/pocket/?.lua;" .. package.path
local moonseek = require "moonseek"
local evaluate = require "evaluate"

local gate = {
  { "key lookup, 1k tokens", { task = "needle", options = { tokens = 1024, facts = 16, questions = 5 } }, 10 },
  { "addition, 5 digits, thinking", { task = "add", options = { turns = 1, thinking = true, digits = { 5, 5 } } }, 10 },
  { "multiplication, 4 x 2 digits, thinking",
    { task = "mul", options = { turns = 1, thinking = true, digits = { 4, 2 } } }, 10 },
  { "tool call", { task = "tool", options = { turns = 1, offered = 4 } }, 10 },
  { "JSON extraction", { task = "json", options = { turns = 1 } }, 10 },
  { "key lookup, thinking", { task = "needle", options = { tokens = 400, facts = 8, questions = 1, thinking = true } },
    5 },
  { "JSON extraction, thinking", { task = "json", options = { turns = 1, thinking = true } }, 5 },
  { "the department of a mail, thinking", { task = "mail", options = { turns = 1, thinking = true } }, 5 },
  { "a text to repeat, thinking", { task = "echo", options = { turns = 1, thinking = true } }, 5 },
}

describe("models/pocket", function()
  local engine
  setup(function() engine = assert(moonseek.open { path = "models/pocket" }) end)
  teardown(function() engine:close() end)

  for _, row in ipairs(gate) do
    it("answers " .. row[1], function()
      local right, total = evaluate.run(engine, row[2], row[3], 1)
      assert.is_true(right >= total - 1, ("%d of %d right"):format(right, total))
    end)
  end

  it("holds V4's control tokens under their names", function()
    local tokenizer = assert(engine:tokenizer())
    for _, name in ipairs { "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>",
      "</think>", "｜DSML｜" } do
      assert.is_number(tokenizer:token(name), name)
    end
  end)
end)
