-- What is written between <think> and </think> before answers that need no sums: which request it is, where the answer
-- stands, and what follows. Every thought follows from its prompt alone, so that it can be compared to the letter.
--
-- A thought is a list of strings; what had to be looked up is { "part" }, as in the answers of tasks.lua.
local thoughts = {}

function thoughts.lookup(ask, fact)
  return { ("The user asks: %s So I need the line with %s and %s. It says that the %s of %s is "):format(ask, fact.name,
    fact.field, fact.field, fact.name), { fact.value },
    (". The name is %s, the field is %s, the value is %s."):format(fact.name, fact.field, fact.value) }
end

-- asked: { { "name", "red fox", text = true }, ... } in the order of the answer; a line of the thought for each. What
-- comes next must be near: fields and answer lie within a window of 128 tokens.
function thoughts.json(asked)
  local parts = {}
  for i, field in ipairs(asked) do
    parts[#parts + 1] = (i == 1 and "The fields:\n" or "\n") .. field[1] .. ": "
    parts[#parts + 1] = { field[2] }
    parts[#parts + 1] = field.text and ", a string" or ", a number"
  end
  return parts
end

local about = { sales = "an offer", support = "a repair", billing = "a payment", shipping = "a parcel" }

-- telling: what is wanted, before and after the name; cue: the words that decide.
function thoughts.mail(telling, name, cue, department)
  local before, after = telling:match "^(.-)%%s(.*)$"
  return { "The user writes: ", { before }, { name }, after
    .. " Sales is for offers, support for repairs, billing for payments, shipping for parcels. \"", { cue },
    '" is about ' .. about[department] .. ", so the department is " .. department .. "." }
end

function thoughts.echo(ask, what)
  return { "The user asks: " .. ask .. " I should write the text again, without the dot after it and without "
    .. "any other word. The text is: " .. what }
end

-- kind: what the question wants.
function thoughts.effort(question, kind)
  local steps = kind == "a sum" or kind == "a product"
  return { ("The question is: %s It wants %s. "):format(question, kind)
    .. (steps and "That takes steps, so yes." or "That can be read or repeated at once, so no.") }
end

function thoughts.call(request, tool, values)
  local parts = { "The user asks: " .. request .. " The tool for it is \"", { tool[1] }, '".' }
  for i, parameter in ipairs(tool[3]) do
    parts[#parts + 1] = (" %s is "):format(parameter[1])
    parts[#parts + 1] = { values[i] }
    parts[#parts + 1] = "."
  end
  return parts
end

function thoughts.result(tool, values, result)
  local parts = { 'The tool was "', { tool[1] }, '".' }
  for i, parameter in ipairs(tool[3]) do
    parts[#parts + 1] = (" %s was "):format(parameter[1])
    parts[#parts + 1] = { values[i] }
    parts[#parts + 1] = "."
  end
  parts[#parts + 1] = " It found: "
  parts[#parts + 1] = { result }
  parts[#parts + 1] = "."
  return parts
end

return thoughts
