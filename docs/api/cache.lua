return {
  title = "Cache",
  class = "Cache",
  about = "A folder of prefixes that were read.",
  text = [[
A folder of prefixes that were read, for `moonseek.open { cache = }`: `docs/sessions.md`. Engines keep the cache that
they were opened with.]],
  functions = {
    { "cache:stats", returns = "CacheStats", "what this object was used for" },
    { "cache:close", "ends this handle" },
  },
  classes = {
    { "CacheStats", fields = {
      { "found", "integer", "jobs that began with a stored prefix" },
      { "stored", "integer", "files written" },
      { "removed", "integer", "files removed, for the budget's sake or because they were damaged" },
      { "failed", "integer", "files that could not be written" },
    } },
  },
}
