--- Prompts from templates: `{name}` stands for a value. Values are put in as they are; what looks like a place within
-- them stays text.

--- The text of a template (a text, or a function that is given the values), and the byte of it at which the value of
-- `shared` ends, nil where that is not told. Braces around other words are text.
return function(template, values, shared)
  if type(template) == "function" then return template(values) end
  local out, size, ending, at = {}, 0, nil, 1
  local function put(text)
    out[#out + 1], size = text, size + #text
  end
  for first, name, behind in template:gmatch("(){(%l+)}()") do
    if values[name] then
      put(template:sub(at, first - 1))
      put(values[name])
      if name == shared then ending = size end
      at = behind
    end
  end
  put(template:sub(at))
  return table.concat(out), ending
end
