return {
  title = "moonseek.schema",
  class = "Schema",
  variable = "schema",
  about = "JSON schemas: which values they allow, and what is wrong with the rest.",
  text = [[
Keywords: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`, `minItems`, `maxItems`,
`minLength`, `maxLength`, `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, and those that only describe
(`title`, `description`, `default`, `examples`, `deprecated`, `$schema`, `$id`, `$comment`). Others are
refused, never passed over.]],
  functions = {
    { "schema.check", arguments = { { "schema", "table|boolean" } }, returns = "true", errors = { "EINVAL" },
      "whether it is a schema that `validate` understands; the message names the place" },
    { "schema.validate",
      arguments = { { "schema", "table|boolean" }, { "value", "any" }, { "name", "string?" } },
      returns = "true",
      errors = { "EINVAL" },
      "whether a schema that passed `check` allows a value. The message names up to five places, from `name` on" },
  },
}
