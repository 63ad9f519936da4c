return {
  title = "Result",
  level = 3,
  classes = {
    { "Result", fields = {
      { "text", "string", "without the stop string; `tostring(result)` too" },
      { "tokens", "Tokens", "packed; all stay in the session" },
      { "finish_reason", '"stop"|"length"|"cancel"|"deadline"',
        "stop: end-of-text or a stop; length: `max_tokens`, or the context is full" },
      { "seed", "integer|string", "a number, or from 2^53 on a string of digits" },
      { "usage", "Usage", "tokens, counted" },
      { "timing", "{ prefill_ms: number, decode_ms: number }", "wall time of reading and of generating" },
    } },
    { "Usage", fields = {
      { "prompt", "integer", "`cached` + `read`" },
      { "cached", "integer", "read before" },
      { "read", "integer", "by this generation" },
      { "reread", "integer", "of these, once more after going back" },
      { "completion", "integer", "generated" },
    } },
  },
}
