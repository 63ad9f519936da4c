/* Saved prefixes in a folder, found by their tokens: what a job need not read because somebody has read it before. */
#ifndef runtime_prefix_store_h
#define runtime_prefix_store_h

#include <stdatomic.h>
#include <uv.h>

#include "snapshot.h"

struct ms_cache {
  atomic_size_t references;
  char *folder;
  uint64_t budget;                       /* bytes */
  size_t minimum;                        /* tokens newly read that are worth a file, or looking for one */
  atomic_uint_least64_t found, stored, removed, failed;
};

ms_cache *ms_cache_retain (ms_cache *cache);

/* A prefix on its way to the disk. */
typedef struct prefix_item {
  struct prefix_item *next;
  snapshot state;
} prefix_item;

/* Of one engine; its lock guards it. */
typedef struct prefix_writer {
  uv_thread_t thread;
  bool started, busy;                    /* busy: it will look at the queue again before it ends */
  prefix_item *first, *last;
  size_t count;
} prefix_writer;

/* The longest stored prefix of tokens[0 .. count-1] beyond `least` of them. False: none, and *s is empty. */
bool prefix_load (ms_cache *cache, const snapshot_owner *owner, ms_access access, const int32_t *tokens, size_t count,
                  size_t least, snapshot *s);
/* Stores what is held and read, unless it is there already, and makes room for it. */
void prefix_save (ms_cache *cache, const snapshot_owner *owner, const snapshot *s);

#endif
