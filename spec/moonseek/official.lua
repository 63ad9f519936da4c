--- The official parser of completions, rule by rule: a text with its control tokens written out, as a whole. What the
-- strict parser has to agree with.
local json = require "moonseek.json"

local EOS, THINK_END, DSML = "<｜end▁of▁sentence｜>", "</think>", "｜DSML｜"
local CALLS = "\n\n<｜DSML｜tool_calls"
local REFUSED = {}

local function refuse() error(REFUSED, 0) end

--- The text from `at` to the first of the stops, that stop, and the place after it.
local function read_until(text, at, stops)
  local best, which
  for _, stop in ipairs(stops) do
    local place = text:find(stop, at, true)
    if place and (not best or place < best) then best, which = place, stop end
  end
  if not best then return text:sub(at), nil, #text + 1 end
  return text:sub(at, best - 1), which, best + #which
end

local function parameter(text)
  if text:sub(1, 7) ~= ' name="' or text:sub(-1) ~= "<" then refuse() end
  for at = 8, #text do
    for _, kind in ipairs { "true", "false" } do
      local middle = ('" string="%s">'):format(kind)
      if text:sub(at, at + #middle - 1) == middle then
        if at + #middle > #text then refuse() end
        return text:sub(8, at - 1), text:sub(at + #middle, -2), kind
      end
    end
  end
  refuse()
end

local function invoke(text, at)
  local head, stop
  head, stop, at = read_until(text, at, { "<｜DSML｜parameter", "</｜DSML｜invoke" })
  local name = head:match('^%s*name="(.-)">\n\n?$') or refuse()
  local parts, seen = {}, {}
  while stop == "<｜DSML｜parameter" do
    local inner, ended, between
    inner, ended, at = read_until(text, at, { "/｜DSML｜parameter" })
    if not ended then refuse() end
    local key, value, kind = parameter(inner)
    if seen[key] then refuse() end
    seen[key] = true
    parts[#parts + 1] = json.encode(key) .. ": " .. (kind == "true" and json.encode(value) or value)
    between, stop, at = read_until(text, at, { "<｜DSML｜parameter", "</｜DSML｜invoke" })
    if between ~= ">\n" then refuse() end
  end
  if not stop then refuse() end
  return { name, "{" .. table.concat(parts, ", ") .. "}" }, at
end

local function parse(text, thinking)
  local at, reasoning = 1, ""
  local stop
  if thinking then
    reasoning, stop, at = read_until(text, at, { THINK_END, CALLS })
    if stop ~= THINK_END then refuse() end
  end
  local content
  content, stop, at = read_until(text, at, { EOS, CALLS })
  if not stop then refuse() end
  local calls = {}
  if stop == CALLS then
    while true do
      local between
      between, stop, at = read_until(text, at, { "<｜DSML｜invoke", "</｜DSML｜tool_calls>" })
      if not stop or between ~= ">\n" then refuse() end
      if stop ~= "<｜DSML｜invoke" then break end
      calls[#calls + 1], at = invoke(text, at)
    end
    local rest, _, after = read_until(text, at, { EOS })
    at = after
    if rest ~= "" then refuse() end
  end
  if at <= #text then refuse() end
  for _, part in ipairs { reasoning, content } do
    for _, token in ipairs { "<｜begin▁of▁sentence｜>", EOS, "<think>", THINK_END, DSML } do
      if part:find(token, 1, true) then refuse() end
    end
  end
  return { reasoning, content, calls }
end

--- { reasoning, content, { { name, arguments }, ... } }, or nil where the official parser fails.
return function(text, thinking)
  local ok, result = pcall(parse, text, thinking)
  if ok then return result end
  if result == REFUSED then return nil end
  error(result, 0)
end
