--- Small tokenizer.json files for specs: the 256 byte tokens (ids 0 to 255), and what a case adds or breaks.
local assert = require "luassert"
local core = require "moonseek.core"
local support = require "spec.support"
local refusals = require "spec.refusals"

local files = {}

local pre_tokenizer = [[{"type":"Sequence","pretokenizers":[
{"type":"Split","pattern":{"Regex":"\\p{N}{1,3}"},"behavior":"Isolated","invert":false},
{"type":"Split","pattern":{"Regex":"[一-龥぀-ゟ゠-ヿ]+"},"behavior":"Isolated","invert":false},
{"type":"Split","pattern":{"Regex":"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|]]
  .. [[[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"},]]
  .. [["behavior":"Isolated","invert":false},
{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}]]

--- The character that stands for a byte in such files.
function files.character(byte)
  local printable = byte >= 33 and byte <= 126 or byte >= 161 and byte <= 172 or byte >= 174
  local code = byte
  if not printable then
    code = byte < 33 and 256 + byte or byte < 161 and 256 + 33 + byte - 127 or 256 + 33 + 34
  end
  if code < 128 then return string.char(code) end
  return string.char(192 + math.floor(code / 64), 128 + code % 64)
end

function files.quote(text)
  return '"' .. text:gsub('["\\]', "\\%0") .. '"'   -- of gsub's results only the first is joined
end

local function byte_tokens(without)
  local entries = {}
  for byte = 0, 255 do
    if byte ~= without then
      entries[#entries + 1] = files.quote(files.character(byte)) .. ":" .. byte
    end
  end
  return table.concat(entries, ",")
end

--- The text of a file. Of `case`: `vocab` (more members), `merges`, `added` (lists as JSON, without brackets),
-- `without` (a byte that gets no token), `model` (more members), `normalizer`, `pre_tokenizer` (values).
function files.text(case)
  local vocab = byte_tokens(case.without) .. (case.vocab and "," .. case.vocab or "")
  return table.concat {
    '{"version":"1.0","added_tokens":[', case.added or "", '],"normalizer":', case.normalizer or "null",
    ',"pre_tokenizer":', case.pre_tokenizer or pre_tokenizer, ',\n"model":{"type":"BPE",',
    case.model and case.model .. "," or "", '"vocab":{', vocab, '},"merges":[', case.merges or "", "]}}",
  }
end

--- The pre-tokenizer with one part replaced.
function files.other_pre_tokenizer(from, to)
  local at, last = pre_tokenizer:find(from, 1, true)
  assert(at, from)
  return pre_tokenizer:sub(1, at - 1) .. to .. pre_tokenizer:sub(last + 1)
end

--- What moonseek.tokenizer returns for a file of these bytes; then the file's path.
function files.open(bytes)
  local path = os.tmpname()
  support.write_file(path, bytes)
  local tokenizer, message, code = core.tokenizer(path)
  os.remove(path)
  return tokenizer, message, code, path
end

--- Checks that a file of these bytes is refused with `code`, in words that name the file and hold `part`.
function files.refuses(bytes, code, part)
  local tokenizer, message, got, path = files.open(bytes)
  refusals.check(path, code, part, tokenizer, message, got)
end

--- Lines of spec/data/NAME as text, "number number ...".
function files.vectors(name)
  local next_line = io.lines("spec/data/" .. name)
  return function()
    local line = next_line()
    if not line then return nil end
    local text, numbers = line:match("^([^\t]*)\t(.*)$")
    text = text:gsub("%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end)
    return text, numbers
  end
end

return files
