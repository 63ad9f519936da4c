return {
  title = "moonseek.encoding",
  class = "Encoding",
  variable = "encoding",
  about = "Messages to tokens, as DeepSeek-V4 was trained on them.",
  text = "`docs/conversation.md` shows what these are for. What is wrong in a message: `EINVAL` and `message N: ...`.",
  functions = {
    { "encoding.pieces",
      arguments = { { "messages", "Message[]" }, { "options", "EncodingOptions?" } },
      returns = { { "pieces", "Piece[]" }, { "marks", "Span[]" } },
      errors = { "EINVAL" },
      "the pieces of a conversation, for a tokenizer or a session; and each message's first and last piece" },
    { "encoding.encode",
      arguments = { { "tokenizer", "Tokenizer" }, { "messages", "Message[]" }, { "options", "EncodingOptions?" } },
      returns = { { "tokens", "Tokens" }, { "spans", "Span[]" } },
      errors = { "EINVAL" },
      "the tokens of a conversation, and for each message the places among them that it takes" },
  },
  classes = {
    { "EncodingOptions", options = true, fields = {
      { "thinking", '"off"|"low"|"high"|"max"', default = '`"off"`', "whether the model thinks, and how hard" },
      { "generation", '"0731"|"preview"', default = '`"0731"`',
        "of the checkpoint, which does not say so itself: the words for an effort differ" },
      { "drop_thinking", "boolean", default = "true",
        "the reasoning of earlier turns is left out; never when a message offers tools" },
      { "bos", "boolean", default = "true", "begins with the begin-of-sentence token" },
      { "escape_tool_results", "boolean", default = "false",
        "writes `</tool_result>` within a tool's result as `&lt;/tool_result>`; the official form leaves it" },
    } },
    { "Message", fields = {
      { "role", '"system"|"user"|"assistant"|"tool"|"developer"|"latest_reminder"', "who speaks" },
      { "content", "string|table[]|nil", 'the text, or parts `{ type = "text", text = }` that become paragraphs' },
      { "reasoning", "string?", "of an assistant; also as `reasoning_content`" },
      { "tool_calls", "table[]?", "of an assistant: `{ id =, name =, arguments = }`, arguments as JSON text or a "
        .. "table; or as OpenAI writes them" },
      { "tool_call_id", "string?", "of a tool's result: the call it answers" },
      { "tools", "table[]?", "of a system or developer message: `{ name =, description =, parameters = }`, or as "
        .. "OpenAI writes them" },
      { "response_format", "table?", "of a system or developer message: shown to the model as JSON" },
      { "task", '"action"|"query"|"authority"|"domain"|"title"|"read_url"|nil', "a quick instruction after it" },
      { "url", "string?", 'of a user message with the task `"read_url"`' },
      { "prefix", "boolean?", "of the last assistant message: the model goes on where it ends" },
      { "tokens", "Tokens?", "of an assistant: the ids that the model made, without the end token, used instead of "
        .. "the text where the whole turn or its answer is shown" },
      { "answer_at", "integer?", "the place in `tokens` where the answer begins, from `parser:answer_at`" },
    } },
    { "Span", fields = {
      { "first", "integer", "place of the first, from 1" },
      { "last", "integer", "place of the last; `first - 1` when there is none" },
    } },
  },
  after = [[
A span covers a message's text, reasoning and calls, not its role token and not the end token. A token belongs to the
message in which it begins.]],
}
