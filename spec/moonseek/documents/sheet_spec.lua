local documents = require "moonseek.documents"
local json = require "moonseek.json"

describe("documents.csv", function()
  local cells = {
    { "plain", "plain" }, { "", "" }, { "a,b", '"a,b"' }, { 'say "hi"', '"say ""hi"""' }, { "a\nb", '"a\nb"' },
    { "a\rb", '"a\rb"' }, { " a", '" a"' }, { "a ", '"a "' }, { "é;'", "é;'" }, { 7, "7" }, { true, "true" },
    { json.null, "" }, { json.array { 1, 2 }, '"[1, 2]"' }, { "=1+1", "=1+1" }, { '"', '""""' },
  }
  for _, case in ipairs(cells) do
    it("writes " .. tostring(case[1]):gsub("%s", " "), function()
      assert.equal("a,b\r\n" .. case[2] .. ",x\r\n", documents.csv({ { a = case[1], b = "x" } }, { "a", "b" }))
    end)
  end

  it("writes numbers as the model wrote them", function()
    local value = json.decode('{"n": 1.0, "big": 12345678901234567890}')
    assert.equal("n,big\r\n1.0,12345678901234567890\r\n", documents.csv({ { value = value } }, { "n", "big" }))
  end)

  it("quotes the head, too, and leaves a missing cell empty", function()
    assert.equal('"a,b",error\r\n,late\r\n', documents.csv({ { error = "late" } }, { "a,b", "error" }))
  end)

  it("asks for columns where a list of rows has none", function()
    assert.has_error(function() documents.csv { {} } end, "documents.csv: rows without columns: name them")
  end)
end)

describe("documents.json_lines", function()
  it("writes an object a line, null where there is nothing", function()
    local value = json.decode('{"n": 1.0, "list": []}')
    local rows = { { document = "a\nb", value = value } }
    assert.equal('{"document": "a\\nb", "n": 1.0, "list": [], "none": null}\n',
      documents.json_lines(rows, { "document", "n", "list", "none" }))
  end)
end)
