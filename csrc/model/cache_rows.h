/* What cache.c and cache_image.c share: how the rows of a cache lie in pages. Nobody else includes it. */
#ifndef model_cache_rows_h
#define model_cache_rows_h

#include "cache.h"

typedef struct page_image page_image;

typedef struct page {
  atomic_size_t references;
  size_t bytes;
  uint8_t *data;
  page_image *image;                   /* in whose file `data` lies and is never written to; NULL: a buffer */
} page;

typedef struct row_sequence {
  page **pages;                        /* from page `first` on; those before are gone, and so is their place here */
  uint8_t **data;                      /* data[i] = pages[i]->data: what a row_view shows */
  size_t first, count, capacity;
  size_t rows_per_page, row_bytes;     /* row_bytes 0: the layer has no such rows */
} row_sequence;

typedef enum row_kind { ROWS_WINDOW, ROWS_POOLED, ROWS_RAW, ROWS_INDEX, ROWS_INDEX_RAW, ROW_KINDS } row_kind;

typedef struct layer_cache { row_sequence rows[ROW_KINDS]; } layer_cache;

struct model_cache {
  const model *m;
  page_heap *heap;
  atomic_size_t owners;
  size_t position;
  layer_cache *layers;
};

/* What is kept of a kind at a position: pages first .. end - 1, in which the rows from .. to - 1 are in reach. */
typedef struct row_span { size_t first, end, from, to; } row_span;

extern const size_t model_page_rows[ROW_KINDS];
size_t model_row_bytes (const model *m, const backend *be, const model_layer *layer, row_kind kind);
row_span model_row_span (const model *m, const model_layer *layer, row_kind kind, size_t position);
ms_status model_sequence_grow (row_sequence *s, size_t count, ms_error *err);   /* tables for `count` pages */
void model_image_release (page_image *image);                                 /* by a page that lay in it */

#endif
