--- What the specs of conversions share: new paths in a folder of the spec's own, conversions to them, and logits.
local assert = require "luassert"
local support = require "spec.support"
local moonseek = require "moonseek"
local internals = support.internals()

local conversions = {}

local folder, count

--- Before each spec; returns the folder. `finish`, after it, removes it.
function conversions.begin()
  folder, count = support.temporary_folder(), 0
  return folder
end

function conversions.finish() support.remove(folder) end

function conversions.new_path(ending)
  count = count + 1
  return ("%s/%d%s"):format(folder, count, ending or "")
end

function conversions.convert(source, target, options)
  local all = { source = source, target = target, threads = 1 }
  for name, value in pairs(options or {}) do all[name] = value end
  return moonseek.convert(all)
end

--- A conversion that succeeds; its target.
function conversions.converted(source, ending, options)
  local target = conversions.new_path(ending)
  assert(conversions.convert(source, target, options))
  return target
end

function conversions.logits(path, numerics, tokens)
  return assert(internals.logits({ path = path, numerics = numerics }, support.oracle_tokens(tokens), 64))
end

return conversions
