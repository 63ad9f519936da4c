/*
** The memory of one session: for every layer its append-only sequences of rows (design: docs/architecture.md,
** "A session's memory"). Rows live in pages that are counted, shared by forks and copied when a shared page
** is written to. Pages of window and raw rows are given up when no later token can reach them, so the
** memory grows with the compressed rows alone. A cache itself has owners too: a fork or a mark costs nothing
** until one of them writes (model_cache_own).
*/
#ifndef model_cache_h
#define model_cache_h

#include <stdatomic.h>

#include "../compute/backend.h"
#include "weights.h"

typedef struct model_cache model_cache;

/* Where the pages of an engine's sessions come from, and what they take together, each counted once. */
typedef struct page_heap { backend *be; atomic_size_t bytes; } page_heap;

/* Empty, at position 0. MS_EUNSUPPORTED when the backend's numerics cannot store this model's rows. */
ms_status model_cache_open (const model *m, page_heap *heap, model_cache **out, ms_error *err);
void model_cache_close (model_cache *cache);                 /* one owner less; NULL is allowed */

/* One more owner of the same cache, which nobody writes to meanwhile. Returns it. */
model_cache *model_cache_share (model_cache *cache);
/*
** Makes *cache the caller's alone, to be written to: where it has other owners, by a second cache that shares
** every page. On failure nothing has changed.
*/
ms_status model_cache_own (model_cache **cache, ms_error *err);

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

/*
** Bytes of a cache: its rows at a number of tokens, what one more token adds on average, and what a fork that
** is left behind (a mark) keeps at most to itself, beside the compressed rows it shares.
*/
typedef struct model_cache_sizes { uint64_t rows, per_token, mark; } model_cache_sizes;

ms_status model_cache_plan (const model *m, const backend *be, size_t context, model_cache_sizes *sizes,
                            ms_error *err);

#endif
