---@meta moonseek
-- Made from docs/api/ by `make reference`: edit there. Definitions for editors (LuaCATS).

---@alias moonseek.Code
---| "EINVAL" # a value is out of range
---| "ENOENT" # there is no such file, or the model has no tokenizer
---| "EIO" # the system could not read or write
---| "EFORMAT" # a file is not what it says
---| "EUNSUPPORTED" # it is, but this version cannot use it
---| "EMODEL" # a file belongs to another model
---| "ENOMEM" # no memory
---| "ENOSPC" # no room on the disk
---| "EBUSY" # a job runs on the session, or the job has not ended
---| "ECTXFULL" # the session's context is full
---| "ECANCELED" # ended by a call; a job that is cancelled or late has a result instead (`finish_reason`)
---| "EDEADLINE" # a request's budget was spent before an answer was begun
---| "ECLOSED" # reserved: no function returns it yet
---| "ENODEV" # the backend that was asked for cannot run here
---| "EHOOK" # a function of yours raised (`on_event`, or a hook of an agent); the message is what it raised
---| "ETOOL" # a call of a tool was begun, and nobody knows how it ended

---@alias moonseek.Piece string|{ text: string }|{ control: string }|{ ids: moonseek.Tokens|integer[] }

---@alias moonseek.AnyTokens moonseek.Tokens|integer[]|string|moonseek.Piece[]

---@alias moonseek.Event
---| moonseek.Prefill
---| moonseek.Token
---| moonseek.Done
---| moonseek.Error

---@alias moonseek.ChatEvent
---| moonseek.ChatPrefill
---| moonseek.ChatReasoning
---| moonseek.ChatText
---| moonseek.ChatCallDelta
---| moonseek.ChatCall
---| moonseek.ChatDone
---| moonseek.ChatError

---@alias moonseek.ParserEvent
---| moonseek.ReasoningPart
---| moonseek.TextPart
---| moonseek.CallDelta
---| moonseek.CallDone

---@class moonseek.OpenOptions
---folder with `config.json` and safetensors, or one of these files in it; or a GGUF file, or one of its parts
---(`docs/files.md`)
---@field path string
---what computes; a name other than auto must be able to run, or open fails (`ENODEV`)
---@field backend? "auto"|"cpu"
---for computing, at most 256; they start with the first job. By default one answer alone takes the fewest that
---generate it about as fast (`docs/performance.md`). 0: none, the host computes (`session:step`, `job:wait`,
---`generate`)
---@field threads? integer
---what is rounded: `docs/numerics.md`
---@field numerics? "fast"|"reference"|"exact"
---a level named by `moonseek.version().cpu`; for comparisons, results are the same
---@field kernels? "auto"|"scalar"|"avx2"|"avxvnni"|"avx512"|"avx512vbmi"|"avx512bf16"|"neon"|"dotprod"
---false reads the files into memory: a file that shrinks later cannot end the process
---@field mmap? boolean
---true reads every weight and refuses NaN and infinity
---@field check? boolean
---called while opening; what it raises is raised by `open`. It cannot yield
---@field on_progress? fun(phase: string, done: integer, total: integer)
---prefixes that need not be read again
---@field cache? moonseek.Cache

---@class moonseek.CacheOptions
---the folder, made if it is missing
---@field dir string
---what its files may take together; those not used for longest go
---@field budget integer
---newly read in one go that are worth a file, and unread ones that are worth a look
---@field minimum? integer

---@class moonseek.ConvertOptions
---the model, as `moonseek.open` takes it
---@field source string
---a file that ends in `.gguf`, or a folder, which gets safetensors
---@field target string
---type of the routed experts; types are named in `docs/convert.md`
---@field experts? string
---type of the matrices of attention and of the indexer's query
---@field attention? string
---type of the compressors' matrices
---@field compressors? string
---type of the shared experts
---@field shared? string
---type of the output matrix
---@field head? string
---type of the token embeddings
---@field embedding? string
---that encode, while the call lasts; 0: the caller's alone
---@field threads? integer
---of a safetensors file, behind which the next one begins
---@field shard_bytes? integer
---a file that bears the target's name is replaced
---@field overwrite? boolean
---called with bytes of the target; false, or an error, stops the conversion, which the same call goes on with. It
---cannot yield
---@field on_progress? fun(phase: string, done: integer, total: integer): boolean

---@class moonseek.MockOptions
---what it answers, one a request: a text, pieces, or a `MockAnswer`
---@field answers? table
---the same, asked for each request
---@field answer? fun(request: moonseek.MockRequest): string|moonseek.Piece[]|moonseek.MockAnswer
---what `session:choose` gives
---@field choose? fun(request: moonseek.MockRequest, choices: moonseek.AnyTokens[]): integer
---of its sessions at most
---@field context? number
---between tokens, on a clock that goes on while somebody waits or polls: no time is lost
---@field token_ms? number

---@class moonseek.ModelInfo
---`"deepseek_v4"`
---@field architecture string
---transformer layers
---@field layers integer
---of the residual streams
---@field width integer
---of attention
---@field heads integer
---ids that the model knows: 0 to this, less one
---@field vocabulary integer
---tokens the model was made for
---@field context integer
---in a layer
---@field experts integer
---of them, chosen for each token
---@field experts_per_token integer
---in its files; one that holds all experts of a layer counts once
---@field tensors integer
---of them, that no part of the model uses
---@field ignored_tensors integer
---numbers in the tensors that are used; scales do not count
---@field parameters integer
---of these tensors
---@field bytes integer
---by the name of an element type
---@field types table<string, { tensors: integer, bytes: integer }>

---@class moonseek.Version
---as `_VERSION`
---@field module string
---of Lua: `"5.4"` or `"5.1"`
---@field abi string
---names that the option `backend` takes
---@field backends string[]
---the kernel levels that this machine can run, such as `"scalar avx2"`
---@field cpu string

---@class moonseek.StatsOptions
---the time of each stage of the architecture, too; it is taken from the first time this is asked for
---@field stages? boolean

---@class moonseek.MemoryOptions
---what the session holds
---@field context? integer

---@class moonseek.SetOptions
---for computing, at most 256
---@field threads? integer
---unfinished at once; one more is refused with `EBUSY`
---@field max_jobs? integer
---by which reading may lengthen a step that answers wait for
---@field slice_ms? number

---@class moonseek.SessionOptions
---what it can hold
---@field context? integer

---@class moonseek.LoadSessionOptions
---what it can hold
---@field context? integer

---@class moonseek.EngineInfo: moonseek.ModelInfo
---`"cpu"`
---@field backend string
---the level chosen
---@field kernels string
---`"fast"`, `"reference"` or `"exact"`
---@field numerics string
---for computing
---@field threads integer

---@class moonseek.Stats
---read
---@field prefill_tokens integer
---generated
---@field decode_tokens integer
---passes through the layers
---@field steps integer
---wall time of steps, by their rows: reading
---@field prefill_ms number
---generating
---@field decode_ms number
---open now
---@field sessions integer
---unfinished now
---@field jobs integer
---held by sessions now
---@field session_bytes integer
---work space of the steps now
---@field scratch_bytes integer
---that generate one answer alone: the fewest that do it about as fast as all, unless a number was asked for; 0 until
---they are found
---@field answer_threads integer
---with `stages`: a list of `{ name =, calls =, ms = }`, the stages of `csrc/compute/backend.h` in their order
---@field stages? table

---@class moonseek.MemoryPlan
---the tensors that are used; mapped, not read
---@field weights integer
---at most, of one that holds `context` tokens, with the 8 places it can go back to
---@field session integer
---by which it grows
---@field per_token integer
---the file of a session that holds so many tokens
---@field saved integer
---a step's rows, without the work space of the kernels
---@field scratch integer

---@class moonseek.RoutingStatsOptions
---counts from 0 again afterwards
---@field reset? boolean

---@class moonseek.Routing
---experts a token, at most the model's `experts_per_token`, the default
---@field top_k? integer
---expert → number, -1000 to 1000, added to the score that chooses; the weights stay those of the scores
---@field bias? table<integer, number>
---experts that are never chosen; every layer that chooses by score keeps `top_k`
---@field disable? integer[]
---layer → `bias` and `disable` for this layer, beside those for all; not for layers that route by token
---@field layers? table<integer, moonseek.LayerRouting>

---@class moonseek.LayerRouting
---as above
---@field bias? table<integer, number>
---as above
---@field disable? integer[]

---@class moonseek.RoutingStats
---read since the session was made or `reset`; those read again count again
---@field tokens integer
---layer → expert → how often it was chosen
---@field layers table<integer, table<integer, integer>>

---@class moonseek.GenerateOptions
---0 only reads; by default until the context is full
---@field max_tokens? integer
---0 takes the likeliest token
---@field temperature? number
---that many likeliest; 0: all
---@field top_k? integer
---the likeliest that make up this sum
---@field top_p? number
---those with at least this share of the likeliest
---@field min_p? number
---up to 2^64-1, as a string of digits from 2^53 on. Without one, one is drawn and returned
---@field seed? integer|string
---of tokens in the session; 1: none
---@field repetition_penalty? number
---of tokens in this answer, by how often; 0: none
---@field frequency_penalty? number
---of tokens in this answer, once; 0: none
---@field presence_penalty? number
---token id → number, -10000 to 10000, added to the logit; `-math.huge` forbids the token
---@field logit_bias? table<integer, number>
---at most 256; the text ends before such a string, the generation at such an id
---@field stop? (string|integer)[]
---goes on after the end-of-text token
---@field ignore_eos? boolean
---this many alternatives with every token
---@field logprobs? integer
---text may be cut inside a UTF-8 character, and holds bytes that are none
---@field raw? boolean
---ends it after this time, with what there is
---@field deadline_ms? integer
---texts of higher priority are read first; answers of every priority go on beside them
---@field priority? integer

---@class moonseek.GenerateOptionsWithHook: moonseek.GenerateOptions
---hears every event while `generate` runs
---@field on_event? fun(event: moonseek.Event)

---@class moonseek.Result
---without the stop string; `tostring(result)` too
---@field text string
---packed; all stay in the session
---@field tokens moonseek.Tokens
---stop: end-of-text or a stop; length: `max_tokens`, or the context is full
---@field finish_reason "stop"|"length"|"cancel"|"deadline"
---a number, or from 2^53 on a string of digits
---@field seed integer|string
---tokens, counted
---@field usage moonseek.Usage
---wall time of reading and of generating
---@field timing { prefill_ms: number, decode_ms: number }

---@class moonseek.Usage
---`cached` + `read`
---@field prompt integer
---read before
---@field cached integer
---by this generation
---@field read integer
---of these, once more after going back
---@field reread integer
---generated
---@field completion integer

---@class moonseek.Prefill
---@field type "prefill"
---tokens read
---@field done integer
---tokens to read. Reports that nobody took become one
---@field total integer

---@class moonseek.Token
---@field type "token"
---its id
---@field token integer
---where it stands in the session
---@field position integer
---what became complete with it, may be empty
---@field text string
---of the unmodified logits
---@field logprob number
---with the option `logprobs`: the likeliest, best first
---@field logprobs? { id: integer, logprob: number }[]

---@class moonseek.Done: moonseek.Result
---@field type "done"
---beside the fields of a result: text that no token event has shown, set free by the end
---@field tail string

---@class moonseek.Error
---@field type "error"
---what went wrong
---@field message string
---of the list above
---@field code moonseek.Code

---@class moonseek.CacheStats
---jobs that began with a stored prefix
---@field found integer
---files written
---@field stored integer
---files removed, for the budget's sake or because they were damaged
---@field removed integer
---files that could not be written
---@field failed integer

---@class moonseek.ChatTurnOptions
---whether the model thinks, and how hard
---@field thinking? "off"|"low"|"high"|"max"
---of reasoning at most: there it is closed, and the answer follows
---@field thinking_budget? integer
---reasoning and answer together; by default until the context is full
---@field max_tokens? integer
---that have to be free for the answer, or the context is full
---@field reserve? integer
---that the model may call: `{ name =, description =, parameters = }`
---@field tools? table[]
---as `session:generate`, as all that follow
---@field temperature? number
---that many likeliest
---@field top_k? integer
---the likeliest that make up this sum
---@field top_p? number
---those with this share of the likeliest
---@field min_p? number
---without one, one is drawn and returned
---@field seed? integer|string
---of tokens in the session
---@field repetition_penalty? number
---of tokens generated; with `thinking_budget` reasoning and answer count apart
---@field frequency_penalty? number
---likewise
---@field presence_penalty? number
---token id → number
---@field logit_bias? table<integer, number>
---ends the answer, also within the reasoning; not a part of the text
---@field stop? (string|integer)[]
---of the whole turn
---@field deadline_ms? integer
---texts of higher priority are read first
---@field priority? integer
---hears every event
---@field on_event? fun(event: moonseek.ChatEvent)
---waits until the job has an event, or so long. A host puts its event loop there, or yields its own coroutine; what
---it raises ends the turn and is raised
---@field wait? fun(job: moonseek.Job, ms: integer)
---gives the messages to go on with when the context is full; ready-made: `moonseek.chat.policies.drop_oldest`,
---`keep_ends`, `summarise_oldest`
---@field on_full? fun(messages: moonseek.Message[], full: moonseek.ChatFull): moonseek.Message[]

---@class moonseek.ChatOptions: moonseek.ChatTurnOptions
---the rules
---@field system? string
---a JSON schema that is shown to the model
---@field response_format? table
---to begin with
---@field messages? moonseek.Message[]
---of the session, when an engine is given
---@field context? integer
---of the checkpoint, as `moonseek.encoding` takes it, like the next two
---@field generation? "0731"|"preview"
---old reasoning is left out, unless tools are offered
---@field drop_thinking? boolean
---`</tool_result>` in a tool's result is escaped
---@field escape_tool_results? boolean
---an answer that DeepSeek's parser would refuse is `EFORMAT`
---@field strict? boolean

---@class moonseek.ChatAnswer
---the answer
---@field text string
---empty without any
---@field reasoning string
---in their order, each with an `id`
---@field tool_calls moonseek.ToolCall[]
---after the last two the answer is not kept in the chat
---@field finish_reason "stop"|"length"|"tool_calls"|"cancel"|"deadline"
---tokens, counted
---@field usage moonseek.ChatUsage
---wall time of reading and of generating
---@field timing { prefill_ms: number, decode_ms: number }
---sum over the tokens of the answer
---@field logprob number
---of the sampling
---@field seed integer|string|nil
---all of the turn, reasoning and end token too
---@field tokens moonseek.Tokens
---the answer as the chat keeps it
---@field message moonseek.Message
---text beside the calls, and markers out of place
---@field dropped? string[]

---@class moonseek.ChatFull
---tokens of the prompt and of the room for the answer
---@field needed integer
---that the prompt leaves
---@field free integer
---that a prompt may have
---@field limit integer
---that the session holds
---@field context integer
---tokens of such a prompt
---@field count fun(messages: moonseek.Message[]): integer
---the model's answer, on a fork
---@field ask fun(messages: moonseek.Message[], options: moonseek.ChatTurnOptions): moonseek.ChatAnswer

---@class moonseek.ChatUsage
---of the prompt, read before
---@field cached integer
---of the prompt, by this turn
---@field read integer
---of these, once more after going back
---@field reread integer
---generated before `</think>`
---@field reasoning integer
---generated besides: that mark, the answer, its end
---@field answer integer

---@class moonseek.ChatPrefill
---@field type "prefill"
---tokens read
---@field done integer
---tokens to read
---@field total integer

---@class moonseek.ChatReasoning
---@field type "reasoning"
---whole characters
---@field text string

---@class moonseek.ChatText
---@field type "text"
---whole characters
---@field text string

---@class moonseek.ChatCallDelta
---@field type "call_delta"
---of the call
---@field index integer
---of the tool
---@field name string
---the next part of the JSON text
---@field arguments string

---@class moonseek.ChatCall
---@field type "call"
---of the call
---@field index integer
---the whole
---@field call moonseek.ToolCall

---@class moonseek.ChatDone: moonseek.ChatAnswer
---@field type "done"

---@class moonseek.ChatError
---@field type "error"
---what went wrong
---@field message string
---of the list above
---@field code moonseek.Code

---@class moonseek.RouterOptions
---by the names that plans use, not `chat`
---@field engines table<string, moonseek.Engine>
---the first that applies gives the plan; without one it is the defaults
---@field rules? moonseek.Rule[]
---what rules may ask: `judge(request, place)` gives a verdict and, for the record, a table of figures and the tokens
---it read, or nil, message, code, and the verdict is nil. `place:fork(engine's name or nil [, chat])` is a session to
---ask in, which the judge closes; `place.deadline_ms` is what is left of the budget
---@field judges? table<string, function>
---what plans do not say
---@field defaults? moonseek.Plan
---records
---@field keep? integer
---hears of each request when it is done
---@field on_record? fun(record: moonseek.Record)
---milliseconds
---@field clock? fun(): number

---@class moonseek.Rule
---for the record
---@field name string
---whether it applies; always without one. `judge.NAME` is a judge's verdict, asked for once a request
---@field when? (fun(request: moonseek.Request, judge: table): any)
---how to answer; with false no model does, and the `finish_reason` is `"declined"`
---@field plan moonseek.Plan|false|fun(request: moonseek.Request, judge: table): moonseek.Plan|false

---@class moonseek.Request
---what the user says; of `messages`, the last that the user said
---@field text? string
---in place of `text`
---@field messages? moonseek.Message[]
---where it is said. Another engine gets the messages, and the chat its answer
---@field chat? moonseek.Chat

---@class moonseek.Plan: moonseek.ChatOptions
---a name, or several: the next one is tried after a failure or a `deadline_ms`. `"chat"` is that chat
---@field engine? string|string[]
---expert policy while it answers
---@field experts? moonseek.Routing
---of the whole request, judges, samples and escalation included
---@field budget? moonseek.Budget
---what to do about a doubtful answer
---@field escalate? moonseek.Escalation

---@class moonseek.Budget
---generated
---@field tokens? integer
---from the request on
---@field ms? integer
---of the whole process, looked at with each event
---@field cpu_seconds? number

---@class moonseek.Escalation
---whether the answer is in doubt, and figures for the record. `again(options)` gives another answer, or nil, message,
---code; the options of a turn override the plan's
---@field when? fun(answer: moonseek.ChatAnswer, again: function, request: moonseek.Request): boolean, table
---the answer is made anew with it, over the plan before. With the same engine and experts in the same chat, which
---reads nothing twice
---@field plan moonseek.Plan

---@class moonseek.ChooseOptions
---the question; nil asks nothing
---@field ask? fun(request: moonseek.Request): string
---the possible answers
---@field choices string[]
---that is asked
---@field engine? string
---asks behind the messages of the request's chat, on a fork
---@field in_chat? boolean
---of the checkpoint
---@field generation? "0731"|"preview"
---of log-probability, by which the likeliest has to lead
---@field margin? number
---the verdict where it does not, or nothing was asked
---@field otherwise? any

---@class moonseek.UnlikelyOptions
---sum of the answer's log-probabilities
---@field least? number
---the same a token
---@field least_mean? number

---@class moonseek.DisagreementOptions
---further answers
---@field samples? integer
---the share of them that has to be like the answer
---@field agree? number
---of the samples
---@field temperature? number
---the i-th sample takes `seed + i`
---@field seed? integer|string
---@field same? fun(a: moonseek.ChatAnswer, b: moonseek.ChatAnswer): boolean

---@class moonseek.RouterAnswerOptions
---hears the events of every try
---@field on_event? fun(event: moonseek.ChatEvent, try: moonseek.RecordTry)

---@class moonseek.RouterAnswer: moonseek.ChatAnswer
---how it came about
---@field record moonseek.Record

---@class moonseek.Record
---of the request
---@field number integer
---that applied
---@field rule? string
---in the order in which they were asked
---@field judges moonseek.RecordJudge[]
---answers that were begun
---@field tries moonseek.RecordTry[]
---in all
---@field cost moonseek.Cost
---of the failure, if there is no answer
---@field code? moonseek.Code

---@class moonseek.RecordJudge
---@field name string
---@field verdict any
---such as `margin`
---@field figures? table
---@field cost moonseek.Cost
---why there is no verdict
---@field error any
---@field code? moonseek.Code

---@class moonseek.RecordTry
---its name
---@field engine string
---`"answered"`, `"escalated"` or `"instead of NAME"`
---@field why string
---@field thinking string
---@field finish_reason? string
---@field logprob? number
---@field cost moonseek.Cost
---of this try, if the plan had a policy
---@field experts? moonseek.RoutingStats
---what was thought of the answer
---@field unsure? boolean
---on which grounds
---@field figures? table
---of that, samples included
---@field judging? moonseek.Cost
---why a doubtful answer was kept
---@field kept? string
---why there is no answer
---@field error any
---@field code? moonseek.Code

---@class moonseek.Cost
---tokens
---@field read integer
---tokens
---@field generated integer
---wall time
---@field ms number
---of the whole process meanwhile
---@field cpu_seconds number

---@class moonseek.RouterSpent: moonseek.Cost
---planned or answered
---@field requests integer

---@class moonseek.AgentLimits
---that the model may call
---@field tools? moonseek.AgentTool[]
---answers of the model in a run
---@field max_rounds? integer
---of a run
---@field budget? moonseek.AgentBudget
---asked before every call; if it refuses, the model reads why
---@field approve? fun(call: moonseek.AgentCall): boolean, string
---calls at once
---@field parallel? integer
---of a call, unless its tool has another
---@field timeout_ms? number
---of a result that the model reads, unless the tool has another
---@field max_result? integer
---hears every record, once it is written
---@field on_step? fun(record: moonseek.AgentRecord)
---waits until a tool may go on, at most so long; by default the process sleeps. `yielded[i]` is `{ call =, ... }`,
---with what the tool yielded
---@field wait? fun(ms: number, yielded: table[])
---milliseconds since some moment
---@field clock? fun(): number

---@class moonseek.AgentOptions: moonseek.AgentLimits
---or any object with its methods
---@field chat moonseek.Chat

---@class moonseek.ResumeOptions: moonseek.AgentOptions
---says what becomes of a call that was begun and has no result: it is made again, has this result, or has failed with
---this message. Without it such a file is `ETOOL`
---@field on_unknown? fun(call: moonseek.AgentCall): "rerun"|"result"|"fail", any

---@class moonseek.BranchOptions
---as `agent:run` takes it
---@field task string|moonseek.Message|moonseek.Message[]
---how good a result is; nil leaves it out
---@field score? fun(result: moonseek.AgentResult, index: integer): number
---the options of the first, the second, ...
---@field variants? moonseek.ChatTurnOptions[]

---@class moonseek.AgentTool
---@field name string
---for the model
---@field description? string
---a JSON schema, as `moonseek.schema` takes it
---@field parameters? table
---gives the result: a string, or what JSON can hold; or nil and a message. It may yield
---@field run fun(arguments: table, call: moonseek.AgentCall): any
---of a call
---@field timeout_ms? number
---bytes of a result
---@field max_result? integer

---@class moonseek.AgentBudget
---that the model makes, reasoning too
---@field tokens? integer
---that are made; those beyond are refused
---@field calls? integer
---wall time
---@field ms? number

---@class moonseek.AgentCall
---of the call
---@field id string
---of the tool
---@field name string
---as they were decoded: `json.null` stands for null
---@field arguments table
---the answer that made it
---@field round integer
---that it is in
---@field branch? integer

---@class moonseek.AgentResult
---of the last answer
---@field text string
---of the last answer
---@field reasoning string
---why it ended: `"length"` is an answer that was cut, the last two are limits of the run
---@field finish_reason "stop"|"length"|"cancel"|"deadline"|"max_rounds"|"tokens"
---answers of the model
---@field rounds integer
---that were made
---@field calls integer
---of all answers
---@field usage moonseek.ChatUsage
---of the last answer
---@field logprob? number
---wall time
---@field ms integer
---the branch that was kept, after `agent:branch`;
---@field branch? integer
---all of them: `{ result =, score =, message =, code = }`
---@field branches? table[]

---@class moonseek.AgentRecord
---of the step
---@field type "agent"|"run"|"answer"|"intent"|"result"|"end"|"branch"|"adopt"|"resume"
---milliseconds since the run began
---@field at integer
---that it is in
---@field branch? integer

---@class moonseek.Document
---what a model is shown
---@field text string
---a path, for instance
---@field name? string
---of the file
---@field kind "text"|"markdown"|"html"|"pdf"|"docx"|nil
---of a page
---@field title? string

---@class moonseek.DocumentPart: moonseek.Document
---its first byte in the whole
---@field first integer
---its last
---@field last integer

---@class moonseek.DocumentReading
---what the file is
---@field kind? "text"|"markdown"|"html"|"pdf"|"docx"
---more is refused
---@field max_bytes? integer

---@class moonseek.DocumentSplitting
---of a part at most; a character that takes more is one part
---@field tokens integer
---that counts them
---@field tokenizer moonseek.Tokenizer

---@class moonseek.DocumentOptions
---the prompt: `{document}`, `{question}` and `{name}` in it stand for these
---@field template? string|fun(values: table): string
---a system message before it
---@field system? string
---of a session
---@field context? integer
---of an answer. So many are kept free
---@field max_tokens? integer
---as `moonseek.encoding`
---@field thinking? "off"|"low"|"high"|"max"
---as `moonseek.encoding`
---@field generation? "0731"|"preview"
---as `session:generate`, as all that follow
---@field temperature? number
---@field top_k? integer
---@field top_p? number
---@field min_p? number
---@field seed? integer|string
---of an answer
---@field deadline_ms? integer
---@field priority? integer
---how many prompts are under way at once
---@field parallel? integer
---a file that remembers what is done, for the next run; its folder must exist
---@field journal? string
---asked many times a second; true ends the work
---@field cancel? fun(): boolean

---@class moonseek.DocumentAsking: moonseek.DocumentOptions
---a document beyond the context is asked in parts
---@field split? boolean
---hears how many tokens, or parts, are read
---@field on_progress? fun(progress: { done: integer, total: integer, parts: boolean? })

---@class moonseek.DocumentMapping: moonseek.DocumentOptions
---with `fields`, `{fields}` in it stands for their names, `{details}` for what is known of them
---@field question? string
---what to extract from each, as JSON
---@field fields? (string|moonseek.DocumentField)[]
---what a model is told once whose answer lacks the fields: `{problem}` and `{question}`
---@field retry? string
---of a file
---@field max_bytes? integer
---hears of every row
---@field on_progress? fun(progress: { done: integer, failed: integer, total: integer, row: moonseek.DocumentRow })

---@class moonseek.DocumentReducing: moonseek.DocumentOptions
---what to make of the texts
---@field question? string
---hears of every part of a round
---@field on_progress? fun(progress: { done: integer, failed: integer, total: integer, row: moonseek.DocumentRow })

---@class moonseek.DocumentField
---of the field; `document` and `error` are columns already
---@field name string
---any without it
---@field type "string"|"number"|"integer"|"boolean"|"array"|"object"|nil
---shown to the model
---@field description? string
---a list of the values that are allowed
---@field choices? table
---it may be missing or null
---@field optional? boolean

---@class moonseek.DocumentRow
---of the document in the list
---@field index integer
---its name
---@field document string
---what the model answered
---@field text? string
---with `fields`: the object, its keys and numbers as they were; empty after a failure
---@field value? table
---of the answer
---@field finish_reason "stop"|"length"|"cancel"|"deadline"|nil
---what went wrong
---@field error? string
---of the error
---@field code? moonseek.Code
---taken from the journal
---@field resumed? boolean
---tokens
---@field usage? { cached: integer, read: integer, completion: integer }

---@class moonseek.DocumentResult
---in the order of the documents
---@field rows moonseek.DocumentRow[]
---`"document"`, the fields or `"text"`, `"error"`
---@field columns string[]
---documents
---@field total integer
---rows
---@field done integer
---rows with an error
---@field failed integer
---whether it ended early
---@field cancelled boolean
---tokens of all rows
---@field usage { cached: integer, read: integer, completion: integer }

---@class moonseek.DocumentReduction
---what is left
---@field text string
---of the last answer
---@field finish_reason "stop"|"length"|"cancel"|"deadline"
---it took
---@field rounds integer
---tokens
---@field usage { cached: integer, read: integer, completion: integer }

---@class moonseek.DocumentAnswer
---the answer
---@field text string
---empty without any
---@field reasoning string
---what it rests on, in the document's order; may be empty
---@field passages moonseek.Passage[]
---of the answer
---@field finish_reason "stop"|"length"|"cancel"|"deadline"
---tokens
---@field usage { cached: integer, read: integer, completion: integer }
---in which the document was asked
---@field parts integer

---@class moonseek.Passage
---byte in the document's text
---@field first integer
---the last one
---@field last integer
---these bytes
---@field text string
---whether the answer holds them as they are
---@field quoted boolean
---the share of the answer's words there, rare words counting more: 0.5 to 1
---@field score number
---the bytes of the file: `documents.source`
---@field source? { first: integer, last: integer }

---@class moonseek.EncodingOptions
---whether the model thinks, and how hard
---@field thinking? "off"|"low"|"high"|"max"
---of the checkpoint, which does not say so itself: the words for an effort differ
---@field generation? "0731"|"preview"
---the reasoning of earlier turns is left out; never when a message offers tools
---@field drop_thinking? boolean
---begins with the begin-of-sentence token
---@field bos? boolean
---writes `</tool_result>` within a tool's result as `&lt;/tool_result>`; the official form leaves it
---@field escape_tool_results? boolean

---@class moonseek.Message
---who speaks
---@field role "system"|"user"|"assistant"|"tool"|"developer"|"latest_reminder"
---the text, or parts `{ type = "text", text = }` that become paragraphs
---@field content string|table[]|nil
---of an assistant; also as `reasoning_content`
---@field reasoning? string
---of an assistant: `{ id =, name =, arguments = }`, arguments as JSON text or a table; or as OpenAI writes them
---@field tool_calls? table[]
---of a tool's result: the call it answers
---@field tool_call_id? string
---of a system or developer message: `{ name =, description =, parameters = }`, or as OpenAI writes them
---@field tools? table[]
---of a system or developer message: shown to the model as JSON
---@field response_format? table
---a quick instruction after it
---@field task "action"|"query"|"authority"|"domain"|"title"|"read_url"|nil
---of a user message with the task `"read_url"`
---@field url? string
---of the last assistant message: the model goes on where it ends
---@field prefix? boolean
---of an assistant: the ids that the model made, without the end token, used instead of the text where the whole turn
---or its answer is shown
---@field tokens? moonseek.Tokens
---the place in `tokens` where the answer begins, from `parser:answer_at`
---@field answer_at? integer

---@class moonseek.Span
---place of the first, from 1
---@field first integer
---place of the last; `first - 1` when there is none
---@field last integer

---@class moonseek.ParserOptions
---of the model
---@field tokenizer moonseek.Tokenizer
---whether the prompt ended with `<think>`
---@field thinking? boolean
---the tools that were offered, or their names; without any, nothing is taken for a call
---@field tools? table[]|string[]
---accepts what the official parser accepts, and nothing else
---@field strict? boolean

---@class moonseek.Answer
---empty without any
---@field reasoning string
---the answer
---@field text string
---in their order
---@field tool_calls moonseek.ToolCall[]
---`"tool_calls"`, or the reason given to `finish`
---@field finish_reason string
---text beside the calls, and markers out of place: what is in no other field
---@field dropped? string[]

---@class moonseek.ToolCall
---from 1
---@field index integer
---of the tool
---@field name? string
---a JSON object; not of a malformed call
---@field arguments? string
---what is wrong with it: `"unknown_tool"`, `"duplicate_parameter"`, `"invalid_json"`, `"invalid_tag"`,
---`"stray_text"`, `"not_closed"` or `"cut_off"`
---@field malformed? string
---the same in words
---@field message? string
---the text of a malformed call
---@field raw? string

---@class moonseek.ReasoningPart
---@field type "reasoning"
---whole characters
---@field text string

---@class moonseek.TextPart
---@field type "text"
---whole characters
---@field text string

---@class moonseek.CallDelta
---@field type "call_delta"
---of the call
---@field index integer
---of the tool
---@field name string
---the next part of the JSON text. The first is empty; the call may still prove malformed
---@field arguments string

---@class moonseek.CallDone
---@field type "call"
---of the call
---@field index integer
---the whole
---@field call moonseek.ToolCall

---@class moonseek.JsonReading
---also `NaN`, `Infinity` and `-Infinity`, as Python's json module
---@field python? boolean

---@class moonseek.JsonWriting
---what Python's `json.dumps(value, ensure_ascii=False)` gives after reading the same text: `1e3` becomes `1000.0`
---@field python? boolean
---keys that come first in plain tables
---@field first? string[]

---@class moonseek.MockAnswer
---as an assistant's message has it
---@field content? string
---written where the prompt asks for it
---@field reasoning? string
---as an assistant's message has them
---@field tool_calls? table[]
---in place of these: exactly what is generated, before the end token
---@field pieces? moonseek.Piece[]
---ends it with this message,
---@field error? string
---this code, or `EIO`
---@field code? moonseek.Code
---gives nothing more
---@field stall? boolean
---ends it as if cancelled
---@field cancel? boolean
---of each token, or 0
---@field logprob? number
---the fault comes after this many tokens, or before the end token
---@field after? integer

---@class moonseek.MockRequest
---of the request, from 1; not for `choose`
---@field number integer
---what the session holds, control tokens by their names
---@field prompt string
---that asks
---@field session moonseek.Session
---of the generation; not for `choose`
---@field options table

---DeepSeek-V4 models: engines, tokenizers, sessions, jobs.
---@class moonseek
---@field _VERSION string
---@field encoding moonseek.Encoding
---@field parser moonseek.Parser
---@field json moonseek.Json
---@field schema moonseek.Schema
---@field documents moonseek.Documents
---@field router moonseek.Router
local moonseek = {}

---Opens a model: maps its files and checks their structure, touching hardly any weights.
---@param options moonseek.OpenOptions
---@return moonseek.Engine?
---@return string? message
---@return moonseek.Code? code
function moonseek.open(options) end

---Another handle of an engine that is open in this process, by its `engine:id()`: for another Lua state, in any
---thread. Weights, threads and limits are shared.
---@param id integer
---@return moonseek.Engine?
---@return string? message
---@return moonseek.Code? code
function moonseek.attach(id) end

---A folder in which engines keep the prompts that they have read.
---@param options moonseek.CacheOptions
---@return moonseek.Cache?
---@return string? message
---@return moonseek.Code? code
function moonseek.cache(options) end

---What the header of a model says, without opening it.
---@param path string
---@return moonseek.ModelInfo?
---@return string? message
---@return moonseek.Code? code
function moonseek.probe(path) end

---Writes a model anew, in another container or with other types: safetensors and GGUF. What is written was read back
---from the disk before it bears the target's name.
---@param options moonseek.ConvertOptions
---@return true?
---@return string? message
---@return moonseek.Code? code
function moonseek.convert(options) end

---What is loaded, and what this machine can run.
---@return moonseek.Version
function moonseek.version() end

---The tokenizer of a `tokenizer.json`, of a folder that holds one, or of a GGUF file, without weights.
---@param path string
---@return moonseek.Tokenizer?
---@return string? message
---@return moonseek.Code? code
function moonseek.tokenizer(path) end

---Packed token ids, four bytes each, from a list of integers from 0.
---@param ids integer[]|moonseek.Tokens
---@return moonseek.Tokens?
---@return string? message
---@return moonseek.Code? code
function moonseek.tokens(ids) end

---an engine that answers as it is told
---@param options? moonseek.MockOptions
---@return moonseek.Engine?
---@return string? message
---@return moonseek.Code? code
function moonseek.mock(options) end

---Weights and compute.
---@class moonseek.Engine
local engine = {}

---what `moonseek.probe` tells, and how this engine computes
---@return moonseek.EngineInfo
function engine:info() end

---what was done since it was opened, and what it holds now
---@param options? moonseek.StatsOptions
---@return moonseek.Stats
function engine:stats(options) end

---what a session will cost, before there is one
---@param options? moonseek.MemoryOptions
---@return moonseek.MemoryPlan?
---@return string? message
---@return moonseek.Code? code
function engine:memory(options) end

---changes the engine from the next step on
---@param options? moonseek.SetOptions
---@return true?
---@return string? message
---@return moonseek.Code? code
function engine:set(options) end

---the tokenizer beside the weights, read at the first call; `ENOENT` when there is none
---@return moonseek.Tokenizer?
---@return string? message
---@return moonseek.Code? code
function engine:tokenizer() end

---a new session; memory is taken as tokens come. `EIO` when the model's files have changed
---@param options? moonseek.SessionOptions
---@return moonseek.Session?
---@return string? message
---@return moonseek.Code? code
function engine:session(options) end

---by which other Lua states of this process find it: `moonseek.attach`
---@return integer
function engine:id() end

---a session that goes on from what `session:save` wrote, with the same bits. `EMODEL` for another model or other
---numerics, `EFORMAT` for a damaged file. `docs/sessions.md`
---@param path string
---@param options? moonseek.LoadSessionOptions
---@return moonseek.Session?
---@return string? message
---@return moonseek.Code? code
function engine:load_session(path, options) end

---ends this handle; sessions keep the engine until the last is closed
function engine:close() end

---Text to tokens and back.
---@class moonseek.Tokenizer
---@operator len: integer
local tokenizer = {}

---tokens; any bytes are allowed, control tokens are never recognised in text. Of pieces, also a list with the byte at
---which each id's text starts, from 0
---@param text string|moonseek.Piece[]
---@return moonseek.Tokens? tokens
---@return integer[]|string? offsets, or the message
---@return moonseek.Code? code
function tokenizer:encode(text) end

---the bytes of tokens i to j (default all; negative places count from the end)
---@param tokens moonseek.Tokens|integer[]
---@param i? integer
---@param j? integer
---@return string?
---@return string? message
---@return moonseek.Code? code
function tokenizer:decode(tokens, i, j) end

---how many tokens it becomes
---@param text string|moonseek.Piece[]
---@return integer?
---@return string? message
---@return moonseek.Code? code
function tokenizer:count(text) end

---the id of a control token, or nil
---@param name string
---@return integer?
function tokenizer:token(name) end

---gives its memory back, when the engine has no use for it either
function tokenizer:close() end

---Packed token ids, which never change.
---@class moonseek.Tokens
---@operator len: integer
---@field [integer] integer?
local t = {}

---a part, as `string.sub`
---@param i integer
---@param j? integer
---@return moonseek.Tokens?
---@return string? message
---@return moonseek.Code? code
function t:sub(i, j) end

---a list
---@return integer[]
function t:totable() end

---gives their memory back
function t:close() end

---One conversation's memory.
---@class moonseek.Session
local session = {}

---makes it hold exactly these, keeping what it has read of them: just send the whole prompt again. The number of
---tokens held
---@param tokens moonseek.AnyTokens
---@return integer?
---@return string? message
---@return moonseek.Code? code
function session:sync(tokens) end

---adds to them. The number of tokens held
---@param tokens moonseek.AnyTokens
---@return integer?
---@return string? message
---@return moonseek.Code? code
function session:append(tokens) end

---makes it hold its first `position` tokens only. What it had read beyond the newest mark before them is read again
---by the next job, exactly, and reported (`usage.reread`)
---@param position integer
---@return integer?
---@return string? message
---@return moonseek.Code? code
function session:rewind(position) end

---a second session that holds and has read the same, at no cost until one of both changes; either may be closed first
---@return moonseek.Session?
---@return string? message
---@return moonseek.Code? code
function session:fork() end

---writes it to a file that replaces `path` as a whole or not at all; what is unread is read first. `docs/sessions.md`
---@param path string
---@return true?
---@return string? message
---@return moonseek.Code? code
function session:save(path) end

---tokens held
---@return integer
function session:position() end

---how many more fit
---@return integer
function session:room() end

---its engine's tokenizer
---@return moonseek.Tokenizer?
---@return string? message
---@return moonseek.Code? code
function session:tokenizer() end

---a packed copy of them
---@return moonseek.Tokens?
---@return string? message
---@return moonseek.Code? code
function session:tokens() end

---the scores after the last token, reading first: below. `EINVAL` when it holds none
---@return moonseek.Logits?
---@return string? message
---@return moonseek.Code? code
function session:logits() end

---a result, when all is generated
---@param options? moonseek.GenerateOptionsWithHook
---@return moonseek.Result?
---@return any message
---@return moonseek.Code? code
function session:generate(options) end

---an iterator over events
---@param options? moonseek.GenerateOptions
---@return (fun(): moonseek.Event?)?
---@return string? message
---@return moonseek.Code? code
function session:stream(options) end

---a job, at once
---@param options? moonseek.GenerateOptions
---@return moonseek.Job?
---@return string? message
---@return moonseek.Code? code
function session:start(options) end

---sets its expert policy, in place of the one before: true. Without an argument: the policy, nil when there is none
---@param options? moonseek.Routing
---@return true|moonseek.Routing?
---@return string? message
---@return moonseek.Code? code
function session:routing(options) end

---how often each expert was chosen for the tokens it has read
---@param options? moonseek.RoutingStatsOptions
---@return moonseek.RoutingStats
function session:routing_stats(options) end

---on an engine opened with `threads = 0`: computes one step on the caller's thread, for all jobs, and gives this
---session's next event, false while there is none yet. A generation begins with the first call and after its last
---event; `EINVAL` on an engine with threads
---@param options? moonseek.GenerateOptions
---@return moonseek.Event|false?
---@return string? message
---@return moonseek.Code? code
function session:step(options) end

---the log-probability of each of `tokens` behind what the session holds. The session is unchanged; what was unread is
---read
---@param tokens moonseek.AnyTokens
---@return number[]?
---@return string? message
---@return moonseek.Code? code
function session:score(tokens) end

---which choice is the likeliest, scored on forks in one step. The session is unchanged; what was unread is read. An
---empty choice and two equal ones raise
---@param choices moonseek.AnyTokens[]
---@return integer? index
---@return number[]|string? sums, or the message
---@return moonseek.Code? code
function session:choose(choices) end

---cancels its job and gives its memory back
function session:close() end

---A copy of the scores of all tokens after a position.
---@class moonseek.Logits
---@operator len: integer
---@field [integer] number?
local l = {}

---the best k, best first, equal ones by id
---@param k integer
---@return { id: integer, logit: number, logprob: number }[]
function l:top(k) end

---float32, little-endian, in order of id
---@return string
function l:bytes() end

---One generation under way.
---@class moonseek.Job
local job = {}

---the next event, or nil while none waits; never blocks
---@return moonseek.Event?
function job:poll() end

---true as soon as an event waits or the job has finished; false after that time. The state's hooks do not run
---meanwhile: wait in short pieces. On an engine without threads it computes meanwhile, unless `ms` is 0
---@param ms integer
---@return boolean
function job:wait(ms) end

---ends it within one stage of a layer. What is committed stays, the result says `"cancel"`
function job:cancel() end

---takes no part in steps from the next on; its deadline stays
function job:pause() end

---goes on after `pause`
function job:resume() end

---whether its last event has been taken
---@return boolean
function job:finished() end

---the result; `EBUSY` before its last event, afterwards its own error if it failed
---@return moonseek.Result?
---@return string? message
---@return moonseek.Code? code
function job:result() end

---cancels it, and the session is free
function job:close() end

---a descriptor, readable exactly while an event waits: for any event loop. Do not read or close it
---@return integer?
---@return string? message
---@return moonseek.Code? code
function job:pollfd() end

---the same, by the name that LuaSocket's `select` asks for
---@return integer?
---@return string? message
---@return moonseek.Code? code
function job:getfd() end

---whether an event waits: `select` asks this too
---@return boolean
function job:dirty() end

---with `pollfd` and `timeout` what cqueues asks for
---@return "r"
function job:events() end

---nothing is due at a time
---@return nil
function job:timeout() end

---A folder of prefixes that were read.
---@class moonseek.Cache
local cache = {}

---what this object was used for
---@return moonseek.CacheStats
function cache:stats() end

---ends this handle
function cache:close() end

---A conversation with a model: messages, and the session that has read them.
---@class moonseek.Chat
local chat = {}

---a chat with a session of its own on an engine, or on a session that stays yours
---@param where moonseek.Engine|moonseek.Session
---@param options? moonseek.ChatOptions
---@return moonseek.Chat?
---@return string? message
---@return moonseek.Code? code
function chat.chat(where, options) end

---answers a text, a message or several
---@param message string|moonseek.Message|moonseek.Message[]
---@param options? moonseek.ChatTurnOptions
---@return moonseek.ChatAnswer?
---@return any message
---@return moonseek.Code? code
function chat:send(message, options) end

---answers what is there, for instance after the results of tools were added; an answer at the end, say one cut by
---`max_tokens`, goes on where it ends
---@param options? moonseek.ChatTurnOptions
---@return moonseek.ChatAnswer?
---@return any message
---@return moonseek.Code? code
function chat:continue(options) end

---throws the last answer away and answers again, with another seed unless one is given
---@param options? moonseek.ChatTurnOptions
---@return moonseek.ChatAnswer?
---@return any message
---@return moonseek.Code? code
function chat:retry(options) end

---puts this in place of what the user said last and of all that followed, and answers it
---@param message string|moonseek.Message|moonseek.Message[]
---@param options? moonseek.ChatTurnOptions
---@return moonseek.ChatAnswer?
---@return any message
---@return moonseek.Code? code
function chat:edit(message, options) end

---as `send`, or without a message as `continue`, but iterates over events
---@param message string|moonseek.Message|moonseek.Message[]|nil
---@param options? moonseek.ChatTurnOptions
---@return (fun(): moonseek.ChatEvent?)?
---@return string? message
---@return moonseek.Code? code
function chat:stream(message, options) end

---ends the turn under way with what there is, from `on_event` or within a `stream` loop; its `finish_reason` is
---`"cancel"`
function chat:cancel() end

---adds messages without answering them
---@param message string|moonseek.Message|moonseek.Message[]
---@return true?
---@return string? message
---@return moonseek.Code? code
function chat:add(message) end

---keeps the first `count` messages, counted as `messages` shows them; the system message always stays
---@param count integer
---@return true?
---@return string? message
---@return moonseek.Code? code
function chat:rewind(count) end

---a copy of the messages, the system message at the head
---@return moonseek.Message[]
function chat:messages() end

---a second chat with the same messages, options and memory
---@return moonseek.Chat?
---@return string? message
---@return moonseek.Code? code
function chat:fork() end

---writes options and messages to `path`, and what its session has read to `path` with `.session` behind it
---@param path string
---@return true?
---@return string? message
---@return moonseek.Code? code
function chat:save(path) end

---the chat that was saved there; options that are given go before those that were saved
---@param engine moonseek.Engine
---@param path string
---@param options? moonseek.ChatOptions
---@return moonseek.Chat? chat
---@return string|string? note, or the message
---@return moonseek.Code? code
function chat.load_chat(engine, path, options) end

---closes its session, unless that is yours
function chat:close() end

---Who answers a request, and how hard it thinks.
---@class moonseek.Router
local router = {}

---a router over named engines
---@param options moonseek.RouterOptions
---@return moonseek.Router
function router.router(options) end

---answers a request as the rules say
---@param request string|moonseek.Request
---@param options? moonseek.RouterAnswerOptions
---@return moonseek.RouterAnswer?
---@return any message
---@return moonseek.Code? code
function router:answer(request, options) end

---decides, and answers nothing
---@param request string|moonseek.Request
---@return moonseek.Plan|false
---@return moonseek.Record
function router:plan(request) end

---of the last requests, oldest first
---@return moonseek.Record[]
function router:records() end

---what all requests until now have cost
---@return moonseek.RouterSpent
function router:spent() end

---closes the sessions in which judges asked; the engines stay open
function router:close() end

---a judge: a question whose answer is one of a few words, decided by `session:choose` after one short read on a fork.
---What all its questions begin with is read once
---@param options moonseek.ChooseOptions
---@return fun(request: moonseek.Request, place: table): any
function router.choose(options) end

---doubts an answer of low log-probability: for `escalate`
---@param options moonseek.UnlikelyOptions
---@return fun(answer: moonseek.ChatAnswer): boolean
function router.unlikely(options) end

---doubts an answer that further samples do not repeat: for `escalate`. It asks for no more of them than decide
---@param options? moonseek.DisagreementOptions
---@return fun(answer: moonseek.ChatAnswer, again: function): boolean
function router.disagreement(options) end

---A chat whose model may call tools until it has answered.
---@class moonseek.Agent
local agent = {}

---an agent on a chat, with tools
---@param options moonseek.AgentOptions
---@return moonseek.Agent
function agent.agent(options) end

---the agent of an earlier process, from the file of its checkpoint, standing where that one stood
---@param path string
---@param options moonseek.ResumeOptions
---@return moonseek.Agent?
---@return string? message
---@return moonseek.Code? code
function agent.resume_agent(path, options) end

---an agent whose model is a trace: its records, or a file of them. Without `tools` the calls have their results from
---the trace, too
---@param trace string|moonseek.AgentRecord[]
---@param options? moonseek.AgentLimits
---@return moonseek.Agent?
---@return string? message
---@return moonseek.Code? code
function agent.replay_agent(trace, options) end

---works until the model answers without a call, or a limit ends the run. Without a task it goes on with the run that
---was interrupted, or gives the last result again; in a replay it takes the next task
---@param task string|moonseek.Message|moonseek.Message[]|nil
---@param options? moonseek.ChatTurnOptions
---@return moonseek.AgentResult?
---@return any message
---@return moonseek.Code? code
function agent:run(task, options) end

---works on a task `count` times side by side, each on a fork of the chat, and goes on from the result with the
---highest score; of equal ones the first. Every branch makes its calls
---@param count integer
---@param options moonseek.BranchOptions
---@return moonseek.AgentResult?
---@return any message
---@return moonseek.Code? code
function agent:branch(count, options) end

---from here on every step is in this file before the next is taken. A file that exists is refused
---@param path string
---@return true?
---@return string? message
---@return moonseek.Code? code
function agent:checkpoint(path) end

---the records of all steps until now
---@return moonseek.AgentRecord[]
function agent:trace() end

---the chat as it stands: the one that was given, or the fork of the branch that was kept, which the agent closes
---@return moonseek.Chat
function agent:chat() end

---ends the run at its next step, from within a tool or a hook
function agent:cancel() end

---closes the checkpoint's file; the chat that was given stays open
function agent:close() end

---JSON schemas: which values they allow, and what is wrong with the rest.
---@class moonseek.Schema
local schema = {}

---whether it is a schema that `validate` understands; the message names the place
---@param schema table|boolean
---@return true?
---@return string? message
---@return moonseek.Code? code
function schema.check(schema) end

---whether a schema that passed `check` allows a value. The message names up to five places, from `name` on
---@param schema table|boolean
---@param value any
---@param name? string
---@return true?
---@return string? message
---@return moonseek.Code? code
function schema.validate(schema, value, name) end

---Document work: files to texts and parts, questions to one document and to many, tables.
---@class moonseek.Documents
---@field templates table<string, string>
local documents = {}

---the text of a file: text and Markdown as they are, HTML as a reader sees it, PDF and DOCX by `pdftotext` and
---`pandoc`, `EUNSUPPORTED` where these are missing. What is empty, holds NUL or is UTF-16 is `EFORMAT`
---@param path string
---@param options? moonseek.DocumentReading
---@return moonseek.Document?
---@return string? message
---@return moonseek.Code? code
function documents.read(path, options) end

---the paths of the plain files in it, sorted; hidden ones are left out
---@param folder string
---@return string[]?
---@return string? message
---@return moonseek.Code? code
function documents.list(folder) end

---parts within a budget of tokens, one after another without gaps: cut before a heading, else after a paragraph, a
---line, a sentence, a word, and only then between two characters
---@param document moonseek.Document|string
---@param options moonseek.DocumentSplitting
---@return moonseek.DocumentPart[]?
---@return string? message
---@return moonseek.Code? code
function documents.split(document, options) end

---the bytes of its file that these of its text stand for; nil for PDF, DOCX, and texts of no file
---@param document moonseek.Document
---@param first integer
---@param last integer
---@return integer?
---@return integer?
function documents.source(document, first, last) end

---a reader: one document, and a session for questions about it
---@param engine moonseek.Engine
---@param document moonseek.Document|string
---@param options? moonseek.DocumentAsking
---@return moonseek.Reader?
---@return string? message
---@return moonseek.Code? code
function documents.open(engine, document, options) end

---one question by a reader that is closed afterwards
---@param engine moonseek.Engine
---@param document moonseek.Document|string
---@param question string
---@param options? moonseek.DocumentAsking
---@return moonseek.DocumentAnswer?
---@return string? message
---@return moonseek.Code? code
function documents.ask(engine, document, question, options) end

---the same question to each, several at once. A document that cannot be read or answered becomes a row with `error`;
---a failure of the whole is one of the journal or the engine
---@param engine moonseek.Engine
---@param documents (moonseek.Document|string)[]
---@param options? moonseek.DocumentMapping
---@return moonseek.DocumentResult?
---@return string? message
---@return moonseek.Code? code
function documents.map(engine, documents, options) end

---one text from many, in as many rounds as the context makes necessary; rows with an error are left out
---@param engine moonseek.Engine
---@param texts (string|moonseek.Document|moonseek.DocumentRow)[]
---@param options? moonseek.DocumentReducing
---@return moonseek.DocumentReduction?
---@return string? message
---@return moonseek.Code? code
function documents.reduce(engine, texts, options) end

---rows as CSV (RFC 4180), a head line first. A cell is written as it is: one that begins with `=` is for you to judge
---@param result moonseek.DocumentResult|moonseek.DocumentRow[]
---@param columns? string[]
---@return string
function documents.csv(result, columns) end

---rows as JSON, an object a line, null where there is nothing
---@param result moonseek.DocumentResult|moonseek.DocumentRow[]
---@param columns? string[]
---@return string
function documents.json_lines(result, columns) end

---One document, and a session for questions about it.
---@class moonseek.Reader
local reader = {}

---the answer. The document is read with the first question and kept: later ones read their own tokens alone.
---`ECTXFULL` when it does not fit the context, unless `split` is set
---@param question string
---@return moonseek.DocumentAnswer?
---@return string? message
---@return moonseek.Code? code
function reader:ask(question) end

---closes its session
function reader:close() end

---Messages to tokens, as DeepSeek-V4 was trained on them.
---@class moonseek.Encoding
local encoding = {}

---the pieces of a conversation, for a tokenizer or a session; and each message's first and last piece
---@param messages moonseek.Message[]
---@param options? moonseek.EncodingOptions
---@return moonseek.Piece[]? pieces
---@return moonseek.Span[]|string? marks, or the message
---@return moonseek.Code? code
function encoding.pieces(messages, options) end

---the tokens of a conversation, and for each message the places among them that it takes
---@param tokenizer moonseek.Tokenizer
---@param messages moonseek.Message[]
---@param options? moonseek.EncodingOptions
---@return moonseek.Tokens? tokens
---@return moonseek.Span[]|string? spans, or the message
---@return moonseek.Code? code
function encoding.encode(tokenizer, messages, options) end

---Tokens to answers while they stream.
---@class moonseek.Parser
local parser = {}

---a parser of one answer
---@param options moonseek.ParserOptions
---@return moonseek.Parser
function parser.new(options) end

---takes a token, with its bytes if they are at hand; the events that it set free
---@param id integer
---@param bytes? string
---@return moonseek.ParserEvent[]
function parser:feed(id, bytes) end

---ends the output, for this `finish_reason` of a generation; the last events
---@param reason? string
---@return moonseek.ParserEvent[]
function parser:finish(reason) end

---what was found, after `finish`; `EFORMAT` is for the strict form alone
---@return moonseek.Answer?
---@return string? message
---@return moonseek.Code? code
function parser:result() end

---whether what was fed so far ends within the reasoning
---@return boolean
function parser:reasoning() end

---the place of the answer's first token among those fed; 0 when the reasoning has no end token
---@return integer
function parser:answer_at() end

---JSON whose texts come back as they came in.
---@class moonseek.Json
---@field null table
local json = {}

---the value; at most 200 levels of containers. The message names the byte
---@param text string
---@param options? moonseek.JsonReading
---@return any?
---@return string? message
---@return moonseek.Code? code
function json.decode(text, options) end

---its JSON text, with `", "` and `": "` between its parts. A plain table is an array when it is a sequence, else an
---object with sorted keys, also when it is empty
---@param value any
---@param options? moonseek.JsonWriting
---@return string?
---@return string? message
---@return moonseek.Code? code
function json.encode(value, options) end

---the text of `container[key]`, as `encode` writes it within the whole
---@param container table
---@param key string|integer
---@param options? moonseek.JsonWriting
---@return string?
---@return string? message
---@return moonseek.Code? code
function json.encode_member(container, key, options) end

---an object with its keys in order: `json.object { { "city", "Oslo" }, { "days", 3 } }`
---@param pairs? table[]
---@return table
function json.object(pairs) end

---the list itself, marked as an array: an empty one is written as `[]`
---@param list? table
---@return table
function json.array(list) end

---its keys in order: as they were read or set, of a plain table sorted. `pairs` follows it on Lua 5.4
---@param object table
---@return string[]
function json.keys(object) end

---what a value is written as: `"object"`, `"array"`, `"string"`, `"number"`, `"boolean"`, `"null"`, or nil
---@param value any
---@return string?
function json.type(value) end

---the text as a JSON string without its quotes: for writing one in parts
---@param text string
---@return string
function json.escape(text) end

return moonseek
