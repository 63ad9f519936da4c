/*
** moonseek.h: the engine's whole public interface. DeepSeek-V4 models on the CPU, as a library.
**
** Who owns what: an engine, a tokenizer and a session are counted; `release` gives up one handle and
** takes NULL. A session keeps its engine alive, a job its session. Results written into caller-supplied
** structs are the caller's; pointers in them live as long as the object they came from.
** Every call that can fail returns a status and, if it is not MS_OK, fills *err. Nothing prints, exits
** or installs a signal handler; no thread starts before the first job, but for those of a conversion.
** Any thread may call anything but a release beside another call on the same handle.
** Units: bytes, milliseconds, tokens; token ids and positions count from 0.
*/
#ifndef moonseek_h
#define moonseek_h

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif
/* {== Status ===================================================================================== */

typedef enum ms_status {
  MS_OK,
  MS_EINVAL,        /* a value the caller gave is out of range */
  MS_ENOENT,        /* no such file */
  MS_EIO,           /* the system could not read or write */
  MS_EFORMAT,       /* a file is not what it says */
  MS_EUNSUPPORTED,  /* it is, but we cannot */
  MS_EMODEL,        /* a file of another model */
  MS_ENOMEM, MS_ENOSPC,
  MS_EBUSY,         /* a job runs on the session */
  MS_ECTXFULL,      /* the session's context is full */
  MS_ECANCELED, MS_EDEADLINE, MS_ECLOSED,
  MS_ENODEV,        /* the device or backend asked for cannot run */
  MS_STATUS_COUNT
} ms_status;

typedef struct ms_error {
  ms_status status;
  char message[512];  /* names file, tensor, value and limit; terminated, cut at a character */
} ms_error;

const char *ms_status_name (ms_status status);       /* "EINVAL", "ENOENT", ...; "OK" for MS_OK */

/* {== Module ===================================================================================== */

const char *ms_version (void);                       /* "0.1.0" */
const char *const *ms_backends (void);               /* names that `backend` accepts, NULL at the end */

#define MS_CPU_FEATURES_BYTES 128                    /* more than all levels' names */
/* Writes the kernel levels this machine can run to `out` and returns it: "scalar avx2 avx512". */
const char *ms_cpu_features (char out[MS_CPU_FEATURES_BYTES]);

size_t ms_memory_live (void);                        /* bytes allocated by the engine's allocator and not freed */

/* Writes a file that takes the place of `path` as a whole, also when the machine stops in between, or not at all. */
ms_status ms_file_replace (const char *path, const void *bytes, size_t count, ms_error *err);

/* {== Model files, header only =================================================================== */

#define MS_TYPE_LIMIT 48                             /* more than there are types */
typedef struct ms_type_count { char name[12]; size_t tensors; uint64_t bytes; } ms_type_count;

typedef struct ms_model_info {
  char architecture[32];                             /* "deepseek_v4" */
  size_t layers, width, heads, vocabulary, context;  /* context: tokens the model was made for */
  size_t experts, experts_per_token;
  size_t tensors, ignored_tensors;                   /* in the files; ignored: MTP blocks, names that nothing uses */
  uint64_t parameters, bytes;                        /* of the tensors in use; FP4 counts two a byte, scales none */
  size_t type_count;
  ms_type_count types[MS_TYPE_LIMIT];
} ms_model_info;

ms_status ms_probe (const char *path, ms_model_info *info, ms_error *err);

/* {== Conversion ================================================================================= */

/* Any number of bytes of those that will be written; a result other than 0 stops the conversion (MS_ECANCELED). */
typedef int ms_convert_progress (void *user, const char *phase, uint64_t done, uint64_t total);

typedef struct ms_convert_options {
  const char *source;                                /* as for ms_engine_open */
  const char *target;                                /* "x.gguf", or a folder of safetensors */
  /*
  ** Types of the tensors of a class: "f32", "bf16", "f16"; for GGUF "q8_0", "q4_k", "iq4_nl", "mxfp4"; for
  ** safetensors "fp8", "fp4". NULL: one that holds the same numbers.
  */
  const char *experts, *attention, *compressors, *shared, *head, *embedding;
  size_t threads;                                    /* MS_ALL_CORES: one a physical core; 0: the caller's alone */
  uint64_t shard_bytes;                              /* of safetensors: the next begins behind so many */
  int overwrite;                                     /* a file that bears the target's name is replaced */
  ms_convert_progress *progress; void *progress_user;   /* "check", "convert", "verify"; may be NULL */
} ms_convert_options;

void ms_convert_options_default (ms_convert_options *options);   /* all but `source` and `target` */

/*
** Writes a model anew in another container or with other types. Until everything is on the disk and was read back,
** it lies under the target's name with ".part" behind it; the same call goes on with what a stopped one left there.
**   MS_EINVAL     a type that the target has no form for, or whose blocks do not fit a tensor; the target exists
**   MS_ENOSPC     the same call goes on when there is room;  MS_EBUSY  another process converts to this target
**   MS_EUNSUPPORTED  a weight that its type cannot hold: NaN, infinity;  MS_ECANCELED, and what ms_engine_open gives
*/
ms_status ms_convert (const ms_convert_options *options, ms_error *err);

/* {== Tokens and text ============================================================================ */

typedef struct ms_tokens { int32_t *ids; size_t count, capacity; } ms_tokens;   /* {0} is empty */

ms_status ms_tokens_append (ms_tokens *tokens, const int32_t *ids, size_t count, ms_error *err);
void ms_tokens_free (ms_tokens *tokens);             /* leaves it empty */

/*
** What a prompt is made of. Text is never matched against control tokens; a control token is asked for
** by its name ("<|User|>" with the full-width bars); ids are taken as they are.
*/
typedef enum ms_piece_kind { MS_PIECE_TEXT, MS_PIECE_CONTROL, MS_PIECE_IDS } ms_piece_kind;

typedef struct ms_piece {
  ms_piece_kind kind;
  const char *text; size_t bytes;                    /* TEXT: any bytes; CONTROL: the token's name */
  const int32_t *ids; size_t count;                  /* IDS */
} ms_piece;

typedef struct ms_tokenizer ms_tokenizer;

/* `path`: a tokenizer.json, a folder that holds one, or a GGUF file. */
ms_status ms_tokenizer_open (const char *path, ms_tokenizer **tokenizer, ms_error *err);
ms_tokenizer *ms_tokenizer_retain (ms_tokenizer *tokenizer);
void ms_tokenizer_release (ms_tokenizer *tokenizer);
size_t ms_tokenizer_size (const ms_tokenizer *tokenizer);                       /* ids 0 .. size-1 */

/*
** Appends the ids of `pieces` to `tokens`. Adjacent text pieces are joined before the merges. If
** `offsets` is not NULL it receives, for every new id, the byte at which its text starts in the
** concatenation of all pieces' texts (ids pieces count as their decoded bytes); room for
** `ms_tokenizer_bound(pieces)` entries.
** MS_EINVAL: a control name or id the vocabulary lacks. After a failure `tokens` is as before.
*/
ms_status ms_tokenizer_encode (const ms_tokenizer *tokenizer, const ms_piece *pieces, size_t count,
                               ms_tokens *tokens, size_t *offsets, ms_error *err);
size_t ms_tokenizer_bound (const ms_piece *pieces, size_t count);               /* ids never exceed it */

/* The id of the control token `name`, or -1. */
int32_t ms_tokenizer_control (const ms_tokenizer *tokenizer, const char *name, size_t bytes);
/* The bytes of one id and whether it is a control token; NULL if there is no such id. */
const char *ms_tokenizer_text (const ms_tokenizer *tokenizer, int32_t id, size_t *bytes, int *control);

/* {== Prefix cache =============================================================================== */

/*
** A folder of saved prefixes that engines look into before a job reads, and into which they put what a job has
** read: at least `minimum` tokens, up to the end of a prompt. The folder is made if it is missing. Beyond `budget`
** bytes the least recently used go. Engines and processes share a folder freely; what is wrong with a file in it is
** never the job's failure. Counted like an engine: an engine keeps the one it was opened with.
*/
typedef struct ms_cache ms_cache;
typedef struct ms_cache_stats { uint64_t found, stored, removed, failed; } ms_cache_stats;   /* by this object */

ms_status ms_cache_open (const char *folder, uint64_t budget, size_t minimum, ms_cache **cache, ms_error *err);
void ms_cache_release (ms_cache *cache);
void ms_cache_get_stats (ms_cache *cache, ms_cache_stats *stats);

/* {== Engine ===================================================================================== */

typedef enum ms_numerics { MS_FAST, MS_REFERENCE, MS_EXACT } ms_numerics;
typedef enum ms_access { MS_MAP, MS_READ } ms_access;          /* map the files, or read them into memory */
typedef enum ms_check { MS_CHECK_HEADER, MS_CHECK_WEIGHTS } ms_check;  /* WEIGHTS: every number, for NaN and Inf */

typedef struct ms_engine ms_engine;
typedef void ms_progress (void *user, const char *phase, uint64_t done, uint64_t total);

#define MS_ALL_CORES SIZE_MAX

typedef struct ms_engine_options {
  const char *path;          /* folder of config.json and safetensors */
  const char *backend;       /* "auto", "cpu" */
  const char *kernels;       /* "auto", or a level of ms_cpu_features */
  ms_numerics numerics;
  ms_access access;
  ms_check check;
  size_t threads;            /* 0: none, whoever waits for a job computes; MS_ALL_CORES: one a physical core, and for
                                one answer alone the fewest that generate it about as fast, found in the first steps */
  ms_cache *cache;           /* NULL: none; stays the caller's handle too */
  ms_progress *progress;     /* called on this thread while opening; may be NULL */
  void *progress_user;
} ms_engine_options;

void ms_engine_options_default (ms_engine_options *options);   /* all but `path` */

/* Maps the model; touches no weights but the hash-routing tables, whose range it checks. */
ms_status ms_engine_open (const ms_engine_options *options, ms_engine **engine, ms_error *err);
void ms_engine_release (ms_engine *engine);
/* Another handle of an open engine of this process, for another thread or Lua state. MS_ENOENT: there is none. */
uint64_t ms_engine_id (ms_engine *engine);
ms_status ms_engine_attach (uint64_t id, ms_engine **engine, ms_error *err);

typedef struct ms_engine_info {
  ms_model_info model;
  const char *backend, *kernels, *numerics;
  size_t threads;
} ms_engine_info;

typedef struct ms_engine_stats {
  uint64_t prefill_tokens, decode_tokens, steps;
  double prefill_seconds, decode_seconds;            /* of steps, by their rows */
  size_t sessions, jobs;                             /* open sessions, unfinished jobs */
  size_t session_bytes, scratch_bytes;               /* pages held by sessions; work space of the steps */
  size_t answer_threads;                             /* that generate one answer alone; 0: not found yet */
} ms_engine_stats;

typedef struct ms_memory_plan {
  uint64_t weights, session, per_token, scratch;     /* session: one at `context` tokens; per_token: growth */
  uint64_t saved;                                    /* file of a session that holds `context` tokens */
} ms_memory_plan;

/* A stage of the architecture, as `docs/architecture.md` names them, on the thread that runs the steps. */
typedef struct ms_stage_stats { const char *name; uint64_t calls; double seconds; } ms_stage_stats;

void ms_engine_get_info (ms_engine *engine, ms_engine_info *info);
void ms_engine_get_stats (ms_engine *engine, ms_engine_stats *stats);
/*
** Fills the first `limit` of `stages` and returns how many there are. Counting begins with the first call (before
** it, stages are not timed) and never starts again.
*/
size_t ms_engine_get_stages (ms_engine *engine, ms_stage_stats *stages, size_t limit);
ms_status ms_engine_plan_memory (ms_engine *engine, size_t context, ms_memory_plan *plan, ms_error *err);
ms_status ms_engine_set_threads (ms_engine *engine, size_t threads, ms_error *err);  /* from the next step on */

typedef struct ms_engine_limits {
  size_t jobs;                                       /* unfinished at once; one more is refused with MS_EBUSY */
  double slice_ms;                                   /* by which reading may lengthen a step that answers wait for */
} ms_engine_limits;

void ms_engine_get_limits (ms_engine *engine, ms_engine_limits *limits);
ms_status ms_engine_set_limits (ms_engine *engine, const ms_engine_limits *limits, ms_error *err);
/* The tokenizer beside the weights, opened at the first call; MS_ENOENT when the folder has none. */
ms_status ms_engine_tokenizer (ms_engine *engine, ms_tokenizer **tokenizer, ms_error *err);

/* {== Session ==================================================================================== */

typedef struct ms_session ms_session;
/* `context`: tokens it can hold, at most the model's; 0: as many. MS_EIO when the files have changed. */
ms_status ms_session_open (ms_engine *engine, size_t context, ms_session **session, ms_error *err);
void ms_session_release (ms_session *session);       /* cancels its job; waits for nothing */

/*
** Makes `session` hold exactly tokens[0 .. count-1]. What it has read of them stays read, back to a mark
** where they differ; the rest waits for the next job. MS_EBUSY: a job runs on it; MS_ECTXFULL: more than its
** context; MS_EINVAL: an id outside the vocabulary. After every failure it holds what it held before.
** `append` adds to what it holds, alike.
*/
ms_status ms_session_sync (ms_session *session, const int32_t *tokens, size_t count, ms_error *err);
ms_status ms_session_append (ms_session *session, const int32_t *tokens, size_t count, ms_error *err);
/* Makes it hold its first `position` tokens only, like sync. MS_EINVAL: it holds fewer. */
ms_status ms_session_rewind (ms_session *session, size_t position, ms_error *err);
/* A session of its own that holds and has read the same. Nothing is copied until one of both changes. MS_EBUSY. */
ms_status ms_session_fork (ms_session *session, ms_session **fork, ms_error *err);

size_t ms_session_position (ms_session *session);    /* tokens it holds, read or not */
size_t ms_session_read (ms_session *session);        /* of these, how many are read */
size_t ms_session_context (ms_session *session);
ms_status ms_session_tokens (ms_session *session, ms_tokens *tokens, ms_error *err);   /* appends a copy */
/* Copies the logits after the last token, [vocabulary]; MS_EBUSY; MS_EINVAL: a token is unread, or none is held. */
ms_status ms_session_logits (ms_session *session, float *logits, ms_error *err);

/*
** Writes what a session holds, has read and would go on from to one file, which replaces `path` as a whole or, on
** failure, not at all, also when the machine stops in between. Its places to go back to are not in it.
**   MS_EBUSY  a job runs on it;  MS_ENOSPC, MS_EIO, MS_ENOENT, MS_EINVAL (`path` is a folder or no file)
*/
ms_status ms_session_save (ms_session *session, const char *path, ms_error *err);
/*
** A session that goes on from what was saved, with the same bits. `context` 0: that of the saved one. The file is
** mapped, or read with MS_READ, checked whole, and never written to; replacing or removing it later is no matter.
**   MS_EFORMAT       damaged, cut, or no saved session;  MS_EMODEL  of another model, or with other numerics
**   MS_EUNSUPPORTED  another version, or byte order;  MS_ECTXFULL  it holds more tokens than `context`
*/
ms_status ms_session_load (ms_engine *engine, const char *path, size_t context, ms_session **session, ms_error *err);

/* {== Expert policy ============================================================================= */

/*
** Which experts may compute for a session's tokens, in place of the model's own choice. Where a layer chooses
** by score, the `top_k` experts of highest score + biases are taken, and weighed by their scores alone, so that
** the weights add up as the model's do. Layers that route by a token's table (the first ones) follow it, whole.
** A policy holds for the tokens read while it is set; what is read keeps the rows it has. Sessions with
** different policies share steps, and each gets the bits it would get alone.
*/
#define MS_EVERY_LAYER (-1)
typedef struct ms_expert_bias {
  int32_t layer, expert;                             /* from 0, as in the checkpoint's names; or MS_EVERY_LAYER */
  float value;                                       /* within +-1000; those of one expert add up; -INFINITY: off */
} ms_expert_bias;

typedef struct ms_routing {
  size_t top_k;                                      /* experts a token, at most the model's; 0: the model's */
  const ms_expert_bias *bias; size_t count;          /* {0} is the model's own way */
} ms_routing;

/*
** Copies *routing in place of the policy before. MS_EBUSY: a job runs on it; MS_EINVAL: a value outside its limits,
** or a layer that would keep fewer than top_k experts. After a failure the policy is what it was.
*/
ms_status ms_session_set_routing (ms_session *session, const ms_routing *routing, ms_error *err);
/* The policy: *top_k (0: there is none) and up to `room` of its biases; returns how many it has. */
size_t ms_session_routing (ms_session *session, size_t *top_k, ms_expert_bias *bias, size_t room);
typedef struct ms_routing_stats { size_t layers, experts; uint64_t tokens; } ms_routing_stats;
/*
** How often each expert was chosen for the tokens that this session has read, those read again counted again, since
** it was opened, forked, loaded or last reset. counts [layers, experts], or NULL; `reset` starts anew.
*/
void ms_session_routing_stats (ms_session *session, ms_routing_stats *stats, uint64_t *counts, int reset);

/* {== Job ======================================================================================== */

#define MS_LOGPROBS_LIMIT 20
typedef struct ms_logprob { int32_t id; float logprob; } ms_logprob;
typedef struct ms_bias { int32_t id; float value; } ms_bias;
typedef struct ms_stop { const char *text; size_t bytes; int32_t id; } ms_stop;   /* text NULL: the id stops */

typedef struct ms_generate_options {
  size_t max_tokens;                                 /* 0: only read; SIZE_MAX: until the context is full */
  double temperature, top_p, min_p;                  /* temperature 0: the likeliest token */
  size_t top_k;                                      /* 0: all */
  double repetition_penalty, frequency_penalty, presence_penalty;
  int has_seed; uint64_t seed;                       /* without one a seed is drawn and returned */
  const ms_bias *bias; size_t bias_count;
  const ms_stop *stop; size_t stop_count;
  int ignore_eos, raw;                               /* raw: text may end inside a UTF-8 character */
  size_t logprobs;                                   /* alternatives with every token, at most the limit */
  int64_t deadline_ms;                               /* from now; < 0: none */
  int priority;                                      /* higher ones are read first; answers never wait for others */
  int paused;                                        /* starts with ms_job_resume */
  size_t score;                                      /* log-probabilities of the last tokens held; only with */
} ms_generate_options;                               /*   max_tokens 0. The very last token stays unread */

typedef enum ms_finish { MS_FINISH_STOP, MS_FINISH_LENGTH, MS_FINISH_CANCEL, MS_FINISH_DEADLINE } ms_finish;
typedef enum ms_event_kind { MS_EVENT_PREFILL, MS_EVENT_TOKEN, MS_EVENT_DONE, MS_EVENT_ERROR } ms_event_kind;

typedef struct ms_event {
  ms_event_kind kind;
  size_t done, total;                                /* PREFILL: tokens read of those to read */
  int32_t token; size_t position;                    /* TOKEN, and where it stands in the session */
  char *text; size_t bytes;                          /* TOKEN, DONE: text that became complete; may be NULL */
  float logprob;                                     /* of the unmodified logits */
  size_t logprob_count;
  ms_logprob logprobs[MS_LOGPROBS_LIMIT];            /* the likeliest, best first */
  ms_error error;                                    /* ERROR */
} ms_event;

typedef struct ms_result {
  ms_finish finish;
  char *text; size_t bytes;                          /* cut before a stop string */
  ms_tokens tokens;                                  /* generated and kept in the session, the ending one too */
  uint64_t seed;
  float *logprobs; size_t logprob_count;             /* of the tokens scored */
  size_t read, cached, reread, generated;            /* tokens read by this job, held read before it, */
  double prefill_seconds, decode_seconds;            /*   read again after a rewind, generated */
} ms_result;

typedef struct ms_job ms_job;
void ms_generate_options_default (ms_session *session, ms_generate_options *options);  /* generation_config.json */

/* Reads what the session holds unread, then generates. Returns at once. MS_EBUSY: another job runs on it. */
ms_status ms_job_start (ms_session *session, const ms_generate_options *options, ms_job **job, ms_error *err);
int ms_job_poll (ms_job *job, ms_event *event);      /* 1: *event is filled, clear it; 0: none waits now */
void ms_event_clear (ms_event *event);
int ms_job_wait (ms_job *job, int64_t timeout_ms);   /* 1: poll has something, or nothing more; < 0: no limit */
ms_status ms_job_step (ms_job *job, ms_error *err);  /* an engine without threads: one step for all jobs, here */
void ms_job_cancel (ms_job *job);                    /* never blocks; what was committed stays */
void ms_job_pause (ms_job *job);                     /* from the next step on; its deadline stays */
void ms_job_resume (ms_job *const *jobs, size_t count);  /* of one engine, in one step */
int ms_job_finished (ms_job *job);                   /* 1: its last event has been taken */
/* The result once the last event is queued, else MS_EBUSY; the job's own error if it failed. */
ms_status ms_job_result (ms_job *job, ms_result *result, ms_error *err);
void ms_result_clear (ms_result *result);
int ms_job_descriptor (ms_job *job, ms_error *err);  /* readable exactly while an event waits; -1 on failure */
void ms_job_release (ms_job *job);                   /* cancels it; the session is free for the next call */

#if defined(__cplusplus)
}
#endif
#endif
