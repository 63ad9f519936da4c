/* Files as memory: opened without blocking, checked to be regular, mapped or read whole. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checked.h"
#include "memory.h"

static int system_open (const char *path, int flags) {
  return open(path, flags);
}

static int system_stat (int descriptor, struct stat *out) {
  return fstat(descriptor, out);
}

static void *system_map (size_t bytes, int descriptor) {
  return mmap(NULL, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
}

file_system file_table = { system_open, system_stat, pread, system_map, munmap, close };

static int open_retried (const char *path) {
  int descriptor;
  do descriptor = file_table.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  while (descriptor < 0 && errno == EINTR);
  return descriptor;
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

static ms_status read_whole (file_view *view, int descriptor, uint8_t *out, ms_error *err) {
  size_t done = 0;
  while (done < view->bytes) {
    ssize_t got = file_table.read_at(descriptor, out + done, view->bytes - done, (off_t)done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_system(err, errno, view->path, "read");
    if (got == 0)
      return fail(err, MS_EIO, "%s: ends at byte %zu of %zu: it was cut while it was read", view->path, done,
                  view->bytes);
    done += (size_t)got;
  }
  return MS_OK;
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

static ms_status open_view (const char *path, ms_access access, size_t limit, size_t spare, file_view *view,
                            ms_error *err) {
  memset(view, 0, sizeof *view);
  if (strlen(path) >= PATH_MAX)
    return fail(err, MS_EINVAL, "%.60s...: path has %zu bytes, at most %d are allowed", path, strlen(path),
                PATH_MAX - 1);
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

char *file_path_join (const char *folder, const char *name) {
  size_t length = strlen(folder), rest = strlen(name);
  char *path = memory_new(length + rest + 2, 1);
  if (path == NULL) return NULL;
  memcpy(path, folder, length);
  path[length] = '/';
  memcpy(path + length + 1, name, rest);
  return path;
}

ms_status file_is_folder (const char *path, int *is_folder, ms_error *err) {
  struct stat state;
  if (strlen(path) >= PATH_MAX)
    return fail(err, MS_EINVAL, "%.60s...: path has %zu bytes, at most %d are allowed", path, strlen(path),
                PATH_MAX - 1);
  if (stat(path, &state) != 0) return fail_system(err, errno, path, "open");
  *is_folder = S_ISDIR(state.st_mode);
  return MS_OK;
}
