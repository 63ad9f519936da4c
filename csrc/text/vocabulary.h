/*
** A byte-level BPE vocabulary: the bytes of every id, which ids are control tokens, and which pairs of ids
** merge. Built once from what a tokenizer.json or a GGUF file holds, then only read.
*/
#ifndef text_vocabulary_h
#define text_vocabulary_h

#include "../base/json.h"

/* Two neighbours that become one token. Its rank is its place in the list: lower merges first. */
typedef struct merge {
  int32_t left, right, product;
  uint32_t left_bytes, bytes;                        /* of `left`, and of both */
} merge;

typedef struct merge_slot { int32_t left, right; uint32_t rank; } merge_slot;

typedef struct vocabulary {
  size_t size;                                       /* ids 0 .. size-1 */
  char *text;                                        /* the bytes of all ids, in order */
  uint32_t *starts;                                  /* [size + 1] into text */
  uint8_t *is_control;                               /* [size] */
  int32_t *controls;                                 /* [control_count], sorted by their bytes */
  size_t control_count;
  int32_t byte_ids[256];
  merge *merges;                                     /* [merge_count], by rank */
  size_t merge_count;
  merge_slot *slots;                                 /* open addressing by (left, right); see vocabulary_rank */
  int slot_shift;                                    /* 64 - log2 of their number */
  uint64_t multiplier;
} vocabulary;

#define NO_RANK UINT32_MAX
enum { MERGE_PROBES = 128 };                         /* the longest search among the slots */

/*
** What a vocabulary is loaded from, in the shapes of tokenizer.json: `vocab` text -> id, `added` a list of
** { content, id }, which may be NULL, and `merges` a list of pairs; and how errors call them.
*/
typedef struct vocabulary_parts {
  json_t *vocab, *added, *merges;
  const char *vocab_name, *added_name, *merges_name;
} vocabulary_parts;

/* `path` is what errors call the file. On failure *v is to be freed all the same. */
ms_status vocabulary_load (vocabulary *v, const char *path, const vocabulary_parts *parts, ms_error *err);
void vocabulary_free (vocabulary *v);

/* The control token with these bytes, or -1. */
int32_t vocabulary_control (const vocabulary *v, const char *name, size_t bytes);

static inline size_t vocabulary_slot (const vocabulary *v, int32_t left, int32_t right) {
  uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
  return (size_t)(key * v->multiplier >> v->slot_shift);
}

/* The rank at which the pair merges, or NO_RANK. No pair stands further than MERGE_PROBES from its slot. */
static inline uint32_t vocabulary_rank (const vocabulary *v, int32_t left, int32_t right) {
  size_t mask = (size_t)(UINT64_MAX >> v->slot_shift), at = vocabulary_slot(v, left, right);
  for (int probe = 0; probe < MERGE_PROBES; probe++) {
    const merge_slot *slot = &v->slots[at];
    if (slot->rank == NO_RANK) break;
    if (slot->left == left && slot->right == right) return slot->rank;
    at = (at + 1) & mask;
  }
  return NO_RANK;
}

static inline uint32_t vocabulary_bytes (const vocabulary *v, int32_t id) {
  return v->starts[id + 1] - v->starts[id];
}

#endif
