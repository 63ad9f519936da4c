local passages = require "moonseek.documents.passages"

local text = table.concat({
  "The harbour opens at six.", "Note: red fox code is 4821.", "Note: blue fox code is 1200.",
  "Ships are listed by name. The Anna sails on Monday. She carries salt.", "", "The harbour closes at nine.",
}, "\n")

local function found(answer, in_text)
  local list = passages.find(in_text or text, answer)
  for i, passage in ipairs(list) do
    assert.equal((in_text or text):sub(passage.first, passage.last), passage.text)
    list[i] = { passage.text, passage.quoted }
  end
  return list
end

describe("documents.passages", function()
  it("finds what an answer says in the document's own words", function()
    assert.same({ { "The harbour opens at six.", true } }, found "The harbour opens at six.")
  end)

  it("finds the line that shares the telling words", function()
    assert.same({ { "Note: red fox code is 4821.", false } }, found "The code of red fox is 4821.")
  end)

  it("finds what is quoted behind >, parts of lines too, and leaves the rest of such an answer aside", function()
    assert.same({ { "Note: blue fox code is 1200.", true }, { "The Anna sails on Monday.", true } },
      found "The harbour opens at six.\n> The Anna sails on Monday.\n> Note: blue fox code is 1200.")
  end)

  it("finds nothing for what is not there", function()
    assert.same({}, found "Penguins eat krill.")
    assert.same({}, found "The harbour sells penguins, krill and ice.")
    assert.same({}, found "")
    assert.same({}, found "...")
    assert.same({}, passages.find("", "a"))
  end)

  it("rates a passage lower that lacks a word", function()
    local right = passages.find(text, "The code of red fox is 4821.")[1]
    local wrong = passages.find(text, "The code of red fox is 1200.")
    assert.equal(1, right.score)
    assert.is_true(#wrong == 0 or wrong[1].score < 0.8)
  end)

  it("looks into long lines sentence by sentence", function()
    local long = ("All is quiet here. "):rep(50) .. "The key is 77. " .. ("Nobody comes. "):rep(50)
    assert.same({ { "The key is 77.", true } }, found("The key is 77.", long))
  end)

  it("gives five at most, and bears answers of any length", function()
    local lines = {}
    for i = 1, 40 do lines[i] = ("entry%d holds value%d"):format(i, i) end
    assert.equal(5, #passages.find(table.concat(lines, "\n"), table.concat(lines, "\n")))
    assert.same({}, passages.find(text, ("x"):rep(1000000)))
  end)
end)
