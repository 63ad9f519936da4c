/*
** Characters of a text that may hold any bytes, and their classes (Unicode 16.0, as the reference
** tokenizer's regular expressions; the table is written by tools/unicode.py).
*/
#ifndef text_unicode_h
#define text_unicode_h

#include <stddef.h>
#include <stdint.h>

/* The classes the pre-tokenizer tells apart; the values stand in the table. */
typedef enum character_class {
  CLASS_OTHER,        /* control, format, private, unassigned; a byte outside a well-formed sequence */
  CLASS_LETTER,       /* \p{L} \p{M} */
  CLASS_NUMBER,       /* \p{N} */
  CLASS_PUNCTUATION,  /* \p{P} \p{S} */
  CLASS_SPACE         /* \s */
} character_class;

#define UNICODE_NONE UINT32_MAX                      /* the code of a byte that is no character */

typedef struct character {
  uint32_t code;                                     /* UNICODE_NONE: a stray byte */
  uint32_t bytes;                                    /* 1 to 4 */
} character;

extern const unsigned char unicode_ascii[128];
extern const size_t unicode_range_count;
extern const uint32_t unicode_ranges[];

/* The character at the first of `left` > 0 bytes. A sequence that is not well-formed gives one stray byte. */
character unicode_read (const uint8_t *text, size_t left);
character_class unicode_class (uint32_t code);

/* The beginning of a text, for messages: cut between characters, then "...". */
typedef struct excerpt { char text[64]; } excerpt;

excerpt unicode_excerpt (const char *text, size_t bytes);

#endif
