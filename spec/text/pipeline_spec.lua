local files = require "spec.text.files"

describe("pipeline_check", function()
  it("takes the pipeline of the V4 file, and fields that say 'unused'", function()
    assert(files.open(files.text {}))
    assert(files.open(files.text { normalizer = '{"type":"Sequence","normalizers":[]}' }))
    assert(files.open(files.text { model = '"dropout":null,"byte_fallback":false,"end_of_word_suffix":""' }))
  end)

  local other = files.other_pre_tokenizer
  local rows = {
    { "another normalizer", { normalizer = '{"type":"NFC"}' }, "normalizer:" },
    { "a normalizer that does something",
      { normalizer = '{"type":"Sequence","normalizers":[{"type":"NFC"}]}' }, "normalizer:" },
    { "no pre-tokenizer", { pre_tokenizer = "null" }, "pre_tokenizer:" },
    { "another pre-tokenizer", { pre_tokenizer = '{"type":"ByteLevel","add_prefix_space":false}' }, "pre_tokenizer:" },
    { "longer runs of digits", { pre_tokenizer = other("{1,3}", "{1,4}") }, "pretokenizers[0].pattern" },
    { "another range of CJK", { pre_tokenizer = other("龥", "龦") }, "pretokenizers[1].pattern" },
    { "another third expression", { pre_tokenizer = other("[A-Za-z]+", "[A-Za-z]*") }, "pretokenizers[2].pattern" },
    { "removed separators", { pre_tokenizer = other("Isolated", "Removed") }, "pretokenizers[0].behavior" },
    { "an inverted split", { pre_tokenizer = other('"invert":false', '"invert":true') }, "pretokenizers[0].invert" },
    { "a split of another type", { pre_tokenizer = other('"Split"', '"Digits"') }, "pretokenizers[0].type" },
    { "one step more", { pre_tokenizer = other("[\n", '[{"type":"Whitespace"},') }, "pre_tokenizer:" },
    { "a last step of another type", { pre_tokenizer = other("ByteLevel", "Metaspace") }, "pretokenizers[3].type" },
    { "a prefix space", { pre_tokenizer = other('"add_prefix_space":false', '"add_prefix_space":true') },
      "pretokenizers[3].add_prefix_space" },
    { "the byte level's own expression",
      { pre_tokenizer = other(',"use_regex":false', "") }, "pretokenizers[3].use_regex" },
    { "dropout", { model = '"dropout":0.1' }, "model.dropout" },
    { "a suffix of words", { model = '"end_of_word_suffix":"</w>"' }, "model.end_of_word_suffix" },
    { "a prefix of continuations", { model = '"continuing_subword_prefix":"##"' }, "model.continuing_subword_prefix" },
    { "byte fallback", { model = '"byte_fallback":true' }, "model.byte_fallback" },
    { "ignored merges", { model = '"ignore_merges":true' }, "model.ignore_merges" },
  }
  for _, row in ipairs(rows) do
    it("refuses by name: " .. row[1], function()
      files.refuses(files.text(row[2]), "EUNSUPPORTED", row[3])
    end)
  end

  it("refuses by name: another model", function()
    local text = files.text({}):gsub('"BPE"', '"Unigram"')
    files.refuses(text, "EUNSUPPORTED", "model.type is Unigram, supported is BPE")
  end)
end)
