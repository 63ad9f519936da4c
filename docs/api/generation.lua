return {
  title = "Options of generate, stream and start",
  level = 3,
  text = "Defaults come from the model's `generation_config.json`.",
  classes = {
    { "GenerateOptions", options = true, fields = {
      { "max_tokens", "integer", from = 0, "0 only reads; by default until the context is full" },
      { "temperature", "number", from = 0, to = 100, "0 takes the likeliest token" },
      { "top_k", "integer", from = 0, "that many likeliest; 0: all" },
      { "top_p", "number", from = 0, to = 1, "the likeliest that make up this sum" },
      { "min_p", "number", from = 0, to = 1, "those with at least this share of the likeliest" },
      { "seed", "integer|string", from = 0,
        "up to 2^64-1, as a string of digits from 2^53 on. Without one, one is drawn and returned" },
      { "repetition_penalty", "number", from = 0.01, to = 100, "of tokens in the session; 1: none" },
      { "frequency_penalty", "number", from = -100, to = 100, "of tokens in this answer, by how often; 0: none" },
      { "presence_penalty", "number", from = -100, to = 100, "of tokens in this answer, once; 0: none" },
      { "logit_bias", "table<integer, number>",
        "token id → number, -10000 to 10000, added to the logit; `-math.huge` forbids the token" },
      { "stop", "(string|integer)[]",
        "at most 256; the text ends before such a string, the generation at such an id" },
      { "ignore_eos", "boolean", "goes on after the end-of-text token" },
      { "logprobs", "integer", from = 0, to = 20, "this many alternatives with every token" },
      { "raw", "boolean", "text may be cut inside a UTF-8 character, and holds bytes that are none" },
      { "deadline_ms", "integer", from = 0, unit = "milliseconds", "ends it after this time, with what there is" },
      { "priority", "integer", from = -1000, to = 1000, default = "0",
        "texts of higher priority are read first; answers of every priority go on beside them" },
    } },
    { "GenerateOptionsWithHook", extends = "GenerateOptions", options = true, text = "`generate` takes one more:",
      fields = { { "on_event", "fun(event: Event)", "hears every event while `generate` runs" } } },
  },
  after = [[
Logit bias comes first, then penalties, temperature, top_k, top_p, min_p. Same model, tokens, options and seed give the
same tokens: `docs/determinism.md`.]],
}
