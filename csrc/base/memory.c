/*
** Counted, aligned allocation: | up to 63 bytes | header | block, from a cache line on |. Aligned here and not by
** aligned_alloc, whose blocks glibc before 2.38 hardly ever reuses (its bug 14581).
*/
#include "memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "../moonseek.h"
#include "checked.h"

enum { LINE = 64 };

memory_system memory_table = { malloc, free };

/* One count for the process: a leak is a leak whichever engine made it. */
static atomic_size_t live;

size_t ms_memory_live (void) {
  return atomic_load(&live);
}

typedef struct header { size_t bytes; atomic_size_t owners; void *whole; } header;   /* whole: as the system gave it */

static header *header_of (void *block) {
  return (header *)block - 1;
}

void *memory_new (size_t count, size_t size) {
  size_t bytes, whole;
  if (!checked_mul(count, size, &bytes)) return NULL;
  if (!checked_add(bytes, sizeof(header) + LINE - 1, &whole)) return NULL;
  char *base = memory_table.allocate(whole);
  if (base == NULL) return NULL;
  char *block = base + sizeof(header);
  block += (LINE - (uintptr_t)block % LINE) % LINE;
  memset(block, 0, bytes);
  header *h = header_of(block);
  h->bytes = bytes;
  h->whole = base;
  atomic_init(&h->owners, 1);
  atomic_fetch_add(&live, bytes);
  return block;
}

void *memory_resize (void *block, size_t count, size_t size) {
  void *grown = memory_new(count, size);
  if (grown == NULL || block == NULL) return grown;
  size_t old = header_of(block)->bytes, bytes = header_of(grown)->bytes;
  memcpy(grown, block, old < bytes ? old : bytes);
  memory_free(block);
  return grown;
}

void memory_free (void *block) {
  if (block == NULL) return;
  header *h = header_of(block);
  if (atomic_fetch_sub(&h->owners, 1) > 1) return;
  atomic_fetch_sub(&live, h->bytes);
  memory_table.release(h->whole);
}

void *memory_share (void *block) {
  if (block != NULL) atomic_fetch_add(&header_of(block)->owners, 1);
  return block;
}

void *memory_own (void *block) {
  const header *h = header_of(block);
  return atomic_load(&h->owners) == 1 ? block : memory_resize(block, h->bytes, 1);
}

/* Only glibc keeps it, behind the first block that lives on, and has a call that gives it back. */
void memory_give_back (void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

char *memory_string (const char *text, size_t bytes) {
  size_t room;
  if (!checked_add(bytes, 1, &room)) return NULL;
  char *copy = memory_new(room, 1);
  if (copy != NULL && bytes != 0) memcpy(copy, text, bytes);
  return copy;
}
