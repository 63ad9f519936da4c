/* UTF-8 and character classes. */
#include "unicode.h"

#include <string.h>

/* The continuation byte at `text[i]`, or -1 when there is none. */
static int continuation (const uint8_t *text, size_t left, size_t i) {
  return i < left && (text[i] & 0xC0) == 0x80 ? text[i] & 0x3F : -1;
}

character unicode_read (const uint8_t *text, size_t left) {
  static const uint32_t lowest[5] = { 0, 0, 0x80, 0x800, 0x10000 };   /* anything below is overlong */
  const character stray = { UNICODE_NONE, 1 };
  uint8_t first = text[0];
  if (first < 0x80) return (character){ first, 1 };
  if (first < 0xC2 || first > 0xF4) return stray;
  uint32_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  uint32_t code = first & (0x7Fu >> bytes);
  for (uint32_t i = 1; i < bytes; i++) {
    int next = continuation(text, left, i);
    if (next < 0) return stray;
    code = code << 6 | (uint32_t)next;
  }
  if (code < lowest[bytes] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return stray;
  return (character){ code, bytes };
}

character_class unicode_class (uint32_t code) {
  if (code < 128) return (character_class)unicode_ascii[code];
  if (code > 0x10FFFF) return CLASS_OTHER;
  size_t low = 0, high = unicode_range_count;        /* the range lies in [low, high) */
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (unicode_ranges[middle] >> 3 <= code) low = middle;
    else high = middle;
  }
  return (character_class)(unicode_ranges[low] & 7);
}

excerpt unicode_excerpt (const char *text, size_t bytes) {
  excerpt e = { "" };
  size_t limit = sizeof e.text - sizeof "...", kept = bytes < limit ? bytes : limit;
  while (kept < bytes && kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80) kept--;
  memcpy(e.text, text, kept);
  if (kept < bytes) memcpy(e.text + kept, "...", 4);
  return e;
}
