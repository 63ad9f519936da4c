/*
** Arithmetic on sizes that come from a file or a caller. Each returns false, and leaves *out alone, when
** the exact result does not fit: a wrapped number never reaches an allocation or a comparison.
*/
#ifndef base_checked_h
#define base_checked_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_add (size_t a, size_t b, size_t *out) {
  size_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return false;
  *out = sum;
  return true;
}

static inline bool checked_mul (size_t a, size_t b, size_t *out) {
  size_t product;
  if (__builtin_mul_overflow(a, b, &product)) return false;
  *out = product;
  return true;
}

/* a rounded up to a multiple of `step`, which is not 0. */
static inline bool checked_align (size_t a, size_t step, size_t *out) {
  size_t rest = a % step;
  return checked_add(a, rest == 0 ? 0 : step - rest, out);
}

/* ceil(a / step); never overflows. */
static inline size_t blocks_of (size_t a, size_t step) {
  return a / step + (a % step != 0);
}

#endif
