--- Checkpoints in the shape of the releases, with zeros for weights: they are opened like any other, hold what the
-- published listings count, and cost what docs/memory.md says.
local support = require "spec.support"

package.path = "./bench/?.lua;" .. package.path
local memory = require "memory"

local page = support.read_file("docs/memory.md")

--- Whether a line of the page says what the planner says: the same words and counts, figures within 2 %.
local function says_the_same(line, computed)
  local function words(text) return (text:gsub("[%d.]+ [MG]B", "SIZE")) end
  if words(line) ~= words(computed) then return false end
  local sizes = line:gmatch("([%d.]+) [MG]B")
  for size in computed:gmatch("([%d.]+) [MG]B") do
    if math.abs(tonumber(sizes()) / size - 1) > 0.02 then return false end
  end
  return true
end

local function is_on_the_page(computed)
  for line in page:gmatch("[^\n]+") do
    if says_the_same(line, computed) then return true end
  end
  return false
end

-- Published: tensors, parameters in billions. Growth a token: 584 and 68 bytes every 4 tokens, 584 every 128, 4 the id.
local releases = {
  flash = { tensors = 69187, billions = 284.3, layers = 43, growth = 21 * (584 + 68) / 4 + 20 * 584 / 128 + 4 },
  pro = { tensors = 145116, billions = 1573.0, layers = 61, growth = 30 * (584 + 68) / 4 + 31 * 584 / 128 + 4 },
}

for name, expected in pairs(releases) do
  describe("a checkpoint in the shape of V4-" .. name, function()
    local info, plans, lines, problem
    setup(function()
      local ok
      ok, problem = memory.with(name, function(engine)
        info, plans, lines = engine:info(), {}, memory.lines(name, engine)
        for _, context in ipairs { 2 ^ 19, 2 ^ 20 } do plans[#plans + 1] = engine:memory { context = context } end
        return true
      end)
      if not ok then info = nil end
    end)

    it("has the published number of tensors and parameters", function()
      if not info then pending("no sparse files here: " .. problem) return end
      assert.equal(expected.tensors, info.tensors)
      assert.equal(expected.layers, info.layers)
      assert.equal(expected.billions, math.floor(info.parameters / 1e8 + 0.5) / 10)
      assert.equal(2 ^ 20, info.context)
    end)

    it("grows by the compressed rows alone", function()
      if not info then pending("no sparse files here: " .. problem) return end
      assert.near(expected.growth, plans[1].per_token, 0.5)
      assert.near(expected.growth * 2 ^ 19, plans[2].session - plans[1].session, 1e-9 * plans[2].session)
    end)

    it("costs what docs/memory.md says", function()
      if not info then pending("no sparse files here: " .. problem) return end
      for _, line in ipairs(lines) do
        assert(is_on_the_page(line), "docs/memory.md lacks what `make memory` prints: " .. line)
      end
    end)
  end)
end
