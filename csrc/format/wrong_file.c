/* Likely causes, as two tables: how a file starts, and how its name ends. */
#include "wrong_file.h"

#include <dirent.h>
#include <string.h>

typedef struct cause {
  const char *sign;              /* the file starts with it, or its name ends with it */
  size_t bytes;
  ms_status status;
  const char *text;
} cause;

#define SIGN(text) text, sizeof text - 1

static const cause starts[] = {
  { SIGN("GGUF"), MS_EFORMAT, "a GGUF file: it is opened by its own path" },
  { SIGN("lmgg"), MS_EUNSUPPORTED, "an old ggml file" },
  { SIGN("tjgg"), MS_EUNSUPPORTED, "an old ggml file" },
  { SIGN("ggml"), MS_EUNSUPPORTED, "an old ggml file" },
  { SIGN("version https://git-lfs"), MS_EFORMAT, "a git-LFS pointer: fetch the file itself with 'git lfs pull'" },
  { SIGN("<!DOCTYPE"), MS_EFORMAT, "an HTML page: the download gave an error page instead of the file" },
  { SIGN("<!doctype"), MS_EFORMAT, "an HTML page: the download gave an error page instead of the file" },
  { SIGN("<html"), MS_EFORMAT, "an HTML page: the download gave an error page instead of the file" },
  { SIGN("<HTML"), MS_EFORMAT, "an HTML page: the download gave an error page instead of the file" },
  { SIGN("<?xml"), MS_EFORMAT, "an XML text: the download gave an error message instead of the file" },
  { SIGN("PK\3\4"), MS_EUNSUPPORTED, "a zip archive, as PyTorch writes: convert it to safetensors" },
  { SIGN("\x80\2"), MS_EUNSUPPORTED, "a Python pickle, which is never read: convert it to safetensors" },
  { SIGN("\x80\4"), MS_EUNSUPPORTED, "a Python pickle, which is never read: convert it to safetensors" },
  { SIGN("\x1F\x8B"), MS_EUNSUPPORTED, "a gzip archive: unpack it first" },
  { SIGN("{"), MS_EFORMAT, "a JSON text, not weights" },
  { SIGN("\0\0\0\0\0\0\0\0"), MS_EFORMAT, "a file that starts with zeros: probably an unfinished download" },
};

static const cause ends[] = {
  { SIGN(".part"), MS_EFORMAT, "an unfinished download" },
  { SIGN(".partial"), MS_EFORMAT, "an unfinished download" },
  { SIGN(".incomplete"), MS_EFORMAT, "an unfinished download" },
  { SIGN(".crdownload"), MS_EFORMAT, "an unfinished download" },
  { SIGN(".aria2"), MS_EFORMAT, "an unfinished download" },
  { SIGN(".bin"), MS_EUNSUPPORTED, "a PyTorch file: convert it to safetensors" },
  { SIGN(".pt"), MS_EUNSUPPORTED, "a PyTorch file: convert it to safetensors" },
  { SIGN(".pth"), MS_EUNSUPPORTED, "a PyTorch file: convert it to safetensors" },
};

static const cause *cause_of_start (const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
    if (size >= starts[i].bytes && memcmp(bytes, starts[i].sign, starts[i].bytes) == 0) return &starts[i];
  return NULL;
}

static const cause *cause_of_end (const char *path) {
  size_t length = strlen(path);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (length > ends[i].bytes && strcmp(path + length - ends[i].bytes, ends[i].sign) == 0) return &ends[i];
  return NULL;
}

ms_status wrong_file (const char *path, const uint8_t *bytes, size_t size, ms_error *err) {
  const cause *found = cause_of_end(path);
  if (found == NULL) found = cause_of_start(bytes, size);
  if (found == NULL && size == 0) return fail(err, MS_EFORMAT, "%s: is empty", path);
  return found == NULL ? MS_OK : fail(err, found->status, "%s: is %s", path, found->text);
}

ms_status wrong_folder (const char *folder, ms_error *err) {
  DIR *listing = opendir(folder);
  ms_status status = MS_OK;
  for (struct dirent *entry; listing != NULL && status == MS_OK && (entry = readdir(listing)) != NULL;) {
    const cause *found = cause_of_end(entry->d_name);
    size_t length = strlen(entry->d_name);
    if (length > 5 && strcmp(entry->d_name + length - 5, ".gguf") == 0)
      status = fail(err, MS_EFORMAT, "%s: holds no model.safetensors; %.200s is a GGUF file: it is opened by "
                    "its own path", folder, entry->d_name);
    else if (found != NULL)
      status = fail(err, found->status, "%s: holds no model.safetensors; %.200s is %s", folder, entry->d_name,
                    found->text);
    else if (length > 12 && strcmp(entry->d_name + length - 12, ".safetensors") == 0)
      status = fail(err, MS_ENOENT, "%s: model.safetensors.index.json is missing beside %.200s", folder,
                    entry->d_name);
  }
  if (listing != NULL) closedir(listing);
  if (status != MS_OK) return status;
  return fail(err, MS_ENOENT, "%s: holds neither model.safetensors.index.json nor model.safetensors", folder);
}
