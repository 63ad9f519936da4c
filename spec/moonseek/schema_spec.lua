--- JSON schemas: what they allow, and what they say of the rest.
require "spec.support"
local json = require "moonseek.json"
local schema = require "moonseek.schema"

local function decoded(text)
  local value, message = json.decode(text)
  assert(message == nil, message)
  return value
end

describe("schema.validate", function()
  local cases = {
    -- schema, value, the message; none: allowed
    { '{}', '{"a": [1, null]}' },
    { 'true', '1' },
    { 'false', '1', "value: no value is allowed here, got number" },
    { '{"type": "string"}', '"x"' },
    { '{"type": "string"}', '7', "value: string expected, got 7" },
    { '{"type": "string"}', 'null', "value: string expected, got null" },
    { '{"type": ["string", "null"]}', 'null' },
    { '{"type": ["string", "null"]}', '[]', "value: string or null expected, got array" },
    { '{"type": "object"}', '{}' },
    { '{"type": "object"}', '[]', "value: object expected, got array" },
    { '{"type": "array"}', '[]' },
    { '{"type": "array"}', '{}', "value: array expected, got object" },
    { '{"type": "integer"}', '3' },
    { '{"type": "integer"}', '3.0' },
    { '{"type": "integer"}', '12345678901234567890' },
    { '{"type": "integer"}', '3.5', "value: integer expected, got 3.5" },
    { '{"type": "number"}', '3.5' },
    { '{"type": "number"}', '"3"', "value: number expected, got string" },
    { '{"type": "boolean"}', 'false' },
    { '{"enum": ["a", 1, null, {"x": [1]}]}', '{"x": [1.0]}' },
    { '{"enum": ["a", 1, null]}', 'null' },
    { '{"enum": ["a", 1]}', '"b"', 'value: one of ["a", 1] expected, got "b"' },
    { '{"enum": [{"x": 1}]}', '{"x": 1, "y": 2}', 'value: one of [{"x": 1}] expected, got {"x": 1, "y": 2}' },
    { '{"const": 4}', '5', "value: 4 expected, got 5" },
    { '{"minimum": 1, "maximum": 3}', '1' },
    { '{"minimum": 1, "maximum": 3}', '0', "value: at least 1 expected, got 0" },
    { '{"minimum": 1, "maximum": 3}', '3.5', "value: at most 3 expected, got 3.5" },
    { '{"exclusiveMinimum": 1}', '1', "value: more than 1 expected, got 1" },
    { '{"exclusiveMaximum": 1}', '1', "value: less than 1 expected, got 1" },
    { '{"minimum": 1}', '"0"' },
    { '{"minLength": 2}', '"é"', "value: at least 2 characters expected, got 1" },
    { '{"maxLength": 2}', '"éé"' },
    { '{"maxLength": 2}', '"abc"', "value: at most 2 characters expected, got 3" },
    { '{"minItems": 1}', '[]', "value: at least 1 items expected, got 0" },
    { '{"maxItems": 1}', '[1, 2]', "value: at most 1 items expected, got 2" },
    { '{"items": {"type": "integer"}}', '[1, "2", 3, null]',
      "value[2]: integer expected, got string; value[4]: integer expected, got null" },
    { '{"required": ["a", "b"]}', '{"a": null}', "value: 'b' is missing" },
    { '{"properties": {"a": {"type": "string"}}}', '{"b": 1}' },
    { '{"properties": {"a": {"type": "string"}}, "additionalProperties": false}', '{"a": "x", "b": 1}',
      "value: 'b' is not a property" },
    { '{"properties": {"a": {}}, "additionalProperties": {"type": "string"}}', '{"a": 1, "b": 1}',
      "value.b: string expected, got 1" },
    { '{"properties": {"a": {"properties": {"b": {"items": {"required": ["c"]}}}}}}', '{"a": {"b": [{"c": 1}, {}]}}',
      "value.a.b[2]: 'c' is missing" },
    { '{"items": {"type": "null"}}', '[1, 2, 3, 4, 5, 6, 7]',
      "value[1]: null expected, got 1; value[2]: null expected, got 2; value[3]: null expected, got 3; "
        .. "value[4]: null expected, got 4; value[5]: null expected, got 5; and 2 more" },
  }
  for _, case in ipairs(cases) do
    it(("%s %s %s"):format(case[1], case[3] and "refuses" or "allows", case[2]), function()
      local given = decoded(case[1])
      assert.is_true(schema.check(given))
      local ok, message, code = schema.validate(given, decoded(case[2]))
      assert.equal(case[3], message)
      if case[3] then assert.equal("EINVAL", code) else assert.is_true(ok) end
    end)
  end

  it("calls the value what the caller calls it, and takes plain tables", function()
    local given = { type = "object", properties = { city = { type = "string" } }, required = { "city" } }
    assert.is_true(schema.validate(given, { city = "Oslo" }))
    local _, message = schema.validate(given, { city = 4 }, "arguments")
    assert.equal("arguments.city: string expected, got 4", message)
  end)

  it("shortens long values in its message", function()
    local _, message = schema.validate({ enum = { "a" } }, ("x"):rep(1000))
    assert.is_true(#message < 150)
  end)
end)

describe("schema.check", function()
  local refused = {
    { '{"type": "text"}', "schema.type: unknown type 'text'" },
    { '{"type": 3}', "schema.type: strings expected, got number" },
    { '{"properties": {"a": {"type": "strin"}}}', "schema.properties.a.type: unknown type 'strin'" },
    { '{"items": [{}]}', "schema.items: a schema expected, got array" },
    { '{"properties": ["a"]}', "schema.properties: an object expected" },
    { '{"required": "a"}', "schema.required: a list expected" },
    { '{"required": [1]}', "schema.required: strings expected, got number" },
    { '{"enum": []}', "schema.enum: at least one value expected" },
    { '{"minimum": "1"}', "schema.minimum: a number expected, got string" },
    { '{"minLength": 1.5}', "schema.minLength: an integer from 0 expected, got 1.5" },
    { '{"maxItems": -1}', "schema.maxItems: an integer from 0 expected, got -1" },
    -- C02: bounds that contradict, references, patterns
    { '{"minimum": 3, "maximum": 2}', "schema: minimum is greater than maximum" },
    { '{"minLength": 3, "maxLength": 2}', "schema: minLength is greater than maxLength" },
    { '{"$ref": "#"}', "schema: keyword '$ref' is not supported" },
    { '{"pattern": "(a+)+b"}', "schema: keyword 'pattern' is not supported" },
  }
  for _, case in ipairs(refused) do
    it(("C02 refuses %s"):format(case[1]), function()
      local ok, message, code = schema.check(decoded(case[1]))
      assert.is_nil(ok)
      assert.equal(case[2], message)
      assert.equal("EINVAL", code)
    end)
  end

  it("C02 refuses a schema within itself, and what is none", function()
    local given = { type = "array" }
    given.items = given
    assert.matches("more than 200 levels, or a schema within itself$", (select(2, schema.check(given))))
    assert.equal("schema: a schema expected, got nil", (select(2, schema.check(nil))))
    assert.equal("schema: a schema expected, got string", (select(2, schema.check("object"))))
  end)

  it("C02 takes long enums and large bounds, and checks against them at once", function()
    local list = {}
    for i = 1, 10000 do list[i] = i end
    assert.is_true(schema.check { enum = list, maxLength = 2 ^ 31 })
    assert.is_true(schema.validate({ enum = list }, 10000))
    assert.is_nil((schema.validate({ enum = list }, 0)))
  end)

  it("takes words that only describe", function()
    assert.is_true(schema.check {
      title = "t", description = "d", default = json.null, examples = { 1 }, ["$id"] = "x" })
  end)
end)
