/*
** The pre-tokenizer of the V3 and V4 vocabularies: cuts text into the pieces inside which merges happen
** (specs/conversation.md 1.4). The regular expressions it stands for are checked by pipeline.c.
*/
#ifndef text_split_h
#define text_split_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a walk over one text stands. `part` is what the first two expressions leave to the third. */
typedef struct splitter {
  const uint8_t *text;
  size_t bytes;
  size_t position, part_end;
} splitter;

static inline splitter split_start (const void *text, size_t bytes) {
  return (splitter){ text, bytes, 0, 0 };
}

/* The next piece, never empty; false at the end. Time is linear in the text over all calls. */
bool split_next (splitter *s, const uint8_t **piece, size_t *bytes);

#endif
