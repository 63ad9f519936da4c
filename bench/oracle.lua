--- The table of docs/numerics.md: every numerics mode against the oracle's logits, `make oracle`. Differences
-- and KL are taken at the positions whose logits the oracle stores, top-1 at all.
package.path = "./?.lua;./lua/?/init.lua;" .. package.path
local support = require "spec.support"
local internals = support.internals()

local pairs_compared = { { "exact", "plain" }, { "reference", "ref" }, { "fast", "plain" }, { "fast", "ref" } }

local function share_equal(a, b)
  local equal = 0
  for i = 1, #a do if a[i] == b[i] then equal = equal + 1 end end
  return equal / #a
end

print("| checkpoint | numerics | against | tokens | positions compared | largest difference | KL mean | top-1 |")
print("|---|---|---|---|---|---|---|---|")
for _, checkpoint in ipairs { "tiny", "tinypro" } do
  for _, compared in ipairs(pairs_compared) do
    local expected = support.oracle(("expected_%s_%s.safetensors"):format(checkpoint, compared[2]))
    local whole = checkpoint == "tiny" and support.oracle(("logits_tiny_%s.safetensors"):format(compared[2])) or {}
    for _, length in ipairs { 1, 7, 128, 129, 300, 640 } do
      local got = assert(internals.logits({ path = "spec/oracle/" .. checkpoint, numerics = compared[1], threads = 2 },
        support.oracle_tokens(length), length))
      local want = whole[("n%d.logits"):format(length)] or expected[("n%d.logits"):format(length)]
      local columns, rows = want.shape[2], {}
      if want.shape[1] == length then
        rows[1] = got
      else
        for i, position in ipairs(support.integers(expected[("n%d.positions"):format(length)])) do
          rows[i] = got:sub(position * columns * 4 + 1, (position + 1) * columns * 4)
        end
      end
      local result = internals.compare(want.bytes, table.concat(rows), columns)
      local best = support.integers(expected[("n%d.argmax"):format(length)])
      local top1 = share_equal(best, internals.argmax(got, columns))
      print(("| %s | %s | %s | %d | %d | %.1e | %.1e | %.3f |"):format(checkpoint, compared[1], compared[2], length,
        want.shape[1], result.max, result.kl_mean, top1))
    end
  end
end
