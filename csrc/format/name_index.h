/*
** A set of names, numbered 0, 1, 2, ... in the order in which they were added, found by hash. The seed
** differs from one set to the next, so that a file cannot be made of names that collide.
*/
#ifndef format_name_index_h
#define format_name_index_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

enum {
  NAME_LIMIT = 512,              /* bytes of a name, its terminator included */
  NAME_COUNT_LIMIT = 1 << 21     /* names in a set; the largest published model has 145,116 tensors */
};

/* {0} is an empty set. */
typedef struct name_index {
  const char **names;            /* [count] */
  size_t count, capacity;
  uint32_t *slots;               /* [slot_count] hash -> number + 1; 0 is free; a power of two */
  size_t slot_count;
  uint64_t seed;
  struct name_block *blocks;
} name_index;

/*
** *number is that of `name`, which is copied when it is new. MS_ENOMEM or MS_EUNSUPPORTED (too many, too
** long) leaves the set as it was.
*/
ms_status name_index_add (name_index *index, const char *name, size_t *number, bool *added, ms_error *err);
bool name_index_find (const name_index *index, const char *name, size_t *number);
/* A copy of `text` that lives as long as the set, but is no member of it; NULL when memory runs out. */
const char *name_index_text (name_index *index, const char *text);
void name_index_clear (name_index *index);          /* leaves it empty */

#endif
