/* Rotation of single rows, for stages that make rows of their own. */
#ifndef compute_cpu_rope_h
#define compute_cpu_rope_h

#include "cpu.h"

/* angles [2 * pairs]: cosines, then sines. */
void cpu_rope_angles (const rope_table *rope, size_t position, float *angles);
/* Turns the last 2 * pairs of `width` values, adjacent pairs, in place; rounded as the stage `rope` does. */
void cpu_rotate (const cpu_backend *cpu, const float *angles, size_t pairs, float *x, size_t width);

#endif
