/*
** Merging. A short piece looks through its pairs for the lowest rank, again after every merge. A long one
** (a word without end, a run of one character) keeps its pairs in a queue by rank.
*/
#include "bpe.h"

#include <string.h>

#include "../base/memory.h"

enum { SHORT_PIECE = 48 };                           /* bytes; about where the queue starts to pay */

/* {== Short pieces =============================================================================== */

/* ranks[i] is that of the pair (ids[i], ids[i + 1]). */
static void merge_at (const vocabulary *v, size_t at, int32_t *ids, uint32_t *ranks, size_t count) {
  ids[at] = v->merges[ranks[at]].product;
  memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof *ids);
  memmove(ranks + at + 1, ranks + at + 2, (count - at - 2) * sizeof *ranks);
  if (at > 0) ranks[at - 1] = vocabulary_rank(v, ids[at - 1], ids[at]);
  ranks[at] = at + 2 < count ? vocabulary_rank(v, ids[at], ids[at + 1]) : NO_RANK;
}

static ms_status short_piece (bpe *b, const uint8_t *piece, size_t bytes, ms_tokens *out, ms_error *err) {
  const vocabulary *v = b->vocabulary;
  int32_t ids[SHORT_PIECE];
  uint32_t ranks[SHORT_PIECE];
  size_t count = bytes;
  for (size_t i = 0; i < bytes; i++) ids[i] = v->byte_ids[piece[i]];
  for (size_t i = 0; i + 1 < bytes; i++) ranks[i] = vocabulary_rank(v, ids[i], ids[i + 1]);
  while (count > 1) {
    size_t lowest = 0;
    for (size_t i = 1; i + 1 < count; i++)
      if (ranks[i] < ranks[lowest]) lowest = i;
    if (ranks[lowest] == NO_RANK) break;
    merge_at(v, lowest, ids, ranks, count--);
  }
  return ms_tokens_append(out, ids, count, err);
}

/* {== Long pieces ================================================================================ */

/*
** A cell a byte. A token of n bytes at p has its id in cells[p] and, when n > 1, -n in cells[p + n - 1], so
** that both neighbours are found without links. Where a token was merged to its left there is INSIDE, so
** that a merge that waits for it finds it gone.
**
**     t h e r e    "the" "re":    id(the)  INSIDE  -3  id(re)  -2
*/
enum { INSIDE = INT32_MIN };

static ms_status start_cells (bpe *b, const uint8_t *piece, size_t bytes, ms_error *err) {
  if (bytes > b->cell_capacity) {
    memory_free(b->cells);
    b->cell_capacity = 0;
    b->cells = memory_new(bytes, sizeof *b->cells);
    if (b->cells == NULL) return fail_memory(err, bytes * sizeof *b->cells, "a long word");
    b->cell_capacity = bytes;
  }
  for (size_t i = 0; i < bytes; i++) b->cells[i] = b->vocabulary->byte_ids[piece[i]];
  return MS_OK;
}

static ms_status add_pair (bpe *b, size_t left, size_t right, ms_error *err) {
  uint32_t rank = vocabulary_rank(b->vocabulary, b->cells[left], b->cells[right]);
  return rank == NO_RANK ? MS_OK : queue_add(&b->queue, rank, (uint32_t)left, err);
}

/* Merges the pair at `p` if it is still there, and adds the pairs it now makes with its neighbours. */
static ms_status merge_pair (bpe *b, const merge *m, size_t p, size_t bytes, ms_error *err) {
  int32_t *cells = b->cells;
  size_t right = p + m->left_bytes, end = p + m->bytes;
  if (cells[p] != m->left || right >= bytes || cells[right] != m->right) return MS_OK;
  cells[right] = INSIDE;
  cells[end - 1] = -(int32_t)m->bytes;
  cells[p] = m->product;
  if (p > 0) {
    int32_t before = cells[p - 1];
    TRY(add_pair(b, before >= 0 ? p - 1 : p - (size_t)-before, p, err));
  }
  return end < bytes ? add_pair(b, p, end, err) : MS_OK;
}

static ms_status long_piece (bpe *b, const uint8_t *piece, size_t bytes, ms_tokens *out, ms_error *err) {
  const vocabulary *v = b->vocabulary;
  uint32_t rank, position;
  TRY(start_cells(b, piece, bytes, err));
  TRY(queue_start(&b->queue, v->merge_count, bytes, err));
  for (size_t i = 0; i + 1 < bytes; i++) TRY(add_pair(b, i, i + 1, err));
  while (queue_take(&b->queue, &rank, &position)) {
    __builtin_prefetch(&b->cells[queue_soon(&b->queue)]);   /* equal pairs lie far apart in a long text */
    TRY(merge_pair(b, &v->merges[rank], position, bytes, err));
  }
  for (size_t p = 0; p < bytes; p += vocabulary_bytes(v, b->cells[p]))
    TRY(ms_tokens_append(out, &b->cells[p], 1, err));
  return MS_OK;
}

ms_status bpe_piece (bpe *b, const uint8_t *piece, size_t bytes, ms_tokens *out, ms_error *err) {
  return bytes <= SHORT_PIECE ? short_piece(b, piece, bytes, out, err) : long_piece(b, piece, bytes, out, err);
}

void bpe_free (bpe *b) {
  memory_free(b->cells);
  queue_free(&b->queue);
}
