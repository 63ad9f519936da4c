/*
** A conversion's target while it is written: files beside the final name, and a journal of what is done, so that a
** conversion that was killed goes on behind its last whole tensor. Nothing bears the final name before everything
** was read back from the disk and compared.
**
** TARGET.part is the file, or the folder of the files; TARGET.part.journal holds
**   | "moonconv" | hash of the plan | then for every finished output: XXH64 of its bytes | check |
** of 8 bytes each. Headers are written last: until then no file can be taken for a model.
*/
#ifndef convert_target_h
#define convert_target_h

#define XXH_STATIC_LINKING_ONLY          /* the size of a hash's state */
#include <xxhash.h>

#include "../base/file.h"
#include "plan.h"

typedef struct target {
  const plan *p;
  char *path, *part;             /* the final name; that of the file or folder under way */
  char *journal_path;
  bool overwrite;                /* a file that bears the final name is replaced */
  file_part journal, file;       /* file: the one that is written now */
  size_t file_number;
  size_t next;                   /* the first output that is not done */
  uint64_t *hashes;              /* [plan->count] of those that are */
  XXH64_state_t states[2];       /* of output `next` and, with codes, of their scales */
  uint64_t written[2];
  uint64_t done;                 /* bytes of all outputs before `next` */
  uint8_t *buffer;               /* for reading back */
  ms_convert_progress *progress; void *user;
} target;

/*
** Opens or makes the files and checks what an earlier run wrote.
**   MS_EINVAL  the final name is taken and is not to be replaced, or the files are of another conversion
**   MS_EBUSY   another process converts to the same target
** On failure *t is to be closed all the same.
*/
ms_status target_open (const plan *p, const ms_convert_options *options, target *t, ms_error *err);
/* The next bytes of output next + `which`. */
ms_status target_write (target *t, size_t which, const void *bytes, size_t count, ms_error *err);
/* The `count` outputs from `next` on are whole. */
ms_status target_finish (target *t, size_t count, ms_error *err);
/* Headers, reading back, the files beside, and the final name. */
ms_status target_complete (target *t, ms_error *err);
void target_close (target *t);                       /* leaves what there is for the next run */

/* MS_ECANCELED when the caller wants no more. `done`: bytes of all outputs. */
ms_status target_announce (const target *t, const char *phase, uint64_t done, ms_error *err);

#endif
