--- Sound files for a fuzzer to begin with: lua5.4 spec/fuzz/seeds.lua FOLDER writes some of every container there.
local support = require "spec.support"
local files = require "spec.format.files"
local gguf = require "spec.format.gguf_file"
local model = require "spec.format.gguf_model"

local folder = assert(arg[1], "usage: lua5.4 spec/fuzz/seeds.lua FOLDER")
local tensors = {
  { name = "output_norm.weight", type = "F32", shape = { 8 }, bytes = ("n"):rep(32) },
  { name = "blk.0.attn_q_a.weight", type = "BF16", shape = { 4, 16 }, bytes = ("w"):rep(128) },
  { name = "blk.1.attn_q_a.weight", type = "BF16", shape = { 4, 16 }, at = "blk.0.attn_q_a.weight" },
}
local config = model.config("tiny")

local seeds = {
  ["gguf-model"] = gguf.encode(model.keys(config), tensors),
  ["gguf-tokenizer"] = gguf.encode(model.tokenizer(262), {}),
  ["gguf-aligned"] = gguf.encode({ { "general.alignment", "u32", 8 } }, tensors, { alignment = 8, version = 2 }),
  ["safetensors"] = files.encode { { name = "a", type = "F32", shape = { 2, 2 }, bytes = ("a"):rep(16) },
    { name = "b.scale", type = "F8_E8M0", shape = { 1 }, bytes = "b" } },
}
for number, bytes in ipairs(gguf.split(model.keys(config, { tokenizer = false }), { tensors[1], tensors[2] }, 2)) do
  seeds["gguf-part-" .. number] = bytes
end
for name, bytes in pairs(seeds) do support.write_file(folder .. "/" .. name, bytes) end
