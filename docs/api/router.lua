local errors = { "EINVAL", "ENOENT", "EIO", "EFORMAT", "EUNSUPPORTED", "ECTXFULL", "EBUSY", "EHOOK", "EDEADLINE" }

return {
  title = "Router",
  class = "Router",
  variable = "router",
  about = "Who answers a request, and how hard it thinks.",
  text = [[
`docs/router.md` is the page about it. A rule or a judge that raises is the program's mistake, and goes through.]],
  functions = {
    { "moonseek.router",
      arguments = { { "options", "RouterOptions" } },
      returns = "Router",
      "a router over named engines" },
    { "router:answer",
      arguments = { { "request", "string|Request" }, { "options", "RouterAnswerOptions?" } },
      returns = "RouterAnswer", message = "any",
      errors = errors,
      "answers a request as the rules say" },
    { "router:plan",
      arguments = { { "request", "string|Request" } },
      returns = { { "plan", "Plan|false", "of the first rule that applies, over the defaults" },
        { "record", "Record", "of how" } },
      "decides, and answers nothing" },
    { "router:records", returns = "Record[]", "of the last requests, oldest first" },
    { "router:spent", returns = "RouterSpent", "what all requests until now have cost" },
    { "router:close", "closes the sessions in which judges asked; the engines stay open" },
    { "router.choose",
      arguments = { { "options", "ChooseOptions" } },
      returns = "fun(request: Request, place: table): any",
      "a judge: a question whose answer is one of a few words, decided by `session:choose` after one short read on a "
        .. "fork. What all its questions begin with is read once" },
    { "router.unlikely",
      arguments = { { "options", "UnlikelyOptions" } },
      returns = "fun(answer: ChatAnswer): boolean",
      "doubts an answer of low log-probability: for `escalate`" },
    { "router.disagreement",
      arguments = { { "options", "DisagreementOptions?" } },
      returns = "fun(answer: ChatAnswer, again: function): boolean",
      "doubts an answer that further samples do not repeat: for `escalate`. It asks for no more of them than decide" },
  },
  classes = {
    { "RouterOptions", options = true, fields = {
      { "engines", "table<string, Engine>", required = true, "by the names that plans use, not `chat`" },
      { "rules", "Rule[]", "the first that applies gives the plan; without one it is the defaults" },
      { "judges", "table<string, function>", "what rules may ask: `judge(request, place)` gives a verdict and, for the "
        .. "record, a table of figures and the tokens it read, or nil, message, code, and the verdict is nil. "
        .. "`place:fork(engine's name or nil [, chat])` is a session to ask in, which the judge closes; "
        .. "`place.deadline_ms` is what is left of the budget" },
      { "defaults", "Plan", "what plans do not say" },
      { "keep", "integer", default = "100", "records" },
      { "on_record", "fun(record: Record)", "hears of each request when it is done" },
      { "clock", "fun(): number", default = "the system's", "milliseconds" },
    } },
    { "Rule", fields = {
      { "name", "string", "for the record" },
      { "when", "(fun(request: Request, judge: table): any)?", "whether it applies; always without one. `judge.NAME` "
        .. "is a judge's verdict, asked for once a request" },
      { "plan", "Plan|false|fun(request: Request, judge: table): Plan|false", "how to answer; with false no model "
        .. 'does, and the `finish_reason` is `"declined"`' },
    } },
    { "Request", text = "A request, with any fields of your own. Rules see a copy and may "
      .. "change it, for instance ask by `messages` for something else; a string is its `text`.", fields = {
      { "text", "string?", "what the user says; of `messages`, the last that the user said" },
      { "messages", "Message[]?", "in place of `text`" },
      { "chat", "Chat?", "where it is said. Another engine gets the messages, and the chat its answer" },
    } },
    { "Plan", extends = "ChatOptions", options = true,
      text = "The options of a chat and its turn but `messages`, `on_event` and `on_full`. Those of a chat hold where "
        .. "one is made for the request. And:", fields = {
      { "engine", "string|string[]", default = "the request's chat, or the only engine",
        'a name, or several: the next one is tried after a failure or a `deadline_ms`. `"chat"` is that chat' },
      { "experts", "Routing", "expert policy while it answers" },
      { "budget", "Budget", "of the whole request, judges, samples and escalation included" },
      { "escalate", "Escalation", "what to do about a doubtful answer" },
    } },
    { "Budget", options = true, fields = {
      { "tokens", "integer", "generated" },
      { "ms", "integer", "from the request on" },
      { "cpu_seconds", "number", "of the whole process, looked at with each event" },
    } },
    { "Escalation", options = true, fields = {
      { "when", "fun(answer: ChatAnswer, again: function, request: Request): boolean, table?",
        required = true, "whether the answer is in doubt, and figures for the record. `again(options)` gives another "
          .. "answer, or nil, message, code; the options of a turn override the plan's" },
      { "plan", "Plan", required = true, "the answer is made anew with it, over the plan before. With the same engine "
        .. "and experts in the same chat, which reads nothing twice" },
    } },
    { "ChooseOptions", options = true, fields = {
      { "ask", "fun(request: Request): string?", required = true, "the question; nil asks nothing" },
      { "choices", "string[]", required = true, "the possible answers" },
      { "engine", "string", default = "the first of the defaults", "that is asked" },
      { "in_chat", "boolean", default = "false", "asks behind the messages of the request's chat, on a fork" },
      { "generation", '"0731"|"preview"', "of the checkpoint" },
      { "margin", "number", default = "0", "of log-probability, by which the likeliest has to lead" },
      { "otherwise", "any", default = "nil", "the verdict where it does not, or nothing was asked" },
    } },
    { "UnlikelyOptions", options = true, text = "One at least:", fields = {
      { "least", "number", "sum of the answer's log-probabilities" },
      { "least_mean", "number", "the same a token" },
    } },
    { "DisagreementOptions", options = true, fields = {
      { "samples", "integer", from = 1, default = "3", "further answers" },
      { "agree", "number", default = "1", "the share of them that has to be like the answer" },
      { "temperature", "number", default = "1", "of the samples" },
      { "seed", "integer|string", "the i-th sample takes `seed + i`" },
      { "same", "fun(a: ChatAnswer, b: ChatAnswer): boolean", default = "equal texts", "" },
    } },
    { "RouterAnswerOptions", options = true, fields = {
      { "on_event", "fun(event: ChatEvent, try: RecordTry)", "hears the events of every try" },
    } },
    { "RouterAnswer", extends = "ChatAnswer", fields = { { "record", "Record", "how it came about" } } },
    { "Record", text = "What was done for a request; `tostring` prints it:", fields = {
      { "number", "integer", "of the request" },
      { "rule", "string?", "that applied" },
      { "judges", "RecordJudge[]", "in the order in which they were asked" },
      { "tries", "RecordTry[]", "answers that were begun" },
      { "cost", "Cost", "in all" },
      { "code", "Code?", "of the failure, if there is no answer" },
    } },
    { "RecordJudge", fields = {
      { "name", "string", "" }, { "verdict", "any", "" }, { "figures", "table?", "such as `margin`" },
      { "cost", "Cost", "" }, { "error", "any", "why there is no verdict" }, { "code", "Code?", "" },
    } },
    { "RecordTry", fields = {
      { "engine", "string", "its name" },
      { "why", "string", '`"answered"`, `"escalated"` or `"instead of NAME"`' },
      { "thinking", "string", "" }, { "finish_reason", "string?", "" }, { "logprob", "number?", "" },
      { "cost", "Cost", "" }, { "experts", "RoutingStats?", "of this try, if the plan had a policy" },
      { "unsure", "boolean?", "what was thought of the answer" }, { "figures", "table?", "on which grounds" },
      { "judging", "Cost?", "of that, samples included" },
      { "kept", "string?", "why a doubtful answer was kept" },
      { "error", "any", "why there is no answer" }, { "code", "Code?", "" },
    } },
    { "Cost", fields = {
      { "read", "integer", "tokens" }, { "generated", "integer", "tokens" },
      { "ms", "number", "wall time" }, { "cpu_seconds", "number", "of the whole process meanwhile" },
    } },
    { "RouterSpent", extends = "Cost", fields = { { "requests", "integer", "planned or answered" } } },
  },
}
