/*
** From the bytes of tokens to text that can be shown: incomplete characters wait for their rest, bytes that
** can never become one turn into U+FFFD (one a maximal subpart, as WHATWG and Rust do), and what may be the
** beginning of a stop string is held back until it is known not to be. Time is linear in the bytes.
*/
#ifndef runtime_text_h
#define runtime_text_h

#include <stdbool.h>

#include "../base/status.h"

/* A stop string while it is looked for (Knuth, Morris, Pratt). */
typedef struct stop_matcher {
  char *text;
  size_t *failure;               /* [bytes] length of the longest border of text[0 .. i] */
  size_t bytes, matched;
} stop_matcher;

typedef struct text_stream {
  bool raw;                      /* bytes pass as they are */
  stop_matcher *stops; size_t stop_count;
  char *data;                    /* all text so far, that held back included */
  size_t length, capacity;
  size_t released;               /* of it, what no stop string can reach any more */
  unsigned char pending[4]; size_t pending_count, missing;   /* a character's first bytes; bytes to come */
  unsigned char low, high;       /* limits of the next of them */
  size_t replaced;               /* U+FFFD put in */
  bool stopped;                  /* a stop string was found; the text ends before it */
} text_stream;                   /* {0} is a closed one */

/* Copies the stop strings; entries of `stops` that are ids are left aside. */
ms_status text_open (text_stream *t, const ms_stop *stops, size_t count, bool raw, ms_error *err);
void text_close (text_stream *t);
/* Adds the bytes of one token. After a failure, or once stopped, nothing has been added. */
ms_status text_push (text_stream *t, const char *bytes, size_t count, ms_error *err);
void text_finish (text_stream *t);       /* no more bytes: releases what waited. Cannot fail */
/* What has been released behind `from` bytes, as a new string; NULL when there is none. */
ms_status text_copy (const text_stream *t, size_t from, char **copy, size_t *bytes, ms_error *err);

bool text_is_utf8 (const char *bytes, size_t count);

#endif
