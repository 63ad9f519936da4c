--- Refusals of files: nil, a message that begins with the file's path and says what is wrong with it, and a code.
local assert = require "luassert"

local refusals = {}

--- `result`, `message`, `got`: what was returned for `file`, a path or how messages begin; `part` is in the message.
function refusals.check(file, code, part, result, message, got)
  assert.is_nil(result)
  assert.equal(code, got, message)
  assert.equal(1, message:find(file, 1, true), "names no file: " .. message)
  assert.truthy(message:find(part, 1, true), ("'%s' does not say '%s'"):format(message, part))
end

--- What makes an `it` of every row { sentence, file's bytes, part of the message [, code] }.
function refusals.rows(it, refuses)
  return function(rows)
    for _, row in ipairs(rows) do
      it(row[1], function() refuses(row[2], row[4] or "EFORMAT", row[3]) end)
    end
  end
end

return refusals
