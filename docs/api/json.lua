return {
  title = "moonseek.json",
  class = "Json",
  variable = "json",
  about = "JSON whose texts come back as they came in.",
  text = [[
Objects are tables that remember the order of their keys, arrays are lists, both also when they are empty;
`json.null` stands for null (it is true in a condition). A number that was read and not changed is written as it was
(`1.0`, `1e3`, integers of any length) wherever it stands in an object or array.]],
  functions = {
    { "json.decode",
      arguments = { { "text", "string" }, { "options", "JsonReading?" } },
      returns = "any",
      errors = { "EFORMAT" },
      "the value; at most 200 levels of containers. The message names the byte" },
    { "json.encode",
      arguments = { { "value", "any" }, { "options", "JsonWriting?" } },
      returns = "string",
      errors = { "EINVAL" },
      "its JSON text, with `\", \"` and `\": \"` between its parts. A plain table is an array when it is a sequence, "
        .. "else an object with sorted keys, also when it is empty" },
    { "json.encode_member",
      arguments = { { "container", "table" }, { "key", "string|integer" }, { "options", "JsonWriting?" } },
      returns = "string",
      errors = { "EINVAL" },
      "the text of `container[key]`, as `encode` writes it within the whole" },
    { "json.object", arguments = { { "pairs", "table[]?" } }, returns = "table",
      "an object with its keys in order: `json.object { { \"city\", \"Oslo\" }, { \"days\", 3 } }`" },
    { "json.array", arguments = { { "list", "table?" } }, returns = "table",
      "the list itself, marked as an array: an empty one is written as `[]`" },
    { "json.keys", arguments = { { "object", "table" } }, returns = "string[]",
      "its keys in order: as they were read or set, of a plain table sorted. `pairs` follows it on Lua 5.4" },
    { "json.type", arguments = { { "value", "any" } }, returns = "string?",
      'what a value is written as: `"object"`, `"array"`, `"string"`, `"number"`, `"boolean"`, `"null"`, or nil' },
    { "json.escape", arguments = { { "text", "string" } }, returns = "string",
      "the text as a JSON string without its quotes: for writing one in parts" },
  },
  fields = { { "null", "table" } },
  classes = {
    { "JsonReading", options = true, text = "Options of `json.decode`:", fields = {
      { "python", "boolean", default = "false", "also `NaN`, `Infinity` and `-Infinity`, as Python's json module" },
    } },
    { "JsonWriting", options = true, text = "Options of `json.encode` and `json.encode_member`:", fields = {
      { "python", "boolean", default = "false",
        "what Python's `json.dumps(value, ensure_ascii=False)` gives after reading the same text: `1e3` becomes "
          .. "`1000.0`" },
      { "first", "string[]", "keys that come first in plain tables" },
    } },
  },
}
