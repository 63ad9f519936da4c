return {
  title = "Job",
  class = "Job",
  about = "One generation under way.",
  functions = {
    { "job:poll", returns = "Event?", "the next event, or nil while none waits; never blocks" },
    { "job:wait",
      arguments = { { "ms", "integer", from = 0, unit = "milliseconds" } },
      returns = "boolean",
      "true as soon as an event waits or the job has finished; false after that time. The state's hooks do not run "
        .. "meanwhile: wait in short pieces" },
    { "job:cancel", 'ends it within one stage of a layer. What is committed stays, the result says `"cancel"`' },
    { "job:finished", returns = "boolean", "whether its last event has been taken" },
    { "job:result",
      returns = "Result",
      errors = { "EBUSY", "EFORMAT", "EIO" },
      "the result; `EBUSY` before its last event, afterwards its own error if it failed" },
    { "job:close", "cancels it, and the session is free" },
    { "job:pollfd",
      returns = "integer",
      errors = { "EIO" },
      "a descriptor, readable exactly while an event waits: for any event loop. Do not read or close it" },
    { "job:getfd",
      returns = "integer",
      errors = { "EIO" },
      "the same, by the name that LuaSocket's `select` asks for" },
    { "job:dirty", returns = "boolean", "whether an event waits: `select` asks this too" },
    { "job:events", returns = '"r"', "with `pollfd` and `timeout` what cqueues asks for" },
    { "job:timeout", returns = "nil", "nothing is due at a time" },
  },
  after = [[
Events are few hundred at most: while nobody takes them, the job pauses. A job keeps its session alive. How to wait in
an event loop: `docs/jobs.md`.]],
}
