local html = require "moonseek.documents.html"
local entities = require "moonseek.documents.entities"

describe("documents.html", function()
  local cases = {
    { "paragraphs stand apart", "<p>One</p><p>Two", "One\n\nTwo" },
    { "white space becomes one space", " a \n\t b<b> c</b>d ", "a b cd" },
    { "headings keep their level", "<h1>A</h1>b<h3 class=x>C</h3>", "# A\n\nb\n\n### C" },
    { "list items are lines", "<ul><li>a<li>b</ul>c", "- a\n- b\n\nc" },
    { "rows are lines, cells are divided", "<table><tr><th>a<th>b<tr><td>1</td><td>2</td></table>", "a | b\n1 | 2" },
    { "br breaks", "a<br/>b<BR>c", "a\nb\nc" },
    { "preformatted text stays", "<pre>a\n  b &lt;</pre> c  d", "a\n  b <\n\nc d" },
    { "scripts, styles and comments are dropped",
      "a<script>if (1 < 2) '</p>'</script>b<style>p{}</style>c<!-- <p>x --> d<!DOCTYPE x><?php y ?>e", "abc de" },
    { "a script without an end hides the rest", "a<script>b</scrip>c", "a" },
    { "a closing tag may be spelt in any case", "a<script>x</SCRIPT >b", "ab" },
    { "> in a quoted value does not end a tag", "<a title=\"x > y\" alt='>'>b</a>", "b" },
    { "a quote in a bare value does not open one", "<a title=it's>b</a>c", "bc" },
    { "what is no tag is text", "1 < 2 and a<", "1 < 2 and a<" },
    { "a tag that is cut off is dropped", "a<b title='", "a" },
    { "references become characters", "&lt;b&gt; &amp;amp; &eacute;&#233;&#xE9; &copy &nosuch; &",
      "<b> &amp; ééé &copy &nosuch; &" },
    { "a reference is not read twice", "&amp;lt;script&amp;gt;", "&lt;script&gt;" },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      assert.equal(case[3], (html(case[2])))
    end)
  end

  it("gives the title, its references read", function()
    assert.equal("A & B", select(3, html "<title>A &amp; B</title>x"))
    assert.is_nil(select(3, html "x"))
  end)

  it("knows where its text came from: every part that was not added is found there", function()
    local page = "<h1>Caf&eacute;  list</h1>\n<p>Tea &amp; milk</p><pre>x\n y</pre>"
    local text, runs = html(page)
    for i, from in ipairs(runs.from) do
      local part = text:sub(runs.at[i], (runs.at[i + 1] or #text + 1) - 1)
      local source = page:sub(from, runs.to[i])
      if source ~= "" and source:sub(1, 1) ~= "&" then assert.equal(source, part) end
    end
  end)

  -- Ten times the bytes take about ten times the time, on whatever would make a search run to the end each time.
  local hostile = { "<div>", "</div>x", "<a>x", "&", "<!--", "<a b='", "< ", "<script>", "</", "<pre>&amp;", "a ", "=" }
  for _, unit in ipairs(hostile) do
    it("T04: takes linear time over many " .. unit, function()
      local function seconds(count)
        local page, start = unit:rep(count), os.clock()
        html(page)
        return os.clock() - start
      end
      local ratio = math.huge                            -- the best of three: a neighbour's load is no slow scanner
      for _ = 1, 3 do ratio = math.min(ratio, seconds(100000) / math.max(seconds(10000), 0.002)) end
      assert.is_true(ratio < 30, ("ten times the bytes take %.0f times as long"):format(ratio))
    end)
  end
end)

describe("documents.entities", function()
  local cases = {
    { "&amp;", "&" }, { "&hearts;", "♥" }, { "&yuml;", "ÿ" }, { "&omega;", "ω" }, { "&euro;", "€" },
    { "&rfloor;", "⌋" },
    { "&#0;", "\239\191\189" }, { "&#xD800;", "\239\191\189" }, { "&#1114112;", "\239\191\189" },
    { "&#99999999999999;", "\239\191\189" }, { "&#x1F600;", "\240\159\152\128" }, { "&#128;", "€" }, { "&#65", "A" },
  }
  for _, case in ipairs(cases) do
    it("reads " .. case[1], function()
      local character, last = entities.at(case[1], 1)
      assert.same({ case[2], #case[1] }, { character, last })
    end)
  end

  it("passes over what is none", function()
    for _, text in ipairs { "&", "&;", "&#;", "&#x;", "&amp", "&unheard;", "& amp;" } do
      assert.is_nil((entities.at(text, 1)))
    end
  end)
end)
