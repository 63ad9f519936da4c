/*
** model.safetensors.index.json (specs/formats.md 2): the shards of a checkpoint, and which of them is said to hold
** which tensor. Whether they do is the business of checkpoint.c.
*/
#ifndef format_shard_index_h
#define format_shard_index_h

#include "../base/file.h"
#include "json_members.h"

enum { SHARD_LIMIT = 10000 };    /* far below the number of mappings a process may have (65530) */

typedef struct shard_index {
  const char *path;              /* the caller's */
  file_view text;
  const char *weight_map;        /* [bytes] its object, inside `text` */
  size_t bytes;
  name_index shards;             /* plain file names, at least one */
} shard_index;

/* On failure there is nothing to close. */
ms_status shard_index_open (const char *path, shard_index *index, ms_error *err);
void shard_index_close (shard_index *index);

/* A walk over the entries: after each step walk->name is the tensor's, *shard the number of its shard. */
void shard_index_begin (const shard_index *index, json_members *walk);
ms_status shard_index_next (const shard_index *index, json_members *walk, bool *found, size_t *shard, ms_error *err);

#endif
