/*
** From a path to one table of tensors: finds the files, has their headers parsed, and brings every name to
** its official spelling. Fused expert tensors become one row an expert and part, views of the same bytes.
*/
#include "checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "../base/file.h"
#include "../base/memory.h"
#include "gguf.h"
#include "gguf_parts.h"
#include "names.h"
#include "safetensors.h"
#include "shard_index.h"
#include "wrong_file.h"

static const char config_name[] = "config.json";
static const char index_name[] = "model.safetensors.index.json";
static const char whole_name[] = "model.safetensors";

enum {
  EXPERT_LIMIT = 65536,          /* experts in one fused tensor */
  MATRIX_BYTES = 256             /* of an expert's matrix, on average; the first EXPERT_LIMIT may be smaller */
};

struct checkpoint {
  char *origin;
  metadata keys;                 /* path NULL: the files are no GGUF */
  file_view *views;              /* [view_count] */
  size_t view_count;
  size_t matrices;               /* views of experts in fused tensors */
  struct aligned_copy *copies;
  tensor_table table;
};

/* The bytes of a tensor that lies in its file at no multiple of its element. */
typedef struct aligned_copy {
  struct aligned_copy *next;
  uint8_t *data;
} aligned_copy;

/* {== Fused experts ============================================================================== */

/*
** A block of scales must not reach from the rows of one part into the next. The block is what the two
** shapes say: single rows, or as many rows as columns.
*/
static ms_status check_scale_blocks (const stored_tensor *weight, const stored_tensor *scale, ms_error *err) {
  size_t rows = weight->shape[0], columns = weight->shape[1];
  size_t down = scale->shape[0], across = scale->shape[1];
  if (down == rows) return MS_OK;
  if (rows % down == 0 && columns % across == 0 && rows / down == columns / across) return MS_OK;
  return fail(err, MS_EUNSUPPORTED, "%s: '%s' cannot be divided: scales [%zu, %zu] of weights [%zu, %zu]",
              scale->file, scale->stored_as, down, across, rows, columns);
}

/* Whichever of weight and scale comes second finds the other; other shapes are the model's to refuse. */
static ms_status check_partner (const checkpoint *cp, const tensor_name *name, const stored_tensor *part,
                                ms_error *err) {
  char partner[NAME_LIMIT];
  bool is_scale = strcmp(name->fused->leaf, "scale") == 0;
  int stem = (int)(strlen(part->name) - strlen(name->fused->leaf));
  int length = snprintf(partner, sizeof partner, "%.*s%s", stem, part->name, is_scale ? "weight" : "scale");
  if (length < 0 || length >= NAME_LIMIT) return MS_OK;
  const stored_tensor *other = tensor_table_find(&cp->table, partner);
  if (other == NULL || other->rank != 2 || other->bytes == 0) return MS_OK;
  return is_scale ? check_scale_blocks(other, part, err) : check_scale_blocks(part, other, err);
}

/* {== Tensors under official names =============================================================== */

static ms_status add (checkpoint *cp, const stored_tensor *tensor, ms_error *err) {
  const stored_tensor *present;
  TRY(tensor_table_add(&cp->table, tensor, &present, err));
  if (present == NULL) return MS_OK;
  if (strcmp(present->file, tensor->file) != 0)
    return fail(err, MS_EFORMAT, "%s: '%s' stands in %s as well ('%s')", tensor->file, tensor->stored_as,
                present->file, present->stored_as);
  return fail(err, MS_EFORMAT, "%s: '%s' and '%s' are two spellings of '%s'", tensor->file, present->stored_as,
              tensor->stored_as, tensor->name);
}

/*
** Every matrix of a fused tensor takes memory of ours, and tensors may share their bytes: without a limit a few
** kilobytes would be millions of experts.
*/
static ms_status count_matrices (checkpoint *cp, const stored_tensor *whole, size_t count, ms_error *err) {
  size_t bytes = 0;
  for (size_t i = 0; i < cp->view_count; i++) bytes += cp->views[i].bytes;
  cp->matrices += count;
  if (cp->matrices <= EXPERT_LIMIT + bytes / MATRIX_BYTES) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: with '%s' there are %zu matrices of experts, too many for files of %zu bytes",
              whole->file, whole->stored_as, cp->matrices, bytes);
}

/* [experts, parts * rows, columns] as experts * parts tensors [rows, columns]. */
static ms_status add_fused (checkpoint *cp, const stored_tensor *whole, const tensor_name *name, ms_error *err) {
  size_t parts = name->fused->count;
  if (whole->rank != 3 || whole->bytes == 0 || whole->shape[0] > EXPERT_LIMIT || whole->shape[1] % parts != 0)
    return fail(err, MS_EFORMAT, "%s: '%s' is no [experts <= %d, %zu * rows, columns]", whole->file,
                whole->stored_as, EXPERT_LIMIT, parts);
  TRY(count_matrices(cp, whole, whole->shape[0] * parts, err));
  stored_tensor view = *whole;
  char official[NAME_LIMIT];
  view.name = official;
  view.rank = 2;
  view.shape[0] = whole->shape[1] / parts;
  view.shape[1] = whole->shape[2];
  view.shape[2] = 0;
  view.bytes = whole->bytes / whole->shape[0] / parts;   /* exact: rows are whole blocks */
  for (size_t expert = 0; expert < whole->shape[0]; expert++)
    for (size_t part = 0; part < parts; part++) {
      TRY(name_of_part(name, part, expert, official, err));
      TRY(add(cp, &view, err));
      if (expert == 0 && part == 0 && parts > 1) TRY(check_partner(cp, name, &view, err));
      view.data += view.bytes;
    }
  return MS_OK;
}

/*
** The format does not align tensors, kernels need it: the odd one out is copied, the only weights that
** opening reads. Writers that sort by element size, as the published checkpoints' did, leave none.
*/
static ms_status align (checkpoint *cp, stored_tensor *tensor, ms_error *err) {
  if ((uintptr_t)tensor->data % tensor_types[tensor->type].alignment == 0) return MS_OK;
  aligned_copy *copy = memory_new(1, sizeof *copy);
  if (copy == NULL) return fail_memory(err, sizeof *copy, tensor->name);
  copy->next = cp->copies;
  cp->copies = copy;
  copy->data = memory_new(tensor->bytes, 1);
  if (copy->data == NULL) return fail_memory(err, tensor->bytes, tensor->name);
  memcpy(copy->data, tensor->data, tensor->bytes);
  tensor->data = copy->data;
  return MS_OK;
}

static ms_status add_stored (checkpoint *cp, const stored_tensor *stored, ms_error *err) {
  tensor_name name;
  stored_tensor tensor = *stored;
  TRY(name_translate(stored->name, &name, err));
  TRY(align(cp, &tensor, err));
  tensor.stored_as = stored->name;
  if (name.fused != NULL) return add_fused(cp, &tensor, &name, err);
  tensor.name = name.official;
  return add(cp, &tensor, err);
}

/* {== Files ====================================================================================== */

/* *view: the next one of the checkpoint, which has room for it. */
static ms_status open_view (checkpoint *cp, const char *path, ms_access access, file_view **view, ms_error *err) {
  *view = &cp->views[cp->view_count];
  TRY(file_view_open(path, access, *view, err));
  cp->view_count++;
  return MS_OK;
}

static ms_status add_all (checkpoint *cp, const tensor_table *stored, ms_error *err) {
  for (size_t i = 0; i < stored->names.count; i++) TRY(add_stored(cp, &stored->tensors[i], err));
  return MS_OK;
}

static ms_status read_file (checkpoint *cp, const char *path, ms_access access, ms_error *err) {
  file_view *view;
  tensor_table stored = { 0 };
  TRY(open_view(cp, path, access, &view, err));
  ms_status status = safetensors_parse(view->path, view->data, view->bytes, &stored, err);
  if (status == MS_OK) status = add_all(cp, &stored, err);
  tensor_table_clear(&stored);
  return status;
}

static ms_status reserve_views (checkpoint *cp, size_t count, ms_error *err) {
  cp->views = memory_new(count, sizeof *cp->views);
  return cp->views == NULL ? fail_memory(err, count * sizeof *cp->views, "file views") : MS_OK;
}

static ms_status read_only_file (checkpoint *cp, const char *path, ms_access access, ms_error *err) {
  TRY(reserve_views(cp, 1, err));
  return read_file(cp, path, access, err);
}

/* {== GGUF ======================================================================================= */

/* Reads one part. *seen counts the tensors of all so far, *total is what the first one states of them. */
static ms_status read_part (checkpoint *cp, const char *path, gguf_part part, ms_access access, size_t *seen,
                            size_t *total, ms_error *err) {
  file_view *view;
  metadata keys = { 0 };
  tensor_table stored = { 0 };
  size_t stated = 0;
  TRY(open_view(cp, path, access, &view, err));
  ms_status status = gguf_parse(view->path, view->data, view->bytes, &keys, &stored, err);
  if (status == MS_OK) status = gguf_part_check(&keys, part, &stated, err);
  if (status == MS_OK && part.number > 0 && stated != *total)
    status = fail(err, MS_EFORMAT, "%s: split.tensors.count is %zu, in the first part it is %zu: they are parts of "
                  "different models", path, stated, *total);
  if (status == MS_OK) status = add_all(cp, &stored, err);
  *total = stated;
  *seen += stored.names.count;
  tensor_table_clear(&stored);
  if (part.number == 0) cp->keys = keys;               /* the first part describes the model */
  else metadata_clear(&keys);
  return status;
}

static ms_status read_parts (checkpoint *cp, const char *path, gguf_part part, ms_access access, ms_error *err) {
  size_t seen = 0, total = 0;
  TRY(reserve_views(cp, part.count, err));
  for (part.number = 0; part.number < part.count; part.number++) {
    char *next = gguf_part_path(path, part);
    if (next == NULL) return fail_memory(err, strlen(path), "a path");
    ms_status status = read_part(cp, next, part, access, &seen, &total, err);
    if (status == MS_ENOENT && part.count > 1)
      status = fail(err, MS_ENOENT, "%s: is missing, part %zu of %zu", next, part.number + 1, part.count);
    if (status == MS_OK && part.number == 0) cp->origin = next;
    else memory_free(next);
    TRY(status);
  }
  if (part.count == 1 || seen == total) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: split.tensors.count is %zu, the %zu parts hold %zu", cp->origin, total, part.count,
              seen);
}

static ms_status read_gguf (checkpoint *cp, const char *path, ms_access access, ms_error *err) {
  gguf_part part;
  TRY(gguf_part_of(path, &part, err));
  if (part.count > SHARD_LIMIT)
    return fail(err, MS_EUNSUPPORTED, "%s: is one of %zu parts, at most %d are allowed", path, part.count, SHARD_LIMIT);
  return read_parts(cp, path, part, access, err);
}

/* {== A checkpoint in shards ===================================================================== */

static ms_status read_shards (checkpoint *cp, const shard_index *index, ms_access access, ms_error *err) {
  TRY(reserve_views(cp, index->shards.count, err));
  for (size_t i = 0; i < index->shards.count; i++) {
    char *path = file_path_join(cp->origin, index->shards.names[i]);
    if (path == NULL) return fail_memory(err, strlen(cp->origin), "a path");
    ms_status status = read_file(cp, path, access, err);
    if (status == MS_ENOENT)
      status = fail(err, MS_ENOENT, "%s: is missing, though %s lists it", path, index_name);
    memory_free(path);
    TRY(status);
  }
  return MS_OK;
}

/* The tensor that an entry of the index speaks of; a fused one is known by its first part. */
static ms_status find_listed (const checkpoint *cp, const char *stored, const stored_tensor **out, ms_error *err) {
  tensor_name name;
  char first[NAME_LIMIT];
  TRY(name_translate(stored, &name, err));
  if (name.fused != NULL) TRY(name_of_part(&name, 0, 0, first, err));
  *out = tensor_table_find(&cp->table, name.fused != NULL ? first : name.official);
  return MS_OK;
}

/* An entry names a tensor that its shard holds, once. Tensors that the index forgot are taken anyway. */
static ms_status check_entry (const checkpoint *cp, const shard_index *index, const char *name, size_t shard,
                              uint8_t *listed, ms_error *err) {
  const stored_tensor *tensor;
  TRY(find_listed(cp, name, &tensor, err));
  if (tensor == NULL || strcmp(tensor->file, cp->views[shard].path) != 0)
    return fail(err, MS_EFORMAT, "%s: '%.150s' is mapped to %.150s, which does not hold it", index->path, name,
                index->shards.names[shard]);
  size_t position = (size_t)(tensor - cp->table.tensors);
  if (listed[position]) return fail(err, MS_EFORMAT, "%s: '%s' is listed twice", index->path, name);
  listed[position] = 1;
  return MS_OK;
}

static ms_status check_listing (const checkpoint *cp, const shard_index *index, ms_error *err) {
  json_members walk;
  bool found = true;
  size_t shard = 0;
  uint8_t *listed = memory_new(cp->table.names.count, 1);
  if (listed == NULL) return fail_memory(err, cp->table.names.count, "the index's entries");
  ms_status status = MS_OK;
  shard_index_begin(index, &walk);
  while (status == MS_OK) {
    status = shard_index_next(index, &walk, &found, &shard, err);
    if (status != MS_OK || !found) break;
    status = check_entry(cp, index, walk.name, shard, listed, err);
  }
  memory_free(listed);
  return status;
}

static ms_status read_index (checkpoint *cp, const char *path, ms_access access, ms_error *err) {
  shard_index index;
  TRY(shard_index_open(path, &index, err));
  ms_status status = read_shards(cp, &index, access, err);
  if (status == MS_OK) status = check_listing(cp, &index, err);
  shard_index_close(&index);
  return status;
}

/* {== Opening ==================================================================================== */

/* *path is folder/name, or NULL when there is no such file. */
static ms_status find_file (const char *folder, const char *name, char **path, ms_error *err) {
  int is_folder;
  *path = file_path_join(folder, name);
  if (*path == NULL) return fail_memory(err, strlen(folder), "a path");
  ms_status status = file_is_folder(*path, &is_folder, err);
  if (status == MS_OK) return MS_OK;
  memory_free(*path);
  *path = NULL;
  return status == MS_ENOENT ? MS_OK : status;
}

/* The index says what belongs together: it goes before a model.safetensors that lies beside it. */
static ms_status read_folder (checkpoint *cp, ms_access access, ms_error *err) {
  char *path;
  TRY(find_file(cp->origin, index_name, &path, err));
  if (path != NULL) {
    ms_status status = read_index(cp, path, access, err);
    memory_free(path);
    return status;
  }
  TRY(find_file(cp->origin, whole_name, &path, err));
  if (path == NULL) return wrong_folder(cp->origin, err);
  ms_status status = read_only_file(cp, path, access, err);
  memory_free(path);
  return status;
}

/* The part of `path` before its last '/', as a new string; NULL when memory runs out. */
static char *folder_of (const char *path) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL) return memory_string(".", 1);
  return memory_string(path, slash == path ? 1 : (size_t)(slash - path));
}

static ms_status read_path (checkpoint *cp, const char *path, ms_access access, ms_error *err) {
  int is_folder;
  bool is_gguf = false;
  TRY(file_is_folder(path, &is_folder, err));
  if (!is_folder) TRY(gguf_is_file(path, &is_gguf, err));
  if (is_gguf) return read_gguf(cp, path, access, err);
  cp->origin = is_folder ? memory_string(path, strlen(path)) : folder_of(path);
  if (cp->origin == NULL) return fail_memory(err, strlen(path), "a path");
  const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
  if (is_folder || strcmp(name, config_name) == 0 || strcmp(name, index_name) == 0)
    return read_folder(cp, access, err);
  return read_only_file(cp, path, access, err);
}

ms_status checkpoint_open (const char *path, ms_access access, checkpoint **out, ms_error *err) {
  *out = NULL;
  checkpoint *cp = memory_new(1, sizeof *cp);
  if (cp == NULL) return fail_memory(err, sizeof *cp, "a checkpoint");
  ms_status status = read_path(cp, path, access, err);
  if (status == MS_OK) *out = cp;
  else checkpoint_close(cp);
  return status;
}

void checkpoint_close (checkpoint *cp) {
  if (cp == NULL) return;
  tensor_table_clear(&cp->table);
  for (aligned_copy *copy = cp->copies; copy != NULL;) {
    aligned_copy *next = copy->next;
    memory_free(copy->data);
    memory_free(copy);
    copy = next;
  }
  for (size_t i = 0; i < cp->view_count; i++) file_view_close(&cp->views[i]);
  memory_free(cp->views);
  metadata_clear(&cp->keys);
  memory_free(cp->origin);
  memory_free(cp);
}

const char *checkpoint_origin (const checkpoint *cp) {
  return cp->origin;
}

const metadata *checkpoint_metadata (const checkpoint *cp) {
  return cp->keys.path == NULL ? NULL : &cp->keys;
}

const stored_tensor *checkpoint_find (const checkpoint *cp, const char *name) {
  return tensor_table_find(&cp->table, name);
}

size_t checkpoint_count (const checkpoint *cp) {
  return cp->table.names.count;
}

const stored_tensor *checkpoint_at (const checkpoint *cp, size_t index) {
  return &cp->table.tensors[index];
}

ms_status checkpoint_check_unchanged (const checkpoint *cp, ms_error *err) {
  for (size_t i = 0; i < cp->view_count; i++) TRY(file_view_check(&cp->views[i], err));
  return MS_OK;
}

void checkpoint_forget (const checkpoint *cp, const uint8_t *data, size_t bytes) {
  for (size_t i = 0; i < cp->view_count; i++) file_view_forget(&cp->views[i], data, bytes);
}

uint64_t checkpoint_identity (const checkpoint *cp) {
  uint64_t hash = 0;
  for (size_t i = 0; i < cp->view_count; i++) {
    const file_view *view = &cp->views[i];
    const uint64_t state[] = { view->bytes, (uint64_t)view->modified, view->inode };
    hash = XXH64(state, sizeof state, hash);
  }
  return hash;
}
