/*
** Failure inside the engine: a status for the program, a sentence for the person. A function that can
** fail returns an ms_status and fills *err; TRY hands a failure up unchanged.
*/
#ifndef base_status_h
#define base_status_h

#include "../moonseek.h"

/* The only macro that hides a return. */
#define TRY(call) \
  do { ms_status try_status = (call); if (try_status != MS_OK) return try_status; } while (0)

/* Fills *err (NULL is allowed) and returns `status`, so that a failure is one line: return fail(...). */
ms_status fail (ms_error *err, ms_status status, const char *format, ...)
  __attribute__((format(printf, 3, 4)));

/* The failure every allocation shares: "out of memory (N bytes for WHAT)". */
ms_status fail_memory (ms_error *err, size_t bytes, const char *what);

/* The failure of a system call on a file: "PATH: cannot VERB: strerror(code)". */
ms_status fail_system (ms_error *err, int code, const char *path, const char *verb);

#endif
