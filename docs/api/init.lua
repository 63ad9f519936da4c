--- The sections of docs/reference.md in their order: each is docs/api/NAME.lua. How one is written: docs/api/README.md.
return {
  "rules", "module", "engine", "tokenizer", "tokens", "session", "routing", "generation", "result", "event",
  "logits", "job", "cache", "chat", "router", "agent", "schema", "documents", "reader", "encoding", "parser", "json",
  "mock",
}
