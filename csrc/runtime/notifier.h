/*
** A descriptor that is readable exactly while it is raised: an eventfd on Linux, elsewhere a pipe that holds
** one byte. After a fork the child gets one of its own under the same number, so that neither process
** drains the other's.
*/
#ifndef runtime_notifier_h
#define runtime_notifier_h

#include <stdbool.h>
#include <sys/types.h>

#include "../base/status.h"

typedef struct notifier {
  int reader, writer;            /* the same one for an eventfd; meaningless while not open */
  bool open, raised;
  pid_t pid;                     /* of the process whose it is */
} notifier;                      /* {0} is closed */

/* The descriptor to wait on, made at the first call; -1 with *err filled. */
int notifier_descriptor (notifier *n, ms_error *err);
void notifier_set (notifier *n, bool raised);        /* of a closed one: only remembered */
void notifier_close (notifier *n);                   /* a closed one is allowed */

#endif
