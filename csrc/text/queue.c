/* Bucket lists by rank, and a heap for latecomers. */
#include "queue.h"

#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"

/* {== Room ======================================================================================= */

static ms_status start_lists (merge_queue *q, size_t ranks, ms_error *err) {
  size_t words = blocks_of(ranks, 64);
  q->lists = memory_new(ranks, sizeof *q->lists);
  q->filled = memory_new(words, sizeof *q->filled);
  q->filled_words = memory_new(blocks_of(words, 64), sizeof *q->filled_words);
  if (q->lists == NULL || q->filled == NULL || q->filled_words == NULL)
    return fail_memory(err, ranks * sizeof *q->lists, "waiting merges");
  q->ranks = ranks;
  return MS_OK;
}

ms_status queue_start (merge_queue *q, size_t ranks, size_t positions, ms_error *err) {
  if (q->ranks == 0) TRY(start_lists(q, ranks, err));
  q->run_next = q->run_count = q->run_rank = 0;
  if (positions <= q->run_capacity) return MS_OK;
  memory_free(q->run);
  q->run_capacity = 0;
  q->run = memory_new(positions, sizeof *q->run);
  if (q->run == NULL) return fail_memory(err, positions * sizeof *q->run, "waiting merges");
  q->run_capacity = positions;
  return MS_OK;
}

void queue_free (merge_queue *q) {
  memory_free(q->lists);
  memory_free(q->filled);
  memory_free(q->filled_words);
  memory_free(q->blocks);
  memory_free(q->run);
  memory_free(q->heap);
  memset(q, 0, sizeof *q);
}

/* `*array` with room for more than `count` elements. */
static ms_status grow (void **array, size_t size, size_t count, size_t *capacity, ms_error *err) {
  if (count < *capacity) return MS_OK;
  size_t wanted = *capacity == 0 ? 256 : 2 * *capacity;   /* both arrays are bounded by the piece's 2^31 bytes */
  void *grown = memory_resize(*array, wanted, size);
  if (grown == NULL) return fail_memory(err, wanted * size, "waiting merges");
  *array = grown;
  *capacity = wanted;
  return MS_OK;
}

/* {== The heap =================================================================================== */

static ms_status heap_add (merge_queue *q, uint64_t key, ms_error *err) {
  void *heap = q->heap;
  TRY(grow(&heap, sizeof *q->heap, q->heap_count, &q->heap_capacity, err));
  q->heap = heap;
  size_t at = q->heap_count++;
  while (at > 0 && q->heap[(at - 1) / 2] > key) {
    q->heap[at] = q->heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  q->heap[at] = key;
  return MS_OK;
}

static uint64_t heap_take (merge_queue *q) {
  uint64_t least = q->heap[0], key = q->heap[--q->heap_count];
  size_t at = 0, child;
  while ((child = 2 * at + 1) < q->heap_count) {
    if (child + 1 < q->heap_count && q->heap[child + 1] < q->heap[child]) child++;
    if (q->heap[child] >= key) break;
    q->heap[at] = q->heap[child];
    at = child;
  }
  q->heap[at] = key;
  return least;
}

/* {== The lists ================================================================================== */

static ms_status take_block (merge_queue *q, uint32_t *out, ms_error *err) {
  if (q->free_blocks != 0) {
    *out = q->free_blocks;
    q->free_blocks = q->blocks[*out].next;
    return MS_OK;
  }
  if (q->block_count == 0) q->block_count = 1;
  void *blocks = q->blocks;
  TRY(grow(&blocks, sizeof *q->blocks, q->block_count, &q->block_capacity, err));
  q->blocks = blocks;
  *out = (uint32_t)q->block_count++;
  return MS_OK;
}

static ms_status list_add (merge_queue *q, uint32_t rank, uint32_t position, ms_error *err) {
  queue_list *list = &q->lists[rank];
  if (list->count == 0) {
    q->filled[rank / 64] |= UINT64_C(1) << rank % 64;
    q->filled_words[rank / 4096] |= UINT64_C(1) << rank / 64 % 64;
  }
  if (list->count == 0 || q->blocks[list->newest].used == QUEUE_BLOCK) {
    uint32_t block;
    TRY(take_block(q, &block, err));
    q->blocks[block].next = list->count == 0 ? 0 : list->newest;
    q->blocks[block].used = 0;
    list->newest = block;
  }
  queue_block *newest = &q->blocks[list->newest];
  newest->positions[newest->used++] = position;
  list->count++;
  return MS_OK;
}

ms_status queue_add (merge_queue *q, uint32_t rank, uint32_t position, ms_error *err) {
  if (rank <= q->run_rank && q->run_count != 0) return heap_add(q, (uint64_t)rank << 32 | position, err);
  return list_add(q, rank, position, err);
}

/* The lowest rank whose list has entries. */
static bool lowest_list (const merge_queue *q, uint32_t *rank) {
  size_t words = blocks_of(blocks_of(q->ranks, 64), 64);
  for (size_t i = 0; i < words; i++) {
    if (q->filled_words[i] == 0) continue;
    size_t word = 64 * i + (size_t)__builtin_ctzll(q->filled_words[i]);
    *rank = (uint32_t)(64 * word) + (uint32_t)__builtin_ctzll(q->filled[word]);
    return true;
  }
  return false;
}

/* Moves a list to the run, in the order in which it was filled. Its blocks go to the free ones. */
static void list_to_run (merge_queue *q, uint32_t rank) {
  queue_list *list = &q->lists[rank];
  size_t at = list->count;
  for (uint32_t block = list->newest; block != 0; ) {
    queue_block *b = &q->blocks[block];
    uint32_t older = b->next;
    at -= b->used;
    memcpy(q->run + at, b->positions, b->used * sizeof *b->positions);
    b->next = q->free_blocks;
    q->free_blocks = block;
    block = older;
  }
  q->run_rank = rank;
  q->run_next = 0;
  q->run_count = list->count;
  *list = (queue_list){ 0, 0 };
  q->filled[rank / 64] &= ~(UINT64_C(1) << rank % 64);
  if (q->filled[rank / 64] == 0) q->filled_words[rank / 4096] &= ~(UINT64_C(1) << rank / 64 % 64);
}

bool queue_take (merge_queue *q, uint32_t *rank, uint32_t *position) {
  if (q->run_next == q->run_count && q->heap_count == 0) {
    uint32_t lowest;
    if (!lowest_list(q, &lowest)) return false;
    list_to_run(q, lowest);
  }
  uint64_t run_key = (uint64_t)q->run_rank << 32;
  if (q->heap_count > 0 &&
      (q->run_next == q->run_count || q->heap[0] < (run_key | q->run[q->run_next]))) {
    uint64_t key = heap_take(q);
    *rank = (uint32_t)(key >> 32);
    *position = (uint32_t)key;
  } else {
    *rank = q->run_rank;
    *position = q->run[q->run_next++];
  }
  return true;
}
