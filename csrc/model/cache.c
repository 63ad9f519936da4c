/*
** Session memory as sequences of rows in shared pages.
**
**   sequence   pages[0] pages[1] ... pages[count - 1]
**              pages[i] holds rows (first + i) * rows_per_page .. ; those before are out of reach of any later token
**              NULL: rows that the step at hand does not store
**   page       counted by the sequences that hold it; written to only while its count is 1
**
** A cache is written to by one thread at a time, and only while it has one owner. Pages may be shared with
** caches of other threads, so their counts are atomic; a count of 1 cannot rise behind the owner's back, for
** only a fork of this cache raises it.
*/
#include "cache_rows.h"

#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"

/* {== Pages and sequences ======================================================================== */

static page *page_new (page_heap *heap, size_t bytes) {
  page *p = memory_new(1, sizeof *p);
  if (p == NULL) return NULL;
  p->data = heap->be->allocate(heap->be, bytes);
  p->bytes = bytes;
  atomic_init(&p->references, 1);
  if (p->data == NULL) {
    memory_free(p);
    return NULL;
  }
  atomic_fetch_add(&heap->bytes, bytes);
  return p;
}

static void page_release (page_heap *heap, page *p) {
  if (p == NULL || atomic_fetch_sub(&p->references, 1) > 1) return;
  atomic_fetch_sub(&heap->bytes, p->bytes);
  if (p->image != NULL) {
    model_image_release(p->image);
    return;
  }
  heap->be->release(heap->be, p->data);
  memory_free(p);
}

static size_t page_bytes (const row_sequence *s) {
  return s->rows_per_page * s->row_bytes;
}

static void sequence_clear (page_heap *heap, row_sequence *s) {
  for (size_t i = 0; i < s->count; i++) page_release(heap, s->pages[i]);
  memory_free(s->pages);
  memory_free(s->data);
}

/* By an eighth: a long table is then hardly larger than it must be, and still copied seldom. */
ms_status model_sequence_grow (row_sequence *s, size_t count, ms_error *err) {
  if (count <= s->capacity) return MS_OK;
  size_t capacity = s->capacity + s->capacity / 8 > count ? s->capacity + s->capacity / 8 : count;
  page **pages = memory_resize(s->pages, capacity, sizeof *pages);
  if (pages == NULL) return fail_memory(err, capacity * sizeof *pages, "a session's page table");
  s->pages = pages;
  uint8_t **data = memory_resize(s->data, capacity, sizeof *data);
  if (data == NULL) return fail_memory(err, capacity * sizeof *data, "a session's page table");
  s->data = data;
  s->capacity = capacity;
  return MS_OK;
}

/* Page i is there and this sequence's own: a fork or a mark that shares it, or a file, keeps the old bytes. */
static ms_status own_page (page_heap *heap, row_sequence *s, size_t i, ms_error *err) {
  page *before = s->pages[i];
  if (before != NULL && before->image == NULL && atomic_load(&before->references) == 1) return MS_OK;
  page *own = page_new(heap, page_bytes(s));
  if (own == NULL) return fail_memory(err, page_bytes(s), "a session's rows");
  ms_status status = before == NULL ? MS_OK : heap->be->copy(heap->be, own->data, before->data, page_bytes(s), err);
  if (status != MS_OK) {
    page_release(heap, own);
    return status;
  }
  s->pages[i] = own;
  s->data[i] = own->data;
  page_release(heap, before);
  return MS_OK;
}

/* The table reaches to row `to`, and rows [from, to) become writable. */
static ms_status sequence_reserve (page_heap *heap, row_sequence *s, size_t from, size_t to, ms_error *err) {
  size_t end = blocks_of(to, s->rows_per_page) - s->first;
  TRY(model_sequence_grow(s, end, err));
  for (; s->count < end; s->count++) {
    s->pages[s->count] = NULL;
    s->data[s->count] = NULL;
  }
  for (size_t i = from / s->rows_per_page - s->first; i < end && from < to; i++) TRY(own_page(heap, s, i, err));
  return MS_OK;
}

/* Gives up the pages that hold only rows before `keep`. */
static void sequence_drop (page_heap *heap, row_sequence *s, size_t keep) {
  if (s->row_bytes == 0) return;
  size_t gone = keep / s->rows_per_page - s->first;
  if (gone == 0) return;
  for (size_t i = 0; i < gone; i++) page_release(heap, s->pages[i]);
  s->first += gone;
  s->count -= gone;
  memmove(s->pages, s->pages + gone, s->count * sizeof *s->pages);
  memmove(s->data, s->data + gone, s->count * sizeof *s->data);
}

static ms_status sequence_share (const row_sequence *from, row_sequence *to, ms_error *err) {
  *to = *from;
  to->pages = NULL;
  to->data = NULL;
  to->count = to->capacity = 0;
  TRY(model_sequence_grow(to, from->count, err));
  if (from->count != 0) {
    memcpy(to->pages, from->pages, from->count * sizeof *to->pages);
    memcpy(to->data, from->data, from->count * sizeof *to->data);
  }
  to->count = from->count;
  for (size_t i = 0; i < to->count; i++)
    if (to->pages[i] != NULL) atomic_fetch_add(&to->pages[i]->references, 1);
  return MS_OK;
}

static row_view view_of (const row_sequence *s) {
  return (row_view){ .pages = s->data, .first_page = s->first, .rows_per_page = s->rows_per_page,
                     .row_bytes = s->row_bytes };
}

/* {== Layout ===================================================================================== */

/* Long-lived rows come 64 a page: a page table of 1/64 pointer a row, and half a page wasted on average. */
enum { POOLED_PAGE = 64, WINDOW_PAGE = 32, RAW_PAGE = 16 };

const size_t model_page_rows[ROW_KINDS] = {
  [ROWS_WINDOW] = WINDOW_PAGE, [ROWS_POOLED] = POOLED_PAGE, [ROWS_RAW] = RAW_PAGE, [ROWS_INDEX] = POOLED_PAGE,
  [ROWS_INDEX_RAW] = RAW_PAGE
};

/* A raw row: the compressor's values and its gates, float32 (specs/architecture.md 3). */
static size_t raw_row_bytes (const compressor *c) {
  return 2 * c->lanes * c->width * sizeof(float);
}

size_t model_row_bytes (const model *m, const backend *be, const model_layer *layer, row_kind kind) {
  const model_config *c = &m->config;
  switch (kind) {
    case ROWS_WINDOW: return be->kv_row_bytes(be, c->head_dim, c->rope_dim);
    case ROWS_POOLED: return layer->ratio == 0 ? 0 : be->kv_row_bytes(be, c->head_dim, c->rope_dim);
    case ROWS_RAW: return layer->ratio == 0 ? 0 : raw_row_bytes(&layer->compressor);
    case ROWS_INDEX: return layer->has_indexer ? be->index_row_bytes(be, layer->indexer.width) : 0;
    case ROWS_INDEX_RAW: return layer->has_indexer ? raw_row_bytes(&layer->indexer.keys) : 0;
    default: return 0;
  }
}

/* Rows of a kind after `tokens` tokens. */
static size_t rows_after (const model_layer *layer, row_kind kind, size_t tokens) {
  return kind == ROWS_POOLED || kind == ROWS_INDEX ? tokens / layer->ratio : tokens;
}

/*
** The first row that token `position` or a later one can reach. The window of token t begins at
** t - window + 1; a compressor pools the block of t and, with two lanes, the block before it.
*/
static size_t first_in_reach (const model *m, const model_layer *layer, row_kind kind, size_t position) {
  if (kind == ROWS_WINDOW) return position < m->config.window ? 0 : position - m->config.window + 1;
  if (kind == ROWS_POOLED || kind == ROWS_INDEX) return 0;
  size_t block = position / layer->ratio, back = kind == ROWS_INDEX_RAW ? layer->indexer.keys.lanes
                                                                       : layer->compressor.lanes;
  return block + 1 < back ? 0 : (block + 1 - back) * layer->ratio;
}

/*
** The first row that a step over the tokens [position, end) stores. Its raw rows are at hand while it runs: what only
** its own tokens can reach is not stored.
*/
static size_t first_stored (const model *m, const model_layer *layer, row_kind kind, size_t position, size_t end) {
  size_t from = rows_after(layer, kind, position);
  if (kind != ROWS_RAW && kind != ROWS_INDEX_RAW) return from;
  size_t reach = first_in_reach(m, layer, kind, end);
  return reach > from ? reach : from;
}

row_span model_row_span (const model *m, const model_layer *layer, row_kind kind, size_t position) {
  size_t from = first_in_reach(m, layer, kind, position), to = rows_after(layer, kind, position);
  size_t first = from / model_page_rows[kind], end = from < to ? blocks_of(to, model_page_rows[kind]) : first;
  return (row_span){ first, end, from, to };      /* nothing in reach: the page in which it ends may not be there */
}

static ms_status check_storable (const model *m, const backend *be, ms_error *err) {
  const model_config *c = &m->config;
  if (be->kv_row_bytes(be, c->head_dim, c->rope_dim) == 0)
    return fail(err, MS_EUNSUPPORTED, "%s: %s %zu less %s %zu is no multiple of 64: only numerics = \"exact\" can "
                "store such rows", checkpoint_origin(m->files), c->keys->head_dim, c->head_dim, c->keys->rope_dim,
                c->rope_dim);
  if (c->indexes && be->index_row_bytes(be, c->index_dim) == 0)
    return fail(err, MS_EUNSUPPORTED, "%s: %s %zu is no power of two from 32 on: only numerics = \"exact\" can "
                "store such rows", checkpoint_origin(m->files), c->keys->index_dim, c->index_dim);
  return MS_OK;
}

/* {== The cache ================================================================================== */

static model_cache *cache_new (const model *m, page_heap *heap, ms_error *err) {
  model_cache *cache = memory_new(1, sizeof *cache);
  layer_cache *layers = cache == NULL ? NULL : memory_new(m->config.layers, sizeof *layers);
  if (layers == NULL) {
    memory_free(cache);
    fail_memory(err, m->config.layers * sizeof *layers, "a session");
    return NULL;
  }
  cache->m = m;
  cache->heap = heap;
  atomic_init(&cache->owners, 1);
  cache->layers = layers;
  return cache;
}

ms_status model_cache_open (const model *m, page_heap *heap, model_cache **out, ms_error *err) {
  *out = NULL;
  TRY(check_storable(m, heap->be, err));
  model_cache *cache = cache_new(m, heap, err);
  if (cache == NULL) return MS_ENOMEM;
  for (size_t i = 0; i < m->config.layers; i++)
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) {
      row_sequence *s = &cache->layers[i].rows[kind];
      s->rows_per_page = model_page_rows[kind];
      s->row_bytes = model_row_bytes(m, heap->be, &m->layers[i], kind);
    }
  *out = cache;
  return MS_OK;
}

void model_cache_close (model_cache *cache) {
  if (cache == NULL || atomic_fetch_sub(&cache->owners, 1) > 1) return;
  for (size_t i = 0; i < cache->m->config.layers; i++)
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) sequence_clear(cache->heap, &cache->layers[i].rows[kind]);
  memory_free(cache->layers);
  memory_free(cache);
}

model_cache *model_cache_share (model_cache *cache) {
  atomic_fetch_add(&cache->owners, 1);
  return cache;
}

/* A second cache at the same position that shares every page. */
static ms_status cache_fork (const model_cache *cache, model_cache **out, ms_error *err) {
  model_cache *copy = cache_new(cache->m, cache->heap, err);
  if (copy == NULL) return MS_ENOMEM;
  copy->position = cache->position;
  for (size_t i = 0; i < cache->m->config.layers; i++)
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) {
      ms_status status = sequence_share(&cache->layers[i].rows[kind], &copy->layers[i].rows[kind], err);
      if (status != MS_OK) {
        model_cache_close(copy);
        return status;
      }
    }
  *out = copy;
  return MS_OK;
}

ms_status model_cache_own (model_cache **cache, ms_error *err) {
  model_cache *copy;
  if (atomic_load(&(*cache)->owners) == 1) return MS_OK;
  TRY(cache_fork(*cache, &copy, err));
  model_cache_close(*cache);
  *cache = copy;
  return MS_OK;
}

size_t model_cache_position (const model_cache *cache) {
  return cache->position;
}

ms_status model_cache_reserve (model_cache *cache, size_t count, ms_error *err) {
  size_t end = cache->position + count;
  for (size_t i = 0; i < cache->m->config.layers; i++) {
    const model_layer *layer = &cache->m->layers[i];
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) {
      row_sequence *s = &cache->layers[i].rows[kind];
      if (s->row_bytes == 0) continue;
      size_t from = first_stored(cache->m, layer, kind, cache->position, end);
      TRY(sequence_reserve(cache->heap, s, from, rows_after(layer, kind, end), err));
    }
  }
  return MS_OK;
}

segment model_cache_segment (const model_cache *cache, size_t layer, size_t first, size_t count) {
  const row_sequence *rows = cache->layers[layer].rows;
  const model_layer *of = &cache->m->layers[layer];
  const size_t position = cache->position, end = position + count;
  return (segment){
    .first = first, .count = count, .position = position,
    .window = view_of(&rows[ROWS_WINDOW]),
    .pooled = view_of(&rows[ROWS_POOLED]), .raw = view_of(&rows[ROWS_RAW]),
    .index_rows = view_of(&rows[ROWS_INDEX]), .index_raw = view_of(&rows[ROWS_INDEX_RAW]),
    .raw_from = of->ratio == 0 ? 0 : first_stored(cache->m, of, ROWS_RAW, position, end),
    .index_raw_from = of->has_indexer ? first_stored(cache->m, of, ROWS_INDEX_RAW, position, end) : 0
  };
}

void model_cache_commit (model_cache *cache, size_t count) {
  cache->position += count;
  for (size_t i = 0; i < cache->m->config.layers; i++)
    for (row_kind kind = 0; kind < ROW_KINDS; kind++)
      if (cache->layers[i].rows[kind].row_bytes != 0)
        sequence_drop(cache->heap, &cache->layers[i].rows[kind],
                      first_in_reach(cache->m, &cache->m->layers[i], kind, cache->position));
}

/* {== Sizes ====================================================================================== */

/* Rows that stay in reach at the worst position, at most `context`; of rows that never leave reach the last page. */
static size_t rows_of_mark (const model *m, const model_layer *layer, row_kind kind, size_t context) {
  size_t reach = kind == ROWS_WINDOW ? m->config.window
               : kind == ROWS_RAW ? layer->ratio * layer->compressor.lanes
               : kind == ROWS_INDEX_RAW ? layer->ratio * layer->indexer.keys.lanes : 1;
  return reach < context ? reach : context;
}

ms_status model_cache_plan (const model *m, const backend *be, size_t context, model_cache_sizes *sizes,
                            ms_error *err) {
  TRY(check_storable(m, be, err));
  double growth = 0;
  *sizes = (model_cache_sizes){ 0 };
  for (size_t i = 0; i < m->config.layers; i++) {
    const model_layer *layer = &m->layers[i];
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) {
      size_t row = model_row_bytes(m, be, layer, kind);
      if (row == 0) continue;
      row_span span = model_row_span(m, layer, kind, context);
      size_t of_mark = blocks_of(rows_of_mark(m, layer, kind, context), model_page_rows[kind]);
      sizes->rows += (uint64_t)(span.end - span.first) * model_page_rows[kind] * row;
      sizes->mark += (uint64_t)of_mark * model_page_rows[kind] * row;
      if (kind == ROWS_POOLED || kind == ROWS_INDEX) growth += (double)row / (double)layer->ratio;
    }
  }
  sizes->per_token = (uint64_t)(growth + 0.5);
  return MS_OK;
}
