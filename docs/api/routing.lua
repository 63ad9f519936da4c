return {
  title = "Expert policy",
  level = 3,
  text = "`docs/routing.md` says what it is good for. Experts and layers are numbered as in the checkpoint, from 0.",
  classes = {
    { "Routing", options = true, fields = {
      { "top_k", "integer", from = 1, "experts a token, at most the model's `experts_per_token`, the default" },
      { "bias", "table<integer, number>",
        "expert → number, -1000 to 1000, added to the score that chooses; the weights stay those of the scores" },
      { "disable", "integer[]", "experts that are never chosen; every layer that chooses by score keeps `top_k`" },
      { "layers", "table<integer, LayerRouting>",
        "layer → `bias` and `disable` for this layer, beside those for all; not for layers that route by token" },
    } },
    { "LayerRouting", fields = {
      { "bias", "table<integer, number>?", "as above" },
      { "disable", "integer[]?", "as above" },
    } },
    { "RoutingStats", fields = {
      { "tokens", "integer", "read since the session was made or `reset`; those read again count again" },
      { "layers", "table<integer, table<integer, integer>>", "layer → expert → how often it was chosen" },
    } },
  },
  after = [[
A policy is copied when it is set, and what it does not name is the model's: `session:routing{}` gives the model back
its own way. It holds for tokens read from then on, also for those already held but unread.]],
}
