/* Files, journal and final name of a conversion. */
#include "target.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../base/folder.h"
#include "../base/memory.h"
#include "bytes.h"

enum { JOURNAL_HEADER = 16, RECORD = 16, BUFFER = 4 << 20 };

static const char magic[] = "moonconv";

ms_status target_announce (const target *t, const char *phase, uint64_t done, ms_error *err) {
  if (t->progress == NULL || t->progress(t->user, phase, done, t->p->bytes) == 0) return MS_OK;
  return fail(err, MS_ECANCELED, "%s: the conversion was stopped; started again it goes on where it was", t->path);
}

/* {== Paths ====================================================================================== */

static ms_status make_path (const char *path, const char *ending, char **out, ms_error *err) {
  const size_t length = strlen(path), room = length + strlen(ending) + 1;
  *out = memory_new(room, 1);
  if (*out == NULL) return fail_memory(err, room, "a path");
  snprintf(*out, room, "%s%s", path, ending);
  return MS_OK;
}

/* Path of a file of the plan; to be freed. */
static ms_status file_path (const target *t, const char *name, char **out, ms_error *err) {
  *out = name == NULL ? memory_string(t->part, strlen(t->part)) : file_path_join(t->part, name);
  return *out == NULL ? fail_memory(err, strlen(t->part), "a path") : MS_OK;
}

static ms_status find_any (void *user, const char *name, ms_error *err) {
  (void)err;
  if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) *(bool *)user = true;
  return MS_OK;
}

/* What ends in "." or ".." cannot be renamed to. */
static ms_status check_name (const target *t, ms_error *err) {
  const char *slash = strrchr(t->path, '/'), *name = slash == NULL ? t->path : slash + 1;
  if (name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) return MS_OK;
  return fail(err, MS_EINVAL, "%s: a new folder cannot take this name: give it one of its own", t->path);
}

static ms_status check_free (const target *t, ms_error *err) {
  int is_folder;
  bool taken = false;
  ms_status status = file_is_folder(t->path, &is_folder, err);
  if (status == MS_ENOENT) return MS_OK;
  TRY(status);
  if (is_folder) TRY(folder_each(t->path, find_any, &taken, err));
  if (is_folder && t->p->container == CONTAINER_GGUF)
    return fail(err, MS_EINVAL, "%s: is a folder, a GGUF model is written to a file", t->path);
  if (is_folder && taken)
    return fail(err, MS_EINVAL, "%s: is a folder with something in it, which is never replaced: remove it or give "
                "another name", t->path);
  if (!is_folder && t->p->container == CONTAINER_SAFETENSORS)
    return fail(err, MS_EINVAL, "%s: is a file, a safetensors model is written to a folder", t->path);
  if (is_folder || t->overwrite) return MS_OK;
  return fail(err, MS_EINVAL, "%s: exists already: ask for it to be overwritten, or give another name", t->path);
}

/* {== The journal ================================================================================ */

static uint64_t check_of (const target *t, size_t index, uint64_t hash) {
  const uint64_t record[] = { index, hash };
  return XXH64(record, sizeof record, t->p->hash);
}

static uint64_t number_at (const uint8_t *bytes) {
  uint64_t value = 0;
  for (size_t i = 8; i-- > 0;) value = value << 8 | bytes[i];
  return value;
}

/* Whether something lies where the files are to be written. */
static ms_status has_files (const target *t, bool *found, ms_error *err) {
  const bool is_folder = t->p->container == CONTAINER_SAFETENSORS;
  file_state state;
  *found = !is_folder && file_look(t->part, &state) && state.bytes > 0;
  return is_folder ? folder_each(t->part, find_any, found, err) : MS_OK;
}

static ms_status begin_journal (target *t, ms_error *err) {
  uint8_t header[JOURNAL_HEADER];
  bool found;
  TRY(has_files(t, &found, err));
  if (found)
    return fail(err, MS_EINVAL, "%s: is of another conversion, of another model or with other types: remove it and %s "
                "to start anew", t->part, t->journal_path);
  memcpy(header, magic, 8);
  bytes_put_unsigned(header + 8, t->p->hash, 8);
  TRY(file_part_write(&t->journal, header, sizeof header, 0, err));
  return file_part_sync(&t->journal, err);           /* before the files: without it they are nobody's */
}

/* Hashes of the outputs that the journal calls done; *count of them. */
static ms_status read_journal (target *t, size_t *count, ms_error *err) {
  uint8_t header[JOURNAL_HEADER], record[RECORD];
  size_t got;
  *count = 0;
  TRY(file_part_read(&t->journal, header, sizeof header, 0, &got, err));
  if (got < sizeof header || memcmp(header, magic, 8) != 0 || number_at(header + 8) != t->p->hash)
    return begin_journal(t, err);
  for (; *count < t->p->count; (*count)++) {
    TRY(file_part_read(&t->journal, record, sizeof record, JOURNAL_HEADER + (uint64_t)*count * RECORD, &got, err));
    t->hashes[*count] = number_at(record);
    if (got < sizeof record || number_at(record + 8) != check_of(t, *count, t->hashes[*count])) break;
  }
  return MS_OK;
}

static ms_status add_record (target *t, size_t index, ms_error *err) {
  uint8_t record[RECORD];
  bytes_put_unsigned(record, t->hashes[index], 8);
  bytes_put_unsigned(record + 8, check_of(t, index, t->hashes[index]), 8);
  return file_part_write(&t->journal, record, sizeof record, JOURNAL_HEADER + (uint64_t)index * RECORD, err);
}

/* {== Reading back =============================================================================== */

static ms_status select_file (target *t, size_t number, ms_error *err) {
  char *path;
  if (t->file.path != NULL && t->file_number == number) return MS_OK;
  file_part_close(&t->file);
  TRY(file_path(t, t->p->files[number].name, &path, err));
  ms_status status = file_part_open(path, &t->file, err);
  memory_free(path);
  t->file_number = number;
  return status;
}

/* Whether the file holds what was written. */
static ms_status compare_output (target *t, size_t index, const char *phase, uint64_t done, bool *same, ms_error *err) {
  const output *o = &t->p->outputs[index];
  XXH64_state_t state;
  size_t got = 1;
  TRY(select_file(t, o->file, err));
  XXH64_reset(&state, 0);
  for (uint64_t at = 0; at < o->bytes && got > 0; at += got) {
    const uint64_t left = o->bytes - at;
    TRY(file_part_read(&t->file, t->buffer, left < BUFFER ? (size_t)left : BUFFER, o->offset + at, &got, err));
    XXH64_update(&state, t->buffer, got);
    TRY(target_announce(t, phase, done + at + got, err));
  }
  *same = XXH64_digest(&state) == t->hashes[index];
  return MS_OK;
}

/* Codes without their scales count for nothing: both are written together. */
static bool ends_a_unit (const plan *p, size_t index) {
  return index + 1 == p->count || p->outputs[index + 1].work != WORK_SCALES;
}

static ms_status find_next (target *t, ms_error *err) {
  size_t count;
  uint64_t done = 0;
  bool same;
  TRY(read_journal(t, &count, err));
  for (size_t i = 0; i < count; i++) {
    TRY(compare_output(t, i, "check", done, &same, err));
    if (!same) break;
    done += t->p->outputs[i].bytes;
    if (!ends_a_unit(t->p, i)) continue;
    t->next = i + 1;
    t->done = done;
  }
  return MS_OK;
}

/* {== Writing ==================================================================================== */

static void begin_output (target *t) {
  for (size_t i = 0; i < 2; i++) {
    XXH64_reset(&t->states[i], 0);
    t->written[i] = 0;
  }
}

ms_status target_open (const plan *p, const ms_convert_options *options, target *t, ms_error *err) {
  *t = (target){ .p = p, .overwrite = options->overwrite != 0, .progress = options->progress,
                 .user = options->progress_user };
  TRY(make_path(options->target, "", &t->path, err));
  for (size_t end = strlen(t->path); end > 1 && t->path[end - 1] == '/'; end--) t->path[end - 1] = '\0';
  TRY(make_path(t->path, ".part", &t->part, err));
  TRY(make_path(t->path, ".part.journal", &t->journal_path, err));
  TRY(check_name(t, err));
  TRY(check_free(t, err));
  t->hashes = memory_new(p->count, sizeof *t->hashes);
  t->buffer = memory_new(BUFFER, 1);
  if (t->hashes == NULL || t->buffer == NULL) return fail_memory(err, BUFFER, "a conversion");
  TRY(file_part_open(t->journal_path, &t->journal, err));
  if (p->container == CONTAINER_SAFETENSORS) TRY(folder_make(t->part, err));
  TRY(find_next(t, err));
  begin_output(t);
  return MS_OK;
}

/* What to do about a full disk, which the next run begins with. */
static ms_status explain (const target *t, ms_status status, ms_error *err) {
  char message[sizeof err->message];
  if (status != MS_ENOSPC || err == NULL) return status;
  snprintf(message, sizeof message, "%.400s", err->message);
  return fail(err, status, "%s: make room for %" PRIu64 " bytes and start the conversion again, it goes on where it "
              "was", message, t->p->bytes - t->done);
}

ms_status target_write (target *t, size_t which, const void *bytes, size_t count, ms_error *err) {
  const output *o = &t->p->outputs[t->next + which];
  TRY(select_file(t, o->file, err));
  TRY(explain(t, file_part_write(&t->file, bytes, count, o->offset + t->written[which], err), err));
  XXH64_update(&t->states[which], bytes, count);
  t->written[which] += count;
  return target_announce(t, "convert", t->done + t->written[0] + t->written[1], err);
}

ms_status target_finish (target *t, size_t count, ms_error *err) {
  for (size_t i = 0; i < count; i++) {
    t->hashes[t->next + i] = XXH64_digest(&t->states[i]);
    TRY(explain(t, add_record(t, t->next + i, err), err));
    t->done += t->p->outputs[t->next + i].bytes;
  }
  t->next += count;
  begin_output(t);
  return MS_OK;
}

/* {== The end ==================================================================================== */

static ms_status fail_damaged (const target *t, const char *what, ms_error *err) {
  return fail(err, MS_EIO, "%s: %s is not on the disk as it was written: check the disk, and start the conversion "
              "again", t->file.path, what);
}

/* The header, and the padding behind the last tensor. */
static ms_status write_ends (target *t, size_t number, ms_error *err) {
  static const uint8_t zeros[64];
  const planned_file *file = &t->p->files[number];
  const output *last = &t->p->outputs[file->first + file->count - 1];
  TRY(select_file(t, number, err));
  TRY(explain(t, file_part_write(&t->file, zeros, (size_t)(file->bytes - last->offset - last->bytes),
                                 last->offset + last->bytes, err), err));
  TRY(explain(t, file_part_write(&t->file, file->header, file->header_bytes, 0, err), err));
  return explain(t, file_part_sync(&t->file, err), err);
}

static ms_status compare_header (target *t, size_t number, ms_error *err) {
  const planned_file *file = &t->p->files[number];
  size_t got = 1;
  for (size_t at = 0; at < file->header_bytes && got > 0; at += got) {
    const size_t left = file->header_bytes - at;
    TRY(file_part_read(&t->file, t->buffer, left < BUFFER ? left : BUFFER, at, &got, err));
    if (got == 0 || memcmp(t->buffer, file->header + at, got) != 0) return fail_damaged(t, "the header", err);
  }
  return MS_OK;
}

static ms_status complete_file (target *t, size_t number, uint64_t *done, ms_error *err) {
  const planned_file *file = &t->p->files[number];
  bool same;
  TRY(write_ends(t, number, err));
  TRY(compare_header(t, number, err));
  for (size_t i = file->first; i < file->first + file->count; i++) {
    TRY(compare_output(t, i, "verify", *done, &same, err));
    if (!same) return fail_damaged(t, t->p->outputs[i].name, err);
    *done += t->p->outputs[i].bytes;
  }
  return MS_OK;
}

/* A killed process was writing it beside the weights. */
static ms_status remove_unfinished (void *user, const char *name, ms_error *err) {
  char *path;
  if (!file_is_unfinished(name)) return MS_OK;
  TRY(file_path(user, name, &path, err));
  file_remove(path);
  memory_free(path);
  return MS_OK;
}

static ms_status write_sides (target *t, ms_error *err) {
  if (t->p->side_count > 0) TRY(folder_each(t->part, remove_unfinished, t, err));
  for (size_t i = 0; i < t->p->side_count; i++) {
    char *path;
    TRY(file_path(t, t->p->sides[i].name, &path, err));
    ms_status status = ms_file_replace(path, t->p->sides[i].data, t->p->sides[i].bytes, err);
    memory_free(path);
    TRY(explain(t, status, err));
  }
  return MS_OK;
}

/* A folder replaces an empty one alone, whatever happens meanwhile. */
static ms_status take_name (const target *t, ms_error *err) {
  TRY(check_free(t, err));             /* hours may have passed */
  if (t->overwrite || t->p->container == CONTAINER_SAFETENSORS) return file_move(t->part, t->path, err);
  return file_move_new(t->part, t->path, err);
}

ms_status target_complete (target *t, ms_error *err) {
  uint64_t done = 0;
  for (size_t i = 0; i < t->p->file_count; i++) TRY(complete_file(t, i, &done, err));
  TRY(write_sides(t, err));
  TRY(take_name(t, err));
  file_remove(t->journal_path);
  return MS_OK;
}

void target_close (target *t) {
  file_part_close(&t->file);
  file_part_close(&t->journal);
  memory_free(t->hashes);
  memory_free(t->buffer);
  memory_free(t->journal_path);
  memory_free(t->part);
  memory_free(t->path);
  *t = (target){ 0 };
}
