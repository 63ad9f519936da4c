---@meta moonseek
-- Definitions for editors (LuaCATS). What each function does and how it fails: docs/reference.md.

---@class moonseek
---@field _VERSION string
local moonseek = {}

---@alias moonseek.Code
---| "EINVAL" | "ENOENT" | "EIO" | "EFORMAT" | "EUNSUPPORTED" | "EMODEL" | "ENOMEM" | "ENOSPC" | "EBUSY"
---| "ECTXFULL" | "ECANCELED" | "EDEADLINE" | "ECLOSED" | "ENODEV" | "EHOOK"

---@class moonseek.OpenOptions
---@field path string
---@field backend? "auto"|"cpu"
---@field threads? integer
---@field numerics? "fast"|"reference"|"exact"
---@field kernels? "auto"|"scalar"|"avx2"|"avx512"
---@field mmap? boolean
---@field check? boolean
---@field on_progress? fun(phase: string, done: integer, total: integer)

---@param options moonseek.OpenOptions
---@return moonseek.Engine? engine
---@return string? message
---@return moonseek.Code? code
function moonseek.open(options) end

---@class moonseek.ModelInfo
---@field architecture string
---@field layers integer
---@field width integer
---@field heads integer
---@field vocabulary integer
---@field context integer
---@field experts integer
---@field experts_per_token integer
---@field tensors integer
---@field ignored_tensors integer
---@field parameters integer
---@field bytes integer
---@field types table<string, { tensors: integer, bytes: integer }>

---@param path string
---@return moonseek.ModelInfo? info
---@return string? message
---@return moonseek.Code? code
function moonseek.probe(path) end

---@return { module: string, abi: string, backends: string[], cpu: string }
function moonseek.version() end

---@param path string
---@return moonseek.Tokenizer? tokenizer
---@return string? message
---@return moonseek.Code? code
function moonseek.tokenizer(path) end

---@param ids integer[]|moonseek.Tokens
---@return moonseek.Tokens? tokens
---@return string? message
---@return moonseek.Code? code
function moonseek.tokens(ids) end

---@alias moonseek.Piece string | { text: string } | { control: string } | { ids: moonseek.Tokens|integer[] }
---@alias moonseek.AnyTokens moonseek.Tokens | integer[] | string | moonseek.Piece[]

---@class moonseek.EngineInfo: moonseek.ModelInfo
---@field backend string
---@field kernels string
---@field numerics string
---@field threads integer

---@class moonseek.Stats
---@field prefill_tokens integer
---@field decode_tokens integer
---@field steps integer
---@field prefill_ms number
---@field decode_ms number
---@field sessions integer
---@field jobs integer
---@field session_bytes integer
---@field scratch_bytes integer

---@class moonseek.Engine
local engine = {}

---@return moonseek.EngineInfo
function engine:info() end

---@return moonseek.Stats
function engine:stats() end

---@param options? { context?: integer }
---@return { weights: integer, session: integer, per_token: integer, scratch: integer }? bytes
---@return string? message
---@return moonseek.Code? code
function engine:memory(options) end

---@param options { threads: integer }
---@return true? done
---@return string? message
---@return moonseek.Code? code
function engine:set(options) end

---@return moonseek.Tokenizer? tokenizer
---@return string? message
---@return moonseek.Code? code
function engine:tokenizer() end

---@param options? { context?: integer }
---@return moonseek.Session? session
---@return string? message
---@return moonseek.Code? code
function engine:session(options) end

function engine:close() end

---@class moonseek.Tokenizer
---@operator len: integer
local tokenizer = {}

---@param text string|moonseek.Piece[]
---@return moonseek.Tokens? tokens
---@return integer[]|string? offsets of the ids of pieces, or the message
---@return moonseek.Code? code
function tokenizer:encode(text) end

---@param tokens moonseek.Tokens|integer[]
---@param i? integer
---@param j? integer
---@return string? bytes
---@return string? message
---@return moonseek.Code? code
function tokenizer:decode(tokens, i, j) end

---@param text string|moonseek.Piece[]
---@return integer? count
---@return string? message
---@return moonseek.Code? code
function tokenizer:count(text) end

---@param name string
---@return integer? id
function tokenizer:token(name) end

function tokenizer:close() end

---@class moonseek.Tokens
---@operator len: integer
---@field [integer] integer?
local packed = {}

---@param i integer
---@param j? integer
---@return moonseek.Tokens
function packed:sub(i, j) end

---@return integer[]
function packed:totable() end

function packed:close() end

---@class moonseek.GenerateOptions
---@field max_tokens? integer
---@field temperature? number
---@field top_k? integer
---@field top_p? number
---@field min_p? number
---@field seed? integer|string
---@field repetition_penalty? number
---@field frequency_penalty? number
---@field presence_penalty? number
---@field logit_bias? table<integer, number>
---@field stop? (string|integer)[]
---@field ignore_eos? boolean
---@field logprobs? integer
---@field raw? boolean
---@field deadline_ms? integer

---@class moonseek.GenerateOptionsWithHook: moonseek.GenerateOptions
---@field on_event? fun(event: moonseek.Event)

---@class moonseek.Usage
---@field prompt integer
---@field cached integer
---@field read integer
---@field reread integer
---@field completion integer

---@class moonseek.Result
---@field text string
---@field tokens moonseek.Tokens
---@field finish_reason "stop"|"length"|"cancel"|"deadline"
---@field seed integer|string
---@field usage moonseek.Usage
---@field timing { prefill_ms: number, decode_ms: number }

---@class moonseek.Prefill
---@field type "prefill"
---@field done integer
---@field total integer

---@class moonseek.Token
---@field type "token"
---@field token integer
---@field position integer
---@field text string
---@field logprob number
---@field logprobs? { id: integer, logprob: number }[]

---@class moonseek.Done: moonseek.Result
---@field type "done"
---@field tail string

---@class moonseek.Error
---@field type "error"
---@field message string
---@field code moonseek.Code

---@alias moonseek.Event moonseek.Prefill | moonseek.Token | moonseek.Done | moonseek.Error

---@class moonseek.Session
local session = {}

---@param tokens moonseek.AnyTokens
---@return integer? held
---@return string? message
---@return moonseek.Code? code
function session:sync(tokens) end

---@param tokens moonseek.AnyTokens
---@return integer? held
---@return string? message
---@return moonseek.Code? code
function session:append(tokens) end

---@return integer
function session:position() end

---@return integer
function session:room() end

---@return moonseek.Tokens? tokens
---@return string? message
---@return moonseek.Code? code
function session:tokens() end

---@return moonseek.Logits? logits
---@return string? message
---@return moonseek.Code? code
function session:logits() end

---@param options? moonseek.GenerateOptionsWithHook
---@return moonseek.Result? result
---@return any problem a message, or what on_event raised
---@return moonseek.Code? code
function session:generate(options) end

---@param options? moonseek.GenerateOptions
---@return (fun(): moonseek.Event?)? iterator
---@return string? message
---@return moonseek.Code? code
function session:stream(options) end

---@param options? moonseek.GenerateOptions
---@return moonseek.Job? job
---@return string? message
---@return moonseek.Code? code
function session:start(options) end

function session:close() end

---@class moonseek.Logits
---@operator len: integer
---@field [integer] number?
local logits = {}

---@param k integer
---@return { id: integer, logit: number, logprob: number }[]
function logits:top(k) end

---@return string
function logits:bytes() end

---@class moonseek.Job
local job = {}

---@return moonseek.Event?
function job:poll() end

---@param ms integer
---@return boolean
function job:wait(ms) end

function job:cancel() end

---@return boolean
function job:finished() end

---@return moonseek.Result? result
---@return string? message
---@return moonseek.Code? code
function job:result() end

---@return integer? descriptor
---@return string? message
---@return moonseek.Code? code
function job:pollfd() end

---@return integer? descriptor
---@return string? message
---@return moonseek.Code? code
function job:getfd() end

---@return "r"
function job:events() end

---@return nil
function job:timeout() end

---@return boolean
function job:dirty() end

function job:close() end

return moonseek
