/*
** A walk over the members of a JSON object without building it: a header of 10^6 tensors then costs the
** memory of one. Only the object's own punctuation is checked here; a value's text is for whoever parses it.
*/
#ifndef format_json_members_h
#define format_json_members_h

#include <stdbool.h>

#include "name_index.h"

typedef struct json_members {
  const char *path;              /* what errors call the text */
  const char *text;
  size_t size, position;         /* position: after the last member; at the end after the brace */
  bool started;
  /* The current member: its name with escapes resolved, and its value as text. */
  char name[NAME_LIMIT];
  const char *value;
  size_t bytes;
} json_members;

/* text[0 .. size-1] holds an object; what precedes its brace or follows its end is the caller's business. */
void json_members_begin (json_members *walk, const char *path, const char *text, size_t size);
/* *found is false at the object's end. */
ms_status json_members_next (json_members *walk, bool *found, ms_error *err);
/* The current value as a string, into out[0 .. limit-1]. */
ms_status json_members_string (const json_members *walk, char *out, size_t limit, ms_error *err);

#endif
