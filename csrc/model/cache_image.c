/*
** A cache as one run of bytes, and back: what a saved session's file holds of it (runtime/snapshot.c). The bytes
** are the pages as they are in memory, so that those of a mapped file can be the pages of a cache.
*/
#include "cache_rows.h"

#include <string.h>

#include "../base/memory.h"

/* A file whose bytes are pages. It stays mapped until the last of them is released. */
struct page_image {
  atomic_size_t references;            /* pages in use */
  file_view view;
  page pages[];
};

void model_image_release (page_image *image) {
  if (atomic_fetch_sub(&image->references, 1) > 1) return;
  file_view_close(&image->view);
  memory_free(image);
}

/* {== Order ====================================================================================== */

/* Calls `visit` for every page that an image at `position` has, in its order: layer, kind, page. */
typedef struct image_page { size_t layer; row_kind kind; size_t index, bytes; row_span span; } image_page;
typedef ms_status visit_page (void *user, const image_page *at, ms_error *err);

static ms_status each_page (const model *m, const backend *be, size_t position, visit_page *visit, void *user,
                            ms_error *err) {
  image_page at;
  for (at.layer = 0; at.layer < m->config.layers; at.layer++)
    for (at.kind = 0; at.kind < ROW_KINDS; at.kind++) {
      const model_layer *layer = &m->layers[at.layer];
      at.bytes = model_page_rows[at.kind] * model_row_bytes(m, be, layer, at.kind);
      if (at.bytes == 0) continue;
      at.span = model_row_span(m, layer, at.kind, position);
      for (at.index = at.span.first; at.index < at.span.end; at.index++) TRY(visit(user, &at, err));
    }
  return MS_OK;
}

/* {== Writing ==================================================================================== */

/* Rows of floats lie one after the other; so do packed ones, but for the indexer's. */
static bool holds_floats (const backend *be, row_kind kind) {
  return kind == ROWS_RAW || kind == ROWS_INDEX_RAW || be->numerics == MS_EXACT;
}

typedef struct image_output {
  const model_cache *cache;
  model_image_sink *sink;
  void *user;
  uint8_t *page;                       /* [largest page] */
} image_output;

/* What was never committed, or is out of reach, is no part of a session. */
static void clear_out_of_reach (uint8_t *bytes, const image_page *at) {
  size_t rows = model_page_rows[at->kind], row = at->bytes / rows, start = at->index * rows;
  size_t from = at->span.from > start ? at->span.from - start : 0;
  size_t to = at->span.to - start < rows ? at->span.to - start : rows;
  memset(bytes, 0, from * row);
  memset(bytes + to * row, 0, (rows - to) * row);
}

static ms_status write_page (void *user, const image_page *at, ms_error *err) {
  image_output *out = user;
  backend *be = out->cache->heap->be;
  const row_sequence *s = &out->cache->layers[at->layer].rows[at->kind];
  TRY(be->download(be, out->page, s->data[at->index - s->first], at->bytes, err));
  if (at->kind != ROWS_INDEX || holds_floats(be, at->kind)) clear_out_of_reach(out->page, at);
  return out->sink(out->user, out->page, at->bytes, err);
}

ms_status model_cache_write_image (const model_cache *cache, model_image_sink *sink, void *user, ms_error *err) {
  size_t largest = 0;
  for (size_t i = 0; i < cache->m->config.layers; i++)
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) {
      const row_sequence *s = &cache->layers[i].rows[kind];
      size_t bytes = s->rows_per_page * s->row_bytes;
      largest = bytes > largest ? bytes : largest;
    }
  image_output out = { .cache = cache, .sink = sink, .user = user, .page = memory_new(largest, 1) };
  if (out.page == NULL) return fail_memory(err, largest, "a page");
  ms_status status = each_page(cache->m, cache->heap->be, cache->position, write_page, &out, err);
  memory_free(out.page);
  return status;
}

/* {== Taking over ================================================================================ */

typedef struct image_size { size_t pages; uint64_t bytes; } image_size;

static ms_status count_page (void *user, const image_page *at, ms_error *err) {
  image_size *size = user;
  (void)err;
  size->pages++;
  size->bytes += at->bytes;
  return MS_OK;
}

typedef struct image_input { model_cache *cache; page_image *image; size_t offset, pages; } image_input;

static ms_status check_finite (const file_view *view, size_t offset, const image_page *at, ms_error *err) {
  const uint8_t *bytes = view->data + offset;
  for (size_t i = 0; i < at->bytes; i += sizeof(float)) {
    uint32_t bits;
    memcpy(&bits, bytes + i, sizeof bits);
    if ((bits & 0x7F800000) == 0x7F800000)
      return fail(err, MS_EFORMAT, "%s: layer %zu holds a number that is not finite at byte %zu", view->path,
                  at->layer, offset + i);
  }
  return MS_OK;
}

static ms_status adopt_page (void *user, const image_page *at, ms_error *err) {
  image_input *in = user;
  row_sequence *s = &in->cache->layers[at->layer].rows[at->kind];
  if (holds_floats(in->cache->heap->be, at->kind)) TRY(check_finite(&in->image->view, in->offset, at, err));
  page *p = &in->image->pages[in->pages++];
  atomic_init(&p->references, 1);
  atomic_fetch_add(&in->image->references, 1);
  p->image = in->image;
  p->bytes = at->bytes;
  atomic_fetch_add(&in->cache->heap->bytes, at->bytes);
  p->data = (uint8_t *)(uintptr_t)in->image->view.data + in->offset;
  s->pages[s->count] = p;
  s->data[s->count] = p->data;
  s->count++;
  in->offset += at->bytes;
  return MS_OK;
}

/* Page tables for `position`, still without pages. */
static ms_status shape_sequences (model_cache *cache, size_t position, ms_error *err) {
  cache->position = position;
  for (size_t i = 0; i < cache->m->config.layers; i++)
    for (row_kind kind = 0; kind < ROW_KINDS; kind++) {
      row_sequence *s = &cache->layers[i].rows[kind];
      if (s->row_bytes == 0) continue;
      row_span span = model_row_span(cache->m, &cache->m->layers[i], kind, position);
      TRY(model_sequence_grow(s, span.end - span.first, err));
      s->first = span.first;
    }
  return MS_OK;
}

ms_status model_cache_open_image (const model *m, page_heap *heap, size_t position, file_view *view, size_t offset,
                                  model_cache **out, ms_error *err) {
  image_size size = { 0 };
  image_input in = { .offset = offset };
  *out = NULL;
  TRY(each_page(m, heap->be, position, count_page, &size, err));
  if (offset > view->bytes || size.bytes > view->bytes - offset)
    return fail(err, MS_EFORMAT, "%s: rows of %zu tokens take %ju bytes, %zu are there", view->path, position,
                (uintmax_t)size.bytes, offset > view->bytes ? 0 : view->bytes - offset);
  TRY(model_cache_open(m, heap, &in.cache, err));
  ms_status status = shape_sequences(in.cache, position, err);
  if (status == MS_OK) {
    in.image = memory_new(1, sizeof *in.image + size.pages * sizeof *in.image->pages);
    if (in.image == NULL) status = fail_memory(err, size.pages * sizeof(page), "a session's pages");
  }
  if (status == MS_OK) {
    atomic_init(&in.image->references, 1);         /* ours, until all pages have theirs */
    in.image->view = *view;
    *view = (file_view){ 0 };
    status = each_page(m, heap->be, position, adopt_page, &in, err);
  }
  if (status == MS_OK) *out = in.cache;
  else model_cache_close(in.cache);
  if (in.image != NULL) model_image_release(in.image);
  return status;
}
