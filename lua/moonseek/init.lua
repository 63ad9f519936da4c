--- DeepSeek-V4 models as Lua objects: engines, tokenizers, sessions, jobs. docs/reference.md describes each.
local core = require "moonseek.core"
require "moonseek.session"

return {
  _VERSION = core.version().module,
  version = core.version,
  open = core.open,
  attach = core.attach,
  probe = core.probe,
  tokenizer = core.tokenizer,
  tokens = core.tokens,
}
