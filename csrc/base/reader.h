/* The checked reader of foreign bytes: a failed read returns false and moves nothing. Little-endian. */
#ifndef base_reader_h
#define base_reader_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct reader { const uint8_t *base; size_t size, position; } reader;

static inline size_t reader_left (const reader *r) {
  return r->size - r->position;
}

/* *out points at `count` bytes inside the reader's memory. */
static inline bool reader_bytes (reader *r, size_t count, const uint8_t **out) {
  if (count > reader_left(r)) return false;
  *out = r->base + r->position;
  r->position += count;
  return true;
}

/* An unsigned integer of `width` bytes, at most 8. */
static inline bool reader_unsigned (reader *r, size_t width, uint64_t *out) {
  const uint8_t *bytes;
  if (!reader_bytes(r, width, &bytes)) return false;
  uint64_t value = 0;
  for (size_t i = width; i-- > 0;) value = value << 8 | bytes[i];
  *out = value;
  return true;
}

static inline bool reader_u64 (reader *r, uint64_t *out) {
  return reader_unsigned(r, 8, out);
}

#endif
