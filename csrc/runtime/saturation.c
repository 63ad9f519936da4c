/* Trials by halves: which numbers of threads are known to be enough, and too few. */
#include "saturation.h"

/*
** A trial: all threads and those that are tried take turns, so that what changes meanwhile, the depth of the session or
** the company on the machine, touches both. The first step of a turn wakes threads and is not counted.
*/
enum { TURN_STEPS = 4, TURNS = 4, TRIAL_STEPS = TURN_STEPS * TURNS };

static const double tolerance = 0.05;   /* by which a step may be slower than with all threads */

static bool found (const saturation *s) { return s->too_few + 1 >= s->enough; }
static bool tries (const saturation *s) { return s->steps / TURN_STEPS % 2 == 1; }
static size_t tried (const saturation *s) { return s->too_few + (s->enough - s->too_few) / 2; }

static void begin_trial (saturation *s) {
  s->steps = 0;
  s->fastest[0] = s->fastest[1] = UINT64_MAX;
}

size_t saturation_threads (saturation *s, size_t all) {
  if (s->all != all) {
    *s = (saturation){ .all = all, .enough = all };
    begin_trial(s);
  }
  if (found(s)) return s->enough;
  return tries(s) ? tried(s) : all;
}

void saturation_measure (saturation *s, uint64_t duration, bool waited) {
  if (s->all == 0 || found(s) || waited) return;
  uint64_t *fastest = &s->fastest[tries(s)];
  if (s->steps % TURN_STEPS != 0 && duration < *fastest) *fastest = duration;
  if (++s->steps < TRIAL_STEPS) return;
  if ((double)s->fastest[1] <= (1 + tolerance) * (double)s->fastest[0]) s->enough = tried(s);
  else s->too_few = tried(s);
  begin_trial(s);
}

size_t saturation_found (const saturation *s) {
  return s->all != 0 && found(s) ? s->enough : 0;
}
