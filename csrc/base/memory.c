/* Counted, aligned allocation. A block is preceded by one cache line that holds its size. */
#include "memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../moonseek.h"
#include "checked.h"

enum { LINE = 64 };

static void *system_allocate (size_t bytes) {
  return aligned_alloc(LINE, bytes);      /* bytes is a multiple of LINE */
}

memory_system memory_table = { system_allocate, free };

/* One count for the process: a leak is a leak whichever engine made it. */
static atomic_size_t live;

size_t ms_memory_live (void) {
  return atomic_load(&live);
}

static size_t *header_of (void *block) {
  return (size_t *)(void *)((char *)block - LINE);
}

void *memory_new (size_t count, size_t size) {
  size_t bytes, whole;
  if (!checked_mul(count, size, &bytes) || !checked_align(bytes, LINE, &whole)) return NULL;
  if (!checked_add(whole, LINE, &whole)) return NULL;
  char *base = memory_table.allocate(whole);
  if (base == NULL) return NULL;
  memset(base, 0, whole);
  *(size_t *)(void *)base = bytes;
  atomic_fetch_add(&live, bytes);
  return base + LINE;
}

void *memory_resize (void *block, size_t count, size_t size) {
  void *grown = memory_new(count, size);
  if (grown == NULL || block == NULL) return grown;
  size_t old = *header_of(block), bytes = *header_of(grown);
  memcpy(grown, block, old < bytes ? old : bytes);
  memory_free(block);
  return grown;
}

void memory_free (void *block) {
  if (block == NULL) return;
  atomic_fetch_sub(&live, *header_of(block));
  memory_table.release(header_of(block));
}

char *memory_string (const char *text, size_t bytes) {
  size_t room;
  if (!checked_add(bytes, 1, &room)) return NULL;
  char *copy = memory_new(room, 1);
  if (copy != NULL && bytes != 0) memcpy(copy, text, bytes);
  return copy;
}
