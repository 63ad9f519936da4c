/* Folders. The order of entries is the file system's. */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "file.h"

static int64_t nanoseconds (struct timespec time) {
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

ms_status folder_make (const char *path, ms_error *err) {
  int is_folder;
  if (mkdir(path, S_IRWXU) != 0 && errno != EEXIST) return fail_system(err, errno, path, "make the folder");
  TRY(file_is_folder(path, &is_folder, err));
  return is_folder ? MS_OK : fail(err, MS_EINVAL, "%s: is a file, a folder is needed", path);
}

ms_status folder_each (const char *path, folder_visit *visit, void *user, ms_error *err) {
  DIR *listing = opendir(path);
  ms_status status = MS_OK;
  if (listing == NULL) return fail_system(err, errno, path, "list");
  for (struct dirent *entry; status == MS_OK && (entry = readdir(listing)) != NULL; )
    status = visit(user, entry->d_name, err);
  closedir(listing);
  return status;
}

int file_look (const char *path, file_state *state) {
  struct stat found;
  if (file_table.stat_path(path, &found) != 0 || !S_ISREG(found.st_mode)) return 0;
  *state = (file_state){ (uint64_t)found.st_size, nanoseconds(found.st_mtim) };
  return 1;
}

void file_touch (const char *path) {
  utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
}

int file_remove (const char *path) {
  return file_table.unlink(path) == 0;
}

int64_t file_time_now (void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds(now);
}
