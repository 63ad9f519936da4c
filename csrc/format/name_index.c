/* Open addressing over packed names. */
#include "name_index.h"

#include <string.h>
#include <xxhash.h>

#include "../base/clock.h"
#include "../base/memory.h"

enum { FIRST_CAPACITY = 64, BLOCK_BYTES = 16384 };

/* Names are packed into blocks: an allocation a name would cost more than what it names. */
struct name_block {
  struct name_block *next;
  size_t used;
  char text[BLOCK_BYTES];
};

const char *name_index_text (name_index *index, const char *text) {
  size_t bytes = strlen(text) + 1;
  struct name_block *block = index->blocks;
  if (bytes > BLOCK_BYTES) return NULL;
  if (block == NULL || bytes > BLOCK_BYTES - block->used) {
    block = memory_new(1, sizeof *block);
    if (block == NULL) return NULL;
    block->next = index->blocks;
    index->blocks = block;
  }
  char *copy = block->text + block->used;
  memcpy(copy, text, bytes);
  block->used += bytes;
  return copy;
}

/* The slot that holds `name`, or the free one where it belongs. At least one slot is free. */
static size_t slot_of (const name_index *index, const char *name) {
  size_t mask = index->slot_count - 1;
  size_t slot = (size_t)XXH3_64bits_withSeed(name, strlen(name), index->seed) & mask;
  while (index->slots[slot] != 0 && strcmp(index->names[index->slots[slot] - 1], name) != 0)
    slot = (slot + 1) & mask;
  return slot;
}

/* Twice the room; half of the slots stay free. */
static ms_status grow (name_index *index, ms_error *err) {
  size_t capacity = index->capacity == 0 ? FIRST_CAPACITY : index->capacity * 2, slot_count = capacity * 2;
  if (capacity > NAME_COUNT_LIMIT) return fail(err, MS_EUNSUPPORTED, "more than %d names", NAME_COUNT_LIMIT);
  uint32_t *slots = memory_new(slot_count, sizeof *slots);
  if (slots == NULL) return fail_memory(err, slot_count * sizeof *slots, "a table of names");
  const char **names = memory_resize(index->names, capacity, sizeof *names);
  if (names == NULL) {
    memory_free(slots);
    return fail_memory(err, capacity * sizeof *names, "a table of names");
  }
  if (index->slots == NULL) index->seed = clock_now() ^ (uintptr_t)names;
  memory_free(index->slots);
  index->names = names;
  index->capacity = capacity;
  index->slots = slots;
  index->slot_count = slot_count;
  for (size_t i = 0; i < index->count; i++) slots[slot_of(index, names[i])] = (uint32_t)(i + 1);
  return MS_OK;
}

ms_status name_index_add (name_index *index, const char *name, size_t *number, bool *added, ms_error *err) {
  *added = !name_index_find(index, name, number);
  if (!*added) return MS_OK;
  if (strlen(name) >= NAME_LIMIT)
    return fail(err, MS_EUNSUPPORTED, "'%.60s...': a name has %zu bytes, at most %d are allowed", name,
                strlen(name), NAME_LIMIT - 1);
  if (index->count == index->capacity) TRY(grow(index, err));
  const char *copy = name_index_text(index, name);
  if (copy == NULL) return fail_memory(err, strlen(name), "a name");
  size_t slot = slot_of(index, name);
  *number = index->count;
  index->names[index->count++] = copy;
  index->slots[slot] = (uint32_t)index->count;
  return MS_OK;
}

bool name_index_find (const name_index *index, const char *name, size_t *number) {
  if (index->count == 0) return false;
  uint32_t found = index->slots[slot_of(index, name)];
  if (found != 0) *number = found - 1;
  return found != 0;
}

void name_index_clear (name_index *index) {
  for (struct name_block *block = index->blocks; block != NULL;) {
    struct name_block *next = block->next;
    memory_free(block);
    block = next;
  }
  memory_free(index->names);
  memory_free(index->slots);
  memset(index, 0, sizeof *index);
}
