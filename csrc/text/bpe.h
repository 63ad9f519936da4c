/*
** Byte-pair merging: the bytes of one pre-tokenized piece become ids. The pair of lowest rank merges first,
** the leftmost of equals, until no neighbours merge (specs/conversation.md 1.5).
*/
#ifndef text_bpe_h
#define text_bpe_h

#include "queue.h"
#include "vocabulary.h"

/* Work space of one encode call. Short pieces need none; long ones share it. */
typedef struct bpe {
  const vocabulary *vocabulary;
  int32_t *cells;                                    /* [cell_capacity]; see bpe.c */
  size_t cell_capacity;
  merge_queue queue;
} bpe;

static inline bpe bpe_start (const vocabulary *v) {
  return (bpe){ .vocabulary = v };
}

/* Appends the ids of one piece, 1 to 2^31 - 1 bytes. The time is linear in them, whatever they are. */
ms_status bpe_piece (bpe *b, const uint8_t *piece, size_t bytes, ms_tokens *out, ms_error *err);
void bpe_free (bpe *b);

#endif
