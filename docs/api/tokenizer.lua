return {
  title = "Tokenizer",
  class = "Tokenizer",
  about = "Text to tokens and back.",
  functions = {
    { "tokenizer:encode",
      arguments = { { "text", "string|Piece[]" } },
      returns = { { "tokens", "Tokens" }, { "offsets", "integer[]?" } },
      errors = { "EINVAL" },
      "tokens; any bytes are allowed, control tokens are never recognised in text. Of pieces, also a list with the "
        .. "byte at which each id's text starts, from 0" },
    { "tokenizer:decode",
      arguments = { { "tokens", "Tokens|integer[]" }, { "i", "integer?" }, { "j", "integer?" } },
      returns = "string",
      errors = { "EINVAL" },
      "the bytes of tokens i to j (default all; negative places count from the end)" },
    { "tokenizer:count",
      arguments = { { "text", "string|Piece[]" } },
      returns = "integer",
      errors = { "EINVAL" },
      "how many tokens it becomes" },
    { "tokenizer:token",
      arguments = { { "name", "string" } },
      returns = "integer?",
      "the id of a control token, or nil" },
    { "tokenizer:close", "gives its memory back, when the engine has no use for it either" },
  },
  operators = { { "#tokenizer", returns = "integer", definition = "operator len: integer", "the number of ids" } },
  aliases = { { "Piece", "string|{ text: string }|{ control: string }|{ ids: Tokens|integer[] }" } },
  after = [[
A list of **pieces** holds text (`"hello"` or `{ text = "hello" }`), control tokens by name
(`{ control = "<｜User｜>" }`) and ids (`{ ids = tokens }`). Adjacent text is joined before it is encoded.]],
}
