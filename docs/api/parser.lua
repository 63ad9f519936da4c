return {
  title = "moonseek.parser",
  class = "Parser",
  variable = "parser",
  about = "Tokens to answers while they stream.",
  functions = {
    { "parser.new",
      arguments = { { "options", "ParserOptions" } },
      returns = "Parser",
      "a parser of one answer" },
    { "parser:feed",
      arguments = { { "id", "integer" }, { "bytes", "string?" } },
      returns = "ParserEvent[]",
      "takes a token, with its bytes if they are at hand; the events that it set free" },
    { "parser:finish",
      arguments = { { "reason", "string?" } },
      returns = "ParserEvent[]",
      "ends the output, for this `finish_reason` of a generation; the last events" },
    { "parser:result",
      returns = "Answer",
      errors = { "EFORMAT" },
      "what was found, after `finish`; `EFORMAT` is for the strict form alone" },
    { "parser:answer_at", returns = "integer",
      "the place of the answer's first token among those fed; 0 when the reasoning has no end token" },
  },
  classes = {
    { "ParserOptions", options = true, fields = {
      { "tokenizer", "Tokenizer", required = true, "of the model" },
      { "thinking", "boolean", default = "false", "whether the prompt ended with `<think>`" },
      { "tools", "table[]|string[]", default = "none", "the tools that were offered, or their names; without any, "
        .. "nothing is taken for a call" },
      { "strict", "boolean", default = "false", "accepts what the official parser accepts, and nothing else" },
    } },
    { "Answer", fields = {
      { "reasoning", "string", "empty without any" },
      { "text", "string", "the answer" },
      { "tool_calls", "ToolCall[]", "in their order" },
      { "finish_reason", "string", '`"tool_calls"`, or the reason given to `finish`' },
      { "dropped", "string[]?", "text beside the calls, and markers out of place: what is in no other field" },
    } },
    { "ToolCall", fields = {
      { "index", "integer", "from 1" },
      { "name", "string?", "of the tool" },
      { "arguments", "string?", "a JSON object; not of a malformed call" },
      { "malformed", "string?", 'what is wrong with it: `"unknown_tool"`, `"duplicate_parameter"`, `"invalid_json"`, '
        .. '`"invalid_tag"`, `"stray_text"`, `"not_closed"` or `"cut_off"`' },
      { "message", "string?", "the same in words" },
      { "raw", "string?", "the text of a malformed call" },
    } },
  },
  union = { "ParserEvent", tag = "type", classes = {
    { "ReasoningPart", tag = "reasoning", fields = { { "text", "string", "whole characters" } } },
    { "TextPart", tag = "text", fields = { { "text", "string", "whole characters" } } },
    { "CallDelta", tag = "call_delta", fields = {
      { "index", "integer", "of the call" },
      { "name", "string", "of the tool" },
      { "arguments", "string", "the next part of the JSON text. The first is empty; the call may still prove malformed" },
    } },
    { "CallDone", tag = "call", fields = {
      { "index", "integer", "of the call" },
      { "call", "ToolCall", "the whole" },
    } },
  } },
}
