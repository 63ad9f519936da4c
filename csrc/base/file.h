/*
** Regular files: mapped or read into memory whole, and replaced whole. The system calls stand in a table, so
** that a spec can make the n-th fail; each is retried when a signal interrupts it.
*/
#ifndef base_file_h
#define base_file_h

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "status.h"

typedef struct file_system {
  int (*open) (const char *path, int flags);        /* a file it makes is its owner's alone: mode 0600 */
  int (*stat) (int descriptor, struct stat *out);
  ssize_t (*read_at) (int descriptor, void *out, size_t bytes, off_t offset);
  void *(*map) (size_t bytes, int descriptor);      /* read-only, shared; MAP_FAILED on failure */
  int (*unmap) (void *data, size_t bytes);
  int (*close) (int descriptor);
  int (*stat_path) (const char *path, struct stat *out);       /* of a symbolic link: the link */
  ssize_t (*write_at) (int descriptor, const void *bytes, size_t count, off_t offset);
  int (*sync) (int descriptor);
  int (*rename) (const char *from, const char *to);
  int (*rename_new) (const char *from, const char *to);        /* EEXIST: `to` is there, where the system can tell */
  int (*unlink) (const char *path);
} file_system;

extern file_system file_table;

/* The bytes of one file and which file it was. `path` is a copy. */
typedef struct file_view {
  char *path;
  const uint8_t *data;
  size_t bytes;
  ms_access access;              /* how `data` is held */
  uint64_t device, inode;
  int64_t modified;              /* nanoseconds */
} file_view;

/*
** Opens a regular file (never blocks on a FIFO or device, refuses a folder) and maps it or reads it.
** An empty file gives bytes 0 and data NULL. On failure *view is empty.
*/
ms_status file_view_open (const char *path, ms_access access, file_view *view, ms_error *err);
/* As file_view_open with MS_READ, for files that are text: refused above `limit` bytes; a 0 byte follows the data. */
ms_status file_text_open (const char *path, size_t limit, file_view *view, ms_error *err);
void file_view_close (file_view *view);             /* an empty view is allowed; leaves it empty */

/* These bytes need not stay in memory: of a mapped file they are read again when they are looked at. */
void file_view_forget (const file_view *view, const uint8_t *data, size_t bytes);

/* MS_EIO "PATH: the file has changed ..." when size, time or inode at the path's descriptor differ. */
ms_status file_view_check (const file_view *view, ms_error *err);

/* {== Writing ==================================================================================== */

/*
** A file that takes the place of `path` as a whole or not at all: it is written under a name of its own in the
** same folder. Whoever looks at `path` meanwhile, also after a crash or a power cut, finds the old file or the
** new one. What a killed process leaves is named ".moonseek-" and 16 hexadecimal digits.
*/
int file_is_unfinished (const char *name);          /* whether a name without its folder is one of those */

typedef struct file_writer {
  char *path, *temporary;        /* temporary NULL: there is no file now */
  int descriptor, folder;        /* folder: -1 when only whole, not lasting, is asked for */
} file_writer;

typedef enum file_durability {
  FILE_LASTING,                  /* committed: on the disk, whatever happens to the machine */
  FILE_WHOLE                     /* committed: whole for every reader; a power cut may damage it */
} file_durability;

/* On failure nothing is left. MS_EINVAL when `path` is a folder, FIFO, socket or device. */
ms_status file_writer_open (const char *path, file_durability durability, file_writer *w, ms_error *err);
ms_status file_writer_write (file_writer *w, const void *bytes, size_t count, uint64_t offset, ms_error *err);
/* Puts the file in its place. After a failure the old file is where it was, but for a folder that cannot be synced. */
ms_status file_writer_commit (file_writer *w, ms_error *err);
void file_writer_close (file_writer *w);            /* removes what was not committed; {0} is allowed, leaves it {0} */

/*
** A file that is written in several goes, the last perhaps after the process was killed: opened again it holds what
** was written, and what was not reads as zeros. One process at a time has it. It keeps its name until file_move.
*/
typedef struct file_part {
  char *path;                    /* NULL: there is no file */
  int descriptor, reading;
} file_part;

/* Makes the file, its owner's alone, unless it is there. MS_EBUSY: another process has it. */
ms_status file_part_open (const char *path, file_part *part, ms_error *err);
ms_status file_part_write (file_part *part, const void *bytes, size_t count, uint64_t offset, ms_error *err);
/* *got < count: the file ends there. */
ms_status file_part_read (const file_part *part, void *out, size_t count, uint64_t offset, size_t *got, ms_error *err);
/* What was written is on the disk, and is read from there. */
ms_status file_part_sync (file_part *part, ms_error *err);
void file_part_close (file_part *part);             /* leaves the file; {0} is allowed, leaves it {0} */

/* Gives a file or folder another name, lasting. A file or an empty folder that bears it is replaced. */
ms_status file_move (const char *from, const char *to, ms_error *err);
/* Replaces nothing, as far as the file system can promise it: who calls has looked whether the name is free. */
ms_status file_move_new (const char *from, const char *to, ms_error *err);

/* {== Paths ====================================================================================== */

/* folder + "/" + name as a new string; NULL when memory runs out. */
char *file_path_join (const char *folder, const char *name);
/* *out: a new string, the same file or folder from the root of the file system. */
ms_status file_path_absolute (const char *path, char **out, ms_error *err);
/* MS_OK when `path` is a folder; MS_ENOENT, MS_EIO, or MS_EINVAL when it is something else. */
ms_status file_is_folder (const char *path, int *is_folder, ms_error *err);

#endif
