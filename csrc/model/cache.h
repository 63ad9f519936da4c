/*
** The memory of one session: for every layer its append-only sequences of rows (design: docs/architecture.md,
** "A session's memory"). Rows live in pages that are counted, shared by forks and copied when a shared page
** is written to. Pages of window and raw rows are given up when no later token can reach them, so the
** memory grows with the compressed rows alone.
*/
#ifndef model_cache_h
#define model_cache_h

#include "../compute/backend.h"
#include "weights.h"

typedef struct model_cache model_cache;

/* Empty, at position 0. MS_EUNSUPPORTED when the backend's numerics cannot store this model's rows. */
ms_status model_cache_open (const model *m, backend *be, model_cache **out, ms_error *err);
void model_cache_close (model_cache *cache);                 /* NULL is allowed */

/* A second cache at the same position that shares every page. */
ms_status model_cache_fork (const model_cache *cache, model_cache **out, ms_error *err);

/* Tokens whose rows count: those committed. */
size_t model_cache_position (const model_cache *cache);

/*
** Makes the rows of the next `count` tokens writable: new pages, and copies of shared ones. After a failure
** the cache is as it was, some spare pages apart.
*/
ms_status model_cache_reserve (model_cache *cache, size_t count, ms_error *err);
/* The next `count` tokens, reserved, as layer `layer` sees them; `first` is their first row in the step. */
segment model_cache_segment (const model_cache *cache, size_t layer, size_t first, size_t count);
/* The rows of the next `count` tokens count from now on. Cannot fail. */
void model_cache_commit (model_cache *cache, size_t count);

/* Bytes of the pages this cache refers to, and of those only it refers to. */
size_t model_cache_bytes (const model_cache *cache);
size_t model_cache_own_bytes (const model_cache *cache);

/*
** Bytes of a cache: its rows at a number of tokens, what one more token adds on average, and what a fork that
** is left behind (a mark) keeps at most to itself, beside the compressed rows it shares.
*/
typedef struct model_cache_sizes { uint64_t rows, per_token, mark; } model_cache_sizes;

ms_status model_cache_plan (const model *m, const backend *be, size_t context, model_cache_sizes *sizes,
                            ms_error *err);

#endif
