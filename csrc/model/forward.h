/*
** The forward pass over one step: rows of several sessions, through all layers, to logits
** (specs/architecture.md 2). Prefill is a segment of many rows, decode one of one row: one path.
*/
#ifndef model_forward_h
#define model_forward_h

#include "../compute/backend.h"
#include "cache.h"
#include "routing.h"
#include "weights.h"

/* The next `count` tokens of one session. */
typedef struct model_segment {
  model_cache *cache;
  const int32_t *tokens;               /* [count], within the vocabulary: the caller has checked */
  size_t count;
  size_t logit_rows;                   /* logits are wanted of this many rows at its end */
  const model_routing *routing;        /* its expert policy, or NULL */
  int32_t *experts;                    /* NULL, or takes the experts chosen [layers, count, top_k], as by `route` */
} model_segment;

/* Work space of a step; one runner serves one thread. It grows to the largest step, not with the context. */
typedef struct model_runner model_runner;

ms_status model_runner_open (const model *m, backend *be, model_runner **out, ms_error *err);
void model_runner_close (model_runner *runner);              /* NULL is allowed */
size_t model_runner_bytes (const model_runner *runner);
/* Bytes of the work space for a step of `rows` rows. */
uint64_t model_runner_plan (const model *m, size_t rows);

/* Asked between layers: non-zero when nobody waits for this step any more. */
typedef int model_abandoned (void *user);

/*
** Computes one step. logits [sum of logit_rows, vocabulary], in the order of the segments, on the host.
** Nothing is committed: the caller commits the caches whose sessions still want their rows. After a
** failure, or MS_ECANCELED when `abandoned` said so, every cache is as it was.
*/
ms_status model_forward (model_runner *runner, const model_segment *segments, size_t count,
                         model_abandoned *abandoned, void *user, float *logits, ms_error *err);

#endif
