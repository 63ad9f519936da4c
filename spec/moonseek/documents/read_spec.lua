local documents = require "moonseek.documents"
local support = require "spec.support"

describe("documents.read", function()
  local folder
  setup(function() folder = support.temporary_folder() end)
  teardown(function() support.remove(folder) end)

  local function write(name, bytes)
    support.write_file(folder .. "/" .. name, bytes)
    return folder .. "/" .. name
  end

  it("gives text as it is, with any bytes but NUL", function()
    local path = write("a.txt", "line\r\n\255 \195 é\n")
    assert.same({ path, "text", "line\r\n\255 \195 é\n" }, (function()
      local document = assert(documents.read(path))
      return { document.name, document.kind, document.text }
    end)())
  end)

  it("knows Markdown and HTML by name, HTML without one by its beginning, and a kind that is given", function()
    assert.equal("markdown", documents.read(write("a.md", "# A")).kind)
    assert.equal("A", documents.read(write("a.HTM", "<p>A")).text)
    assert.equal("A", documents.read(write("page", "\n<!DOCTYPE html><p>A")).text)
    assert.equal("<p>A", documents.read(write("b.html", "<p>A"), { kind = "text" }).text)
  end)

  it("leaves a byte order mark out, and knows the places in the file", function()
    local document = documents.read(write("bom.txt", "\239\187\191abc"))
    assert.equal("abc", document.text)
    assert.same({ 5, 6 }, { documents.source(document, 2, 3) })
  end)

  it("finds the bytes of the page behind those of its text", function()
    local page = "<title>t</title><h1>Caf&eacute;</h1><p>milk  &amp; tea</p>"
    local document = documents.read(write("c.html", page))
    local function behind(text)
      local first, last = document.text:find(text, 1, true)
      return page:sub(documents.source(document, first, last))
    end
    assert.equal("Caf&eacute;", behind "Café")
    assert.equal("milk  &amp; tea", behind "milk & tea")
    assert.equal("il", behind "il")
    assert.is_nil(documents.source({ text = "no file" }, 1, 2))
  end)

  local refused = {
    { "an empty file", "empty.txt", "", "is empty", "EFORMAT" },
    { "white space alone", "blank.txt", " \n\t", "holds white space alone", "EFORMAT" },
    { "a page without text", "blank.html", "<script>x</script>", "its text is empty", "EFORMAT" },
    { "NUL", "binary.txt", "ab\0c", "holds a NUL at byte 3: it is no text", "EFORMAT" },
    { "UTF-16", "wide.txt", "\255\254a\0", "is UTF-16: convert it to UTF-8", "EFORMAT" },
  }
  for _, case in ipairs(refused) do
    it("refuses " .. case[1], function()
      local path = write(case[2], case[3])
      assert.same({ nil, path .. ": " .. case[4], case[5] }, { documents.read(path) })
    end)
  end

  it("refuses what is not there, folders, names with NUL, and more than max_bytes", function()
    local function failure(...)
      local document, message, code = documents.read(...)
      assert.is_nil(document)
      return message, code
    end
    assert.equal("ENOENT", select(2, failure(folder .. "/none.txt")))
    local message, code = failure(folder)
    assert.equal("EIO", code)
    assert.truthy(message:find("directory", 1, true))
    assert.equal("EINVAL", select(2, failure "a\0b"))
    assert.equal("EINVAL", select(2, failure("/dev/zero", { max_bytes = 1000000 })))
    assert.equal("EINVAL", select(2, failure("x", { kind = "rtf" })))
    assert.has_error(function() documents.read(7) end, "documents.read: string expected, got number")
    assert.has_error(function() documents.read("x", { kinds = 1 }) end, "documents.read: unknown option 'kinds'")
  end)

  it("reads 10 MB in one line", function()
    assert.equal(10000000, #documents.read(write("long.txt", ("x"):rep(10000000))).text)
  end)

  describe("with programs", function()
    -- What is installed here does not matter: the path holds our own program, and nothing else but the interpreter.
    local function run(script, tool, program)
      local bin = folder .. "/bin"
      os.execute(("rm -rf '%s'; mkdir '%s'"):format(bin, bin))
      for name in support.interpreter():gmatch("[^%s=]+") do
        os.execute(("path=$(command -v %s) && ln -s \"$path\" '%s' 2>/dev/null"):format(name, bin))
      end
      if tool then
        local at = ("%s/%s"):format(bin, program or "pdftotext")
        support.write_file(at, "#!/bin/sh\n" .. tool)
        os.execute(("chmod +x '%s'"):format(at))
      end
      local begin = "require 'spec.support' local documents = require 'moonseek.documents'\n"
      local path = write("script.lua", begin .. script)
      local pipe = assert(io.popen(("PATH='%s'; export PATH; %s '%s' 2>&1"):format(bin, support.interpreter(), path)))
      local text = pipe:read("*a")
      pipe:close()
      return text
    end

    it("reads a PDF by pdftotext", function()
      local path = write("it's $(touch x) a.pdf", "%PDF-1.4")
      local text = run(("local d = assert(documents.read(%q)); io.write(d.kind, ' ', d.text)"):format(path),
        'for last; do :; done\nshift 4\nread -r line < "$1"\necho "$# $line" > "$last"\n')
      assert.equal("pdf 2 %PDF-1.4\n", text)
      assert.is_nil(io.open("x"))
    end)

    it("reads a DOCX by pandoc", function()
      local path = write("--x=$(touch x)\n'.docx", "PK")
      local text = run(("local d = assert(documents.read(%q)); io.write(d.kind, ' ', d.text)"):format(path),
        'for last; do :; done\nread -r line < "$5"\necho "$# $1 $2 $line" > "${last#--output=}"\n', "pandoc")
      assert.equal("docx 6 --from=docx --to=gfm PK\n", text)
      assert.is_nil(io.open("x"))
    end)

    it("says which program is missing", function()
      local path = write("a.pdf", "%PDF-1.4")
      assert.equal(path .. ": pdftotext reads such files: install it, or convert the file to text EUNSUPPORTED",
        run(("local _, m, c = documents.read(%q); io.write(m, ' ', c)"):format(path)))
    end)

    it("says what the program said", function()
      local path = write("b.pdf", "%PDF-1.4")
      assert.equal(path .. ": pdftotext ended with 3: broken EFORMAT",
        run(("local _, m, c = documents.read(%q); io.write(m, ' ', c)"):format(path), "echo broken >&2; exit 3"))
    end)

    it("says that pages are no text, as those of a scanner", function()
      local path = write("scan.pdf", "%PDF-1.4")
      assert.equal(path .. ": its text holds white space alone EFORMAT",
        run(("local _, m, c = documents.read(%q); io.write(m, ' ', c)"):format(path),
          'for last; do :; done\nprintf "\\f\\f" > "$last"\n'))
    end)
  end)

  -- Names that a program could take for an option, an address or a pattern, and that a shell could run.
  local odd = { "sp ace", "-dash", "--output=z", "qu'o\"te", "new\nline", "$(touch x)", "ftp:x", "%s",
    "caf\195\169", "\255" }

  local function read_all(path, suffix)
    local whole = assert(documents.read(path))
    for _, name in ipairs(odd) do
      local copy = write(name .. suffix, support.read_file(path))
      assert.equal(whole.text, assert(documents.read(copy)).text)
      os.remove(copy)
    end
    assert.is_nil(io.open("x"))
    return whole
  end

  local function has(program)
    local done = os.execute("command -v " .. program .. " >/dev/null")
    return done == true or done == 0
  end

  --- A PDF of pages with one line each.
  local function pdf(lines)
    local objects = { "<</Type/Catalog/Pages 2 0 R>>", "", "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>" }
    local pages = {}
    for i, line in ipairs(lines) do
      local page = #objects + 1
      pages[i] = page .. " 0 R"
      objects[page] = ("<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F 3 0 R>>>>"
        .. "/Contents %d 0 R>>"):format(page + 1)
      local drawn = ("BT /F 12 Tf 70 700 Td (%s) Tj ET"):format(line)
      objects[page + 1] = ("<</Length %d>>stream\n%s\nendstream"):format(#drawn, drawn)
    end
    objects[2] = ("<</Type/Pages/Kids[%s]/Count %d>>"):format(table.concat(pages, " "), #lines)
    local bytes, places = "%PDF-1.4\n", {}
    for i, object in ipairs(objects) do
      places[i] = ("%010d 00000 n \n"):format(#bytes)
      bytes = ("%s%d 0 obj\n%s\nendobj\n"):format(bytes, i, object)
    end
    return ("%sxref\n0 %d\n0000000000 65535 f \n%strailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n")
      :format(bytes, #objects + 1, table.concat(places), #objects + 1, #bytes)
  end

  describe("with the real pdftotext", function()
    local test = has "pdftotext" and it or pending

    test("reads pages, whatever the file is called", function()
      local path = write("pages.pdf", pdf { "The ship sails at noon.", "The harbour closes at nine." })
      local document = read_all(path, ".pdf")
      assert.same({ "pdf", "The ship sails at noon.\n\nThe harbour closes at nine.\n\n" },
        { document.kind, document.text })
      local unnamed = write("no suffix", support.read_file(path))
      assert.equal(document.text, assert(documents.read(unnamed)).text)
    end)

    test("refuses what is none, with the program's words, and pages without text", function()
      local path = write("none.pdf", "not a pdf")
      local _, message, code = documents.read(path)
      assert.equal("EFORMAT", code)
      assert.matches("none%.pdf: pdftotext ended with 1: .*May not be a PDF file", message)
      path = write("blank.pdf", pdf { "" })
      assert.same({ nil, path .. ": its text holds white space alone", "EFORMAT" }, { documents.read(path) })
    end)
  end)

  describe("with the real pandoc", function()
    local test = has "pandoc" and it or pending

    test("reads titles, headings, lists and tables, whatever the file is called", function()
      local source = write("source.md", "---\ntitle: The Report\n---\n\n# One\n\nNoon — *salt*.\n\n"
        .. "- first\n- second\n\n| Name | Code |\n|---|---|\n| red fox | 4821 |\n")
      local path = folder .. "/report.docx"
      os.execute(("pandoc '%s' -o '%s'"):format(source, path))
      local document = read_all(path, ".docx")
      assert.equal("docx", document.kind)
      for _, words in ipairs { "title: The Report\n", "\n# One\n", "\nNoon — %*salt%*%.\n", "%- +first\n%- +second\n",
        "\n| Name +| Code |\n", "\n| red fox | 4821 |\n" } do
        assert.matches(words, document.text)
      end
    end)

    test("refuses what is none, with the program's words", function()
      local path = write("none.docx", "not a docx")
      local _, message, code = documents.read(path)
      assert.equal("EFORMAT", code)
      assert.matches("none%.docx: pandoc ended with %d+: %S.*%S$", message)
    end)
  end)
end)

describe("documents.list", function()
  it("gives the plain files of a folder, sorted, whatever they are called", function()
    local folder = support.temporary_folder()
    for _, name in ipairs { "b.txt", "a'; touch x;'.txt", "new\nline", "-n", ".hidden", "$(touch x)" } do
      support.write_file(folder .. "/" .. name, "x")
    end
    os.execute(("mkdir '%s/sub'"):format(folder))
    local names = documents.list(folder)
    assert.same({ "$(touch x)", "-n", "a'; touch x;'.txt", "b.txt", "new\nline" }, (function()
      local short = {}
      for i, name in ipairs(names) do short[i] = name:sub(#folder + 2) end
      return short
    end)())
    for _, name in ipairs(names) do assert.equal("x", documents.read(name).text) end
    support.remove(folder)
    assert.equal("ENOENT", select(3, documents.list(folder)))
    assert.is_nil(io.open("x"))
  end)
end)
