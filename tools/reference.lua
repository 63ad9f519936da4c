--- Makes docs/reference.md and library/moonseek.lua from the table of public functions, docs/api/ (README.md there says
-- how it is written). Run from the root: `make reference`.
local reference = {}

local folder = "docs/api/"

--- The sections of the table in order; each knows the file it came from.
function reference.read()
  local sections = {}
  for i, name in ipairs(dofile(folder .. "init.lua")) do
    sections[i] = dofile(folder .. name .. ".lua")
    sections[i].file = name
  end
  return sections
end

--- Calls visit(class, section) for every class of fields, also of unions, and of options written at a function.
function reference.each_class(sections, visit)
  for _, section in ipairs(sections) do
    for _, fn in ipairs(section.functions or {}) do
      if type(fn.options) == "table" then visit(reference.options_class(fn), section) end
    end
    for _, class in ipairs(section.classes or {}) do visit(class, section) end
    for _, class in ipairs(section.union and section.union.classes or {}) do visit(class, section) end
  end
end

--- The class of the options written at a function: engine:set takes SetOptions.
function reference.options_class(fn)
  local verb = fn[1]:match("[.:](.+)$")
  local name = verb:gsub("^%l", string.upper):gsub("_(%l)", string.upper) .. "Options"
  return { name, options = true, fields = fn.options }
end

--- Whether an option is required, so that the table cannot be left out.
function reference.needs_options(fn)
  if type(fn.options) ~= "table" then return false end
  for _, option in ipairs(fn.options) do
    if option.required then return true end
  end
  return false
end

local function list(value) -- a type, a list of rows, or nothing, as a list of rows { name, type }
  if value == nil then return {} end
  if type(value) == "string" then return { { nil, value } } end
  return value
end

local function optional(kind) return kind:sub(-1) == "?" end

-- {== The page ====================================================================================

local function code(text) return "`" .. text:gsub("|", "\\|") .. "`" end

--- "integer from 1, in tokens": a type with its limits and its unit.
local function constraint(row)
  local words = code(row[2])
  if row.from and row.to then words = ("%s, %s to %s"):format(words, row.from, row.to)
  elseif row.from then words = ("%s from %s"):format(words, row.from) end
  if row.unit then words = words .. ", " .. row.unit end
  if row.required then words = words .. ", required" end
  return words
end

local few = 2 -- options that are shown within the call

local function call_options(fn)
  if type(fn.options) ~= "table" or #fn.options > few then
    return reference.needs_options(fn) and "(options)" or "(options?)"
  end
  local words = {}
  for i, option in ipairs(fn.options) do words[i] = ("%s = %s"):format(option[1], option[2]) end
  return "{ " .. table.concat(words, ", ") .. " }"
end

--- "job:wait(ms: integer) → boolean"
local function signature(fn)
  local words, results = {}, {}
  for i, argument in ipairs(fn.arguments or {}) do words[i] = ("%s: %s"):format(argument[1], argument[2]) end
  for i, result in ipairs(list(fn.returns)) do results[i] = result[2] end
  local call = fn.options and call_options(fn) or "(" .. table.concat(words, ", ") .. ")"
  return fn[1] .. call .. (#results > 0 and " → " .. table.concat(results, ", ") or "")
end

--- What is said of an argument or an option outside of a table of its own.
local function note(row)
  if not (row[3] or row.from or row.unit or row.default) then return "" end
  local about = row[3] and ": " .. row[3] or ""
  if row.default then about = ("%s; by default %s"):format(about, row.default) end
  return (". `%s` (%s)%s"):format(row[1], constraint(row), about)
end

local function notes(fn)
  local text = {}
  for _, argument in ipairs(fn.arguments or {}) do text[#text + 1] = note(argument) end
  if type(fn.options) == "table" and #fn.options <= few then
    for _, option in ipairs(fn.options) do text[#text + 1] = note(option) end
  end
  return table.concat(text)
end

local function failures(errors)
  local words = {}
  for i, name in ipairs(errors or {}) do words[i] = code(name) end
  return table.concat(words, ", ")
end

--- Columns that are empty in every row are left out.
local function add_table(out, heads, rows)
  local kept, rule = {}, {}
  for column, head in ipairs(heads) do
    local used = false
    for _, row in ipairs(rows) do used = used or row[column] ~= "" end
    if used then kept[#kept + 1] = column end
    if used then rule[#rule + 1] = "---" end
    heads[column] = head
  end
  local function line(row)
    local cells = {}
    for i, column in ipairs(kept) do cells[i] = row[column] end
    out[#out + 1] = "| " .. table.concat(cells, " | ") .. " |"
  end
  line(heads)
  out[#out + 1] = "|" .. table.concat(rule, "|") .. "|"
  for _, row in ipairs(rows) do line(row) end
  out[#out + 1] = ""
end

local function add_fields(out, head, fields)
  local rows = {}
  for i, row in ipairs(fields) do rows[i] = { code(row[1]), constraint(row), row.default or "", row[3] } end
  add_table(out, { head, "type", "default", "meaning" }, rows)
end

local function add_functions(out, section)
  local rows = {}
  for _, operator in ipairs(section.operators or {}) do
    rows[#rows + 1] = { code(operator[1] .. " → " .. operator.returns), operator[2], "" }
  end
  for _, fn in ipairs(section.functions or {}) do
    rows[#rows + 1] = { code(signature(fn)), fn[2] .. notes(fn), failures(fn.errors) }
  end
  if #rows > 0 then add_table(out, { "call", "what it gives", "fails with" }, rows) end
end

local function add_headed_functions(out, section)
  for _, fn in ipairs(section.functions) do
    out[#out + 1] = ("### %s\n%s%s"):format(signature(fn), fn[2], notes(fn))
    if fn.errors then out[#out] = out[#out] .. " Fails with " .. failures(fn.errors) .. "." end
    out[#out + 1] = ""
    if type(fn.options) == "table" and #fn.options > few then add_fields(out, "option", fn.options) end
  end
end

--- The options of functions in a table, too many to be shown there.
local function add_long_options(out, section)
  for _, fn in ipairs(section.functions or {}) do
    if type(fn.options) == "table" and #fn.options > few then
      out[#out + 1] = ("Options of `%s`:\n"):format(fn[1])
      add_fields(out, "option", fn.options)
    end
  end
end

--- A class that the heading has named needs no line of its own.
local function add_classes(out, section)
  for _, class in ipairs(section.classes or {}) do
    local parent = class.extends and (": the fields of `%s`, and"):format(class.extends) or ""
    local named = class[1] == section.title or class.options
    local line = class.text or not named and ("`%s`%s"):format(class[1], parent)
    if line then out[#out + 1] = line .. "\n" end
    add_fields(out, class.options and "option" or "field", class.fields)
  end
end

local function add_union(out, union)
  local rows = {}
  for _, class in ipairs(union.classes) do
    for i, row in ipairs(class.fields) do
      rows[#rows + 1] = { i == 1 and code('"' .. class.tag .. '"') or "", code(row[1]), constraint(row), row[3] }
    end
  end
  add_table(out, { code(union.tag), "field", "type", "meaning" }, rows)
end

local function add_codes(out, codes)
  local rows = {}
  for i, row in ipairs(codes) do rows[i] = { code(row[1]), row[2] } end
  add_table(out, { "code", "meaning" }, rows)
end

--- docs/reference.md as a string.
function reference.manual(sections)
  local out = { "<!-- Made from docs/api/ by `make reference`: edit there. -->", "", "# Reference", "",
    "Every public function: what it gives, in which units, and how it fails. `library/moonseek.lua` says the same to",
    "an editor (LuaLS: add the folder to `Lua.workspace.library`).", "" }
  for _, section in ipairs(sections) do
    out[#out + 1] = ("%s %s\n"):format(("#"):rep(section.level or 2), section.title)
    if section.text then out[#out + 1] = section.text .. "\n" end
    if section.headings then
      add_headed_functions(out, section)
    else
      add_functions(out, section)
      add_long_options(out, section)
    end
    if section.union then add_union(out, section.union) end
    if section.codes then add_codes(out, section.codes) end
    add_classes(out, section)
    if section.after then out[#out + 1] = section.after .. "\n" end
  end
  return (table.concat(out, "\n"):gsub("\n+$", "\n"))
end

-- {== The editor's definitions ====================================================================

--- Names that begin with a capital are classes of ours.
local function qualified(kind)
  return (kind:gsub("%f[%w_]%u[%w_]*", "moonseek.%0"))
end

--- Text as a comment that stays within 120 columns.
local function add_comment(out, text)
  local line = "---"
  for word in text:gmatch("%S+") do
    if #line + #word + 1 > 118 then
      out[#out + 1] = line
      line = "---"
    end
    line = line .. (line == "---" and "" or " ") .. word
  end
  if line ~= "---" then out[#out + 1] = line end
end

local function add_class(out, class)
  local parent = class.extends and ": moonseek." .. class.extends or ""
  out[#out + 1] = ("---@class moonseek.%s%s"):format(class[1], parent)
  if class.tag then out[#out + 1] = ('---@field type "%s"'):format(class.tag) end
  for _, row in ipairs(class.fields) do
    local kind, name = row[2], row[1]
    if optional(kind) then kind, name = kind:sub(1, -2), name .. "?" end
    if class.options and not row.required then name = row[1] .. "?" end
    if row[3] then add_comment(out, row[3]) end
    out[#out + 1] = ("---@field %s %s"):format(name, qualified(kind))
  end
  out[#out + 1] = ""
end

local function add_returns(out, fn)
  local results = list(fn.returns)
  if not fn.errors then
    for _, result in ipairs(results) do out[#out + 1] = "---@return " .. qualified(result[2]) end
    return
  end
  local kinds, names = {}, {}
  for i, result in ipairs(results) do
    local kind = result[2]:find("^fun") and "(" .. result[2] .. ")" or result[2]
    kinds[i] = qualified(kind) .. (optional(kind) and "" or "?")
    names[i] = result[1] or ""
  end
  kinds[2] = kinds[2] and kinds[2]:sub(1, -2) .. "|string?" or fn.message or "string?"
  names[2] = names[2] and names[2] .. ", or the message" or "message"
  kinds[3], names[3] = "moonseek.Code?", "code"
  for i, kind in ipairs(kinds) do out[#out + 1] = (("---@return %s %s"):format(kind, names[i]):gsub(" $", "")) end
end

local function add_function(out, fn, object)
  local names = {}
  add_comment(out, fn[2])
  for i, argument in ipairs(fn.arguments or {}) do
    local kind, mark = argument[2], ""
    if optional(kind) then kind, mark = kind:sub(1, -2), "?" end
    names[i] = argument[1]
    out[#out + 1] = ("---@param %s%s %s"):format(argument[1], mark, qualified(kind))
  end
  if fn.options then
    local class = type(fn.options) == "table" and reference.options_class(fn)[1] or fn.options
    names[#names + 1] = "options"
    out[#out + 1] = ("---@param options%s moonseek.%s"):format(reference.needs_options(fn) and "" or "?", class)
  end
  add_returns(out, fn)
  out[#out + 1] = ("function %s(%s) end\n"):format(fn[1]:gsub("^[^.:]+", object), table.concat(names, ", "))
end

local function add_aliases(out, sections)
  for _, section in ipairs(sections) do
    for _, alias in ipairs(section.aliases or {}) do
      out[#out + 1] = ("---@alias moonseek.%s %s\n"):format(alias[1], qualified(alias[2]))
    end
    if section.codes then
      out[#out + 1] = "---@alias moonseek.Code"
      for _, row in ipairs(section.codes) do out[#out + 1] = ('---| "%s" # %s'):format(row[1], row[2]) end
      out[#out + 1] = ""
    end
    if section.union then
      local names = {}
      for i, class in ipairs(section.union.classes) do names[i] = "moonseek." .. class[1] end
      out[#out + 1] = ("---@alias moonseek.%s\n---| %s\n"):format(section.union[1], table.concat(names, "\n---| "))
    end
  end
end

--- library/moonseek.lua as a string.
function reference.definitions(sections)
  local out = { "---@meta moonseek",
    "-- Made from docs/api/ by `make reference`: edit there. Definitions for editors (LuaCATS).", "" }
  add_aliases(out, sections)
  reference.each_class(sections, function(class) add_class(out, class) end)
  for _, section in ipairs(sections) do
    local object = section.module and "moonseek" or section.variable or section.class and section.class:lower()
    if object then
      add_comment(out, section.about)
      out[#out + 1] = "---@class moonseek" .. (section.module and "" or "." .. section.class)
      for _, row in ipairs(section.fields or {}) do out[#out + 1] = ("---@field %s %s"):format(row[1], row[2]) end
      for _, operator in ipairs(section.operators or {}) do out[#out + 1] = "---@" .. operator.definition end
      out[#out + 1] = ("local %s = {}\n"):format(object)
      for _, fn in ipairs(section.functions) do add_function(out, fn, object) end
    end
  end
  out[#out + 1] = "return moonseek\n"
  return table.concat(out, "\n")
end

--- What is made: path -> contents.
function reference.files()
  local sections = reference.read()
  return {
    ["docs/reference.md"] = reference.manual(sections),
    ["library/moonseek.lua"] = reference.definitions(sections),
  }
end

if ... == nil then -- run as a program, not required
  for path, text in pairs(reference.files()) do
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    assert(file:close())
  end
end

return reference
