--- Files to documents: text and Markdown as they are, HTML by our scanner, PDF and DOCX by pdftotext and pandoc.
local count_below = require("moonseek.sorted").count_below
local html = require "moonseek.documents.html"

local read = {}

local MIB = 1048576

read.MAX_BYTES = 256 * MIB

-- {== Bytes ===========================================================================================

--- The bytes of a file, at most `most`; nil, message, code.
local function bytes_of(path, most)
  if path:find("\0", 1, true) then return nil, ("%q: a file name holds no NUL"):format(path), "EINVAL" end
  local file, message, number = io.open(path, "rb")
  if not file then return nil, message, number == 2 and "ENOENT" or "EIO" end
  local parts, size = {}, 0
  while size <= most do
    local part, problem = file:read(65536)
    if problem then
      file:close()
      return nil, ("%s: %s"):format(path, problem), "EIO"
    end
    if not part then break end
    parts[#parts + 1], size = part, size + #part
  end
  file:close()
  if size > most then
    return nil, ("%s: holds more than %d MiB: give a greater max_bytes"):format(path, math.floor(most / MIB)), "EINVAL"
  end
  return table.concat(parts)
end

--- What is wrong with bytes that shall be text, nil when nothing is.
local function no_text(bytes)
  if bytes == "" then return "is empty" end
  local mark = bytes:sub(1, 2)
  if mark == "\255\254" or mark == "\254\255" then return "is UTF-16: convert it to UTF-8" end
  local nul = bytes:find("\0", 1, true)
  if nul then return ("holds a NUL at byte %d: it is no text"):format(nul) end
  if not bytes:find("%S") then return "holds white space alone" end
  return nil
end

-- {== Programs ========================================================================================

--- A file name as one word of the shell, that no program takes for an option or an address.
local function word(path)
  if not path:find("^/") then path = "./" .. path end
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

--- What a shell command prints, and its exit status.
local function output(command)
  local pipe = assert(io.popen("{ " .. command .. "; } 2>&1; printf '\\n%d' $?", "r"))
  local text = pipe:read("*a")
  pipe:close()
  local said, status = text:match("^(.*)\n(%d+)$")
  return said, tonumber(status)
end

--- Converts a file by a program that writes into another file, which `command` names by its second %s.
local function convert(path, most, program, command)
  if select(2, output("command -v " .. program)) ~= 0 then
    local message = "%s: %s reads such files: install it, or convert the file to text"
    return nil, message:format(path, program), "EUNSUPPORTED"
  end
  local target = os.tmpname()
  local said, status = output(command:format(word(path), word(target)))
  local bytes, message, code
  if status == 0 then
    bytes, message, code = bytes_of(target, most)
  else
    message, code = ("%s: %s ended with %d: %s"):format(path, program, status, said:match("^(.-)%s*$"):sub(1, 300)),
      "EFORMAT"
  end
  os.remove(target)
  return bytes, message, code
end

-- {== Kinds ===========================================================================================

-- Kind -> what makes { text =, runs =, title = } of a path and its bytes.
local kinds = {}

function kinds.text(_, bytes)
  local from = bytes:sub(1, 3) == "\239\187\191" and 4 or 1          -- behind a byte order mark
  return { text = bytes:sub(from), runs = { at = { 1 }, from = { from }, to = { #bytes } } }
end

kinds.markdown = kinds.text

function kinds.html(_, bytes)
  local text, runs, title = html(bytes)
  return { text = text, runs = runs, title = title }
end

-- A form feed ends a page.
function kinds.pdf(_, bytes)
  return { text = (bytes:gsub("\n*\f", "\n\n")) }
end

-- What programs make has no places in the file. gfm: tables with bars, as of HTML; standalone: the title, which a
-- document of Word has beside its text, stands before it.
local programs = {
  pdf = { "pdftotext", "pdftotext -enc UTF-8 -eol unix %s %s" },
  docx = { "pandoc", "pandoc --from=docx --to=gfm --standalone --wrap=none %s --output=%s" },
}

local suffixes = { txt = "text", text = "text", log = "text", md = "markdown", markdown = "markdown", html = "html",
                   htm = "html", xhtml = "html", pdf = "pdf", docx = "docx" }

local function kind_of(path)
  local kind = suffixes[(path:match("%.(%w+)$") or ""):lower()]
  if kind then return kind end
  local file = io.open(path, "rb")
  local head = file and file:read(512) or ""
  if file then file:close() end
  if head:find("^%%PDF%-") then return "pdf" end
  head = head:lower()
  return (head:find("^%s*<!doctype html") or head:find("^%s*<html")) and "html" or "text"
end

--- The document in a file, of this kind (nil: by its name, then by its first bytes).
function read.file(path, kind, most)
  kind = kind or kind_of(path)
  local program, make = programs[kind], kinds[kind] or kinds.text
  local bytes, message, code = bytes_of(path, most)
  if bytes and bytes ~= "" and program then bytes, message, code = convert(path, most, program[1], program[2]) end
  if not bytes then return nil, message, code end
  local wrong = no_text(bytes)
  if wrong then return nil, ("%s: %s%s"):format(path, program and "its text " or "", wrong), "EFORMAT" end
  local document = make(path, bytes)
  wrong = no_text(document.text)
  if wrong then return nil, ("%s: its text %s"):format(path, wrong), "EFORMAT" end
  document.name, document.kind = path, kind
  if program then document.runs = nil end
  return document
end

read.kinds = { text = true, markdown = true, html = true, pdf = true, docx = true }

--- The names of the plain files in a folder, sorted; hidden ones are left out.
function read.folder(path)
  if path:find("\0", 1, true) then return nil, ("%q: a file name holds no NUL"):format(path), "EINVAL" end
  -- Behind the slash a link to a folder is the folder.
  local said, status = output(("find %s -maxdepth 1 -type f ! -name '.*' -print0"):format(word(path .. "/")))
  if status ~= 0 then return nil, ("%s: is no folder that can be read"):format(path), "ENOENT" end
  local names, at = {}, 1
  while true do
    local last = said:find("\0", at, true)
    if not last then break end
    names[#names + 1] = path .. "/" .. said:sub(at, last - 1):match("([^/]*)$")
    at = last + 1
  end
  table.sort(names)
  return names
end

-- {== Places ==========================================================================================

--- The bytes of the file that bytes `first` to `last` of the document's text stand for; nil when nothing tells.
function read.source(document, first, last)
  local runs = document.runs
  if not runs then return nil end
  -- the last runs that begin at or before these bytes
  local i, j = math.max(1, count_below(runs.at, first + 1)), math.max(1, count_below(runs.at, last + 1))
  local function place(run, at)
    local length = (runs.at[run + 1] or #document.text + 1) - runs.at[run]
    return length == runs.to[run] - runs.from[run] + 1 and runs.from[run] + at - runs.at[run]
  end
  return place(i, first) or runs.from[i], place(j, last) or runs.to[j]
end

return read
