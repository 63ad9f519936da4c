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

#include "../base/file.h"
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

/*
** The rows of a cache as one run of bytes, `rows` of model_cache_plan of them: the pages that a token behind
** its position can reach, whole, layer by layer. Rows lie in it as they do in memory. `sink` takes them in order.
*/
typedef ms_status model_image_sink (void *user, const void *bytes, size_t count, ms_error *err);

ms_status model_cache_write_image (const model_cache *cache, model_image_sink *sink, void *user, ms_error *err);

/*
** A cache at `position` whose pages are the bytes of *view from `offset` on, a multiple of 64. It takes the view
** over and leaves it empty, and never writes to it: a page that is written to is copied first.
** MS_EFORMAT: fewer bytes than its rows take, or a float that is NaN or infinite; the path of *view is named.
** After a failure *view may be empty, and is still the caller's to close.
*/
ms_status model_cache_open_image (const model *m, page_heap *heap, size_t position, file_view *view, size_t offset,
                                  model_cache **out, ms_error *err);

#endif
