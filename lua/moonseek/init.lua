--- DeepSeek-V4 models as Lua objects: engines, tokenizers, sessions, jobs. docs/reference.md describes each.
local core = require "moonseek.core"
require "moonseek.session"

local moonseek = {
  _VERSION = core.version().module,
  version = core.version,
  open = core.open,
  attach = core.attach,
  cache = core.cache,
  probe = core.probe,
  tokenizer = core.tokenizer,
  tokens = core.tokens,
}

-- What is plain Lua is loaded at its first use.
local parts = { chat = true, documents = true, encoding = true, json = true, mock = true, parser = true, router = true }

return setmetatable(moonseek, {
  __index = function(module, name)
    if not parts[name] and name ~= "load_chat" then return nil end
    local part = parts[name] and require("moonseek." .. name) or require("moonseek.chat").load
    rawset(module, name, part)
    return part
  end,
})
