/* How many rows of reading a step can hold beside answers: what steps have taken, and what follows for the next. */
#ifndef runtime_pace_h
#define runtime_pace_h

#include <stddef.h>
#include <stdint.h>

typedef struct pace {
  double row_ns;                         /* one more row of reading; 0: not measured yet */
  double answer_ns; size_t answer_rows;  /* a step of so many answers and nothing else; 0 rows: not measured yet */
  size_t mixed;                          /* steps since then that read beside answers */
  int unknown;                           /* steps of answers alone whose cost was not known, in a row */
} pace;

/* A step of `reading` and `answering` rows took `duration` ns. */
void pace_measure (pace *p, size_t reading, size_t answering, uint64_t duration);
/*
** Rows of reading, at most `most`, by which a step of `answering` rows becomes longer by slice_ns at most: at least
** one, or none, so that what the answers take by themselves is measured now and then.
*/
size_t pace_rows (const pace *p, size_t answering, uint64_t slice_ns, size_t most);
/* Rows of a job's next slice at most: slices double, so that a job where rows take longer is noticed by a few. */
size_t pace_next (size_t last, size_t most);

#endif
