/*
** What the files of the runtime share: engine, session and job, and who may touch which field.
**
** One lock an engine. A field marked (worker) is touched by the engine thread alone until its job has
** ended; everything else that changes is guarded by `lock`, taken by engine_lock and given back by
** engine_unlock. Lock order: scheduler.c.
*/
#ifndef runtime_runtime_h
#define runtime_runtime_h

#include <stdbool.h>
#include <uv.h>

#include "../base/status.h"
#include "../model/forward.h"
#include "notifier.h"
#include "pace.h"
#include "prefix_store.h"
#include "sampler.h"
#include "saturation.h"
#include "snapshot.h"
#include "text.h"

/*
** Rows of a step: at most SHARED_ROWS of them where others wait for its end, the host's thread or another job. A job
** alone takes STEP_ROWS: a step reads every expert, and twice the rows have twice the use of it.
*/
enum { STEP_ROWS = 512, SHARED_ROWS = 256 };

enum { EVENT_LIMIT = 256 };              /* waiting events a job; a slower reader pauses it */

/*
** Marks a session: two a turn (where the answer begins, where the next reading begins), so the last four
** turns can be taken back. The oldest goes first; position 0 needs none.
*/
enum { MARK_LIMIT = 8 };

/* {== Session ==================================================================================== */

/* A place to which a session can go back: its rows and, when they were at hand, the logits there; all shared. */
typedef struct mark {
  size_t position;
  model_cache *cache;
  float *logits;                         /* [vocabulary] or NULL */
} mark;

struct ms_session {
  ms_engine *engine;
  ms_session *next;                      /* of the engine's sessions, or of its garbage */
  size_t context, references;            /* its handle, its jobs */
  ms_job *job;                           /* the one that runs, or NULL */
  ms_tokens tokens;                      /* held; read are those before model_cache_position(cache) */
  model_cache *cache;
  size_t reread_end;                     /* unread tokens before this position have been read before */
  float *logits;                         /* [vocabulary] after token logits_at - 1; shared by forks and marks */
  size_t logits_at;                      /* 0: none */
  mark marks[MARK_LIMIT];                /* ascending */
  size_t mark_count;
  model_routing *routing;                /* its expert policy, shared with forks (routing.c); NULL: the model's way */
  bool steered;                          /* some of its rows were read under a policy */
  uint64_t *expert_counts, counted;      /* [layers, experts] of `counted` rows; NULL until a step needs them */
};

/* Empty, without a cache and logits, in no list; session_free frees it. */
ms_status session_new (ms_engine *engine, size_t context, ms_session **out, ms_error *err);
void session_list (ms_session *session);               /* under the lock: it is now the caller's to release */
/* Under the lock: what would be saved now, shared; snapshot_clear gives it up. */
void session_snapshot (ms_session *session, snapshot *s);
size_t session_read (const ms_session *session);
/* The logits after the last token held, or NULL when it is unread or they are gone. */
const float *session_current_logits (const ms_session *session);
/* Makes sure that a job will end with logits: takes a token back to be read again if they are gone. */
ms_status session_prepare (ms_session *session, ms_error *err);
/* The newest place at or before `limit` is what is read, and no mark is behind it; on failure nothing has changed. */
ms_status session_go_back (ms_session *session, size_t limit, ms_error *err);
void session_mark (ms_session *session);               /* remembers the present position */
/* Makes the session's own what a step over `count` tokens will write; with `draws` one more held token. */
ms_status session_reserve (ms_session *session, size_t count, bool draws, ms_error *err);
/* `count` more tokens are read; returns how many of them had been read before. */
size_t session_commit (ms_session *session, size_t count, const float *logits);
void session_unreference (ms_session *session);
void session_free (ms_session *session);

/* Counts of chosen experts: room for them, and `rows` committed rows with their experts [layers, rows, top_k]. */
ms_status routing_reserve_counts (ms_session *session, ms_error *err);
void routing_count (ms_session *session, const int32_t *experts, size_t rows);
size_t routing_count_bytes (const ms_engine *engine);  /* of a session's counts */
ms_status routing_place (ms_engine *engine, ms_error *err);   /* policies and room for experts in a step just formed */

/* {== Job ======================================================================================== */

typedef struct event_node {
  struct event_node *next;
  ms_event event;
} event_node;

/* A token that is not yet committed. */
typedef struct drawn_token {
  event_node *node;                      /* NULL: none was drawn */
  bool last;                             /* the job ends with it, by `finish` */
  ms_finish finish;
} drawn_token;

struct ms_job {
  ms_session *session;
  ms_job *next_garbage;
  size_t references;                     /* its handle, the engine's list, the step in flight */
  bool cancelled;                        /* asked for; `ended` follows within a stage */
  bool paused;                           /* no step takes it */
  bool begun;                            /* the scheduler has seen it */
  bool ended, end_taken;                 /* the last event is queued; is taken */
  ms_finish finish;
  ms_error error;                        /* status MS_OK: it ended well */
  uint64_t deadline;                     /* by clock_now; UINT64_MAX: none */

  bool prefill_waiting;                  /* one event stands for all progress not yet looked at */
  size_t prefill_done, prefill_total;
  event_node *first, *last;              /* tokens: always after the prefill, before the end */
  size_t event_count;
  char *tail; size_t tail_bytes;         /* text that the end set free */
  notifier notifier;

  ms_generate_options options;           /* checked; bias and stop are not kept here */
  int32_t *stop_ids; size_t stop_id_count;
  ms_tokenizer *tokenizer;               /* NULL: the model has none, and text stays empty */
  sampler sampler;                       /* (worker) */
  text_stream text;                      /* (worker) */
  ms_tokens tokens;                      /* (worker) generated */
  size_t scored, score_from;             /* tokens whose log-probabilities are wanted; the first one's position */
  float *logprobs;                       /* (worker) [scored] or NULL */
  size_t cached, read, reread, slice;    /* slice: rows of reading in its last step */
  uint64_t prefill_ns, decode_ns;
};

/* In session->job: not released, so what is computed for it counts. */
static inline bool job_is_attached (const ms_job *job) {
  return job->session->job == job;
}

void job_end (ms_job *job, ms_finish finish);          /* (worker) queues the last event; frees the session */
void job_fail (ms_job *job, const ms_error *error);    /* alike */
/* (worker) Draws the token at `position` and makes its event; job_queue_token or job_discard takes it. */
ms_status job_draw (ms_job *job, sampler_scratch *scratch, const float *logits, size_t position,
                    drawn_token *drawn, ms_error *err);
void job_discard (drawn_token *drawn);
struct step_item;
/* (worker) Log-probabilities from the logits of item->logit_rows rows; `tokens`: those of the item's segment. */
void job_score (ms_job *job, const struct step_item *item, const int32_t *tokens, const float *logits);
void job_queue_token (ms_job *job, event_node *node);
void job_queue_prefill (ms_job *job);
void job_after_fork (ms_job *job, bool in_flight);
void job_unreference (ms_job *job);
void job_free (ms_job *job);

/* MS_EINVAL naming option, value and limits. */
ms_status options_check (const ms_generate_options *options, size_t vocabulary, ms_error *err);

/* {== Engine ===================================================================================== */

typedef struct step_item {
  ms_job *job;
  model_cache *cache;                    /* an owner of the session's, until the step is committed; NULL: no rows */
  size_t count;                          /* rows; 0: the logits are at hand */
  size_t logit_row, logit_rows;          /* in step.logits: of its last rows; 0 rows: none */
  int32_t next;                          /* the token behind the rows, when they are scored */
  size_t position;                       /* of the next token, when the rows are read */
  ms_status status;
  ms_error error;
  drawn_token drawn;
  model_routing *routing;                /* the policy of its rows, or NULL */
} step_item;

/* Everything a step computes from is copied here, so that a released session may change meanwhile. */
typedef struct step {
  step_item items[STEP_ROWS];
  model_segment segments[STEP_ROWS];     /* of the first `segment_count` items */
  int32_t tokens[STEP_ROWS];
  size_t count, segment_count, rows;
  size_t decodes;                        /* rows that answers wait for; the others read */
  int32_t *experts;                      /* [STEP_ROWS * layers * top_k]: those chosen, segment by segment */
  float *logits;                         /* [logit_capacity, vocabulary] */
  size_t logit_rows, logit_capacity;
  bool set_threads;
  size_t threads;
  uint64_t duration;
  size_t used;                           /* of the backend's threads, at most */
  bool tried;                            /* `saturation` wants to know what it took */
  bool waited;                           /* then: for pages from the disk */
} step;

struct ms_engine {
  model *model;                          /* these never change */
  backend *backend;
  ms_access access;                      /* to files: of the model and of saved sessions */
  char *origin;                          /* absolute: the host may change its folder before the tokenizer is opened */
  ms_engine_info info;                   /* but info.threads: lock */
  ms_engine *next;                       /* registry's lock */
  uint64_t id;                           /* registry's lock */
  ms_cache *cache;                       /* or NULL */
  page_heap heap;                        /* of all sessions; its count is atomic */

  uv_mutex_t tokenizer_lock;
  ms_tokenizer *tokenizer;               /* tokenizer_lock */

  uv_mutex_t lock;                       /* all that follows */
  uv_cond_t work;                        /* the engine thread waits: a job may have become runnable */
  uv_cond_t events;                      /* ms_job_wait waits: some job has an event */
  size_t handles;                        /* of the engine, its sessions and its jobs, held by callers */
  ms_session *sessions;
  ms_job **jobs, **order;                /* those that run, and ended ones until the next sweep, highest priority */
  size_t job_count, job_capacity, turn;  /*   first; order: as they are served in the step at hand; turn: its number */
  size_t job_limit;
  uint64_t slice_ns;                     /* by which reading may lengthen a step that others wait for */
  pace pace;                             /* what steps have taken */
  bool all_cores;                        /* the number of threads was left to the engine */
  saturation saturation;                 /* and how many of them one answer takes */
  ms_job *garbage_jobs;                  /* freed by engine_unlock, without the lock */
  ms_session *garbage_sessions;
  bool hosted;                           /* no thread: whoever waits computes; never changes */
  prefix_writer writer;
  bool has_fingerprint;                  /* made when a session is first saved or loaded */
  model_fingerprint fingerprint;
  bool thread_runs, quit, in_flight, forked;
  bool set_threads;                      /* to `threads`, before the next step */
  size_t threads;
  ms_engine_stats stats;
  uv_thread_t thread;

  model_runner *runner;                  /* (worker) */
  sampler_scratch scratch;               /* (worker) */
  step step;                             /* (worker); formed and committed under the lock */
};

void engine_lock (ms_engine *engine);
void engine_unlock (ms_engine *engine);
/* Gives up one caller's handle and the lock; with the last one the engine ends. */
void engine_unlock_drop (ms_engine *engine);
/* Under the lock: makes the engine thread run in this process. */
ms_status engine_start (ms_engine *engine, ms_error *err);
void engine_wake (ms_engine *engine);    /* under the lock: a job may have become runnable, or have to end */
/* Under the lock: ends jobs that are cancelled or late and strikes ended ones off the list. */
void engine_sweep (ms_engine *engine);
/* Under the lock, on a host's thread: one step; false when there is none now, or another thread computes one. */
bool engine_step (ms_engine *engine);
bool step_form (ms_engine *engine);      /* false when there is nothing to do now */
void step_end (ms_engine *engine);
/* What saved sessions are compared with. Takes the lock. */
ms_status engine_owner (ms_engine *engine, snapshot_owner *owner, ms_error *err);
void engine_adopt (ms_engine *engine);   /* under the lock, in a child process */

/* {== Prefixes =================================================================================== */

void prefix_find (ms_session *session);  /* takes the lock: a stored prefix becomes read */
/* Under the lock: `read` tokens of a job, up to a prompt's end, may be worth storing. */
void prefix_offer (ms_session *session, size_t read);
void prefix_write (ms_engine *engine);   /* under the lock, given back while it stores what was offered */
void prefix_end (ms_engine *engine);     /* waits until what was offered is stored */
void prefix_after_fork (ms_engine *engine);

/* Engines whose locks a fork of the process must find free (registry.c). */
ms_status registry_add (ms_engine *engine, ms_error *err);
void registry_remove (ms_engine *engine);

#endif
