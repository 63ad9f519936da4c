--- HTML to text in one pass, left to right: what a reader would see, with blank lines between paragraphs, "#" before
-- headings, "-" before list items. Nothing is built, run or fetched; nesting costs nothing, so it cannot be too deep.
local entities = require "moonseek.documents.entities"

local scanner = {}
scanner.__index = scanner

-- Gaps between texts, and which of two wins.
local SPACE, CELL, LINE, PARAGRAPH = " ", " | ", "\n", "\n\n"
local rank = { [""] = 0, [SPACE] = 1, [CELL] = 2, [LINE] = 3, [PARAGRAPH] = 4 }

local breaks = { br = LINE, li = LINE, tr = LINE, dt = LINE, dd = LINE, option = LINE }
for name in ("address article aside blockquote body caption details div dl fieldset figcaption figure footer form h1 "
  .. "h2 h3 h4 h5 h6 header hr main nav ol p pre section summary table ul"):gmatch("%S+") do
  breaks[name] = PARAGRAPH
end

local prefixes = { li = "- ", h1 = "# ", h2 = "## ", h3 = "### ", h4 = "#### ", h5 = "##### ", h6 = "###### " }

-- Elements whose content is no markup; of these only the title is wanted.
local opaque = { script = true, style = true, template = true, iframe = true, textarea = true, title = true }

-- {== Writing =========================================================================================

--- Adds a text that stands for bytes `from` to `to` of the source (`to` < `from`: for none).
local function put(self, text, from, to)
  if text == "" then return end
  local runs, n = self.runs, #self.out + 1
  self.out[n] = text
  runs.at[n], runs.from[n], runs.to[n] = self.size + 1, from, to
  self.size = self.size + #text
end

local function need(self, gap)
  if rank[gap] > rank[self.gap] then self.gap = gap end
end

--- Adds visible text, after the gap and the prefix that wait for it.
local function show(self, text, from, to)
  if self.size > 0 then put(self, self.gap, from, from - 1) end
  put(self, self.prefix, from, from - 1)
  self.gap, self.prefix = "", ""
  put(self, text, from, to)
end

--- Text without references that begins at byte `from`: runs of white space become one space, except in <pre>.
local function words(self, chunk, from)
  if self.pre > 0 then return show(self, chunk, from, from + #chunk - 1) end
  local at = 1
  while at <= #chunk do
    local _, last = chunk:find("^[ \t\r\n\f]+", at)
    if last then
      need(self, SPACE)
    else
      local first
      last = at
      repeat                       -- single spaces between words are what they will be: the run goes on
        first, last = chunk:find("[ \t\r\n\f]+", last + 1)
      until not first or last == #chunk or last > first or chunk:byte(first) ~= 32
      last = (first or #chunk + 1) - 1
      show(self, chunk:sub(at, last), from + at - 1, from + last - 1)
    end
    at = last + 1
  end
end

--- Text between two tags that begins at byte `from`. It is looked at alone, so that no search runs far beyond it.
local function text(self, chunk, from)
  local at = 1
  while at <= #chunk do
    local mark = chunk:find("&", at, true) or #chunk + 1
    if mark > at then words(self, chunk:sub(at, mark - 1), from + at - 1) end
    if mark > #chunk then return end
    local character, last = entities.at(chunk, mark)
    if character == "\194\160" then character = " " end          -- a no-break space is a space to a model
    last = last or mark
    show(self, character or "&", from + mark - 1, from + last - 1)
    at = last + 1
  end
end

-- {== Tags ============================================================================================

--- The byte after a tag whose attributes begin at `at`: a ">" in a quoted value does not end it.
local function after_tag(html, at)
  while true do
    local mark = html:find("[>=]", at)
    if not mark then return #html + 1 end
    if html:byte(mark) == 62 then return mark + 1 end
    local quote = html:match("^=[ \t\r\n\f]*([\"'])", mark)
    if quote then
      local open = html:find(quote, mark, true)
      local close = html:find(quote, open + 1, true)
      if not close then return #html + 1 end
      at = close + 1
    else
      at = mark + 1
    end
  end
end

--- Where the closing tag of an opaque element begins, from `at` on; behind the end when it has none.
local function closing(html, at, name)
  while true do
    local found = html:find("</", at, true)
    if not found then return #html + 1 end
    local rest = found + 2 + #name
    if html:sub(found + 2, rest - 1):lower() == name and html:find("^[ \t\r\n\f/>]", rest) then return found end
    at = found + 2
  end
end

local function open_cell(self)
  if self.in_row then need(self, CELL) end
  self.in_row = true
end

local function open(self, name)
  if breaks[name] then need(self, breaks[name]) end
  if prefixes[name] then self.prefix = prefixes[name] end
  if name == "tr" then self.in_row = false end
  if name == "td" or name == "th" then open_cell(self) end
  if name == "pre" then self.pre = self.pre + 1 end
end

local function close(self, name)
  if breaks[name] then need(self, breaks[name]) end
  if prefixes[name] then self.prefix = "" end
  if name == "pre" then self.pre = math.max(0, self.pre - 1) end
end

--- Takes the tag at `at`; gives the byte after it, or nil when this "<" begins none.
local function tag(self, at)
  local html = self.html
  local slash, name = html:match("^<(/?)(%a[^ \t\r\n\f/>]*)", at)
  if not name then
    if html:find("^<!%-%-", at) then
      local _, last = html:find("-->", at + 2, true)
      return (last or #html) + 1
    end
    if html:find("^<[!?/]", at) then return (html:find(">", at, true) or #html) + 1 end
    return nil
  end
  local behind = after_tag(html, at + 1 + #slash + #name)
  name = #name <= 12 and name:lower() or ""
  if slash == "/" then
    close(self, name)
  elseif opaque[name] then
    local last = closing(html, behind, name)
    if name == "title" and not self.title then self.title = html:sub(behind, last - 1) end
    return last
  else
    open(self, name)
  end
  return behind
end

local function scan(self)
  local html, at = self.html, 1
  while at <= #html do
    local mark = html:find("<", at, true) or #html + 1
    if mark > at then text(self, html:sub(at, mark - 1), at) end
    if mark > #html then break end
    local behind = tag(self, mark)
    if not behind then
      show(self, "<", mark, mark)
      behind = mark + 1
    end
    at = behind
  end
end

local function new(html)
  return setmetatable({ html = html, out = {}, runs = { at = {}, from = {}, to = {} }, size = 0, gap = "", prefix = "",
                        pre = 0, in_row = false, title = nil }, scanner)
end

--- The text of an HTML page; its runs: lists where the i-th part of the text begins (`at`) and which bytes of the page
-- it stands for (`from`, `to`); and the page's title, nil without one.
return function(html)
  local self = new(html)
  scan(self)
  local title = self.title
  if title then
    local inner = new(title)
    text(inner, title, 1)
    title = table.concat(inner.out)
  end
  return table.concat(self.out), self.runs, title
end
