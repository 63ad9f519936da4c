/* A folder's entries, and what else is done to whole files: time, removal. Failures that nobody can mend are silent. */
#ifndef base_folder_h
#define base_folder_h

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Makes the folder, its owner's alone, unless it is there. MS_ENOENT: nor is the folder it would lie in. */
ms_status folder_make (const char *path, ms_error *err);

/* Calls `visit` for every name in the folder, in no order. */
typedef ms_status folder_visit (void *user, const char *name, ms_error *err);
ms_status folder_each (const char *path, folder_visit *visit, void *user, ms_error *err);

typedef struct file_state { uint64_t bytes; int64_t modified; } file_state;   /* nanoseconds since 1970 */

/* False when `path` is no regular file. */
int file_look (const char *path, file_state *state);
void file_touch (const char *path);                  /* it was modified now */
int file_remove (const char *path);                  /* whether it was removed by this call */
int64_t file_time_now (void);                        /* by the clock of `modified` */

#endif
