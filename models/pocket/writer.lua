-- Writes conversations as pieces: text, control tokens, and what of it the model must produce. tasks.lua says what a
-- piece has.
local EOS = "<｜end▁of▁sentence｜>"
local USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"

-- Tokens of a text, counted as the tokenizer makes them: words, digits and runs of punctuation.
local function estimate(text)
  local n, i = 0, 1
  while i <= #text do
    local _, e = text:find("^[ ]?[%a]+", i)
    if not e then _, e = text:find("^[%p\128-\255][%a]+", i) end
    if not e then _, e = text:find("^[ ]?[%p\128-\255]+[\n]*", i) end
    if not e then _, e = text:find("^[ \n]+", i) end
    n, i = n + 1, (e or i) + 1
  end
  return n
end

local marks = { "｜DSML｜", "<think>", "</think>" }

local Writer = {}
Writer.__index = Writer

function Writer.new(rng, draw)
  return setmetatable({ pieces = {}, size = 0, rng = rng, draw = draw }, Writer)
end

Writer.estimate = estimate

function Writer:control(name, answer)
  self.pieces[#self.pieces + 1] = { control = name, answer = answer }
  self.size = self.size + 1
end

-- Text of a template: DSML and think marks in it become control tokens, as they do in the official prompt string.
function Writer:text(text, answer, mark)
  while text ~= "" do
    local at, control = #text + 1, nil
    for _, name in ipairs(marks) do
      local s = text:find(name, 1, true)
      if s and s < at then at, control = s, name end
    end
    if at > 1 then
      local part = text:sub(1, at - 1)
      self.pieces[#self.pieces + 1] = { text = part, answer = answer, mark = mark }
      self.size = self.size + estimate(part)
    end
    if control then self:control(control, answer) end
    text = text:sub(at + (control and #control or 0))
  end
end

function Writer:user(text)
  self:control(USER)
  self:text(text)
  self:control(ASSISTANT)
end

-- Strings; looked-up parts are { "part" }.
function Writer:parts(parts, answer)
  for _, part in ipairs(parts) do
    if type(part) == "table" then self:text(part[1], answer, true) else self:text(part, answer) end
  end
end

-- An answer without thinking.
function Writer:reply(parts, unscored)
  self:control "</think>"
  self:parts(parts, not unscored)
  self:control(EOS, not unscored)
end

function Writer:think(thought, parts)
  self:control "<think>"
  self:parts(thought, true)
  self:control("</think>", true)
  self:parts(parts, true)
  self:control(EOS, true)
end

-- Whether the next turn is thought about: `thinking` says so, or it is the share `think` of them. Turns of the past
-- (history) lost their thoughts, as in the official prompt.
function Writer:thinks(o)
  if o.history then return false end
  if o.thinking ~= nil then return o.thinking end
  return o.think ~= nil and self.rng:chance(o.think)
end

-- thought: a function that makes the parts of it.
function Writer:answer(o, parts, thought)
  if self:thinks(o) then self:think(thought(), parts) else self:reply(parts) end
end

return Writer
