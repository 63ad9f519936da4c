/*
** A saved session, format version 1. Numbers are little-endian; rows, tokens and logits lie as in memory, and the
** mark tells a machine of the other byte order. Sections follow each other without a gap, each filled with
** zeros to a multiple of 64 bytes, so that a mapped page of rows is aligned as an allocated one.
**
**   0  "moonseek"
**   8  u32 version           12  u32 0x01020304 as the machine stores it
**  16  u64 bytes of the file
**  24  u64 u64 fingerprint of the model
**  40  u64 numerics          48  u64 context
**  56  u64 tokens read       64  u64 reread_end
**  72  u64 1: some rows were read under an expert policy, else 0
**  80  four sections (tokens, logits, policy, rows), each u64 offset, u64 bytes, u64 XXH3 of it with its filling
** 176  zeros
** 184  u64 XXH3 of bytes 0 to 183: with the sections' hashes in them, of the whole file
** 192  the sections; policy: what model_routing_write_image makes of it
**
** A hash finds damage, not an attacker: whatever it says, every number is checked before it is used.
*/
#include "snapshot.h"

#include <math.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY          /* the size of a hash's state */
#include <xxhash.h>

#include "../base/checked.h"
#include "../base/memory.h"
#include "../base/reader.h"

enum section_name { TOKENS, LOGITS, POLICY, ROWS, SECTIONS };

enum { HEADER_BYTES = 192, HASHED_BYTES = HEADER_BYTES - 8, ALIGNMENT = 64 };

static const char magic[8] = { 'm', 'o', 'o', 'n', 's', 'e', 'e', 'k' };
static const char *const section_names[SECTIONS] = { "tokens", "logits", "policy", "rows" };
static const char *const numerics_names[] = { [MS_FAST] = "fast", [MS_REFERENCE] = "reference", [MS_EXACT] = "exact" };
static const uint32_t byte_order = 0x01020304;

typedef struct section { uint64_t offset, bytes, hash; } section;

typedef struct header {
  uint64_t bytes;
  model_fingerprint model;
  uint64_t numerics, context, read, reread_end, steered;
  section sections[SECTIONS];
} header;

/* {== Writing ==================================================================================== */

typedef struct output {
  file_writer file;
  uint64_t offset;
  section *section;                      /* the one being written */
  XXH3_state_t hash;
} output;

static uint8_t *put_u64 (uint8_t *at, uint64_t value) {
  for (int i = 0; i < 8; i++, value >>= 8) *at++ = (uint8_t)value;
  return at;
}

static void put_header (uint8_t *out, const header *h) {
  memset(out, 0, HEADER_BYTES);
  memcpy(out, magic, sizeof magic);
  uint8_t *at = put_u64(out + sizeof magic, SNAPSHOT_VERSION);
  memcpy(at - sizeof byte_order, &byte_order, sizeof byte_order);
  at = put_u64(at, h->bytes);
  at = put_u64(put_u64(at, h->model.low), h->model.high);
  at = put_u64(put_u64(at, h->numerics), h->context);
  at = put_u64(put_u64(put_u64(at, h->read), h->reread_end), h->steered);
  for (size_t i = 0; i < SECTIONS; i++)
    at = put_u64(put_u64(put_u64(at, h->sections[i].offset), h->sections[i].bytes), h->sections[i].hash);
  put_u64(out + HASHED_BYTES, XXH3_64bits(out, HASHED_BYTES));
}

static ms_status put (void *user, const void *bytes, size_t count, ms_error *err) {
  output *out = user;
  TRY(file_writer_write(&out->file, bytes, count, out->offset, err));
  XXH3_64bits_update(&out->hash, bytes, count);
  out->offset += count;
  return MS_OK;
}

static void begin_section (output *out, section *begun) {
  begun->offset = out->offset;
  out->section = begun;
  XXH3_64bits_reset(&out->hash);
}

static ms_status end_section (output *out, ms_error *err) {
  static const uint8_t zeros[ALIGNMENT];
  out->section->bytes = out->offset - out->section->offset;
  size_t rest = out->offset % ALIGNMENT;
  if (rest != 0) TRY(put(out, zeros, ALIGNMENT - rest, err));
  out->section->hash = XXH3_64bits_digest(&out->hash);
  return MS_OK;
}

static ms_status put_policy (output *out, const model_routing *routing, ms_error *err) {
  size_t bytes = model_routing_image_bytes(routing);
  if (bytes == 0) return MS_OK;
  uint8_t *image = memory_new(bytes, 1);
  if (image == NULL) return fail_memory(err, bytes, "an expert policy");
  model_routing_write_image(routing, image);
  ms_status status = put(out, image, bytes, err);
  memory_free(image);
  return status;
}

static ms_status write_sections (output *out, const snapshot *s, size_t vocabulary, header *h, ms_error *err) {
  begin_section(out, &h->sections[TOKENS]);
  if (s->tokens.count != 0) TRY(put(out, s->tokens.ids, s->tokens.count * sizeof *s->tokens.ids, err));
  TRY(end_section(out, err));
  begin_section(out, &h->sections[LOGITS]);
  if (s->logits != NULL) TRY(put(out, s->logits, vocabulary * sizeof *s->logits, err));
  TRY(end_section(out, err));
  begin_section(out, &h->sections[POLICY]);
  TRY(put_policy(out, s->routing, err));
  TRY(end_section(out, err));
  begin_section(out, &h->sections[ROWS]);
  TRY(model_cache_write_image(s->cache, put, out, err));
  return end_section(out, err);
}

static ms_status write_file (const snapshot_owner *owner, output *out, const snapshot *s, ms_error *err) {
  uint8_t bytes[HEADER_BYTES];
  header h = {
    .model = owner->fingerprint, .numerics = owner->heap->be->numerics, .context = s->context,
    .read = model_cache_position(s->cache), .reread_end = s->reread_end,
    .steered = s->steered
  };
  out->offset = HEADER_BYTES;
  TRY(write_sections(out, s, owner->m->config.vocabulary, &h, err));
  h.bytes = out->offset;
  put_header(bytes, &h);
  TRY(file_writer_write(&out->file, bytes, HEADER_BYTES, 0, err));
  return file_writer_commit(&out->file, err);
}

ms_status snapshot_write (const snapshot_owner *owner, const snapshot *s, const char *path,
                          file_durability durability, ms_error *err) {
  output out = { .offset = 0 };
  TRY(file_writer_open(path, durability, &out.file, err));
  ms_status status = write_file(owner, &out, s, err);
  file_writer_close(&out.file);
  return status;
}

/* A model's rows and contexts are bounded so that no sum of theirs wraps. */
ms_status snapshot_bytes (const model *m, const backend *be, size_t count, uint64_t *bytes, ms_error *err) {
  model_cache_sizes cache;
  TRY(model_cache_plan(m, be, count, &cache, err));
  uint64_t sections[SECTIONS] = {
    [TOKENS] = count * sizeof(int32_t), [LOGITS] = m->config.vocabulary * sizeof(float), [ROWS] = cache.rows
  };
  *bytes = HEADER_BYTES;
  for (size_t i = 0; i < SECTIONS; i++) *bytes += (sections[i] + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return MS_OK;
}

/* {== Reading the header ========================================================================= */

static ms_status check_kind (const file_view *f, ms_error *err) {
  uint32_t version, order;
  if (f->bytes < sizeof magic || memcmp(f->data, magic, sizeof magic) != 0)
    return fail(err, MS_EFORMAT, "%s: is no saved session: it does not begin with \"moonseek\"", f->path);
  if (f->bytes < HEADER_BYTES)
    return fail(err, MS_EFORMAT, "%s: ends at byte %zu, its header has %d: it was cut", f->path, f->bytes,
                HEADER_BYTES);
  memcpy(&order, f->data + sizeof magic + sizeof version, sizeof order);
  version = f->data[8] | (uint32_t)f->data[9] << 8 | (uint32_t)f->data[10] << 16 | (uint32_t)f->data[11] << 24;
  if (version != SNAPSHOT_VERSION)
    return fail(err, MS_EUNSUPPORTED, "%s: a saved session of format version %ju: this version of moonseek reads %d",
                f->path, (uintmax_t)version, SNAPSHOT_VERSION);
  if (order != byte_order)
    return fail(err, MS_EUNSUPPORTED, "%s: was saved in byte order %08jx, this machine has %08jx", f->path,
                (uintmax_t)order, (uintmax_t)byte_order);
  return MS_OK;
}

static ms_status check_hash (const file_view *f, const char *what, size_t offset, size_t bytes, uint64_t stated,
                             ms_error *err) {
  uint64_t found = XXH3_64bits(f->data + offset, bytes);
  if (found == stated) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: is damaged: the hash of its %s is %016jx, the file says %016jx", f->path, what,
              (uintmax_t)found, (uintmax_t)stated);
}

static ms_status read_header (const file_view *f, header *h, ms_error *err) {
  reader r = { .base = f->data, .size = HEADER_BYTES, .position = sizeof magic + 8 };
  uint64_t stated = 0;
  uint64_t *const fields[] = {
    &h->bytes, &h->model.low, &h->model.high, &h->numerics, &h->context, &h->read, &h->reread_end, &h->steered,
    &h->sections[TOKENS].offset, &h->sections[TOKENS].bytes, &h->sections[TOKENS].hash,
    &h->sections[LOGITS].offset, &h->sections[LOGITS].bytes, &h->sections[LOGITS].hash,
    &h->sections[POLICY].offset, &h->sections[POLICY].bytes, &h->sections[POLICY].hash,
    &h->sections[ROWS].offset, &h->sections[ROWS].bytes, &h->sections[ROWS].hash
  };
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) (void)reader_u64(&r, fields[i]);
  for (; r.position < HASHED_BYTES; ) {
    uint64_t filling = 0;
    (void)reader_u64(&r, &filling);
    if (filling != 0)
      return fail(err, MS_EFORMAT, "%s: is damaged: its header ends with other bytes than zeros", f->path);
  }
  (void)reader_u64(&r, &stated);
  TRY(check_hash(f, "header", 0, HASHED_BYTES, stated, err));
  if (h->bytes == f->bytes) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: has %zu bytes, its header says %ju", f->path, f->bytes, (uintmax_t)h->bytes);
}

static const char *numerics_name (uint64_t numerics) {
  return numerics <= MS_EXACT ? numerics_names[numerics] : "unknown";
}

static ms_status check_model (const file_view *f, const header *h, const snapshot_owner *owner, ms_error *err) {
  const model_fingerprint *m = &owner->fingerprint;
  if (h->model.low != m->low || h->model.high != m->high)
    return fail(err, MS_EMODEL, "%s: was saved by the model %016jx%016jx, this one is %016jx%016jx", f->path,
                (uintmax_t)h->model.high, (uintmax_t)h->model.low, (uintmax_t)m->high, (uintmax_t)m->low);
  if (h->numerics == owner->heap->be->numerics) return MS_OK;
  return fail(err, MS_EMODEL, "%s: was saved with numerics \"%s\", this engine has \"%s\"", f->path,
              numerics_name(h->numerics), numerics_names[owner->heap->be->numerics]);
}

/* {== Reading the sections ======================================================================= */

/* Each begins where the one before it ended, and the last ends the file. */
static ms_status check_sections (const file_view *f, const header *h, ms_error *err) {
  size_t offset = HEADER_BYTES;
  for (size_t i = 0; i < SECTIONS; i++) {
    const section *s = &h->sections[i];
    size_t whole;
    if (s->offset != offset)
      return fail(err, MS_EFORMAT, "%s: its %s begin at byte %ju, not at %zu", f->path, section_names[i],
                  (uintmax_t)s->offset, offset);
    if (s->bytes > f->bytes - offset || !checked_align((size_t)s->bytes, ALIGNMENT, &whole) ||
        whole > f->bytes - offset)
      return fail(err, MS_EFORMAT, "%s: its %s take %ju bytes, %zu are left", f->path, section_names[i],
                  (uintmax_t)s->bytes, f->bytes - offset);
    TRY(check_hash(f, section_names[i], offset, whole, s->hash, err));
    for (size_t at = (size_t)s->bytes; at < whole; at++)
      if (f->data[offset + at] != 0)
        return fail(err, MS_EFORMAT, "%s: byte %zu is no zero, as the filling behind its %s is", f->path, offset + at,
                    section_names[i]);
    offset += whole;
  }
  if (offset == f->bytes) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: %zu bytes follow the last that belongs to it", f->path, f->bytes - offset);
}

static ms_status check_counts (const file_view *f, const header *h, const snapshot_owner *owner, ms_error *err) {
  const model_config *c = &owner->m->config;
  uint64_t tokens = h->sections[TOKENS].bytes, logits = h->sections[LOGITS].bytes, rows = h->sections[ROWS].bytes;
  uint64_t count = tokens / sizeof(int32_t), vocabulary = c->vocabulary;
  model_cache_sizes sizes;
  if (tokens % sizeof(int32_t) != 0)
    return fail(err, MS_EFORMAT, "%s: its tokens take %ju bytes: no multiple of 4", f->path, (uintmax_t)tokens);
  if (h->context == 0 || h->context > c->context)
    return fail(err, MS_EFORMAT, "%s: its context is %ju: the model allows from 1 to %zu", f->path,
                (uintmax_t)h->context, c->context);
  if (count > h->context)
    return fail(err, MS_EFORMAT, "%s: holds %ju tokens, its context is %ju", f->path, (uintmax_t)count,
                (uintmax_t)h->context);
  if (h->read > count || h->reread_end > count)
    return fail(err, MS_EFORMAT, "%s: %ju tokens are read and %ju were: it holds %ju", f->path, (uintmax_t)h->read,
                (uintmax_t)h->reread_end, (uintmax_t)count);
  if (h->steered > 1)
    return fail(err, MS_EFORMAT, "%s: its mark of policies is %ju: it must be 0 or 1", f->path, (uintmax_t)h->steered);
  if (logits != 0 && (h->read == 0 || logits != vocabulary * sizeof(float)))
    return fail(err, MS_EFORMAT, "%s: %ju bytes of logits after %ju tokens read: a vocabulary of %ju has %ju", f->path,
                (uintmax_t)logits, (uintmax_t)h->read, (uintmax_t)vocabulary, (uintmax_t)(vocabulary * sizeof(float)));
  TRY(model_cache_plan(owner->m, owner->heap->be, (size_t)h->read, &sizes, err));
  if (sizes.rows == rows) return MS_OK;
  return fail(err, MS_EFORMAT, "%s: has %ju bytes of rows: %ju tokens that are read have %ju", f->path,
              (uintmax_t)rows, (uintmax_t)h->read, (uintmax_t)sizes.rows);
}

/* {== What they hold ============================================================================= */

static ms_status copy_tokens (const file_view *f, const section *from, size_t vocabulary, ms_tokens *tokens,
                              ms_error *err) {
  size_t count = (size_t)from->bytes / sizeof *tokens->ids;
  if (count == 0) return MS_OK;
  tokens->ids = memory_new(count, sizeof *tokens->ids);
  if (tokens->ids == NULL) return fail_memory(err, (size_t)from->bytes, "a session's tokens");
  memcpy(tokens->ids, f->data + from->offset, count * sizeof *tokens->ids);
  tokens->count = tokens->capacity = count;
  for (size_t i = 0; i < count; i++)
    if (tokens->ids[i] < 0 || (size_t)tokens->ids[i] >= vocabulary)
      return fail(err, MS_EFORMAT, "%s: token %zu is %d: the vocabulary has %zu", f->path, i, (int)tokens->ids[i],
                  vocabulary);
  return MS_OK;
}

static ms_status copy_logits (const file_view *f, const section *from, size_t vocabulary, float **logits,
                              ms_error *err) {
  if (from->bytes == 0) return MS_OK;
  *logits = memory_new(vocabulary, sizeof **logits);
  if (*logits == NULL) return fail_memory(err, (size_t)from->bytes, "a session's logits");
  memcpy(*logits, f->data + from->offset, vocabulary * sizeof **logits);
  for (size_t i = 0; i < vocabulary; i++)
    if (!isfinite((*logits)[i]))
      return fail(err, MS_EFORMAT, "%s: the logit of token %zu is not finite", f->path, i);
  return MS_OK;
}

static ms_status copy_policy (const file_view *f, const section *from, const model *m, model_routing **routing,
                              ms_error *err) {
  ms_error reason;
  ms_status status = model_routing_read_image(m, f->data + from->offset, (size_t)from->bytes, routing, &reason);
  return status == MS_OK ? MS_OK : fail(err, status, "%s: %s", f->path, reason.message);
}

/* Tokens and logits are copied first and then checked: nobody else can change them any more. */
static ms_status read_file (const snapshot_owner *owner, file_view *f, snapshot *s, ms_error *err) {
  header h;
  size_t vocabulary = owner->m->config.vocabulary;
  TRY(check_kind(f, err));
  TRY(read_header(f, &h, err));
  TRY(check_model(f, &h, owner, err));
  TRY(check_sections(f, &h, err));
  TRY(check_counts(f, &h, owner, err));
  TRY(copy_tokens(f, &h.sections[TOKENS], vocabulary, &s->tokens, err));
  TRY(copy_logits(f, &h.sections[LOGITS], vocabulary, &s->logits, err));
  TRY(copy_policy(f, &h.sections[POLICY], owner->m, &s->routing, err));
  s->steered = h.steered != 0;
  s->context = (size_t)h.context;
  s->reread_end = (size_t)h.reread_end;
  return model_cache_open_image(owner->m, owner->heap, (size_t)h.read, f, (size_t)h.sections[ROWS].offset, &s->cache,
                                err);
}

ms_status snapshot_read (const snapshot_owner *owner, const char *path, ms_access access, snapshot *s, ms_error *err) {
  file_view f;
  *s = (snapshot){ 0 };
  TRY(file_view_open(path, access, &f, err));
  ms_status status = read_file(owner, &f, s, err);
  file_view_close(&f);
  if (status != MS_OK) snapshot_clear(s);
  return status;
}

void snapshot_clear (snapshot *s) {
  model_cache_close(s->cache);
  ms_tokens_free(&s->tokens);
  memory_free(s->logits);
  model_routing_release(s->routing);
  *s = (snapshot){ 0 };
}
