/*
** The pace of reading beside answers, by the time on the wall: a row takes longer the deeper its session is, and when
** others compute on the machine. Single steps say little then, so what is measured is smoothed.
*/
#include "pace.h"

#include <stdbool.h>

enum { FIRST_ROWS = 16,      /* of a slice that nothing is known of */
       TELLING_ROWS = 16,    /* fewer rows that are read alone are mostly the cost of a step */
       MIXED_STEPS = 16,     /* then one of answers alone */
       UNKNOWN_STEPS = 4,    /* of answers alone in a row, when their number keeps changing; then some are read */
       ROW_STEPS = 4, ANSWER_STEPS = 2 };  /* steps that are averaged */

static double smooth (double cost, double measured, int steps) {
  return cost == 0 ? measured : cost + (measured - cost) / steps;
}

/* Whether answer_ns is about so many answers: more than twice as many, or fewer than half, are measured anew. */
static int knows_answers (const pace *p, size_t answering) {
  return p->answer_rows != 0 && answering <= 2 * p->answer_rows && p->answer_rows <= 2 * answering;
}

static void measure_answers (pace *p, size_t answering, double duration) {
  p->unknown = knows_answers(p, answering) ? 0 : p->unknown + 1;
  p->answer_ns = smooth(knows_answers(p, answering) ? p->answer_ns : 0, duration, ANSWER_STEPS);
  p->answer_rows = answering;
  p->mixed = 0;
}

void pace_measure (pace *p, size_t reading, size_t answering, uint64_t duration) {
  double whole = (double)duration, base = answering == 0 ? 0 : p->answer_ns;
  if (reading == 0 && answering == 0) return;
  if (reading == 0) {
    measure_answers(p, answering, whole);
    return;
  }
  double row = whole > base ? (whole - base) / (double)reading : 0;
  if (answering != 0 || reading >= TELLING_ROWS || p->row_ns == 0) p->row_ns = smooth(p->row_ns, row, ROW_STEPS);
  p->mixed += answering != 0;
  p->unknown = 0;
}

size_t pace_rows (const pace *p, size_t answering, uint64_t slice_ns, size_t most) {
  bool wondering = !knows_answers(p, answering) && p->unknown < UNKNOWN_STEPS;
  if (answering != 0 && (wondering || p->mixed >= MIXED_STEPS)) return 0;
  double rows = p->row_ns > 0 ? (double)slice_ns / p->row_ns : FIRST_ROWS;
  if (rows < 1) return 1;
  return rows < (double)most ? (size_t)rows : most;
}

size_t pace_next (size_t last, size_t most) {
  size_t rows = last < FIRST_ROWS / 2 ? FIRST_ROWS : 2 * last;
  return rows < most ? rows : most;
}
