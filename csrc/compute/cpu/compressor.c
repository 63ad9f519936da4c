/*
** The compressor (specs/architecture.md 2.5): a raw row a token, and a pooled row where a block of `ratio`
** tokens ends. Raw rows are float32 in every numerics: [kv, lanes * width][gate, lanes * width], the gate
** with its position's ape. A pooled row is made from raw rows alone, those of the step and those that the session
** stored, so it matters nowhere how its tokens were cut into segments.
*/
#include "compressor.h"

#include <math.h>
#include <string.h>

#include "rope.h"
#include "rows.h"

typedef struct compress_task {
  const cpu_backend *cpu;
  const compressor *c;
  pooled_kind kind;
  const segment_list *segments;
  size_t lane, raw;                    /* floats of all lanes of kv, and of a raw row */
  float *raw_rows;                     /* [rows, raw] of the step */
  const float *gain;                   /* the norm's, decoded */
  float *workers; size_t room;
} compress_task;

static const row_view *stored_rows (const compress_task *task, const segment *s) {
  return task->kind == POOLED_KV ? &s->raw : &s->index_raw;
}

static size_t stored_from (const compress_task *task, const segment *s) {
  return task->kind == POOLED_KV ? s->raw_from : s->index_raw_from;
}

static const row_view *pooled_rows (const compress_task *task, const segment *s) {
  return task->kind == POOLED_KV ? &s->pooled : &s->index_rows;
}

/* {== Raw rows =================================================================================== */

/* From products to a raw row. */
static void finish_raw_row (void *context, size_t i, size_t worker) {
  const compress_task *task = context;
  token_run token = cpu_run_at(task->segments, 1, i);
  float *row = task->raw_rows + token.row * task->raw, *ape = task->workers + worker * task->room;
  cpu_weight_row(&task->c->ape, token.position % task->c->ratio, ape);
  for (size_t c = 0; c < task->lane; c++) row[task->lane + c] += ape[c];
  if (token.position >= stored_from(task, token.in))
    memcpy(cpu_float_row(stored_rows(task, token.in), token.position), row, task->raw * sizeof *row);
}

/* {== Pooled rows ================================================================================ */

/* The raw rows that row `j` pools: `count` from token `first` on; the first `ratio` by their lane a. */
typedef struct pool_range { size_t first, count; } pool_range;

static pool_range tokens_of_row (const compressor *c, size_t j) {
  if (c->lanes == 1 || j == 0) return (pool_range){ j * c->ratio, c->ratio };   /* nothing before row 0 */
  return (pool_range){ (j - 1) * c->ratio, 2 * c->ratio };
}

/* kv of the lane by which token `t` enters row `j`; its gate lies `lane` floats behind. */
static const float *candidate (const compress_task *task, const segment *s, size_t j, size_t t) {
  const compressor *c = task->c;
  size_t lane = c->lanes == 1 || t / c->ratio < j ? 0 : 1;
  const float *row = t < s->position ? cpu_float_row(stored_rows(task, s), t)
                                     : task->raw_rows + (s->first + t - s->position) * task->raw;
  return row + lane * c->width;
}

/* out [width] = per channel, kv weighted by the softmax of the gates; tokens in ascending order. */
static void pool_channels (const compress_task *task, const segment *s, size_t j, float *out, float *space) {
  size_t width = task->c->width;
  float *largest = space, *e = space + width, *sum = space + 2 * width;
  pool_range range = tokens_of_row(task->c, j);
  memcpy(largest, candidate(task, s, j, range.first) + task->lane, width * sizeof *largest);
  for (size_t t = range.first + 1; t < range.first + range.count; t++) {
    const float *gate = candidate(task, s, j, t) + task->lane;
    for (size_t c = 0; c < width; c++) largest[c] = gate[c] > largest[c] ? gate[c] : largest[c];
  }
  memset(out, 0, width * sizeof *out);
  memset(sum, 0, width * sizeof *sum);
  for (size_t t = range.first; t < range.first + range.count; t++) {
    const float *kv = candidate(task, s, j, t), *gate = kv + task->lane;
    for (size_t c = 0; c < width; c++) e[c] = gate[c] - largest[c];
    task->cpu->kernels->exp(e, width);
    for (size_t c = 0; c < width; c++) {
      sum[c] += e[c];
      out[c] += e[c] * kv[c];
    }
  }
  for (size_t c = 0; c < width; c++) out[c] /= sum[c];
  cpu_round_bf16(task->cpu, out, width);
}

static void norm_row (const compress_task *task, float *x) {
  size_t width = task->c->width;
  float mean = task->cpu->kernels->sum_squares(x, width) / (float)width;
  float r = 1.0f / sqrtf(mean + task->c->norm_eps);
  for (size_t c = 0; c < width; c++) x[c] = task->gain[c] * (x[c] * r);
  cpu_round_bf16(task->cpu, x, width);
}

/* Rows of a segment that its tokens complete: [first, end). */
static size_t first_pooled (const compressor *c, const segment *s) {
  return s->position / c->ratio;
}

static size_t end_pooled (const compressor *c, const segment *s) {
  return (s->position + s->count) / c->ratio;
}

static void store_pooled_row (void *context, size_t i, size_t worker) {
  const compress_task *task = context;
  const compressor *c = task->c;
  const segment *s = task->segments->items;
  for (; i >= end_pooled(c, s) - first_pooled(c, s); s++) i -= end_pooled(c, s) - first_pooled(c, s);
  size_t j = first_pooled(c, s) + i;
  float *x = task->workers + worker * task->room, *angles = x + c->width;
  pool_channels(task, s, j, x, x + c->width);
  norm_row(task, x);
  cpu_rope_angles(&c->rope, j * c->ratio, angles);
  cpu_rotate(task->cpu, angles, c->rope.pairs, x, c->width);
  if (task->kind == POOLED_INDEX)
    cpu_index_store(task->cpu, pooled_rows(task, s), j, c->width, x);
  else
    cpu_kv_store(task->cpu, pooled_rows(task, s), j,
                 (kv_layout){ c->width - 2 * c->rope.pairs, 2 * c->rope.pairs }, x);
}

/* {== The stage ================================================================================== */

static ms_status check_rows (const compress_task *task, ms_error *err) {
  const backend *be = &task->cpu->base;
  const compressor *c = task->c;
  size_t bytes = task->kind == POOLED_KV ? be->kv_row_bytes(be, c->width, 2 * c->rope.pairs)
                                         : be->index_row_bytes(be, c->width);
  for (size_t s = 0; s < task->segments->count; s++) {
    const segment *item = &task->segments->items[s];
    TRY(cpu_check_row_bytes("raw", stored_rows(task, item)->row_bytes, task->raw * sizeof(float), err));
    TRY(cpu_check_row_bytes("pooled", pooled_rows(task, item)->row_bytes, bytes, err));
  }
  return MS_OK;
}

ms_status cpu_compress (cpu_backend *cpu, const compressor *c, pooled_kind kind, const segment_list *segments,
                        const tensor *u, ms_error *err) {
  size_t lane = c->lanes * c->width;
  compress_task task = { .cpu = cpu, .c = c, .kind = kind, .segments = segments, .lane = lane,
                         .raw = 2 * lane, .room = 4 * lane };
  TRY(check_rows(&task, err));
  task.raw_rows = cpu_scratch(cpu, 0, u->rows * task.raw * sizeof *task.raw_rows, err);
  if (task.raw_rows == NULL) return MS_ENOMEM;
  size_t floats = c->width + cpu_pool_threads(cpu->pool) * task.room;
  float *space = cpu_scratch(cpu, 1, floats * sizeof *space, err);
  if (space == NULL) return MS_ENOMEM;
  cpu_weight_row(&c->norm, 0, space);
  task.gain = space;
  task.workers = space + c->width;
  TRY(cpu_product(cpu, &c->wkv, u->data, u->columns, u->rows, task.raw_rows, task.raw, err));
  TRY(cpu_product(cpu, &c->wgate, u->data, u->columns, u->rows, task.raw_rows + lane, task.raw, err));
  cpu_pool_run(cpu->pool, cpu_run_count(segments, 1), finish_raw_row, &task);
  size_t pooled = 0;
  for (size_t s = 0; s < segments->count; s++)
    pooled += end_pooled(c, &segments->items[s]) - first_pooled(c, &segments->items[s]);
  cpu_pool_run(cpu->pool, pooled, store_pooled_row, &task);
  return MS_OK;
}

static ms_status compress (backend *be, const compressor *c, const segment_list *segments, const tensor *u,
                           ms_error *err) {
  return cpu_compress(cpu_of(be), c, POOLED_KV, segments, u, err);
}

void cpu_install_compressor (backend *be) {
  be->compress = compress;
}
