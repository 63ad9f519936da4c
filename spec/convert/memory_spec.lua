--- The memory that a conversion takes: some gigabytes through less than one. Only `make test-convert` runs it, for it
-- writes as many to the disk.
local support = require "spec.support"
package.path = "./bench/?.lua;" .. package.path
local release = require "release"

--- Two layers of V4-Flash with a quarter of its experts: 2.2 GB, a sparse file of zeros.
local shape = {
  width = 4096, layers = 2, heads = 64, q_lora = 1024, o_groups = 8, index_top_k = 512, experts = 64,
  expert_width = 2048, route_scale = 1.5, first_ratios = { 4, 128 }, vocabulary = 16384, hash_layers = 0,
}

local program = [[
local support = require "spec.support"
local moonseek = require "moonseek"
assert(moonseek.convert { source = %q, target = %q, experts = %s, threads = 2 })
print(support.read_file("/proc/self/status"):match("VmHWM:%%s*(%%d+) kB"))
]]

describe("a conversion of gigabytes", function()
  if not os.getenv("MOONSEEK_LARGE") then
    pending("takes less than 1 GiB of memory, mapped pages and all: make test-convert")
    return
  end

  local folder
  setup(function()
    folder = support.temporary_folder()
    assert(os.execute(("mkdir '%s/source'"):format(folder)))
    assert(release.write(shape, folder .. "/source"))
  end)
  teardown(function() support.remove(folder) end)

  for _, case in ipairs { { "copied and repacked", ".gguf" }, { "in new blocks", "-2.gguf", "iq4_nl" },
    { "copied", "-folder" } } do
    it("takes less than 1 GiB, mapped pages and all: " .. case[1], function()
      local script, target = folder .. "/convert.lua", folder .. "/target" .. case[2]
      support.write_file(script, program:format(folder .. "/source", target, case[3] and ('"%s"'):format(case[3])))
      local pipe = assert(io.popen(("%s '%s'"):format(support.interpreter(), script)))
      local kib = tonumber(pipe:read("*a"))
      pipe:close()
      support.remove(target)
      assert.is_true(kib and kib < 1048576, ("%s KiB at most"):format(kib))
      print(("%s: %.0f MiB at most"):format(case[1], kib / 1024))
    end)
  end
end)
