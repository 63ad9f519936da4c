/*
** Regular files, mapped or read into memory whole. The system calls stand in a table, so that a spec can
** make the n-th fail; each is retried when a signal interrupts it.
*/
#ifndef base_file_h
#define base_file_h

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "status.h"

typedef struct file_system {
  int (*open) (const char *path, int flags);
  int (*stat) (int descriptor, struct stat *out);
  ssize_t (*read_at) (int descriptor, void *out, size_t bytes, off_t offset);
  void *(*map) (size_t bytes, int descriptor);      /* read-only, shared; MAP_FAILED on failure */
  int (*unmap) (void *data, size_t bytes);
  int (*close) (int descriptor);
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

/* MS_EIO "PATH: the file has changed ..." when size, time or inode at the path's descriptor differ. */
ms_status file_view_check (const file_view *view, ms_error *err);

/* folder + "/" + name as a new string; NULL when memory runs out. */
char *file_path_join (const char *folder, const char *name);
/* MS_OK when `path` is a folder; MS_ENOENT, MS_EIO, or MS_EINVAL when it is something else. */
ms_status file_is_folder (const char *path, int *is_folder, ms_error *err);

#endif
