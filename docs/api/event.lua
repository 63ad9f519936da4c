return {
  title = "Events",
  level = 3,
  text = 'The last event is `"done"` or `"error"`.',
  union = { "Event", tag = "type", classes = {
    { "Prefill", tag = "prefill", fields = {
      { "done", "integer", "tokens read" },
      { "total", "integer", "tokens to read. Reports that nobody took become one" },
    } },
    { "Token", tag = "token", fields = {
      { "token", "integer", "its id" },
      { "position", "integer", "where it stands in the session" },
      { "text", "string", "what became complete with it, may be empty" },
      { "logprob", "number", "of the unmodified logits" },
      { "logprobs", "{ id: integer, logprob: number }[]?", "with the option `logprobs`: the likeliest, best first" },
    } },
    { "Done", tag = "done", extends = "Result", fields = {
      { "tail", "string", "beside the fields of a result: text that no token event has shown, set free by the end" },
    } },
    { "Error", tag = "error", fields = {
      { "message", "string", "what went wrong" },
      { "code", "Code", "of the list above" },
    } },
  } },
  after = [[
`generate` is a loop of short waits, so Ctrl-C in the `lua` program works; an error that a debug hook raises passes
through, and the session is free again. If `on_event` raises, the generation ends and `generate` returns nil, what
was raised, and `"EHOOK"`; what was generated stays in the session. `on_event` may yield, except on PUC Lua 5.1;
meanwhile the session is busy.

Leaving a `stream` loop cancels it: on Lua 5.4 at once, elsewhere when the iterator is collected or at the next
`sync`, `append`, `logits`, `generate`, `stream` or `start` of the session (there on 5.4 too, if the iterator is
still held). If it is called again after that, it gives one `"error"` event with `ECANCELED` and ends. `stream`
itself can fail, for example with `EBUSY`: write `for event in assert(session:stream(options)) do`.]],
}
