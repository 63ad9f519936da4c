/*
** Manifold-constrained hyper-connections (specs/architecture.md 2.3): the mix of a row's streams into a
** sublayer's input, the return of its result to the streams, and the merge before the head. All float32;
** only what leaves a stage is rounded in `reference`. Any number of streams.
*/
#include <math.h>
#include <string.h>

#include "cpu.h"
#include "../../base/checked.h"

/* A mix: the operands, and the products of all rows. */
typedef struct hc_task {
  cpu_backend *cpu;
  const hyper_connection *hc;
  const tensor *streams;
  tensor *mixed, *post, *comb;
  const float *base, *scale;           /* of hc, decoded */
  float *products; size_t outputs;     /* [rows, outputs] */
} hc_task;

/* {== Of one row ================================================================================= */

/* 1 / sqrt(mean(v^2) + eps), by which the products are scaled instead of v. */
static float reciprocal_rms (const hc_task *task, const float *v, size_t count) {
  float mean = task->cpu->kernels->sum_squares(v, count) / (float)count;
  return 1.0f / sqrtf(mean + task->hc->norm_eps);
}

/* x = sigmoid(x) */
static void sigmoid (const cpu_backend *cpu, float *x, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = -x[i];
  cpu->kernels->exp(x, count);
  for (size_t i = 0; i < count; i++) x[i] = 1.0f / (1.0f + x[i]);
}

/* c [n, n]: every row divided by its sum + eps, from here on alike. */
static void normalise_rows (float *c, size_t n, float eps) {
  for (size_t j = 0; j < n; j++) {
    float sum = 0;
    for (size_t k = 0; k < n; k++) sum += c[j * n + k];
    for (size_t k = 0; k < n; k++) c[j * n + k] /= sum + eps;
  }
}

static void normalise_columns (float *c, size_t n, float eps) {
  for (size_t k = 0; k < n; k++) {
    float sum = 0;
    for (size_t j = 0; j < n; j++) sum += c[j * n + k];
    for (size_t j = 0; j < n; j++) c[j * n + k] /= sum + eps;
  }
}

/* A softmax of the rows, eps on every element, then columns, and (rounds - 1) times rows and columns. */
static void sinkhorn (const hc_task *task, float *c) {
  size_t n = task->hc->streams;
  float eps = task->hc->eps;
  for (size_t j = 0; j < n; j++) {
    float largest = c[j * n];
    for (size_t k = 1; k < n; k++) largest = c[j * n + k] > largest ? c[j * n + k] : largest;
    for (size_t k = 0; k < n; k++) c[j * n + k] -= largest;
  }
  task->cpu->kernels->exp(c, n * n);
  normalise_rows(c, n, 0);
  for (size_t i = 0; i < n * n; i++) c[i] += eps;
  normalise_columns(c, n, eps);
  for (size_t round = 1; round < task->hc->rounds; round++) {
    normalise_rows(c, n, eps);
    normalise_columns(c, n, eps);
  }
}

/* mixed = sum over the streams j, ascending, of pre[j] x stream j. */
static void mix_streams (const hc_task *task, const float *pre, size_t row) {
  size_t width = task->mixed->columns;
  const float *streams = task->streams->data + row * task->streams->columns;
  float *mixed = task->mixed->data + row * width;
  memset(mixed, 0, width * sizeof *mixed);
  task->cpu->kernels->add_rows(mixed, streams, width, pre, 1, task->hc->streams, width);
  cpu_round_bf16(task->cpu, mixed, width);
}

/* m = products * r * scale[part] + base, for `count` outputs from `from` on. */
static void affine (const hc_task *task, float *m, size_t from, size_t count, size_t part, float r) {
  for (size_t i = from; i < from + count; i++) m[i] = m[i] * r * task->scale[part] + task->base[i];
}

static void pre_row (void *context, size_t row, size_t worker) {
  const hc_task *task = context;
  (void)worker;
  size_t n = task->hc->streams;
  float *m = task->products + row * task->outputs;
  float r = reciprocal_rms(task, task->streams->data + row * task->streams->columns, task->streams->columns);
  affine(task, m, 0, n, 0, r);
  affine(task, m, n, n, 1, r);
  affine(task, m, 2 * n, n * n, 2, r);
  sigmoid(task->cpu, m, 2 * n);
  sinkhorn(task, m + 2 * n);
  for (size_t j = 0; j < n; j++) m[j] += task->hc->eps;
  for (size_t j = 0; j < n; j++) task->post->data[row * n + j] = 2.0f * m[n + j];
  memcpy(task->comb->data + row * n * n, m + 2 * n, n * n * sizeof *m);
  mix_streams(task, m, row);
}

static void head_row (void *context, size_t row, size_t worker) {
  const hc_task *task = context;
  (void)worker;
  float *m = task->products + row * task->outputs;
  float r = reciprocal_rms(task, task->streams->data + row * task->streams->columns, task->streams->columns);
  affine(task, m, 0, task->outputs, 0, r);
  sigmoid(task->cpu, m, task->outputs);
  for (size_t j = 0; j < task->outputs; j++) m[j] += task->hc->eps;
  mix_streams(task, m, row);
}

/* {== The stages ================================================================================= */

/* Products of all rows with fn and the decoded base and scale, then `of_row` for every row. */
static ms_status run_mix (hc_task *task, cpu_task *of_row, ms_error *err) {
  const hyper_connection *hc = task->hc;
  const tensor *x = task->streams;
  task->outputs = hc->fn.rows;
  size_t constants = task->outputs + hc->scale.columns;
  float *space = cpu_scratch(task->cpu, 0, (constants + x->rows * task->outputs) * sizeof *space, err);
  if (space == NULL) return MS_ENOMEM;
  cpu_weight_row(&hc->base, 0, space);
  cpu_weight_row(&hc->scale, 0, space + task->outputs);
  task->base = space;
  task->scale = space + task->outputs;
  task->products = space + constants;
  TRY(cpu_product(task->cpu, &hc->fn, x->data, x->columns, x->rows, task->products, task->outputs, err));
  cpu_pool_run(task->cpu->pool, x->rows, of_row, task);
  return MS_OK;
}

static ms_status hc_pre (backend *be, const hyper_connection *hc, const tensor *streams, tensor *mixed,
                         tensor *post, tensor *comb, ms_error *err) {
  hc_task task = { .cpu = cpu_of(be), .hc = hc, .streams = streams, .mixed = mixed, .post = post,
                   .comb = comb };
  return run_mix(&task, pre_row, err);
}

static ms_status hc_head (backend *be, const hyper_connection *hc, const tensor *streams, tensor *mixed,
                          ms_error *err) {
  hc_task task = { .cpu = cpu_of(be), .hc = hc, .streams = streams, .mixed = mixed };
  return run_mix(&task, head_row, err);
}

/* Columns of hc_post that one task takes: its streams stay in the first cache. */
enum { POST_COLUMNS = 1024 };

typedef struct post_task {
  const cpu_backend *cpu;
  const tensor *result, *post, *comb, *streams;
  float *workers;                      /* [threads, streams, POST_COLUMNS] */
} post_task;

/* Stream k = post[k] x result + sum over j, ascending, of comb[j][k] x stream j, for a range of columns. */
static void post_columns (void *context, size_t i, size_t worker) {
  const post_task *task = context;
  size_t width = task->result->columns, n = task->post->columns, ranges = blocks_of(width, POST_COLUMNS);
  size_t row = i / ranges, from = i % ranges * POST_COLUMNS;
  size_t count = width - from < POST_COLUMNS ? width - from : POST_COLUMNS;
  const float *post = task->post->data + row * n, *comb = task->comb->data + row * n * n;
  const float *result = task->result->data + row * width + from;
  float *streams = task->streams->data + row * n * width + from;
  float *next = task->workers + worker * n * POST_COLUMNS;
  for (size_t k = 0; k < n; k++) {
    float *out = next + k * count;
    for (size_t c = 0; c < count; c++) out[c] = post[k] * result[c];
    task->cpu->kernels->add_rows(out, streams, width, comb + k, n, n, count);
    cpu_round_bf16(task->cpu, out, count);
  }
  for (size_t k = 0; k < n; k++) memcpy(streams + k * width, next + k * count, count * sizeof *next);
}

static ms_status hc_post (backend *be, const tensor *result, const tensor *post, const tensor *comb,
                          tensor *streams, ms_error *err) {
  cpu_backend *cpu = cpu_of(be);
  post_task task = { cpu, result, post, comb, streams, NULL };
  size_t floats = cpu_pool_threads(cpu->pool) * post->columns * POST_COLUMNS;
  task.workers = cpu_scratch(cpu, 0, floats * sizeof(float), err);
  if (task.workers == NULL) return MS_ENOMEM;
  cpu_pool_run(cpu->pool, streams->rows * blocks_of(result->columns, POST_COLUMNS), post_columns, &task);
  return MS_OK;
}

void cpu_install_hyper_connection (backend *be) {
  be->hc_pre = hc_pre;
  be->hc_post = hc_post;
  be->hc_head = hc_head;
}
