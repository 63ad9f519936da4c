/* The backends there are, and the choice among them. */
#include "backend.h"

#include <string.h>

#include "cpu/cpu.h"
#include "profile.h"

/* In order of preference for "auto". */
static const struct entry {
  const char *name;
  ms_status (*open) (const backend_options *options, backend **out, ms_error *err);
} entries[] = {
  { "cpu", cpu_backend_open },
};

enum { ENTRIES = sizeof entries / sizeof entries[0] };

const char *const *ms_backends (void) {
  static const char *const names[] = { "auto", "cpu", NULL };
  return names;
}

static ms_status open_entry (const struct entry *entry, const backend_options *options, backend **out, ms_error *err) {
  TRY(entry->open(options, out, err));
  const ms_status status = profile_install(*out, err);
  if (status == MS_OK) return MS_OK;
  (*out)->close(*out);
  *out = NULL;
  return status;
}

ms_status backend_open (const char *name, const backend_options *options, backend **out, ms_error *err) {
  if (strcmp(name, "ascend") == 0)
    return fail(err, MS_ENODEV, "backend 'ascend' is not part of this build; it has: auto, cpu");
  const int any = strcmp(name, "auto") == 0;
  for (size_t i = 0; i < ENTRIES; i++) {
    if (!any && strcmp(name, entries[i].name) != 0) continue;
    const ms_status status = open_entry(&entries[i], options, out, err);
    if (!any || status != MS_ENODEV || i + 1 == ENTRIES) return status;   /* "auto" tries the next */
  }
  return fail(err, MS_EINVAL, "unknown backend '%s'; there are: auto, cpu", name);
}
