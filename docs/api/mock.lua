return {
  title = "moonseek.mock",
  text = [[
`moonseek.mock` makes an engine without weights, for specifying what is built on engines. Its sessions and jobs have
the methods of real ones that need no arithmetic (`logits` and `score` are `EUNSUPPORTED`), its tokenizer is one of
bytes and control tokens. An answer that `max_tokens` or a stop cut goes on with the next request, unless the session
was changed in between; a `</think>` put behind it stands for the rest of the reasoning.]],
  classes = {
    { "MockAnswer", fields = {
      { "content", "string?", "as an assistant's message has it" },
      { "reasoning", "string?", "written where the prompt asks for it" },
      { "tool_calls", "table[]?", "as an assistant's message has them" },
      { "pieces", "Piece[]?", "in place of these: exactly what is generated, before the end token" },
      { "error", "string?", "ends it with this message," },
      { "code", "Code?", "this code, or `EIO`" },
      { "stall", "boolean?", "gives nothing more" },
      { "cancel", "boolean?", "ends it as if cancelled" },
      { "logprob", "number?", "of each token, or 0" },
      { "after", "integer?", "the fault comes after this many tokens, or before the end token" },
    } },
    { "MockRequest", fields = {
      { "number", "integer", "of the request, from 1; not for `choose`" },
      { "prompt", "string", "what the session holds, control tokens by their names" },
      { "session", "Session", "that asks" },
      { "options", "table", "of the generation; not for `choose`" },
    } },
  },
}
