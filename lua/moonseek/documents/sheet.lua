--- Rows as CSV (RFC 4180) and as JSON lines.
local json = require "moonseek.json"

local sheet = {}

--- The columns of rows: those of their fields, or "text"; between the document's name and an error.
local function value_of(row, column)
  if type(row.value) == "table" and column ~= "document" and column ~= "error" then
    return row.value, column, row.value[column]
  end
  return row, column, row[column]
end

--- A text as it is, nothing for null; numbers as they were written; anything else as JSON.
local function cell(row, column)
  local container, key, value = value_of(row, column)
  if value == nil or value == json.null then return "" end
  local text = type(value) == "string" and value or assert(json.encode_member(container, key))
  if text:find('[,"\r\n]') or text:find("^%s") or text:find("%s$") then
    text = '"' .. text:gsub('"', '""') .. '"'
  end
  return text
end

function sheet.csv(rows, columns)
  local lines = {}
  local function add(cells) lines[#lines + 1] = table.concat(cells, ",") .. "\r\n" end
  local head = {}
  for i, column in ipairs(columns) do head[i] = cell({ [column] = column }, column) end
  add(head)
  for _, row in ipairs(rows) do
    local cells = {}
    for i, column in ipairs(columns) do cells[i] = cell(row, column) end
    add(cells)
  end
  return table.concat(lines)
end

function sheet.json_lines(rows, columns)
  local lines = {}
  for _, row in ipairs(rows) do
    local parts = {}
    for i, column in ipairs(columns) do
      local container, key, value = value_of(row, column)
      local text = value == nil and "null" or assert(json.encode_member(container, key))
      parts[i] = ('"%s": %s'):format(json.escape(column), text)
    end
    lines[#lines + 1] = "{" .. table.concat(parts, ", ") .. "}\n"
  end
  return table.concat(lines)
end

return sheet
