--- A folder of a spec's own, new for each `it`, and an account of what must not stay behind it: memory, descriptors.
local assert = require "luassert"
local support = require "spec.support"
local internals = support.internals()
local live = require("moonseek.core").memory_live

local place = {}

local folder, memory, descriptors

--- For before_each; returns the folder's path.
function place.begin()
  folder = support.temporary_folder()
  support.collect() -- what other specs left behind
  memory, descriptors = live(), internals.descriptors()
  return folder
end

--- For after_each.
function place.finish()
  support.remove(folder)
  assert.equal(descriptors, internals.descriptors(), "a descriptor stayed open")
  assert.equal(memory, live(), "memory stayed allocated")
end

--- Writes a file into the folder and returns its path.
function place.put(name, bytes)
  local path = folder .. "/" .. name
  support.write_file(path, bytes)
  return path
end

return place
