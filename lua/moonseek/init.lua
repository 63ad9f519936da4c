--- DeepSeek-V4 models as Lua objects: engines, tokenizers, sessions, jobs. docs/reference.md describes each.
local core = require "moonseek.core"
require "moonseek.session"

local moonseek = {
  _VERSION = core.version().module,
  version = core.version,
  open = core.open,
  attach = core.attach,
  cache = core.cache,
  convert = core.convert,
  probe = core.probe,
  tokenizer = core.tokenizer,
  tokens = core.tokens,
}

-- What is plain Lua is loaded at its first use.
local parts = {
  chat = true, documents = true, encoding = true, json = true, mock = true, parser = true, router = true,
  schema = true,
}
local functions = {
  load_chat = { "chat", "load" },
  agent = { "agent", "new" }, resume_agent = { "agent", "resume" }, replay_agent = { "agent", "replay" },
}

return setmetatable(moonseek, {
  __index = function(module, name)
    local part
    if functions[name] then
      part = require("moonseek." .. functions[name][1])[functions[name][2]]
    elseif parts[name] then
      part = require("moonseek." .. name)
    else
      return nil
    end
    rawset(module, name, part)
    return part
  end,
})
