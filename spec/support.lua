--- What specs share: the module under test, its internals, and files of the oracle.
-- Specs load moonseek_spec.so alone: the whole module and a window into its parts, from one object.
local support = {}

local abi = _VERSION == "Lua 5.1" and "5.1" or _VERSION:match("%d+%.%d+")
local build = os.getenv("MOONSEEK_BUILD") or "build"
local object = ("%s/%s/moonseek_spec.so"):format(build, abi)

local function opener(name)
  return function(...)
    return assert(package.loadlib(object, name))(...)
  end
end

package.preload["moonseek.core"] = package.preload["moonseek.core"] or opener("luaopen_moonseek_core")
package.preload["moonseek.internals"] = package.preload["moonseek.internals"] or opener("luaopen_moonseek_internals")
package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

function support.internals()
  return require "moonseek.internals"
end

support.abi = abi
support.object = object
support.fuzz = tonumber(os.getenv("MOONSEEK_FUZZ") or "") or 1

-- What a sanitizer wants loaded before an interpreter. Shells do not bear it: they are started without.
local preload = os.getenv("MOONSEEK_PRELOAD")
if os.getenv("LD_PRELOAD") then support.internals().unset_environment("LD_PRELOAD") end

support.sanitized = preload ~= nil

-- Whether an emulator runs this (make test-neon): slow, and without room for the largest mappings.
support.emulated = os.getenv("MOONSEEK_EMULATED") ~= nil

--- The command that runs this interpreter again.
function support.interpreter()
  local first = 0
  while arg[first - 1] do first = first - 1 end
  return preload and ("env LD_PRELOAD=%s %s"):format(preload, arg[first]) or arg[first]
end

--- Finalises everything that is garbage, also what only a finaliser kept.
function support.collect()
  collectgarbage()
  collectgarbage()
end

--- An object whose collection calls `finaliser`, also on 5.1, where only userdata can have one.
function support.with_finaliser(finaliser)
  if not newproxy then return setmetatable({}, { __gc = finaliser }) end -- luacheck: ignore
  local object = newproxy(true) -- luacheck: ignore
  debug.getmetatable(object).__gc = finaliser
  return object
end

--- Calls `leave`, and then `go_on` amid the collection of what was left: garbage, its finalisers still to run.
function support.amid_collection(leave, go_on)
  local mode = _VERSION >= "Lua 5.4" and collectgarbage("incremental")
  support.collect()
  collectgarbage("stop")
  leave()
  local count, found = 20000, setmetatable({}, { __mode = "v" })
  local waiting = count
  for i = 1, count do found[i] = support.with_finaliser(function() waiting = waiting - 1 end) end
  repeat collectgarbage("step", 0) until not found[1]
  collectgarbage("restart")
  assert(waiting > 0, "all finalisers have run")
  go_on()
  if mode then collectgarbage(mode) end
end

--- The bytes of a file; raises when it cannot be read.
function support.read_file(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

function support.write_file(path, bytes)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  assert(file:close())
end

--- A new empty folder; the spec removes it with `support.remove`.
function support.temporary_folder()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute(("mkdir '%s'"):format(path)))
  return path
end

function support.remove(path)
  os.execute(("rm -rf '%s'"):format(path))
end

--- Token ids of spec/oracle/tokens_NAME.txt.
function support.oracle_tokens(name)
  local ids, text = {}, support.read_file(("spec/oracle/tokens_%s.txt"):format(name))
  for id in text:gmatch("%d+") do ids[#ids + 1] = tonumber(id) end
  return ids
end

local function little_endian(bytes, at, count)
  local value = 0
  for i = count - 1, 0, -1 do value = value * 256 + bytes:byte(at + i) end
  return value
end

--- A safetensors file as name -> { type =, shape =, bytes = }: its data stays packed.
function support.tensors(path)
  local bytes = support.read_file(path)
  local length = little_endian(bytes, 1, 8)
  local tensors = {}
  for key, type, shape, first, last in bytes:sub(9, 8 + length):gmatch(
    '"([^"]+)":{"dtype":"([^"]+)","shape":%[([%d,]*)%],"data_offsets":%[(%d+),(%d+)%]}') do
    local sizes = {}
    for size in shape:gmatch("%d+") do sizes[#sizes + 1] = tonumber(size) end
    tensors[key] = { type = type, shape = sizes, bytes = bytes:sub(9 + length + first, 8 + length + last) }
  end
  return tensors
end

--- The same of a file of the oracle.
function support.oracle(name)
  return support.tensors("spec/oracle/" .. name)
end

--- The values of an I32 tensor of the oracle, none of them negative.
function support.integers(tensor)
  local values = {}
  for at = 1, #tensor.bytes, 4 do values[#values + 1] = little_endian(tensor.bytes, at, 4) end
  return values
end

return support
