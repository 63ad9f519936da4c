/*
** The waiting merges of one long piece: (rank, position) pairs, taken in ascending order. A list a rank, so
** that adding and taking is constant time. A list needs no sorting: whatever stands around it, a token is
** built by the same merges in the same order, since none crosses its border before it is whole; so pairs of
** one rank all arise while one other list is worked off, and that goes from left to right.
** A merge of a rank that has come up already waits in a heap, and is taken before the list goes on: only
** vocabularies whose merges do not stand in the order in which they were learnt have any.
**
** Memory is kept from piece to piece; an emptied queue is ready for the next.
*/
#ifndef text_queue_h
#define text_queue_h

#include <stdbool.h>
#include <stdint.h>

#include "../base/status.h"

enum { QUEUE_BLOCK = 14 };

typedef struct queue_block {                         /* one cache line */
  uint32_t next, used;                               /* next: an older block of the list, or of the free ones */
  uint32_t positions[QUEUE_BLOCK];
} queue_block;

typedef struct queue_list { uint32_t newest, count; } queue_list;

typedef struct merge_queue {
  size_t ranks;
  queue_list *lists;                                 /* [ranks] */
  uint64_t *filled, *filled_words;                   /* a bit a list with entries, a bit a nonzero word of it */
  queue_block *blocks;                               /* blocks[0] stands for none */
  size_t block_count, block_capacity;
  uint32_t free_blocks;
  uint32_t *run;                                     /* [run_capacity] the positions of run_rank, ascending */
  size_t run_capacity, run_next, run_count;
  uint32_t run_rank;
  uint64_t *heap;                                    /* rank << 32 | position */
  size_t heap_count, heap_capacity;
} merge_queue;

/* Makes room for a piece of `positions` bytes. A zeroed queue is empty. */
ms_status queue_start (merge_queue *q, size_t ranks, size_t positions, ms_error *err);
/* A position is added at most once with the same rank. */
ms_status queue_add (merge_queue *q, uint32_t rank, uint32_t position, ms_error *err);
bool queue_take (merge_queue *q, uint32_t *rank, uint32_t *position);   /* false when it is empty */
void queue_free (merge_queue *q);

/* A position that is likely to be taken a few calls from now: for the processor to fetch meanwhile. */
static inline uint32_t queue_soon (const merge_queue *q) {
  size_t ahead = q->run_next + 12;
  return ahead < q->run_count ? q->run[ahead] : 0;
}

#endif
