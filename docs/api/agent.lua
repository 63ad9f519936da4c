local errors = { "EINVAL", "ECTXFULL", "EBUSY", "EFORMAT", "EHOOK", "EIO", "ETOOL" }

return {
  title = "Agent",
  class = "Agent",
  about = "A chat whose model may call tools until it has answered.",
  text = [[
`docs/agents.md` is the page about it. A run that gives nil can be gone on with: `agent:run()`.]],
  functions = {
    { "moonseek.agent", arguments = { { "options", "AgentOptions" } }, returns = "Agent",
      "an agent on a chat, with tools" },
    { "moonseek.resume_agent",
      arguments = { { "path", "string" }, { "options", "ResumeOptions" } },
      returns = "Agent",
      errors = { "ENOENT", "EIO", "EFORMAT", "EINVAL", "EHOOK", "ETOOL" },
      "the agent of an earlier process, from the file of its checkpoint, standing where that one stood" },
    { "moonseek.replay_agent",
      arguments = { { "trace", "string|AgentRecord[]" }, { "options", "AgentLimits?" } },
      returns = "Agent",
      errors = { "ENOENT", "EIO", "EFORMAT" },
      "an agent whose model is a trace: its records, or a file of them. Without `tools` the calls have their results "
        .. "from the trace, too" },
    { "agent:run",
      arguments = { { "task", "string|Message|Message[]|nil" }, { "options", "ChatTurnOptions?" } },
      returns = "AgentResult", message = "any",
      errors = errors,
      "works until the model answers without a call, or a limit ends the run. Without a task it goes on with the run "
        .. "that was interrupted, or gives the last result again; in a replay it takes the next task" },
    { "agent:branch",
      arguments = { { "count", "integer" }, { "options", "BranchOptions" } },
      returns = "AgentResult", message = "any",
      errors = { "EINVAL", "ECTXFULL", "EBUSY", "EFORMAT", "EHOOK", "EIO", "ETOOL", "ECANCELED" },
      "works on a task `count` times side by side, each on a fork of the chat, and goes on from the result with the "
        .. "highest score; of equal ones the first. Every branch makes its calls" },
    { "agent:checkpoint",
      arguments = { { "path", "string" } },
      returns = "true",
      errors = { "EINVAL", "EIO", "EBUSY" },
      "from here on every step is in this file before the next is taken. A file that exists is refused" },
    { "agent:trace", returns = "AgentRecord[]", "the records of all steps until now" },
    { "agent:chat", returns = "Chat", "the chat as it stands: the one that was given, or the fork of the branch that "
      .. "was kept, which the agent closes" },
    { "agent:cancel", "ends the run at its next step, from within a tool or a hook" },
    { "agent:close", "closes the checkpoint's file; the chat that was given stays open" },
  },
  classes = {
    { "AgentLimits", options = true, text = "Options of an agent but its chat:", fields = {
      { "tools", "AgentTool[]", "that the model may call" },
      { "max_rounds", "integer", from = 1, default = "8", "answers of the model in a run" },
      { "budget", "AgentBudget", "of a run" },
      { "approve", "fun(call: AgentCall): boolean, string?",
        "asked before every call; if it refuses, the model reads why" },
      { "parallel", "integer", from = 1, default = "8", "calls at once" },
      { "timeout_ms", "number", unit = "milliseconds", default = "60000", "of a call, unless its tool has another" },
      { "max_result", "integer", unit = "bytes", default = "16384",
        "of a result that the model reads, unless the tool has another" },
      { "on_step", "fun(record: AgentRecord)", "hears every record, once it is written" },
      { "wait", "fun(ms: number, yielded: table[])", "waits until a tool may go on, at most so long; by default the "
        .. "process sleeps. `yielded[i]` is `{ call =, ... }`, with what the tool yielded" },
      { "clock", "fun(): number", "milliseconds since some moment" },
    } },
    { "AgentOptions", extends = "AgentLimits", options = true, text = "`moonseek.agent` takes besides:", fields = {
      { "chat", "Chat", required = true, "or any object with its methods" },
    } },
    { "ResumeOptions", extends = "AgentOptions", options = true,
      text = "`moonseek.resume_agent` takes more:", fields = {
      { "on_unknown", 'fun(call: AgentCall): "rerun"|"result"|"fail", any',
        "says what becomes of a call that was begun and has no result: it is made again, has this result, or has "
          .. "failed with this message. Without it such a file is `ETOOL`" },
    } },
    { "BranchOptions", options = true, text = "Options of `agent:branch`:", fields = {
      { "task", "string|Message|Message[]", required = true, "as `agent:run` takes it" },
      { "score", "fun(result: AgentResult, index: integer): number?", required = true,
        "how good a result is; nil leaves it out" },
      { "variants", "ChatTurnOptions[]", "the options of the first, the second, ..." },
    } },
    { "AgentTool", text = "A tool:", fields = {
      { "name", "string", "" },
      { "description", "string?", "for the model" },
      { "parameters", "table?", "a JSON schema, as `moonseek.schema` takes it" },
      { "run", "fun(arguments: table, call: AgentCall): any",
        "gives the result: a string, or what JSON can hold; or nil and a message. It may yield" },
      { "timeout_ms", "number?", "of a call" },
      { "max_result", "integer?", "bytes of a result" },
    } },
    { "AgentBudget", text = "A budget of a run:", fields = {
      { "tokens", "integer?", "that the model makes, reasoning too" },
      { "calls", "integer?", "that are made; those beyond are refused" },
      { "ms", "number?", "wall time" },
    } },
    { "AgentCall", text = "A call, as tools and hooks see it:", fields = {
      { "id", "string", "of the call" },
      { "name", "string", "of the tool" },
      { "arguments", "table", "as they were decoded: `json.null` stands for null" },
      { "round", "integer", "the answer that made it" },
      { "branch", "integer?", "that it is in" },
    } },
    { "AgentResult", text = "What a run gives:", fields = {
      { "text", "string", "of the last answer" },
      { "reasoning", "string", "of the last answer" },
      { "finish_reason", '"stop"|"length"|"cancel"|"deadline"|"max_rounds"|"tokens"', "why it ended: `\"length\"` is "
        .. "an answer that was cut, the last two are limits of the run" },
      { "rounds", "integer", "answers of the model" },
      { "calls", "integer", "that were made" },
      { "usage", "ChatUsage", "of all answers" },
      { "logprob", "number?", "of the last answer" },
      { "ms", "integer", "wall time" },
      { "branch", "integer?", "the branch that was kept, after `agent:branch`;" },
      { "branches", "table[]?", "all of them: `{ result =, score =, message =, code = }`" },
    } },
    { "AgentRecord", text = "A record of a trace; `docs/agents.md` lists the types and their fields:", fields = {
      { "type", '"agent"|"run"|"answer"|"intent"|"result"|"end"|"branch"|"adopt"|"resume"', "of the step" },
      { "at", "integer", "milliseconds since the run began" },
      { "branch", "integer?", "that it is in" },
    } },
  },
}
