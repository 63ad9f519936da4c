return {
  title = "Tokens",
  class = "Tokens",
  variable = "t",
  about = "Packed token ids, which never change.",
  text = "Packed ids, four bytes each. They never change. Two are equal (`==`) when their ids are.",
  operators = {
    { "#t", returns = "integer", definition = "operator len: integer", "the number of ids" },
    { "t[i]", returns = "integer?", definition = "field [integer] integer?", "an id; nil outside of 1 to `#t`" },
  },
  functions = {
    { "t:sub",
      arguments = { { "i", "integer" }, { "j", "integer?" } },
      returns = "Tokens",
      errors = { "ENOMEM" },
      "a part, as `string.sub`" },
    { "t:totable", returns = "integer[]", "a list" },
    { "t:close", "gives their memory back" },
  },
}
