/*
** Rotary positions of the last values of every head (specs/architecture.md 2.0): adjacent pairs, the angle
** a float32 product. Which layers use which frequencies is the model's business.
*/
#include "rope.h"

#include <math.h>

void cpu_rope_angles (const rope_table *rope, size_t position, float *angles) {
  float t = (float)position;                   /* exact to 2^24 tokens */
  for (size_t i = 0; i < rope->pairs; i++) {
    float angle = t * rope->frequencies[i];    /* rounded to float32, as published: off by 0.03 rad at 10^6 */
    angles[i] = cosf(angle);
    angles[rope->pairs + i] = sinf(angle);
  }
}

/* The pairs behind the first width - 2 * pairs values turn by the angles, times `direction` (1 or -1). */
static void rotate_tail (const cpu_backend *cpu, const float *angles, size_t pairs, float direction, float *x,
                         size_t width) {
  float *tail = x + width - 2 * pairs;
  for (size_t i = 0; i < pairs; i++) {
    float cosine = angles[i], sine = direction * angles[pairs + i];
    float a = tail[2 * i], b = tail[2 * i + 1];
    tail[2 * i] = a * cosine - b * sine;
    tail[2 * i + 1] = a * sine + b * cosine;
  }
  cpu_round_bf16(cpu, tail, 2 * pairs);        /* what lies before it is rounded already */
}

void cpu_rotate (const cpu_backend *cpu, const float *angles, size_t pairs, float *x, size_t width) {
  rotate_tail(cpu, angles, pairs, 1.0f, x, width);
}

/* {== The stages ================================================================================= */

typedef struct rope_task {
  const cpu_backend *cpu;
  const rope_table *rope; const int32_t *positions;     /* of rope_angles */
  const tensor *angles, *x; size_t head; float direction;
} rope_task;

static void angles_of_row (void *context, size_t row, size_t worker) {
  const rope_task *task = context;
  (void)worker;
  cpu_rope_angles(task->rope, (size_t)task->positions[row], task->angles->data + row * task->angles->columns);
}

static ms_status rope_angles (backend *be, const rope_table *rope, const int32_t *positions, tensor *angles,
                              ms_error *err) {
  (void)err;
  rope_task task = { .rope = rope, .positions = positions, .angles = angles };
  cpu_pool_run(cpu_of(be)->pool, angles->rows, angles_of_row, &task);
  return MS_OK;
}

static void rotate_row (void *context, size_t row, size_t worker) {
  const rope_task *task = context;
  (void)worker;
  const tensor *x = task->x;
  const float *angles = task->angles->data + row * task->angles->columns;
  for (size_t at = 0; at < x->columns; at += task->head)
    rotate_tail(task->cpu, angles, task->angles->columns / 2, task->direction,
                x->data + row * x->columns + at, task->head);
}

static ms_status rotate (backend *be, const tensor *angles, size_t head, float direction, const tensor *x) {
  rope_task task = { .cpu = cpu_of(be), .angles = angles, .x = x, .head = head, .direction = direction };
  cpu_pool_run(cpu_of(be)->pool, x->rows, rotate_row, &task);
  return MS_OK;
}

static ms_status rope (backend *be, const tensor *angles, size_t head, tensor *x, ms_error *err) {
  (void)err;
  return rotate(be, angles, head, 1.0f, x);
}

static ms_status rope_inverse (backend *be, const tensor *angles, size_t head, tensor *x, ms_error *err) {
  (void)err;
  return rotate(be, angles, head, -1.0f, x);
}

void cpu_install_rope (backend *be) {
  be->rope_angles = rope_angles;
  be->rope = rope;
  be->rope_inverse = rope_inverse;
}
