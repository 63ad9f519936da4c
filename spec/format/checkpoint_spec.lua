local support = require "spec.support"
local faults = require "spec.faults"
local refusals = require "spec.refusals"
local place = require "spec.place"
local files = require "spec.format.files"
local gguf = require "spec.format.gguf_file"
local internals = support.internals()
local put = place.put

local folder

local function refuses(path, code, part)
  refusals.check(path:sub(1, 60), code, part, internals.checkpoint_open(path))     -- messages cut longer ones
end

local function same_tensors(expected, got)
  for name, tensor in pairs(expected) do
    local other = got[name]
    assert.truthy(other, name .. " is missing")
    assert.same({ tensor.type, tensor.shape }, { other.type, other.shape }, name)
    assert.is_true((tensor.bytes == other.data) or (tensor.data == other.data), name .. " has other bytes")
  end
  for name in pairs(got) do assert.truthy(expected[name], name .. " is new") end
end

local function tensor(name, type, shape, bytes) return { name = name, type = type, shape = shape, bytes = bytes } end

describe("checkpoint", function()
  before_each(function() folder = place.begin() end)
  after_each(place.finish)

  describe("opened", function()
    for _, name in ipairs { "tinystage", "tiny" } do
      it(("gives every tensor of %s, mapped and read"):format(name), function()
        local expected = support.oracle(name .. "/model.safetensors")
        for _, access in ipairs { "map", "read" } do
          local tensors, at = assert(internals.checkpoint("spec/oracle/" .. name, access))
          assert.equal("spec/oracle/" .. name, at)
          same_tensors(expected, tensors)
        end
      end)
    end

    it("gives the tensors of both shards of tinypro", function()
      local expected = support.oracle("tinypro/model-00001-of-00002.safetensors")
      for key, value in pairs(support.oracle("tinypro/model-00002-of-00002.safetensors")) do expected[key] = value end
      same_tensors(expected, assert(internals.checkpoint("spec/oracle/tinypro")))
    end)

    it("takes the path of a file inside as its folder", function()
      local expected = internals.checkpoint_open("spec/oracle/tinypro")
      for _, name in ipairs { "config.json", "model.safetensors.index.json" } do
        local tensors, at = assert(internals.checkpoint("spec/oracle/tinypro/" .. name))
        local count = 0
        for _ in pairs(tensors) do count = count + 1 end
        assert.same({ expected, "spec/oracle/tinypro" }, { count, at })
      end
    end)

    it("reads one file alone when its path is given", function()
      local _, at = assert(internals.checkpoint("spec/oracle/tinypro/model-00002-of-00002.safetensors"))
      assert.equal("spec/oracle/tinypro", at)
      local whole = internals.checkpoint_open("spec/oracle/tinypro")
      assert.is_true(internals.checkpoint_open("spec/oracle/tinypro/model-00002-of-00002.safetensors") < whole)
    end)

    it("takes a folder with a slash at its end", function()
      assert.is_true(internals.checkpoint_open("spec/oracle/tinystage/") > 100)
    end)

    it("reads the headers only of a file larger than memory", function()
      if support.emulated then return end
      local size = 2 ^ 37
      local path = put("model.safetensors", files.wrap("{" .. files.entry("a", "U8", { ("%d"):format(size) }, 0,
        size) .. "}"))
      local length = #support.read_file(path)
      if os.execute(("truncate -s %d '%s' 2>/dev/null"):format(length + size, path)) then
        assert.equal(1, internals.checkpoint_open(folder))
      end
    end)
  end)

  describe("of other spellings", function()
    local entries = files.entries("tinystage/model.safetensors")
    local expected = support.oracle("tinystage/model.safetensors")

    it("is the same model under V3-style names", function()
      put("model.safetensors", files.encode(files.as_v3(entries)))
      local tensors = assert(internals.checkpoint(folder))
      same_tensors(expected, tensors)
      assert.equal("model.layers.1.self_attn.wq_a.weight_scale_inv", tensors["layers.1.attn.wq_a.scale"].stored_as)
    end)

    it("is the same model under transformers names, with fused experts", function()
      local renamed = files.as_transformers(entries)
      assert.is_true(#renamed < #entries)
      put("model.safetensors", files.encode(renamed))
      local tensors = assert(internals.checkpoint(folder))
      same_tensors(expected, tensors)
      assert.equal("model.layers.2.mlp.experts.gate_up_proj", tensors["layers.2.ffn.experts.3.w3.weight"].stored_as)
    end)

    it("is the same model under transformers names in two shards", function()
      local halves, map = { {}, {} }, {}
      for i, entry in ipairs(files.as_transformers(entries)) do
        table.insert(halves[i % 2 + 1], entry)
        map[#map + 1] = ('"%s":"shard%d"'):format(entry.name, i % 2 + 1)
      end
      put("shard1", files.encode(halves[1]))
      put("shard2", files.encode(halves[2]))
      put("model.safetensors.index.json", '{"metadata":{},"weight_map":{' .. table.concat(map, ",") .. "}}\n")
      same_tensors(expected, assert(internals.checkpoint(folder)))
    end)

    it("G21: refuses two spellings of one tensor and names both", function()
      put("model.safetensors", files.encode { tensor("norm.weight", "U8", { 2 }, "ab"),
        tensor("model.norm.weight", "U8", { 2 }, "cd") })
      refuses(folder, "EFORMAT", "'model.norm.weight' and 'norm.weight' are two spellings of 'norm.weight'")
    end)

    it("G21: refuses an expert that is stored alone and in a fused tensor", function()
      put("model.safetensors", files.encode { tensor("layers.0.ffn.experts.1.w2.weight", "U8", { 2, 2 }, "abcd"),
        tensor("model.layers.0.mlp.experts.down_proj", "U8", { 2, 2, 2 }, "abcdefgh") })
      refuses(folder, "EFORMAT", "are two spellings of 'layers.0.ffn.experts.1.w2.weight'")
    end)

    local shapes = {
      { "one expert's matrix", { 4, 2 }, 8 }, { "an odd number of rows", { 2, 3, 2 }, 12 },
      { "no experts", { 0, 4, 2 }, 0 }, { "no columns", { 2, 4, 0 }, 0 }, { "65537 experts", { 65537, 2, 1 }, 131074 },
    }
    for _, row in ipairs(shapes) do
      it("G21: refuses a fused tensor of " .. row[1], function()
        put("model.safetensors", files.encode { tensor("layers.0.mlp.experts.gate_up_proj", "U8", row[2],
          ("x"):rep(row[3])) })
        refuses(folder, "EFORMAT", "'layers.0.mlp.experts.gate_up_proj' is no [experts <= 65536, 2 * rows, columns]")
      end)
    end

    it("G10: refuses a few bytes that are millions of experts", function()
      local infos = {}
      for layer = 0, 39 do
        infos[layer + 1] = gguf.info(("blk.%d.ffn_up_exps.weight"):format(layer), { 65536, 1, 1 }, "I8", 0)
      end
      put("x.gguf", gguf.wrap({}, infos, ("x"):rep(65536)))
      refuses(folder .. "/x.gguf", "EFORMAT",
        "x.gguf: with 'blk.1.ffn_up_exps.weight' there are 131072 matrices of experts, too many for files of 68")
    end)

    --- Weights [1, rows, 8] and scales [1, down, across], in blocks or rows.
    local function scaled(rows, down, across)
      put("model.safetensors", files.encode {
        tensor("layers.0.mlp.experts.gate_up_proj", "F8_E4M3", { 1, rows, 8 }, ("w"):rep(rows * 8)),
        tensor("layers.0.mlp.experts.gate_up_proj_scale_inv", "F8_E8M0", { 1, down, across },
          ("s"):rep(down * across)) })
    end

    it("divides scales of square blocks and of rows", function()
      scaled(16, 4, 2)
      assert.same({ 2, 2 }, assert(internals.checkpoint(folder))["layers.0.ffn.experts.0.w3.scale"].shape)
      scaled(12, 12, 2)
      assert.same({ 6, 2 }, assert(internals.checkpoint(folder))["layers.0.ffn.experts.0.w3.scale"].shape)
    end)

    it("G21: refuses scales whose blocks reach from gate rows into up rows", function()
      scaled(12, 2, 1)      -- blocks of 8 x 8: the first holds gate rows 0-5 and up rows 0-1
      refuses(folder, "EUNSUPPORTED",
        "'layers.0.mlp.experts.gate_up_proj_scale_inv' cannot be divided: scales [1, 1] of weights [6, 8]")
    end)

    it("aligns what lies unaligned in its file", function()
      local header = "{" .. files.entry("a", "U8", { 1 }, 0, 1) .. "," .. files.entry("norm.weight", "F32", { 2 }, 1,
        9) .. "}"
      put("model.safetensors", files.wrap(header .. (" "):rep(-#header % 8), "abcdefghi"))
      local tensors = assert(internals.checkpoint(folder))
      assert.equal("bcdefghi", tensors["norm.weight"].data)
      assert.equal(0, tensors["norm.weight"].misaligned)
      for name, of_oracle in pairs(assert(internals.checkpoint("spec/oracle/tinystage"))) do
        assert.equal(0, of_oracle.misaligned, name)
      end
    end)
  end)

  describe("in shards", function()
    local function shard(...)
      local entries = {}
      for i, name in ipairs { ... } do entries[i] = tensor(name, "U8", { 2 }, "xy") end
      return files.encode(entries)
    end
    local function index(text) put("model.safetensors.index.json", text) end
    local function map(text) index('{"metadata":{"total_size":6},"weight_map":{' .. text .. "}}") end

    before_each(function()
      put("one", shard("a", "b"))
      put("two", shard("c"))
    end)

    it("finds the tensors of both", function()
      map '"a":"one","b":"one","c":"two"'
      assert.equal(3, internals.checkpoint_open(folder))
    end)

    it("goes before a model.safetensors beside it", function()
      map '"a":"one","b":"one","c":"two"'
      put("model.safetensors", shard("d"))
      assert.is_nil(assert(internals.checkpoint(folder)).d)
    end)

    it("G21: takes a tensor that the index forgot", function()
      map '"a":"one","c":"two"'
      assert.equal(3, internals.checkpoint_open(folder))
    end)

    local maps = {
      { "a missing shard", '"a":"one","b":"one","c":"three"', "ENOENT",
        "three: is missing, though model.safetensors.index.json lists it" },
      { "a tensor that its shard lacks", '"a":"one","b":"one","c":"two","d":"two"', "EFORMAT",
        "'d' is mapped to two, which does not hold it" },
      { "a tensor mapped to the other shard", '"a":"one","b":"two","c":"two"', "EFORMAT",
        "'b' is mapped to two, which does not hold it" },
      { "a tensor listed twice", '"a":"one","b":"one","c":"two","\\u0061":"one"', "EFORMAT", "'a' is listed twice" },
      { "a tensor listed under two spellings", '"a":"one","b":"one","c":"two","model.a":"one"', "EFORMAT",
        "'model.a' is listed twice" },
      { "a name that leaves the folder", '"a":"../../etc/passwd"', "EFORMAT",
        "'../../etc/passwd', which is no plain file name" },
      { "an absolute name", '"a":"/etc/passwd"', "EFORMAT", "'/etc/passwd', which is no plain file name" },
      { "a name in a folder below", '"a":"sub/one"', "EFORMAT", "'sub/one', which is no plain file name" },
      { "a backslash", '"a":"sub\\\\one"', "EFORMAT", "which is no plain file name" },
      { "the folder itself", '"a":"."', "EFORMAT", "'.', which is no plain file name" },
      { "the folder above", '"a":".."', "EFORMAT", "'..', which is no plain file name" },
      { "a name with a control byte", '"a":"one\\u001b[0m"', "EFORMAT", "'one?[0m', which is no plain file name" },
      { "a name with a NUL", '"a":"one\\u0000"', "EFORMAT", "no string" },
      { "an empty name", '"a":""', "EFORMAT", "a name of 0 bytes" },
      { "a name of 512 bytes", '"a":"' .. ("n"):rep(512) .. '"', "EFORMAT", "a name of 512 bytes" },
      { "a number for a shard", '"a":1', "EFORMAT", "another kind of value" },
      { "an empty map", "", "EFORMAT", "weight_map is empty" },
    }
    for _, row in ipairs(maps) do
      it("S08: refuses " .. row[1], function()
        map(row[2])
        refuses(folder, row[3], row[4])
      end)
    end

    local indexes = {
      { "an index without a map", '{"metadata":{}}', "weight_map is missing" },
      { "two maps", '{"weight_map":{"a":"one"},"weight_map":{"a":"one"}}', "weight_map appears twice" },
      { "a list as a map", '{"weight_map":["one"]}', "'{' expected" },
      { "text behind the index", '{"weight_map":{"a":"one"}} x', "follows the end" },
      { "a total_size that is no integer", '{"metadata":{"total_size":"6"},"weight_map":{"a":"one"}}',
        "total_size is not an integer" },
      { "a negative total_size", '{"metadata":{"total_size":-6},"weight_map":{"a":"one"}}', "total_size is -6" },
      { "an index of 0 bytes", "", "is empty" },
      { "a git-LFS pointer as index", "version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer" },
    }
    for _, row in ipairs(indexes) do
      it("S08: refuses " .. row[1], function()
        index(row[2])
        refuses(folder, "EFORMAT", row[3])
      end)
    end

    it("S08: takes a wrong total_size: published indexes state that of another precision", function()
      index '{"metadata":{"total_size":12345},"weight_map":{"a":"one","b":"one","c":"two"}}'
      assert.equal(3, internals.checkpoint_open(folder))
    end)

    it("S08: refuses a tensor in two shards and names both", function()
      put("two", shard("b", "c"))
      map '"a":"one","b":"one","c":"two"'
      refuses(folder, "EFORMAT", "two: 'b' stands in " .. folder .. "/one as well")
    end)

    it("S08: refuses one shard under two names", function()
      os.execute(("ln '%s/one' '%s/three'"):format(folder, folder))
      map '"a":"one","b":"three","c":"two"'
      refuses(folder, "EFORMAT", "as well")
    end)

    it("S08: refuses 10^6 shards before it opens one", function()
      local texts = {}
      for i = 1, support.fuzz > 1 and 1000000 or 20000 do texts[i] = ('"%d":"s%d"'):format(i, i) end
      map(table.concat(texts, ","))
      refuses(folder, "EUNSUPPORTED", "lists more than 10000 shards")
    end)

    it("S01: names the shard whose header is wrong", function()
      put("two", "garbage, and more of it")
      map '"a":"one","b":"one","c":"two"'
      refuses(folder, "EFORMAT", folder .. "/two: is no safetensors file: header length is")
    end)
  end)

  describe("of no checkpoint", function()
    it("G01: refuses what is no regular file, without waiting", function()
      refuses("/dev/zero", "EINVAL", "/dev/zero: is a device")
      refuses("/dev/null", "EINVAL", "/dev/null: is a device")
      local fifo = folder .. "/fifo"
      os.execute(("mkfifo '%s'"):format(fifo))
      refuses(fifo, "EINVAL", "is a FIFO")
      os.execute(("mv '%s' '%s/model.safetensors'"):format(fifo, folder))
      refuses(folder, "EINVAL", "is a FIFO")
    end)

    it("G01: refuses a folder in the place of a file", function()
      os.execute(("mkdir '%s/model.safetensors'"):format(folder))
      refuses(folder, "EINVAL", "is a folder")
    end)

    it("G01: refuses links that lead nowhere, missing and over-long paths", function()
      os.execute(("ln -s nowhere '%s/dangling'; ln -s loop '%s/loop'"):format(folder, folder))
      refuses(folder .. "/dangling", "ENOENT", "dangling: cannot open")
      refuses(folder .. "/loop", "EIO", "loop: cannot open")
      refuses(folder .. "/nothing", "ENOENT", "nothing: cannot open")
      refuses("", "ENOENT", "cannot open")
      refuses(("x"):rep(5000), "EINVAL", "path has 5000 bytes")
      refuses(folder .. ("/."):rep(2046), "EINVAL", "path has")
    end)

    for size = 0, 31 do
      it(("G01: refuses a file of %d bytes"):format(size), function()
        put("model.safetensors", ("x"):rep(size))
        refuses(folder, "EFORMAT", "model.safetensors: ")
      end)
    end

    local causes = {
      { "an old ggml file", "lmgg\1\0\0\0", "EUNSUPPORTED", "is an old ggml file" },
      { "a zip archive", "PK\3\4" .. ("x"):rep(30), "EUNSUPPORTED", "is a zip archive, as PyTorch writes" },
      { "a pickle", "\128\2}q\1(X\5\0\0\0", "EUNSUPPORTED", "is a Python pickle" },
      { "an HTML page", "<!DOCTYPE html><html>", "EFORMAT", "is an HTML page" },
      { "a git-LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "EFORMAT",
        "is a git-LFS pointer" },
      { "an error in JSON", '{"error":"Repository not found"}', "EFORMAT", "is a JSON text" },
      { "an unwritten download", ("\0"):rep(4096), "EFORMAT", "starts with zeros" },
    }
    for _, row in ipairs(causes) do
      it("G02: names " .. row[1] .. " for what it is", function()
        refuses(put("model.safetensors", row[2]), row[3], row[4])
        refuses(folder, row[3], row[4])
      end)
    end

    it("G02: does not take the header length 640 for a pickle", function()
      local header = "{" .. files.entry("a", "U8", { 0 }, 0, 0) .. "}"
      put("model.safetensors", files.wrap(header .. (" "):rep(640 - #header)))
      assert.equal(1, internals.checkpoint_open(folder))
    end)

    local neighbours = {
      { "model.gguf", "EFORMAT", "holds no model.safetensors; model.gguf is a GGUF file" },
      { "pytorch_model.bin", "EUNSUPPORTED", "pytorch_model.bin is a PyTorch file" },
      { "model.safetensors.part", "EFORMAT", "model.safetensors.part is an unfinished download" },
      { "model-00001-of-00046.safetensors", "ENOENT",
        "model.safetensors.index.json is missing beside model-00001-of-00046.safetensors" },
      { "notes.txt", "ENOENT", "holds neither model.safetensors.index.json nor model.safetensors" },
    }
    for _, row in ipairs(neighbours) do
      it("G02: says of a folder with " .. row[1] .. " alone what is wrong", function()
        put(row[1], "x")
        refuses(folder, row[2], row[3])
      end)
    end

    it("G02: names a half-downloaded file by its ending", function()
      refuses(put("model.safetensors.part", "x"), "EFORMAT", "is an unfinished download")
    end)
  end)

  describe("on a changing disk", function()
    local function encoded(byte) return files.encode { tensor("a", "U8", { 8 }, byte:rep(8)) } end
    local path
    before_each(function() path = put("model.safetensors", encoded("a")) end)

    it("G19: keeps working when its file is unlinked or replaced by a rename", function()
      assert.is_true(internals.checkpoint_while(folder, function() os.remove(path) end))
      path = put("model.safetensors", encoded("a"))
      assert.is_true(internals.checkpoint_while(folder, function()
        put("new", encoded("b") .. "x")
        assert(os.rename(folder .. "/new", path))
      end))
    end)

    local changes = {
      { "cut", function() support.write_file(path, "") end },
      { "longer", function() support.write_file(path, encoded("a") .. "x") end },
      { "overwritten in place", function()
        os.execute(("touch -d '2001-01-01' '%s'"):format(path))
      end },
    }
    for _, change in ipairs(changes) do
      it("G19: notices that its file was " .. change[1], function()
        local same, message, code = internals.checkpoint_while(folder, change[2])
        assert.is_nil(same)
        assert.equal("EIO", code)
        assert.truthy(message:find("model.safetensors: the file has changed", 1, true), message)
      end)
    end
  end)

  describe("under faults", function()
    local function open() return internals.checkpoint_open(folder) end

    before_each(function()
      put("one", files.encode { tensor("model.norm.weight", "F32", { 2 }, "12345678"),
        tensor("layers.0.mlp.experts.gate_up_proj", "U8", { 2, 2, 2 }, "abcdefgh") })
      local header = "{" .. files.entry("a", "U8", { 1 }, 0, 1) .. "," .. files.entry("b", "F32", { 1 }, 1, 5) .. "}"
      put("two", files.wrap(header .. (" "):rep(-#header % 8), "12345"))
      put("model.safetensors.index.json",
        '{"metadata":{"total_size":21},"weight_map":{"model.norm.weight":"one","b":"two"}}')
    end)

    it("survives the failure of any allocation", function()
      -- where jansson runs out of memory it may blame the text instead
      faults.each(internals.fail_allocation, open,
        { least = 100, codes = { ENOMEM = true, EFORMAT = true }, sound = 7 })
    end)

    it("G19: survives the failure of any call on its files", function()
      faults.each(internals.fail_file, open, { least = 8, codes = { EIO = true, ENOMEM = true }, sound = 7 })
    end)
  end)

  it("G18: refuses a file cut at any byte of its header", function()
    local bytes = files.encode { tensor("norm.weight", "F32", { 2 }, "12345678"), tensor("a", "U8", { 1 }, "1") }
    for at = 0, #bytes - 1 do
      put("model.safetensors", bytes:sub(1, at))
      refuses(folder, "EFORMAT", "model.safetensors: ")
    end
    put("model.safetensors", bytes)
    assert.equal(2, internals.checkpoint_open(folder))
  end)
end)
