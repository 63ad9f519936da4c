/*
** Loading a vocabulary (specs/conversation.md 1.1, 1.2). The parts state ids, merges and control tokens;
** nothing is assumed about their order. Everything a merge touches is checked here, so that merging text
** needs no check and cannot fail but for memory.
*/
#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"
#include "unicode.h"

enum {
  TOKEN_BYTES_LIMIT = 64 * 1024,
  ALPHABET = 324,                                    /* the byte alphabet's characters are below U+0144 */
  STRING_ROOM = 2 * TOKEN_BYTES_LIMIT + 1,           /* and take two bytes at most; one byte ends the string */
  MULTIPLIERS = 8
};

/* What is needed only while loading. Strings belong to the parts. */
typedef struct entry { const char *text; uint8_t is_control; } entry;

typedef struct loader {
  vocabulary *v;
  const char *path;
  const vocabulary_parts *from;
  json_t *vocab, *added, *merges;                    /* of `from` */
  entry *entries;                                    /* [size] by id */
  int16_t byte_of[ALPHABET];                         /* character of the byte alphabet -> byte, or -1 */
  char *left, *product;                              /* a merge's first string, and both joined */
} loader;

static excerpt shorten (const char *text) {
  return unicode_excerpt(text, strlen(text));
}

/* {== Ids ======================================================================================== */

static ms_status check_parts (const loader *l, ms_error *err) {
  if (!json_is_object(l->vocab)) return fail(err, MS_EFORMAT, "%s: %s is not an object", l->path, l->from->vocab_name);
  if (!json_is_array(l->merges)) return fail(err, MS_EFORMAT, "%s: %s is not an array", l->path, l->from->merges_name);
  if (l->added != NULL && !json_is_array(l->added))
    return fail(err, MS_EFORMAT, "%s: %s is not an array", l->path, l->from->added_name);
  return MS_OK;
}

static ms_status check_id (const loader *l, const char *where, const char *text, const json_t *id,
                           ms_error *err) {
  if (!json_is_integer(id))
    return fail(err, MS_EFORMAT, "%s: %s: the id of \"%s\" is not an integer", l->path, where,
                shorten(text).text);
  json_int_t value = json_integer_value(id);
  if (value < 0 || (uint64_t)value >= l->v->size)
    return fail(err, MS_EFORMAT, "%s: %s: \"%s\" has the id %" JSON_INTEGER_FORMAT
                ", but %zu tokens have the ids 0 to %zu", l->path, where, shorten(text).text, value,
                l->v->size, l->v->size - 1);
  return MS_OK;
}

static ms_status place (loader *l, const char *where, const char *text, const json_t *id,
                        ms_error *err) {
  TRY(check_id(l, where, text, id, err));
  entry *e = &l->entries[json_integer_value(id)];
  if (e->text != NULL)
    return fail(err, MS_EFORMAT, "%s: %s: \"%s\" has the id %" JSON_INTEGER_FORMAT " of \"%s\"", l->path,
                where, shorten(text).text, json_integer_value(id), shorten(e->text).text);
  e->text = text;
  return MS_OK;
}

static ms_status added_token (const loader *l, size_t index, const char **content, json_t **id,
                              ms_error *err) {
  json_t *token = json_array_get(l->added, index);
  json_t *text = json_object_get(token, "content");
  *id = json_object_get(token, "id");
  if (!json_is_string(text) || *id == NULL)
    return fail(err, MS_EFORMAT, "%s: %s[%zu] needs a content and an id", l->path, l->from->added_name, index);
  *content = json_string_value(text);
  return MS_OK;
}

/* Added tokens may stand in the vocabulary too: they count once. */
static ms_status count_ids (loader *l, ms_error *err) {
  l->v->size = json_object_size(l->vocab);
  for (size_t i = 0; i < json_array_size(l->added); i++) {
    const char *content;
    json_t *id;
    TRY(added_token(l, i, &content, &id, err));
    if (json_object_get(l->vocab, content) == NULL) l->v->size++;
  }
  if (l->v->size == 0) return fail(err, MS_EFORMAT, "%s: %s is empty", l->path, l->from->vocab_name);
  if (l->v->size > INT32_MAX)
    return fail(err, MS_EFORMAT, "%s: %zu tokens, at most %d are allowed", l->path, l->v->size, INT32_MAX);
  return MS_OK;
}

static ms_status place_added (loader *l, ms_error *err) {
  for (size_t i = 0; i < json_array_size(l->added); i++) {
    const char *content;
    json_t *id;
    TRY(added_token(l, i, &content, &id, err));
    json_t *known = json_object_get(l->vocab, content);
    if (known == NULL)
      TRY(place(l, l->from->added_name, content, id, err));
    else if (!json_equal(known, id))
      return fail(err, MS_EFORMAT, "%s: %s[%zu]: \"%s\" has another id in %s", l->path, l->from->added_name, i,
                  shorten(content).text, l->from->vocab_name);
    entry *e = &l->entries[json_integer_value(id)];
    if (e->is_control)
      return fail(err, MS_EFORMAT, "%s: %s[%zu]: \"%s\" is listed twice", l->path, l->from->added_name, i,
                  shorten(content).text);
    e->is_control = 1;
    l->v->control_count++;
  }
  return MS_OK;
}

/* As many tokens as ids, each in range and none twice: there are no holes. */
static ms_status place_all (loader *l, ms_error *err) {
  const char *text;
  json_t *id;
  TRY(count_ids(l, err));
  l->entries = memory_new(l->v->size, sizeof *l->entries);
  if (l->entries == NULL) return fail_memory(err, l->v->size * sizeof *l->entries, "token entries");
  json_object_foreach(l->vocab, text, id)
    TRY(place(l, l->from->vocab_name, text, id, err));
  return place_added(l, err);
}

/* {== Bytes ====================================================================================== */

/*
** The byte alphabet: printable Latin-1 characters stand for the byte of their code, the other 68 bytes, in
** order, are U+0100, U+0101 and so on.
*/
static void make_alphabet (int16_t byte_of[ALPHABET]) {
  int next = 256;
  for (int c = 0; c < ALPHABET; c++) byte_of[c] = -1;
  for (int16_t byte = 0; byte < 256; byte++) {
    int printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    byte_of[printable ? byte : next++] = byte;
  }
}

/* Writes the bytes of entry `id` to *out and moves it on. */
static ms_status decode_entry (const loader *l, size_t id, char **out, ms_error *err) {
  const char *text = l->entries[id].text;
  size_t left = strlen(text);
  const char *start = *out;
  if (l->entries[id].is_control) {
    memcpy(*out, text, left);
    *out += left;
  } else {
    while (left > 0) {
      character c = unicode_read((const uint8_t *)text, left);
      if (c.code >= ALPHABET || l->byte_of[c.code] < 0)
        return fail(err, MS_EFORMAT, "%s: %s: \"%s\" (id %zu) has the character U+%04X, which is "
                    "not of the byte alphabet", l->path, l->from->vocab_name, shorten(l->entries[id].text).text, id,
                    (unsigned)c.code);
      *(*out)++ = (char)l->byte_of[c.code];
      text += c.bytes;
      left -= c.bytes;
    }
  }
  size_t bytes = (size_t)(*out - start);
  if (bytes == 0) return fail(err, MS_EFORMAT, "%s: the token of id %zu is empty", l->path, id);
  if (bytes > TOKEN_BYTES_LIMIT)
    return fail(err, MS_EFORMAT, "%s: \"%s\" (id %zu) has %zu bytes, at most %d are allowed", l->path,
                shorten(l->entries[id].text).text, id, bytes, TOKEN_BYTES_LIMIT);
  return MS_OK;
}

static ms_status make_bytes (loader *l, ms_error *err) {
  vocabulary *v = l->v;
  size_t room = 0;
  for (size_t id = 0; id < v->size; id++) room += strlen(l->entries[id].text);   /* at most the file's size */
  if (room > UINT32_MAX) return fail(err, MS_EFORMAT, "%s: the tokens have %zu bytes", l->path, room);
  v->text = memory_new(room + 1, 1);
  v->starts = memory_new(v->size + 1, sizeof *v->starts);
  v->is_control = memory_new(v->size, 1);
  if (v->text == NULL || v->starts == NULL || v->is_control == NULL)
    return fail_memory(err, room + v->size * (sizeof *v->starts + 1), "token bytes");
  char *out = v->text;
  for (size_t id = 0; id < v->size; id++) {
    v->is_control[id] = l->entries[id].is_control;
    TRY(decode_entry(l, id, &out, err));
    v->starts[id + 1] = (uint32_t)(out - v->text);
  }
  return MS_OK;
}

static ms_status find_byte_ids (loader *l, ms_error *err) {
  vocabulary *v = l->v;
  memset(v->byte_ids, -1, sizeof v->byte_ids);
  for (int32_t id = 0; (size_t)id < v->size; id++)
    if (!v->is_control[id] && vocabulary_bytes(v, id) == 1)
      v->byte_ids[(uint8_t)v->text[v->starts[id]]] = id;
  for (int byte = 0; byte < 256; byte++)
    if (v->byte_ids[byte] < 0)
      return fail(err, MS_EUNSUPPORTED, "%s: %s has no token for the byte 0x%02X", l->path, l->from->vocab_name,
                  (unsigned)byte);
  return MS_OK;
}

/* {== Control tokens ============================================================================= */

static int compare_bytes (const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
  int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
  return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int compare_id (const vocabulary *v, int32_t id, const char *text, size_t bytes) {
  return compare_bytes(v->text + v->starts[id], vocabulary_bytes(v, id), text, bytes);
}

typedef struct named { const char *text; size_t bytes; int32_t id; } named;

static int compare_named (const void *a, const void *b) {
  const named *x = a, *y = b;
  return compare_bytes(x->text, x->bytes, y->text, y->bytes);
}

static ms_status sort_controls (loader *l, ms_error *err) {
  vocabulary *v = l->v;
  size_t count = 0;
  named *list = memory_new(v->control_count + 1, sizeof *list);
  v->controls = memory_new(v->control_count + 1, sizeof *v->controls);
  if (list == NULL || v->controls == NULL) {
    memory_free(list);
    return fail_memory(err, v->control_count * sizeof *list, "control tokens");
  }
  for (int32_t id = 0; (size_t)id < v->size; id++)
    if (v->is_control[id])
      list[count++] = (named){ v->text + v->starts[id], vocabulary_bytes(v, id), id };
  qsort(list, count, sizeof *list, compare_named);
  for (size_t i = 0; i < count; i++) v->controls[i] = list[i].id;
  memory_free(list);
  for (size_t i = 1; i < count; i++)
    if (strcmp(l->entries[v->controls[i - 1]].text, l->entries[v->controls[i]].text) == 0)
      return fail(err, MS_EFORMAT, "%s: %s: \"%s\" has the ids %d and %d", l->path, l->from->added_name,
                  shorten(l->entries[v->controls[i]].text).text, v->controls[i - 1], v->controls[i]);
  return MS_OK;
}

int32_t vocabulary_control (const vocabulary *v, const char *name, size_t bytes) {
  size_t low = 0, high = v->control_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = compare_id(v, v->controls[middle], name, bytes);
    if (order == 0) return v->controls[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return -1;
}

/* {== Merges ===================================================================================== */

/*
** Copies the two strings of merge `rank` to l->left and l->product, the second behind the first:
** "left right" or ["left", "right"]. No token holds a plain space.
*/
static ms_status merge_strings (loader *l, size_t rank, const char **right, ms_error *err) {
  const json_t *item = json_array_get(l->merges, rank);
  const char *left = NULL;
  size_t length = 0;
  if (json_is_string(item)) {
    left = json_string_value(item);
    const char *space = strchr(left, ' ');
    if (space != NULL && strchr(space + 1, ' ') == NULL) {
      length = (size_t)(space - left);
      *right = space + 1;
    }
  } else if (json_array_size(item) == 2 && json_is_string(json_array_get(item, 0)) &&
             json_is_string(json_array_get(item, 1))) {
    left = json_string_value(json_array_get(item, 0));
    length = strlen(left);
    *right = json_string_value(json_array_get(item, 1));
  }
  if (length == 0 || length >= STRING_ROOM || strlen(*right) >= STRING_ROOM)
    return fail(err, MS_EFORMAT, "%s: %s[%zu] is not two tokens: \"left right\" or [\"left\", \"right\"]",
                l->path, l->from->merges_name, rank);
  memcpy(l->left, left, length);
  l->left[length] = '\0';
  memcpy(l->product, left, length);
  memcpy(l->product + length, *right, strlen(*right) + 1);
  return MS_OK;
}

/* The id of a merge's token. A control token there could come out of plain text: refused. */
static ms_status merge_token (const loader *l, size_t rank, const char *text, int32_t *out, ms_error *err) {
  const json_t *id = json_object_get(l->vocab, text);
  if (id == NULL)
    return fail(err, MS_EFORMAT, "%s: %s[%zu]: \"%s\" is not in %s", l->path, l->from->merges_name, rank,
                shorten(text).text, l->from->vocab_name);
  *out = (int32_t)json_integer_value(id);
  if (l->v->is_control[*out])
    return fail(err, MS_EUNSUPPORTED, "%s: %s[%zu] has the control token \"%s\"", l->path, l->from->merges_name, rank,
                shorten(text).text);
  return MS_OK;
}

static ms_status read_merge (loader *l, size_t rank, ms_error *err) {
  const char *right = "";
  merge *m = &l->v->merges[rank];
  TRY(merge_strings(l, rank, &right, err));
  TRY(merge_token(l, rank, l->left, &m->left, err));
  TRY(merge_token(l, rank, right, &m->right, err));
  TRY(merge_token(l, rank, l->product, &m->product, err));
  m->left_bytes = vocabulary_bytes(l->v, m->left);
  m->bytes = vocabulary_bytes(l->v, m->product);
  return MS_OK;
}

static ms_status read_merges (loader *l, ms_error *err) {
  vocabulary *v = l->v;
  v->merge_count = json_array_size(l->merges);
  v->merges = memory_new(v->merge_count + 1, sizeof *v->merges);
  l->left = memory_new(STRING_ROOM, 1);
  l->product = memory_new(2 * STRING_ROOM, 1);
  if (v->merges == NULL || l->left == NULL || l->product == NULL)
    return fail_memory(err, v->merge_count * sizeof *v->merges, "merges");
  for (size_t rank = 0; rank < v->merge_count; rank++) TRY(read_merge(l, rank, err));
  return MS_OK;
}

/* MS_EUNSUPPORTED, without a message, when a search would be longer than MERGE_PROBES. */
static ms_status fill_slots (loader *l, size_t slot_count, ms_error *err) {
  vocabulary *v = l->v;
  memset(v->slots, 0xFF, slot_count * sizeof *v->slots);   /* all ranks NO_RANK */
  for (uint32_t rank = 0; rank < v->merge_count; rank++) {
    const merge *m = &v->merges[rank];
    size_t at = vocabulary_slot(v, m->left, m->right), probes = 0;
    while (v->slots[at].rank != NO_RANK) {
      if (v->slots[at].left == m->left && v->slots[at].right == m->right)
        return fail(err, MS_EFORMAT, "%s: %s[%u] repeats %s[%u]: \"%s\" \"%s\"", l->path, l->from->merges_name,
                    (unsigned)rank, l->from->merges_name, (unsigned)v->slots[at].rank,
                    shorten(l->entries[m->left].text).text,
                    shorten(l->entries[m->right].text).text);
      if (++probes == MERGE_PROBES) return MS_EUNSUPPORTED;
      at = (at + 1) & (slot_count - 1);
    }
    v->slots[at] = (merge_slot){ m->left, m->right, rank };
  }
  return MS_OK;
}

/*
** At most half of the slots are taken. A file could be made to fill them badly for one multiplier; the
** next is tried then, so that no search takes more than MERGE_PROBES steps.
*/
static ms_status make_slots (loader *l, ms_error *err) {
  vocabulary *v = l->v;
  size_t slot_count = 2;
  v->slot_shift = 63;
  while (slot_count / 2 < v->merge_count) {
    slot_count *= 2;
    v->slot_shift--;
  }
  v->slots = memory_new(slot_count, sizeof *v->slots);
  if (v->slots == NULL) return fail_memory(err, slot_count * sizeof *v->slots, "merge slots");
  for (uint64_t i = 0; i < MULTIPLIERS; i++) {
    v->multiplier = 0x9E3779B97F4A7C15u * (2 * i + 1);     /* odd: 2^64 / the golden ratio, and multiples */
    ms_status status = fill_slots(l, slot_count, err);
    if (status != MS_EUNSUPPORTED) return status;
  }
  return fail(err, MS_EUNSUPPORTED, "%s: %s: too many pairs collide", l->path, l->from->merges_name);
}

/* {== The whole =================================================================================== */

static ms_status load (loader *l, ms_error *err) {
  make_alphabet(l->byte_of);
  TRY(check_parts(l, err));
  TRY(place_all(l, err));
  TRY(make_bytes(l, err));
  TRY(find_byte_ids(l, err));
  TRY(sort_controls(l, err));
  TRY(read_merges(l, err));
  return make_slots(l, err);
}

ms_status vocabulary_load (vocabulary *v, const char *path, const vocabulary_parts *parts, ms_error *err) {
  loader l = { .v = v, .path = path, .from = parts, .vocab = parts->vocab, .added = parts->added,
               .merges = parts->merges };
  memset(v, 0, sizeof *v);
  ms_status status = load(&l, err);
  memory_free(l.entries);
  memory_free(l.left);
  memory_free(l.product);
  return status;
}

void vocabulary_free (vocabulary *v) {
  memory_free(v->text);
  memory_free(v->starts);
  memory_free(v->is_control);
  memory_free(v->controls);
  memory_free(v->merges);
  memory_free(v->slots);
  memset(v, 0, sizeof *v);
}
