/*
** The prefix store: a folder of saved sessions, one a prefix, each named by what it is of:
**
**   TOKENS-HASH.prefix   how many tokens, in decimal digits; 32 hexadecimal digits of XXH3 over format version,
**                        model, numerics and the tokens
**
** So there is no index that could be wrong: the names in the folder say which lengths to try, one pass over a
** prompt hashes all of them, and a name that is there is a hit. Files appear by rename and go by unlink, so
** processes share a folder without locks; the time of a file is that of its last use. Whatever is wrong with a
** file or the folder, the prompt is read as if there were none.
*/
#include "prefix_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY          /* the size of a hash's state */
#include <xxhash.h>

#include "../base/folder.h"
#include "../base/memory.h"

enum { NAME_BYTES = 64 };

static const char ending[] = ".prefix";
static const int64_t unfinished_ns = INT64_C(3600) * 1000000000;   /* by then its process is dead */

/* {== Names ====================================================================================== */

typedef struct prefix_name { size_t count; uint64_t high, low; } prefix_name;

static void print_name (const prefix_name *name, char *out) {
  snprintf(out, NAME_BYTES, "%zu-%016" PRIx64 "%016" PRIx64 "%s", name->count, name->high, name->low, ending);
}

static bool parse_name (const char *text, prefix_name *name) {
  char again[NAME_BYTES];
  if (sscanf(text, "%9zu-%16" SCNx64 "%16" SCNx64, &name->count, &name->high, &name->low) != 3) return false;
  print_name(name, again);
  return strcmp(again, text) == 0;
}

static void begin_hash (XXH3_state_t *state, const snapshot_owner *owner) {
  const uint64_t of[] = { SNAPSHOT_VERSION, owner->fingerprint.low, owner->fingerprint.high,
                          owner->heap->be->numerics };
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, of, sizeof of);
}

static prefix_name name_now (const XXH3_state_t *state, size_t count) {
  XXH128_hash_t hash = XXH3_128bits_digest(state);
  return (prefix_name){ count, hash.high64, hash.low64 };
}

static char *path_of (const ms_cache *cache, const prefix_name *name) {
  char text[NAME_BYTES];
  print_name(name, text);
  return file_path_join(cache->folder, text);
}

/* {== Finding ==================================================================================== */

typedef struct name_list {
  prefix_name *names;
  size_t count, capacity, least, most;   /* only prefixes of more than `least` and at most `most` tokens */
} name_list;

static ms_status collect_name (void *user, const char *text, ms_error *err) {
  name_list *list = user;
  prefix_name name;
  if (!parse_name(text, &name) || name.count <= list->least || name.count > list->most) return MS_OK;
  if (list->count == list->capacity) {
    size_t capacity = list->capacity * 2 + 16;
    prefix_name *names = memory_resize(list->names, capacity, sizeof *names);
    if (names == NULL) return fail_memory(err, capacity * sizeof *names, "names");
    list->names = names;
    list->capacity = capacity;
  }
  list->names[list->count++] = name;
  return MS_OK;
}

static int by_count (const void *a, const void *b) {
  const prefix_name *x = a, *y = b;
  return x->count < y->count ? -1 : x->count > y->count;
}

/* Keeps the names whose hash is that of so many of the tokens, in ascending order. */
static void keep_prefixes (name_list *list, const snapshot_owner *owner, const int32_t *tokens) {
  XXH3_state_t state;
  prefix_name here = { 0 };
  size_t kept = 0;
  qsort(list->names, list->count, sizeof *list->names, by_count);
  begin_hash(&state, owner);
  for (size_t i = 0; i < list->count; i++) {
    const prefix_name *name = &list->names[i];
    if (name->count != here.count) {
      XXH3_128bits_update(&state, tokens + here.count, (name->count - here.count) * sizeof *tokens);
      here = name_now(&state, name->count);
    }
    if (name->high == here.high && name->low == here.low) list->names[kept++] = *name;
  }
  list->count = kept;
}

/* Sound as a file and of another content than its name says: hashes can meet, and files be renamed. */
static bool is_prefix (const snapshot *s, const int32_t *tokens, size_t count) {
  return s->tokens.count == count && model_cache_position(s->cache) == count && s->logits != NULL && !s->steered
      && s->routing == NULL && memcmp(s->tokens.ids, tokens, count * sizeof *tokens) == 0;
}

static bool load_prefix (ms_cache *cache, const snapshot_owner *owner, ms_access access, const prefix_name *name,
                         const int32_t *tokens, snapshot *s) {
  char *path = path_of(cache, name);
  if (path == NULL) return false;
  ms_error err;
  ms_status status = snapshot_read(owner, path, access, s, &err);
  bool sound = status == MS_OK && is_prefix(s, tokens, name->count);
  bool wrong = status == MS_EFORMAT || status == MS_EMODEL || status == MS_EUNSUPPORTED || (status == MS_OK && !sound);
  if (sound) file_touch(path);
  else snapshot_clear(s);
  if (wrong) atomic_fetch_add(&cache->removed, (uint64_t)file_remove(path));
  memory_free(path);
  return sound;
}

bool prefix_load (ms_cache *cache, const snapshot_owner *owner, ms_access access, const int32_t *tokens, size_t count,
                  size_t least, snapshot *s) {
  name_list list = { .least = least, .most = count };
  bool found = false;
  *s = (snapshot){ 0 };
  if (folder_each(cache->folder, collect_name, &list, NULL) == MS_OK && list.count != 0) {
    keep_prefixes(&list, owner, tokens);
    while (!found && list.count-- != 0)
      found = load_prefix(cache, owner, access, &list.names[list.count], tokens, s);
  }
  memory_free(list.names);
  atomic_fetch_add(&cache->found, (uint64_t)found);
  return found;
}

/* {== Making room ================================================================================ */

typedef struct stored_file { prefix_name name; file_state state; } stored_file;

typedef struct inventory {
  const ms_cache *cache;
  stored_file *files;
  size_t count, capacity;
  uint64_t bytes;
  int64_t now;
} inventory;

static ms_status remove_unfinished (const inventory *all, const char *text, ms_error *err) {
  file_state state;
  char *path = file_path_join(all->cache->folder, text);
  if (path == NULL) return fail_memory(err, strlen(text), "a path");
  if (file_look(path, &state) && all->now - state.modified > unfinished_ns) file_remove(path);
  memory_free(path);
  return MS_OK;
}

static ms_status take_inventory (void *user, const char *text, ms_error *err) {
  inventory *all = user;
  stored_file file;
  if (file_is_unfinished(text)) return remove_unfinished(all, text, err);
  if (!parse_name(text, &file.name)) return MS_OK;
  char *path = path_of(all->cache, &file.name);
  if (path == NULL) return fail_memory(err, strlen(text), "a path");
  int there = file_look(path, &file.state);
  memory_free(path);
  if (!there) return MS_OK;
  if (all->count == all->capacity) {
    size_t capacity = all->capacity * 2 + 16;
    stored_file *files = memory_resize(all->files, capacity, sizeof *files);
    if (files == NULL) return fail_memory(err, capacity * sizeof *files, "names");
    all->files = files;
    all->capacity = capacity;
  }
  all->files[all->count++] = file;
  all->bytes += file.state.bytes;
  return MS_OK;
}

static int by_time (const void *a, const void *b) {
  const stored_file *x = a, *y = b;
  return x->state.modified < y->state.modified ? -1 : x->state.modified > y->state.modified;
}

/* Removes what was not used for longest until `coming` more bytes fit. */
static void make_room (ms_cache *cache, uint64_t coming) {
  inventory all = { .cache = cache, .now = file_time_now() };
  if (folder_each(cache->folder, take_inventory, &all, NULL) == MS_OK && all.bytes + coming > cache->budget) {
    qsort(all.files, all.count, sizeof *all.files, by_time);
    for (size_t i = 0; i < all.count && all.bytes + coming > cache->budget; i++) {
      char *path = path_of(cache, &all.files[i].name);
      if (path == NULL) break;
      atomic_fetch_add(&cache->removed, (uint64_t)file_remove(path));
      memory_free(path);
      all.bytes -= all.files[i].state.bytes;         /* another process may have been faster */
    }
  }
  memory_free(all.files);
}

/* {== Storing ==================================================================================== */

static void store_at (ms_cache *cache, const snapshot_owner *owner, const snapshot *s, const char *path,
                      uint64_t bytes) {
  file_state state;
  if (file_look(path, &state)) {
    file_touch(path);
    return;
  }
  make_room(cache, bytes);
  bool written = snapshot_write(owner, s, path, FILE_WHOLE, NULL) == MS_OK;
  atomic_fetch_add(written ? &cache->stored : &cache->failed, 1);
}

void prefix_save (ms_cache *cache, const snapshot_owner *owner, const snapshot *s) {
  XXH3_state_t state;
  uint64_t bytes;
  if (snapshot_bytes(owner->m, owner->heap->be, s->tokens.count, &bytes, NULL) != MS_OK || bytes > cache->budget)
    return;
  begin_hash(&state, owner);
  XXH3_128bits_update(&state, s->tokens.ids, s->tokens.count * sizeof *s->tokens.ids);
  prefix_name name = name_now(&state, s->tokens.count);
  char *path = path_of(cache, &name);
  if (path == NULL) return;
  store_at(cache, owner, s, path, bytes);
  memory_free(path);
}

/* {== Life ======================================================================================= */

ms_status ms_cache_open (const char *folder, uint64_t budget, size_t minimum, ms_cache **out, ms_error *err) {
  *out = NULL;
  if (budget == 0) return fail(err, MS_EINVAL, "budget is 0: it must be from 1 byte on");
  TRY(folder_make(folder, err));
  ms_cache *cache = memory_new(1, sizeof *cache);
  if (cache == NULL) return fail_memory(err, sizeof *cache, "a cache");
  ms_status status = file_path_absolute(folder, &cache->folder, err);   /* the host may change its own later */
  if (status != MS_OK) {
    memory_free(cache);
    return status;
  }
  atomic_init(&cache->references, 1);
  cache->budget = budget;
  cache->minimum = minimum == 0 ? 1 : minimum;
  *out = cache;
  return MS_OK;
}

ms_cache *ms_cache_retain (ms_cache *cache) {
  if (cache != NULL) atomic_fetch_add(&cache->references, 1);
  return cache;
}

void ms_cache_release (ms_cache *cache) {
  if (cache == NULL || atomic_fetch_sub(&cache->references, 1) > 1) return;
  memory_free(cache->folder);
  memory_free(cache);
}

void ms_cache_get_stats (ms_cache *cache, ms_cache_stats *stats) {
  *stats = (ms_cache_stats){
    .found = atomic_load(&cache->found), .stored = atomic_load(&cache->stored),
    .removed = atomic_load(&cache->removed), .failed = atomic_load(&cache->failed)
  };
}
