/*
** The tokenizer: a vocabulary with a count of its owners, and encoding of pieces. Encoding only reads the
** vocabulary, so any number of threads may do it at once; each call has its own work space.
*/
#include <stdatomic.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/file.h"
#include "../base/memory.h"
#include "../format/gguf.h"
#include "../format/gguf_parts.h"
#include "bpe.h"
#include "gguf_vocabulary.h"
#include "pipeline.h"
#include "split.h"
#include "unicode.h"

enum { FILE_LIMIT = 256 * 1024 * 1024 };

struct ms_tokenizer {
  atomic_size_t owners;
  vocabulary vocabulary;
};

/* {== The object ================================================================================= */

static ms_status open_json (const char *path, ms_tokenizer *tokenizer, ms_error *err) {
  json_t *file;
  TRY(json_file_parse(path, FILE_LIMIT, &file, err));
  ms_status status = pipeline_check(path, file, err);
  const vocabulary_parts parts = pipeline_parts(file);
  if (status == MS_OK) status = vocabulary_load(&tokenizer->vocabulary, path, &parts, err);
  json_decref(file);
  return status;
}

/* Of a model in parts the first one holds it. */
static ms_status open_gguf (const char *path, ms_tokenizer *tokenizer, ms_error *err) {
  file_view view = { 0 };
  metadata keys = { 0 };
  vocabulary_parts parts = { 0 };
  char *first;
  TRY(gguf_first_part(path, &first, err));
  ms_status status = file_view_open(first, MS_MAP, &view, err);
  if (status == MS_OK) status = gguf_read_keys(first, view.data, view.bytes, &keys, err);
  if (status == MS_OK) status = gguf_vocabulary_read(&keys, &parts, err);
  if (status == MS_OK) status = vocabulary_load(&tokenizer->vocabulary, first, &parts, err);
  gguf_vocabulary_free(&parts);
  metadata_clear(&keys);
  file_view_close(&view);
  memory_free(first);
  return status;
}

static ms_status open_file (const char *path, ms_tokenizer *tokenizer, ms_error *err) {
  bool is_gguf;
  TRY(gguf_is_file(path, &is_gguf, err));
  return is_gguf ? open_gguf(path, tokenizer, err) : open_json(path, tokenizer, err);
}

static ms_status open_path (const char *path, ms_tokenizer *tokenizer, ms_error *err) {
  int is_folder;
  TRY(file_is_folder(path, &is_folder, err));
  if (!is_folder) return open_file(path, tokenizer, err);
  char *inside = file_path_join(path, "tokenizer.json");
  if (inside == NULL) return fail_memory(err, strlen(path), "a path");
  ms_status status = open_json(inside, tokenizer, err);
  memory_free(inside);
  return status;
}

ms_status ms_tokenizer_open (const char *path, ms_tokenizer **tokenizer, ms_error *err) {
  *tokenizer = NULL;
  ms_tokenizer *opened = memory_new(1, sizeof *opened);
  if (opened == NULL) return fail_memory(err, sizeof *opened, "a tokenizer");
  atomic_init(&opened->owners, 1);
  ms_status status = open_path(path, opened, err);
  if (status != MS_OK) {
    ms_tokenizer_release(opened);
    return status;
  }
  *tokenizer = opened;
  memory_give_back();                    /* JSON values of a large vocabulary: 135 MiB in pieces of some dozen bytes */
  return MS_OK;
}

ms_tokenizer *ms_tokenizer_retain (ms_tokenizer *tokenizer) {
  atomic_fetch_add(&tokenizer->owners, 1);
  return tokenizer;
}

void ms_tokenizer_release (ms_tokenizer *tokenizer) {
  if (tokenizer == NULL || atomic_fetch_sub(&tokenizer->owners, 1) != 1) return;
  vocabulary_free(&tokenizer->vocabulary);
  memory_free(tokenizer);
}

size_t ms_tokenizer_size (const ms_tokenizer *tokenizer) {
  return tokenizer->vocabulary.size;
}

int32_t ms_tokenizer_control (const ms_tokenizer *tokenizer, const char *name, size_t bytes) {
  return vocabulary_control(&tokenizer->vocabulary, name, bytes);
}

const char *ms_tokenizer_text (const ms_tokenizer *tokenizer, int32_t id, size_t *bytes, int *control) {
  const vocabulary *v = &tokenizer->vocabulary;
  if (id < 0 || (size_t)id >= v->size) return NULL;
  *bytes = vocabulary_bytes(v, id);
  *control = v->is_control[id];
  return v->text + v->starts[id];
}

/* {== Encoding =================================================================================== */

/* A byte of text makes one id at most, a control piece one. */
size_t ms_tokenizer_bound (const ms_piece *pieces, size_t count) {
  size_t bound = 0;
  for (size_t i = 0; i < count; i++) {
    size_t more = pieces[i].kind == MS_PIECE_TEXT ? pieces[i].bytes
                : pieces[i].kind == MS_PIECE_IDS ? pieces[i].count : 1;
    if (!checked_add(bound, more, &bound)) return SIZE_MAX;
  }
  return bound;
}

static ms_status check_piece (const vocabulary *v, const ms_piece *piece, size_t index, ms_error *err) {
  if (piece->kind == MS_PIECE_CONTROL && vocabulary_control(v, piece->text, piece->bytes) < 0)
    return fail(err, MS_EINVAL, "piece %zu: no control token is \"%s\"", index + 1,
                unicode_excerpt(piece->text, piece->bytes).text);
  if (piece->kind != MS_PIECE_IDS) return MS_OK;
  for (size_t i = 0; i < piece->count; i++)
    if (piece->ids[i] < 0 || (size_t)piece->ids[i] >= v->size)
      return fail(err, MS_EINVAL, "piece %zu: token %zu is %d, allowed are 0 to %zu", index + 1, i + 1, piece->ids[i],
                  v->size - 1);
  return MS_OK;
}

/* Everything but memory that can be wrong is found before any work is done. */
static ms_status check_pieces (const vocabulary *v, const ms_piece *pieces, size_t count, ms_error *err) {
  size_t bound = ms_tokenizer_bound(pieces, count);
  if (bound > INT32_MAX)
    return fail(err, MS_EINVAL, "text of %zu bytes or tokens: at most %d are allowed at once", bound, INT32_MAX);
  for (size_t i = 0; i < count; i++) TRY(check_piece(v, &pieces[i], i, err));
  return MS_OK;
}

static ms_status encode_text (bpe *b, const char *text, size_t bytes, ms_tokens *out, ms_error *err) {
  splitter s = split_start(text, bytes);
  const uint8_t *piece;
  size_t length;
  while (split_next(&s, &piece, &length)) TRY(bpe_piece(b, piece, length, out, err));
  return MS_OK;
}

/* The `count` > 1 text pieces as one text. */
static ms_status encode_joined (bpe *b, const ms_piece *pieces, size_t count, ms_tokens *out, ms_error *err) {
  size_t bytes = ms_tokenizer_bound(pieces, count), at = 0;
  char *joined = memory_new(bytes + 1, 1);
  if (joined == NULL) return fail_memory(err, bytes + 1, "joined text");
  for (size_t i = 0; i < count; i++) {
    if (pieces[i].bytes != 0) memcpy(joined + at, pieces[i].text, pieces[i].bytes);
    at += pieces[i].bytes;
  }
  ms_status status = encode_text(b, joined, bytes, out, err);
  memory_free(joined);
  return status;
}

static ms_status encode_pieces (bpe *b, const ms_piece *pieces, size_t count, ms_tokens *out, ms_error *err) {
  size_t next;
  for (size_t i = 0; i < count; i = next) {
    const ms_piece *p = &pieces[i];
    next = i + 1;
    if (p->kind == MS_PIECE_TEXT) {
      while (next < count && pieces[next].kind == MS_PIECE_TEXT) next++;
      if (next == i + 1) TRY(encode_text(b, p->text, p->bytes, out, err));
      else TRY(encode_joined(b, p, next - i, out, err));
    } else if (p->kind == MS_PIECE_CONTROL) {
      int32_t id = vocabulary_control(b->vocabulary, p->text, p->bytes);
      TRY(ms_tokens_append(out, &id, 1, err));
    } else {
      TRY(ms_tokens_append(out, p->ids, p->count, err));
    }
  }
  return MS_OK;
}

/* What the ids decode to is what was encoded: an id starts where the bytes of those before it end. */
static void fill_offsets (const vocabulary *v, const int32_t *ids, size_t count, size_t *offsets) {
  size_t at = 0;
  for (size_t i = 0; i < count; i++) {
    offsets[i] = at;
    at += vocabulary_bytes(v, ids[i]);
  }
}

ms_status ms_tokenizer_encode (const ms_tokenizer *tokenizer, const ms_piece *pieces, size_t count,
                               ms_tokens *tokens, size_t *offsets, ms_error *err) {
  const vocabulary *v = &tokenizer->vocabulary;
  TRY(check_pieces(v, pieces, count, err));
  size_t before = tokens->count;
  bpe b = bpe_start(v);
  ms_status status = encode_pieces(&b, pieces, count, tokens, err);
  bpe_free(&b);
  if (status != MS_OK) tokens->count = before;
  else if (offsets != NULL) fill_offsets(v, tokens->ids + before, tokens->count - before, offsets);
  return status;
}
