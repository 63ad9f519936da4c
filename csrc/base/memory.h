/*
** Every allocation of the engine. Blocks start on a cache line (64 bytes), are counted, and can be made
** to fail by a spec through the table below.
*/
#ifndef base_memory_h
#define base_memory_h

#include <stddef.h>

/* What the system gives: replaced only by specs, before any engine exists. */
typedef struct memory_system {
  void *(*allocate) (size_t bytes);       /* aligned as by malloc; NULL when there is no memory */
  void (*release) (void *block);
} memory_system;

extern memory_system memory_table;

/* `count` zeroed elements of `size` bytes; NULL when the product wraps or memory runs out. */
void *memory_new (size_t count, size_t size);
/*
** `block` (or NULL) grown or shrunk to count * size bytes, its contents kept, what is new zeroed. NULL on
** failure, and then `block` is as it was.
*/
void *memory_resize (void *block, size_t count, size_t size);
void memory_free (void *block);           /* NULL is allowed; a shared block lives on with its other owners */
/* One more owner of `block`, each of whom frees it: nobody writes to it meanwhile. NULL is allowed. */
void *memory_share (void *block);
/* `block` as the caller's alone: a copy when it is shared. NULL on failure, and then `block` is as it was. */
void *memory_own (void *block);
/* What was freed goes back to the system, as far as it can: where much was freed at once in small pieces. */
void memory_give_back (void);
char *memory_string (const char *text, size_t bytes);   /* a terminated copy; NULL on failure */

#endif
