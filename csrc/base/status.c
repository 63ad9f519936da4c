/* Statuses, their names, and the text of failures. */
#include "status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[MS_STATUS_COUNT] = {
  [MS_OK] = "OK", [MS_EINVAL] = "EINVAL", [MS_ENOENT] = "ENOENT", [MS_EIO] = "EIO",
  [MS_EFORMAT] = "EFORMAT", [MS_EUNSUPPORTED] = "EUNSUPPORTED", [MS_EMODEL] = "EMODEL",
  [MS_ENOMEM] = "ENOMEM", [MS_ENOSPC] = "ENOSPC", [MS_EBUSY] = "EBUSY", [MS_ECTXFULL] = "ECTXFULL",
  [MS_ECANCELED] = "ECANCELED", [MS_EDEADLINE] = "EDEADLINE", [MS_ECLOSED] = "ECLOSED",
  [MS_ENODEV] = "ENODEV"
};

const char *ms_status_name (ms_status status) {
  return (unsigned)status < MS_STATUS_COUNT ? names[status] : "EINVAL";
}

/*
** Names come from files: control bytes and escapes are shown as '?', and a message that was cut ends
** before the character it was cut in.
*/
static void make_printable (char *text, int was_cut) {
  size_t length = strlen(text);
  if (was_cut) {
    while (length > 0 && ((unsigned char)text[length - 1] & 0xC0) == 0x80) length--;
    if (length > 0 && (unsigned char)text[length - 1] >= 0xC0) length--;
    text[length] = '\0';
  }
  for (size_t i = 0; i < length; i++)
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F) text[i] = '?';
}

ms_status fail (ms_error *err, ms_status status, const char *format, ...) {
  if (err == NULL) return status;
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(err->message, sizeof err->message, format, arguments);
  va_end(arguments);
  if (length < 0) err->message[0] = '\0';
  make_printable(err->message, length >= (int)sizeof err->message);
  err->status = status;
  return status;
}

ms_status fail_memory (ms_error *err, size_t bytes, const char *what) {
  return fail(err, MS_ENOMEM, "out of memory (%zu bytes for %s)", bytes, what);
}

ms_status fail_system (ms_error *err, int code, const char *path, const char *verb) {
  ms_status status = code == ENOENT || code == ENOTDIR ? MS_ENOENT
                   : code == ENOSPC || code == EDQUOT ? MS_ENOSPC
                   : code == ENOMEM ? MS_ENOMEM : MS_EIO;
  char reason[128];
  if (strerror_r(code, reason, sizeof reason) != 0)   /* XSI form: see _POSIX_C_SOURCE in the Makefile */
    snprintf(reason, sizeof reason, "error %d", code);
  return fail(err, status, "%s: cannot %s: %s", path, verb, reason);
}
