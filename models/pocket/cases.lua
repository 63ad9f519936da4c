-- Prints held-out items of the evaluation cases for accuracy.py: lua cases.lua N SEED [words of the case name].
-- Lines as in generate.lua, the case's name in place of the task.
package.path = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/?.lua;" .. package.path
local tasks = require "tasks"
local evaluate = require "evaluate"

for _, row in ipairs(evaluate.cases) do
  if row.name:find(arg[3] or "", 1, true) then
    for k = 0, tonumber(arg[1]) - 1 do
      local item = tasks.item(row.task, evaluate.options(row, tonumber(arg[2]), k))
      local out = { row.name }
      for _, p in ipairs(item.pieces) do
        local kind = p.control and (p.answer and "C" or "c") or p.mark and "v" or p.answer and "a" or "t"
        out[#out + 1] = kind .. (p.control or p.text:gsub("\n", "\1"))
      end
      io.write(table.concat(out, "\t"), "\n")
    end
  end
end
