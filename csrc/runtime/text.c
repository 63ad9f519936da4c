/* Text assembly: UTF-8 across tokens, and stop strings across both. */
#include "text.h"

#include <stdint.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"

/* {== Stop strings =============================================================================== */

static ms_status matcher_open (stop_matcher *m, const char *text, size_t bytes, ms_error *err) {
  m->text = memory_string(text, bytes);
  m->failure = memory_new(bytes, sizeof *m->failure);
  if (m->text == NULL || m->failure == NULL) return fail_memory(err, bytes, "a stop string");
  m->bytes = bytes;
  for (size_t i = 1, border = 0; i < bytes; i++) {
    while (border != 0 && text[i] != text[border]) border = m->failure[border - 1];
    if (text[i] == text[border]) border++;
    m->failure[i] = border;
  }
  return MS_OK;
}

/* True when `byte` completes the string. */
static bool matcher_step (stop_matcher *m, char byte) {
  while (m->matched != 0 && m->text[m->matched] != byte) m->matched = m->failure[m->matched - 1];
  if (m->text[m->matched] == byte) m->matched++;
  return m->matched == m->bytes;
}

/* {== Output ===================================================================================== */

/* Of several stop strings that end at one byte the longest begins first: the text ends before it. */
static void put (text_stream *t, const char *bytes, size_t count) {
  for (size_t i = 0; i < count && !t->stopped; i++) {
    t->data[t->length++] = bytes[i];
    size_t longest = 0;
    for (size_t s = 0; s < t->stop_count; s++)
      if (matcher_step(&t->stops[s], bytes[i]) && t->stops[s].bytes > longest) longest = t->stops[s].bytes;
    t->length -= longest;
    t->stopped = longest != 0;
  }
}

static void put_replacement (text_stream *t) {
  t->pending_count = t->missing = 0;
  t->replaced++;
  put(t, "\xEF\xBF\xBD", 3);
}

/* {== UTF-8 (the decoder of the WHATWG Encoding Standard) ======================================== */

/* Begins a character; false when no character begins with `byte`. */
static bool begin_character (text_stream *t, unsigned char byte) {
  if (byte < 0xC2 || byte > 0xF4) return false;
  t->missing = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  t->low = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;   /* no overlong forms */
  t->high = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;  /* no surrogates, nothing above U+10FFFF */
  t->pending[0] = byte;
  t->pending_count = 1;
  return true;
}

static void decode (text_stream *t, unsigned char byte) {
  if (t->missing != 0) {
    if (byte >= t->low && byte <= t->high) {
      t->pending[t->pending_count++] = byte;
      t->low = 0x80;
      t->high = 0xBF;
      if (--t->missing == 0) put(t, (const char *)t->pending, t->pending_count);
      return;
    }
    put_replacement(t);            /* and `byte` is looked at afresh */
  }
  if (byte < 0x80) put(t, (const char *)&byte, 1);
  else if (!begin_character(t, byte)) put_replacement(t);
}

/* {== The stream ================================================================================= */

ms_status text_open (text_stream *t, const ms_stop *stops, size_t count, bool raw, ms_error *err) {
  *t = (text_stream){ .raw = raw };
  if (count == 0) return MS_OK;
  t->stops = memory_new(count, sizeof *t->stops);
  if (t->stops == NULL) return fail_memory(err, count * sizeof *t->stops, "stop strings");
  for (size_t i = 0; i < count; i++)
    if (stops[i].text != NULL) {
      t->stop_count++;
      TRY(matcher_open(&t->stops[t->stop_count - 1], stops[i].text, stops[i].bytes, err));
    }
  return MS_OK;
}

void text_close (text_stream *t) {
  for (size_t i = 0; i < t->stop_count; i++) {
    memory_free(t->stops[i].text);
    memory_free(t->stops[i].failure);
  }
  memory_free(t->stops);
  memory_free(t->data);
  *t = (text_stream){ 0 };
}

/* A byte becomes three at most; a character begun before becomes one U+FFFD, now or in text_finish. */
static ms_status make_room (text_stream *t, size_t count, ms_error *err) {
  size_t needed;
  if (!checked_mul(count, 3, &needed) || !checked_add(needed, t->length, &needed)
      || !checked_add(needed, 2 * 3, &needed))
    return fail_memory(err, count, "text");
  if (needed <= t->capacity) return MS_OK;
  size_t capacity = needed < SIZE_MAX / 2 ? needed * 2 : needed;
  char *data = memory_resize(t->data, capacity, 1);
  if (data == NULL) return fail_memory(err, capacity, "text");
  t->data = data;
  t->capacity = capacity;
  return MS_OK;
}

static void release (text_stream *t) {
  size_t held = 0;
  for (size_t i = 0; i < t->stop_count && !t->stopped; i++)
    if (t->stops[i].matched > held) held = t->stops[i].matched;
  t->released = t->length - held;
}

ms_status text_push (text_stream *t, const char *bytes, size_t count, ms_error *err) {
  if (t->stopped) return MS_OK;
  TRY(make_room(t, count, err));
  if (t->raw) put(t, bytes, count);
  else for (size_t i = 0; i < count && !t->stopped; i++) decode(t, (unsigned char)bytes[i]);
  release(t);
  return MS_OK;
}

void text_finish (text_stream *t) {
  if (!t->stopped && t->missing != 0) put_replacement(t);   /* make_room has seen to the room */
  t->released = t->length;
}

ms_status text_copy (const text_stream *t, size_t from, char **copy, size_t *bytes, ms_error *err) {
  *copy = NULL;
  *bytes = t->released - from;
  if (*bytes == 0) return MS_OK;
  *copy = memory_string(t->data + from, *bytes);
  if (*copy != NULL) return MS_OK;
  fail_memory(err, *bytes, "text");
  *bytes = 0;
  return MS_ENOMEM;
}

bool text_is_utf8 (const char *bytes, size_t count) {
  char character[2 * 3];           /* what one byte can release at most */
  text_stream probe = { .data = character };
  for (size_t i = 0; i < count && probe.replaced == 0; i++) {
    probe.length = 0;
    decode(&probe, (unsigned char)bytes[i]);
  }
  return probe.replaced == 0 && probe.missing == 0;
}
