return {
  title = "Reader",
  class = "Reader",
  about = "One document, and a session for questions about it.",
  level = 3,
  functions = {
    { "reader:ask",
      arguments = { { "question", "string" } },
      returns = "DocumentAnswer",
      errors = { "EINVAL", "EIO", "EFORMAT", "ECTXFULL", "ECANCELED" },
      "the answer. The document is read with the first question and kept: later ones read their own tokens alone. "
        .. "`ECTXFULL` when it does not fit the context, unless `split` is set" },
    { "reader:close", "closes its session" },
  },
  classes = {
    { "DocumentAnswer", fields = {
      { "text", "string", "the answer" },
      { "reasoning", "string", "empty without any" },
      { "passages", "Passage[]", "what it rests on, in the document's order; may be empty" },
      { "finish_reason", '"stop"|"length"|"cancel"|"deadline"', "of the answer" },
      { "usage", "{ cached: integer, read: integer, completion: integer }", "tokens" },
      { "parts", "integer", "in which the document was asked" },
    } },
    { "Passage", fields = {
      { "first", "integer", "byte in the document's text" },
      { "last", "integer", "the last one" },
      { "text", "string", "these bytes" },
      { "quoted", "boolean", "whether the answer holds them as they are" },
      { "score", "number", "the share of the answer's words there, rare words counting more: 0.5 to 1" },
      { "source", "{ first: integer, last: integer }?", "the bytes of the file: `documents.source`" },
    } },
  },
}
