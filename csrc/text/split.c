/*
** The three expressions as one scanner. The first two cut digits (three at a time) and runs of CJK and
** kana out of the text; what lies between is a part too. The third cuts each part on its own: its
** look-ahead and end of text never see the neighbouring part.
*/
#include "split.h"

#include "unicode.h"

/* The character at `p`, or class OTHER with 0 bytes at the end of the part. */
typedef struct seen { uint32_t code; character_class kind; size_t next; } seen;

static seen look (const splitter *s, size_t p, size_t end) {
  if (p >= end) return (seen){ UNICODE_NONE, CLASS_OTHER, p };
  character c = unicode_read(s->text + p, end - p);
  return (seen){ c.code, unicode_class(c.code), p + c.bytes };
}

/* {== The first two expressions ================================================================== */

static bool is_cjk (uint32_t code) {                 /* none of these is a number */
  return (code >= 0x4E00 && code <= 0x9FA5) || (code >= 0x3040 && code <= 0x30FF);
}

static size_t part_end (const splitter *s) {
  size_t p = s->position;
  seen c = look(s, p, s->bytes);
  if (c.kind == CLASS_NUMBER) {
    for (int digits = 0; digits < 3 && c.kind == CLASS_NUMBER; digits++) {
      p = c.next;
      c = look(s, p, s->bytes);
    }
    return p;
  }
  bool cjk = is_cjk(c.code);
  while (p < s->bytes && is_cjk(c.code) == cjk && c.kind != CLASS_NUMBER) {
    p = c.next;
    c = look(s, p, s->bytes);
  }
  return p;
}

/* {== The third expression ======================================================================= */

static bool is_line_end (uint32_t code) {
  return code == '\r' || code == '\n';
}

static bool is_ascii_letter (uint32_t code) {
  return (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
}

static size_t skip_ascii_letters (const splitter *s, size_t p) {
  while (p < s->part_end && is_ascii_letter(s->text[p])) p++;
  return p;
}

static size_t skip_line_ends (const splitter *s, size_t p) {
  while (p < s->part_end && is_line_end(s->text[p])) p++;
  return p;
}

static size_t skip_class (const splitter *s, size_t p, character_class kind) {
  seen c = look(s, p, s->part_end);
  while (p < s->part_end && c.kind == kind) {
    p = c.next;
    c = look(s, p, s->part_end);
  }
  return p;
}

/*
** Spaces that no word and no punctuation took: through the last line end when there is one; else all of
** them at the end of the part; else all but the last, which may belong to what follows.
*/
static size_t space_end (const splitter *s, size_t p) {
  size_t line_end = 0, last = p, start = p;
  seen c = look(s, p, s->part_end);
  while (p < s->part_end && c.kind == CLASS_SPACE) {
    last = p;
    p = c.next;
    if (is_line_end(c.code)) line_end = p;
    c = look(s, p, s->part_end);
  }
  if (line_end != 0) return line_end;
  return p == s->part_end || last == start ? p : last;
}

/* Where the piece that starts at `p` ends, by the alternatives in their order; `p` when none applies. */
static size_t match_end (const splitter *s, size_t p) {
  seen c = look(s, p, s->part_end);
  seen n = look(s, c.next, s->part_end);
  if (c.kind == CLASS_PUNCTUATION && c.code < 0x80 && is_ascii_letter(n.code))
    return skip_ascii_letters(s, n.next);
  if (c.kind == CLASS_LETTER) return skip_class(s, c.next, CLASS_LETTER);
  if (n.kind == CLASS_LETTER && c.kind != CLASS_PUNCTUATION && !is_line_end(c.code))
    return skip_class(s, n.next, CLASS_LETTER);
  if (c.kind == CLASS_PUNCTUATION || (c.code == ' ' && n.kind == CLASS_PUNCTUATION))
    return skip_line_ends(s, skip_class(s, c.next, CLASS_PUNCTUATION));
  return c.kind == CLASS_SPACE ? space_end(s, p) : p;
}

/* What no alternative takes, digits too, is one piece up to where one does. */
static size_t piece_end (const splitter *s) {
  size_t p = s->position, end = match_end(s, p);
  if (end != p) return end;
  do p = look(s, p, s->part_end).next;
  while (p < s->part_end && match_end(s, p) == p);
  return p;
}

bool split_next (splitter *s, const uint8_t **piece, size_t *bytes) {
  if (s->position == s->bytes) return false;
  if (s->position == s->part_end) s->part_end = part_end(s);
  size_t end = piece_end(s);
  *piece = s->text + s->position;
  *bytes = end - s->position;
  s->position = end;
  return true;
}
