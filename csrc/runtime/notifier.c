/* Descriptors that tell of waiting events. */
#include "notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#if defined(__linux__)

#include <sys/eventfd.h>

static int make_pair (int *reader, int *writer) {
  *reader = *writer = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return *reader < 0 ? -1 : 0;
}

#else

static int make_pair (int *reader, int *writer) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  for (int i = 0; i < 2; i++) {
    fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    fcntl(ends[i], F_SETFL, O_NONBLOCK);
  }
  *reader = ends[0];
  *writer = ends[1];
  return 0;
}

#endif

/* One write raises, one read lowers: `raised` keeps them in turn, so neither can block or fill up. */
static void put (const notifier *n) {
  const uint64_t one = 1;
  while (write(n->writer, &one, sizeof one) < 0 && errno == EINTR) continue;
}

static void take (const notifier *n) {
  uint64_t sum;
  while (read(n->reader, &sum, sizeof sum) < 0 && errno == EINTR) continue;
}

/* Puts descriptors of this process's own in the place of those inherited; keeps those when none can be had. */
static void renew (notifier *n) {
  int reader, writer;
  if (make_pair(&reader, &writer) != 0) return;
  dup2(reader, n->reader);
  if (n->writer != n->reader) dup2(writer, n->writer);
  fcntl(n->reader, F_SETFD, FD_CLOEXEC);
  fcntl(n->writer, F_SETFD, FD_CLOEXEC);
  close(reader);
  if (writer != reader) close(writer);
  n->pid = getpid();
  if (n->raised) put(n);
}

int notifier_descriptor (notifier *n, ms_error *err) {
  if (n->open) return n->reader;
  if (make_pair(&n->reader, &n->writer) != 0) {
    fail_system(err, errno, "job", "open a descriptor");
    return -1;
  }
  n->open = true;
  n->pid = getpid();
  if (n->raised) put(n);
  return n->reader;
}

void notifier_set (notifier *n, bool raised) {
  if (n->open && n->pid != getpid()) renew(n);
  if (n->raised == raised) return;
  n->raised = raised;
  if (!n->open) return;
  if (raised) put(n);
  else take(n);
}

void notifier_close (notifier *n) {
  if (!n->open) return;
  close(n->reader);
  if (n->writer != n->reader) close(n->writer);
  n->open = false;
}
