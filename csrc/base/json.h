/*
** JSON files (jansson), made safe for hostile input: size limit, UTF-8, a depth limit checked before the
** parser runs, no duplicate keys, integers only where an integer is asked for. Errors name the file and
** the key.
*/
#ifndef base_json_h
#define base_json_h

#include <jansson.h>

#include "status.h"

/* Parses `bytes` of text; `path` is what errors call it. The caller owns *out (json_decref). */
ms_status json_text_parse (const char *path, const char *text, size_t bytes, json_t **out, ms_error *err);
/* Reads and parses a file of at most `limit` bytes. */
ms_status json_file_parse (const char *path, size_t limit, json_t **out, ms_error *err);

/*
** Typed members of `object`. A missing key is MS_EFORMAT "PATH: KEY is missing"; a wrong type, or an
** integer outside [low, high], is MS_EFORMAT with the value and the limit.
*/
ms_status json_get_size (const char *path, const json_t *object, const char *key, size_t low, size_t high,
                         size_t *out, ms_error *err);
ms_status json_get_number (const char *path, const json_t *object, const char *key, double low, double high,
                           double *out, ms_error *err);
ms_status json_get_string (const char *path, const json_t *object, const char *key, const char **out,
                           ms_error *err);

#endif
