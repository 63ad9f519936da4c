/* Files as memory: opened without blocking, checked to be regular, mapped or read whole; and files replaced whole. */
#define _GNU_SOURCE              /* renameat2 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

#include "checked.h"
#include "memory.h"

static int system_open (const char *path, int flags) {
  return open(path, flags, S_IRUSR | S_IWUSR);
}

static int system_stat (int descriptor, struct stat *out) {
  return fstat(descriptor, out);
}

static void *system_map (size_t bytes, int descriptor) {
  return mmap(NULL, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
}

static int system_stat_path (const char *path, struct stat *out) {
  return lstat(path, out);
}

#ifdef RENAME_NOREPLACE
/* Not every file system can do it: NFS answers EINVAL; filters of calls in containers answer EPERM. */
static int system_rename_new (const char *from, const char *to) {
  int failed = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
  return failed && (errno == EINVAL || errno == ENOSYS || errno == EPERM) ? rename(from, to) : failed;
}
#else
#define system_rename_new rename
#endif

file_system file_table = { system_open, system_stat, pread, system_map, munmap, close,
                           system_stat_path, pwrite, fsync, rename, system_rename_new, unlink };

/* {== Reading ==================================================================================== */

static int open_with (const char *path, int flags) {
  int descriptor;
  do descriptor = file_table.open(path, flags | O_CLOEXEC | O_NOCTTY);
  while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

static int open_retried (const char *path) {
  return open_with(path, O_RDONLY | O_NONBLOCK);
}

/* Linux frees the descriptor even when close is interrupted: it is not called again. */
static void close_quietly (int descriptor) {
  if (descriptor >= 0) file_table.close(descriptor);
}

static int64_t modified_of (const struct stat *state) {
  return (int64_t)state->st_mtim.tv_sec * 1000000000 + state->st_mtim.tv_nsec;
}

static const char *kind_of (mode_t mode) {
  return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket"
       : S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "no regular file";
}

/* *got < count: the file ends there. */
static ms_status read_all (const char *path, int descriptor, uint8_t *out, size_t count, uint64_t offset, size_t *got,
                           ms_error *err) {
  *got = 0;
  while (*got < count) {
    ssize_t more = file_table.read_at(descriptor, out + *got, count - *got, (off_t)(offset + *got));
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) return fail_system(err, errno, path, "read");
    if (more == 0) break;
    *got += (size_t)more;
  }
  return MS_OK;
}

static ms_status read_whole (file_view *view, int descriptor, uint8_t *out, ms_error *err) {
  size_t got;
  TRY(read_all(view->path, descriptor, out, view->bytes, 0, &got, err));
  if (got == view->bytes) return MS_OK;
  return fail(err, MS_EIO, "%s: ends at byte %zu of %zu: it was cut while it was read", view->path, got, view->bytes);
}

/* Fills data from the open descriptor; `spare` zero bytes follow what is read. */
static ms_status take_bytes (file_view *view, int descriptor, size_t spare, ms_error *err) {
  if (view->bytes == 0 && spare == 0) return MS_OK;
  if (view->access == MS_MAP) {
    void *mapped = file_table.map(view->bytes, descriptor);
    if (mapped == MAP_FAILED) return fail_system(err, errno, view->path, "map");
    view->data = mapped;
    return MS_OK;
  }
  size_t room;
  uint8_t *copy = checked_add(view->bytes, spare, &room) ? memory_new(room, 1) : NULL;
  if (copy == NULL) return fail_memory(err, view->bytes, view->path);
  view->data = copy;
  return read_whole(view, descriptor, copy, err);
}

static ms_status check_length (const char *path, ms_error *err) {
  if (strlen(path) < PATH_MAX) return MS_OK;
  return fail(err, MS_EINVAL, "%.60s...: path has %zu bytes, at most %d are allowed", path, strlen(path), PATH_MAX - 1);
}

static ms_status open_view (const char *path, ms_access access, size_t limit, size_t spare, file_view *view,
                            ms_error *err) {
  memset(view, 0, sizeof *view);
  TRY(check_length(path, err));
  int descriptor = open_retried(path);
  if (descriptor < 0) return fail_system(err, errno, path, "open");
  struct stat state;
  ms_status status = MS_OK;
  view->access = access;
  view->path = memory_string(path, strlen(path));
  if (view->path == NULL)
    status = fail_memory(err, strlen(path), "a path");
  else if (file_table.stat(descriptor, &state) != 0)
    status = fail_system(err, errno, path, "stat");
  else if (!S_ISREG(state.st_mode))
    status = fail(err, MS_EINVAL, "%s: is %s, a regular file is needed", path, kind_of(state.st_mode));
  else if ((uintmax_t)state.st_size > limit)
    status = fail(err, MS_EFORMAT, "%s: has %jd bytes, at most %zu are allowed", path, (intmax_t)state.st_size, limit);
  else {
    view->bytes = (size_t)state.st_size;
    view->device = (uint64_t)state.st_dev;
    view->inode = (uint64_t)state.st_ino;
    view->modified = modified_of(&state);
    status = take_bytes(view, descriptor, spare, err);
  }
  close_quietly(descriptor);
  if (status != MS_OK) file_view_close(view);
  return status;
}

ms_status file_view_open (const char *path, ms_access access, file_view *view, ms_error *err) {
  return open_view(path, access, SIZE_MAX, 0, view, err);
}

ms_status file_text_open (const char *path, size_t limit, file_view *view, ms_error *err) {
  return open_view(path, MS_READ, limit, 1, view, err);
}

void file_view_close (file_view *view) {
  if (view->data != NULL) {
    if (view->access == MS_MAP) file_table.unmap((void *)(uintptr_t)view->data, view->bytes);
    else memory_free((void *)(uintptr_t)view->data);
  }
  memory_free(view->path);
  memset(view, 0, sizeof *view);
}

void file_view_forget (const file_view *view, const uint8_t *data, size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (view->access != MS_MAP || view->data == NULL || data < view->data) return;
  size_t first = (size_t)(data - view->data), last;
  if (first > view->bytes || bytes > view->bytes - first) return;
  last = (first + bytes) / page * page;
  first = first / page * page;
  if (last > first) (void)madvise((void *)(uintptr_t)(view->data + first), last - first, MADV_DONTNEED);
}

ms_status file_view_check (const file_view *view, ms_error *err) {
  int descriptor = open_retried(view->path);
  if (descriptor < 0) return MS_OK;      /* renamed or unlinked: what is mapped stays whole */
  struct stat state;
  int failed = file_table.stat(descriptor, &state) != 0;
  close_quietly(descriptor);
  if (failed || (uint64_t)state.st_ino != view->inode || (uint64_t)state.st_dev != view->device) return MS_OK;
  if ((uintmax_t)state.st_size == view->bytes && modified_of(&state) == view->modified) return MS_OK;
  return fail(err, MS_EIO, "%s: the file has changed since it was opened (%zu bytes then, %jd now); "
              "open the model again",
              view->path, view->bytes, (intmax_t)state.st_size);
}

/* {== Writing ==================================================================================== */

enum { NAME_TRIES = 100, RANDOM_DIGITS = 16 };

static const char unfinished[] = ".moonseek-";

int file_is_unfinished (const char *name) {
  const size_t start = sizeof unfinished - 1;
  return strncmp(name, unfinished, start) == 0 && strlen(name) == start + RANDOM_DIGITS &&
         strspn(name + start, "0123456789abcdef") == RANDOM_DIGITS;
}

/* Bytes of the folder's part of `path`, its last slash too; 0: the working directory. */
static size_t folder_bytes (const char *path) {
  const char *slash = strrchr(path, '/');
  return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

static ms_status check_replaceable (const char *path, ms_error *err) {
  struct stat state;
  if (file_table.stat_path(path, &state) != 0)
    return errno == ENOENT ? MS_OK : fail_system(err, errno, path, "stat");
  if (S_ISREG(state.st_mode) || S_ISLNK(state.st_mode)) return MS_OK;
  return fail(err, MS_EINVAL, "%s: is %s, a regular file is needed", path, kind_of(state.st_mode));
}

/* A new file under a name that nobody can guess: nothing that stands there already is followed or opened. */
static ms_status create_temporary (file_writer *w, ms_error *err) {
  size_t folder = folder_bytes(w->path), room = folder + sizeof unfinished + RANDOM_DIGITS;
  char *made = memory_new(room, 1);
  if (made == NULL) return fail_memory(err, room, "a path");
  ms_status status = MS_OK;
  for (int i = 0; i < NAME_TRIES && status == MS_OK && w->descriptor < 0; i++) {
    uint64_t random;
    int code = uv_random(NULL, NULL, &random, sizeof random, 0, NULL);
    if (code != 0) {
      status = fail(err, MS_EIO, "%s: cannot draw a name for it: %s", w->path, uv_strerror(code));
      break;
    }
    snprintf(made, room, "%.*s%s%016llx", (int)folder, w->path, unfinished, (unsigned long long)random);
    w->descriptor = open_with(made, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
    if (w->descriptor < 0 && errno != EEXIST) status = fail_system(err, errno, w->path, "create");
  }
  if (status == MS_OK && w->descriptor < 0) status = fail_system(err, EEXIST, w->path, "create");
  if (status == MS_OK) w->temporary = made;    /* else whatever bears the name is not ours */
  else memory_free(made);
  return status;
}

/* Of what bears `path`. Opened before anything is renamed, so that only syncing it can fail afterwards. */
static ms_status open_folder (const char *path, int *descriptor, ms_error *err) {
  size_t bytes = folder_bytes(path);
  char *folder = bytes == 0 ? memory_string(".", 1) : memory_string(path, bytes);
  if (folder == NULL) return fail_memory(err, bytes, "a path");
  *descriptor = open_with(folder, O_RDONLY | O_DIRECTORY);
  ms_status status = *descriptor >= 0 ? MS_OK : fail_system(err, errno, folder, "open");
  memory_free(folder);
  return status;
}

ms_status file_writer_open (const char *path, file_durability durability, file_writer *w, ms_error *err) {
  *w = (file_writer){ .descriptor = -1, .folder = -1 };
  ms_status status = check_length(path, err);
  if (status == MS_OK) status = check_replaceable(path, err);
  if (status == MS_OK) {
    w->path = memory_string(path, strlen(path));
    if (w->path == NULL) status = fail_memory(err, strlen(path), "a path");
  }
  if (status == MS_OK && durability == FILE_LASTING) status = open_folder(w->path, &w->folder, err);
  if (status == MS_OK) status = create_temporary(w, err);
  if (status != MS_OK) file_writer_close(w);
  return status;
}

static ms_status write_all (const char *path, int descriptor, const void *bytes, size_t count, uint64_t offset,
                            ms_error *err) {
  const uint8_t *rest = bytes;
  while (count > 0) {
    ssize_t put = file_table.write_at(descriptor, rest, count, (off_t)offset);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return fail_system(err, put < 0 ? errno : ENOSPC, path, "write");
    rest += put;
    count -= (size_t)put;
    offset += (uint64_t)put;
  }
  return MS_OK;
}

ms_status file_writer_write (file_writer *w, const void *bytes, size_t count, uint64_t offset, ms_error *err) {
  return write_all(w->path, w->descriptor, bytes, count, offset, err);
}

static int sync_retried (int descriptor) {
  int failed;
  do failed = file_table.sync(descriptor);
  while (failed != 0 && errno == EINTR);
  return failed;
}

/* EINVAL: a file system that cannot sync folders, and has none to sync */
static ms_status sync_folder (int folder, const char *path, ms_error *err) {
  if (sync_retried(folder) == 0 || errno == EINVAL) return MS_OK;
  return fail_system(err, errno, path, "sync the folder of the replaced file");
}

ms_status file_writer_commit (file_writer *w, ms_error *err) {
  int descriptor = w->descriptor;
  if (w->folder >= 0 && sync_retried(descriptor) != 0) return fail_system(err, errno, w->path, "sync");
  w->descriptor = -1;
  if (file_table.close(descriptor) != 0 && errno != EINTR) return fail_system(err, errno, w->path, "close");
  if (file_table.rename(w->temporary, w->path) != 0) return fail_system(err, errno, w->path, "replace");
  memory_free(w->temporary);
  w->temporary = NULL;
  return w->folder >= 0 ? sync_folder(w->folder, w->path, err) : MS_OK;
}

void file_writer_close (file_writer *w) {
  if (w->path != NULL) {
    close_quietly(w->descriptor);
    close_quietly(w->folder);
  }
  if (w->temporary != NULL) file_table.unlink(w->temporary);
  memory_free(w->temporary);
  memory_free(w->path);
  *w = (file_writer){ 0 };
}

ms_status ms_file_replace (const char *path, const void *bytes, size_t count, ms_error *err) {
  file_writer w = { 0 };
  ms_status status = file_writer_open(path, FILE_LASTING, &w, err);
  if (status == MS_OK) status = file_writer_write(&w, bytes, count, 0, err);
  if (status == MS_OK) status = file_writer_commit(&w, err);
  file_writer_close(&w);
  return status;
}

/* {== Writing in several goes ==================================================================== */

static ms_status check_part (const file_part *part, ms_error *err) {
  struct stat state;
  if (file_table.stat(part->descriptor, &state) != 0) return fail_system(err, errno, part->path, "stat");
  if (!S_ISREG(state.st_mode))
    return fail(err, MS_EINVAL, "%s: is %s, a regular file is needed", part->path, kind_of(state.st_mode));
  if (flock(part->descriptor, LOCK_EX | LOCK_NB) == 0) return MS_OK;
  if (errno == EWOULDBLOCK) return fail(err, MS_EBUSY, "%s: another process writes it", part->path);
  return errno == ENOLCK || errno == ENOTSUP ? MS_OK : fail_system(err, errno, part->path, "lock");
}

ms_status file_part_open (const char *path, file_part *part, ms_error *err) {
  *part = (file_part){ .descriptor = -1, .reading = -1 };
  TRY(check_length(path, err));
  part->path = memory_string(path, strlen(path));
  if (part->path == NULL) return fail_memory(err, strlen(path), "a path");
  part->descriptor = open_with(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
  ms_status status = part->descriptor >= 0 ? check_part(part, err) : fail_system(err, errno, path, "open");
  if (status == MS_OK) {
    part->reading = open_with(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (part->reading < 0) status = fail_system(err, errno, path, "open");
  }
  if (status != MS_OK) file_part_close(part);
  return status;
}

ms_status file_part_write (file_part *part, const void *bytes, size_t count, uint64_t offset, ms_error *err) {
  return write_all(part->path, part->descriptor, bytes, count, offset, err);
}

ms_status file_part_read (const file_part *part, void *out, size_t count, uint64_t offset, size_t *got, ms_error *err) {
  return read_all(part->path, part->reading, out, count, offset, got, err);
}

ms_status file_part_sync (file_part *part, ms_error *err) {
  if (sync_retried(part->descriptor) != 0) return fail_system(err, errno, part->path, "sync");
  (void)posix_fadvise(part->reading, 0, 0, POSIX_FADV_DONTNEED);
  return MS_OK;
}

void file_part_close (file_part *part) {
  if (part->path != NULL) {
    close_quietly(part->descriptor);
    close_quietly(part->reading);
  }
  memory_free(part->path);
  *part = (file_part){ 0 };
}

static ms_status move (int (*rename_to) (const char *from, const char *to), const char *from, const char *to,
                       ms_error *err) {
  int folder = -1;
  TRY(open_folder(to, &folder, err));
  ms_status status = rename_to(from, to) == 0 ? MS_OK : fail_system(err, errno, to, "replace");
  if (status == MS_OK) status = sync_folder(folder, to, err);
  close_quietly(folder);
  return status;
}

ms_status file_move (const char *from, const char *to, ms_error *err) {
  return move(file_table.rename, from, to, err);
}

ms_status file_move_new (const char *from, const char *to, ms_error *err) {
  return move(file_table.rename_new, from, to, err);
}

/* {== Paths ====================================================================================== */

char *file_path_join (const char *folder, const char *name) {
  size_t length = strlen(folder), rest = strlen(name);
  char *path = memory_new(length + rest + 2, 1);
  if (path == NULL) return NULL;
  memcpy(path, folder, length);
  path[length] = '/';
  memcpy(path + length + 1, name, rest);
  return path;
}

ms_status file_path_absolute (const char *path, char **out, ms_error *err) {
  char resolved[PATH_MAX];
  if (realpath(path, resolved) == NULL) return fail_system(err, errno, path, "find");
  *out = memory_string(resolved, strlen(resolved));
  return *out == NULL ? fail_memory(err, strlen(resolved), "a path") : MS_OK;
}

ms_status file_is_folder (const char *path, int *is_folder, ms_error *err) {
  struct stat state;
  TRY(check_length(path, err));
  if (stat(path, &state) != 0) return fail_system(err, errno, path, "open");
  *is_folder = S_ISDIR(state.st_mode);
  return MS_OK;
}
