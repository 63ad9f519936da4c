/*
** The fewest threads that generate one answer about as fast as all: a token reads every weight once, and few cores draw
** what the memory gives; more of them only wait. Found by halves, in the first steps, and kept.
*/
#ifndef runtime_saturation_h
#define runtime_saturation_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct saturation {
  size_t all;                  /* threads there are; 0: nothing was asked yet */
  size_t enough, too_few;      /* enough == too_few + 1: found */
  size_t steps;                /* measured of the trial at hand */
  uint64_t fastest[2];         /* its fastest steps: with all threads, and with those that are tried */
} saturation;

/* How many of `all` threads the next step of one row takes. */
size_t saturation_threads (saturation *s, size_t all);
/* That step took `duration` ns; waited: for the disk, so that it says nothing. */
void saturation_measure (saturation *s, uint64_t duration, bool waited);
size_t saturation_found (const saturation *s);   /* 0: not yet */

#endif
