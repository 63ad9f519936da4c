/*
** Stages that treat every row by itself: embedding, norms, linear maps and the head (specs/architecture.md
** 2.0, 2.1, 2.4, 2.8). Rows are shared out among the threads; the products are cpu_product.
*/
#include <math.h>
#include <string.h>

#include "../../base/checked.h"
#include "cpu.h"

/* What a row-wise task works on; each stage uses what it needs. */
typedef struct rows_job {
  const cpu_backend *cpu;
  const weight *w;
  const int32_t *tokens;
  const tensor *x;
  tensor *out;
  float *gain;                       /* of the norm, decoded */
  float eps;
  size_t streams, head;
} rows_job;

/* {== Embedding ================================================================================== */

static void embed_row (void *context, size_t r, size_t worker) {
  const rows_job *job = context;
  const size_t width = job->w->columns;
  float *row = job->out->data + r * job->streams * width;
  (void)worker;
  cpu_weight_row(job->w, (size_t)job->tokens[r], row);
  cpu_round_bf16(job->cpu, row, width);
  for (size_t s = 1; s < job->streams; s++) memcpy(row + s * width, row, width * sizeof(float));
}

static ms_status embed (backend *be, const weight *embedding, const int32_t *tokens, size_t streams,
                        tensor *out, ms_error *err) {
  TRY(cpu_check_weight(embedding, err));
  for (size_t r = 0; r < out->rows; r++)
    if (tokens[r] < 0 || (size_t)tokens[r] >= embedding->rows)
      return fail(err, MS_EINVAL, "token %d is not below %zu", (int)tokens[r], embedding->rows);
  rows_job job = { .cpu = cpu_of(be), .w = embedding, .tokens = tokens, .out = out, .streams = streams };
  cpu_pool_run(cpu_of(be)->pool, out->rows, embed_row, &job);
  return MS_OK;
}

/* {== Norms ====================================================================================== */

static void rms_norm_row (void *context, size_t r, size_t worker) {
  const rows_job *job = context;
  const size_t columns = job->x->columns;
  const float *x = job->x->data + r * columns;
  float *out = job->out->data + r * columns;
  (void)worker;
  const float mean = job->cpu->kernels->sum_squares(x, columns) / (float)columns;
  const float by = 1.0f / sqrtf(mean + job->eps);
  for (size_t i = 0; i < columns; i++) out[i] = job->gain[i] * (x[i] * by);
  cpu_round_bf16(job->cpu, out, columns);
}

static ms_status rms_norm (backend *be, const weight *gain, float eps, const tensor *x, tensor *out,
                           ms_error *err) {
  cpu_backend *cpu = cpu_of(be);
  rows_job job = { .cpu = cpu, .x = x, .out = out, .eps = eps };
  job.gain = cpu_scratch(cpu, 0, x->columns * sizeof(float), err);
  if (job.gain == NULL) return MS_ENOMEM;
  cpu_weight_row(gain, 0, job.gain);
  cpu_pool_run(cpu->pool, x->rows, rms_norm_row, &job);
  return MS_OK;
}

/* The published code computes this norm in bf16: square, mean, sum, root and product are each rounded. */
static void head_norm_reference (const cpu_backend *cpu, float eps, float *q, size_t head) {
  float sum = 0.0f, squares[CPU_LANES] = { 0 }, by, mean;
  for (size_t from = 0; from < head; from += CPU_LANES) {
    const size_t count = head - from < CPU_LANES ? head - from : CPU_LANES;
    for (size_t i = 0; i < count; i++) squares[i] = q[from + i] * q[from + i];
    cpu_round_bf16(cpu, squares, count);
    for (size_t i = 0; i < count; i++) sum += squares[i];
  }
  mean = sum / (float)head;
  cpu_round_bf16(cpu, &mean, 1);
  mean += eps;
  cpu_round_bf16(cpu, &mean, 1);
  by = 1.0f / sqrtf(mean);
  cpu_round_bf16(cpu, &by, 1);
  for (size_t i = 0; i < head; i++) q[i] *= by;
  cpu_round_bf16(cpu, q, head);
}

static void head_norm_row (void *context, size_t r, size_t worker) {
  const rows_job *job = context;
  const cpu_backend *cpu = job->cpu;
  float *row = job->out->data + r * job->out->columns;
  (void)worker;
  for (float *q = row; q < row + job->out->columns; q += job->head) {
    if (cpu->base.numerics == MS_REFERENCE) {
      head_norm_reference(cpu, job->eps, q, job->head);
    } else {
      const float mean = cpu->kernels->sum_squares(q, job->head) / (float)job->head;
      cpu->kernels->scale(q, 1.0f / sqrtf(mean + job->eps), job->head);
    }
  }
}

static ms_status head_norm (backend *be, size_t head, float eps, tensor *x, ms_error *err) {
  rows_job job = { .cpu = cpu_of(be), .out = x, .eps = eps, .head = head };
  (void)err;
  cpu_pool_run(cpu_of(be)->pool, x->rows, head_norm_row, &job);
  return MS_OK;
}

/* {== Linear maps ================================================================================ */

static void round_bf16_row (void *context, size_t r, size_t worker) {
  const rows_job *job = context;
  (void)worker;
  cpu_round_bf16(job->cpu, job->out->data + r * job->out->columns, job->out->columns);
}

/* In `reference` results are bf16. */
static void round_results (cpu_backend *cpu, tensor *out) {
  rows_job job = { .cpu = cpu, .out = out };
  if (cpu->base.numerics == MS_REFERENCE) cpu_pool_run(cpu->pool, out->rows, round_bf16_row, &job);
}

static void round_fp8_row (void *context, size_t r, size_t worker) {
  const rows_job *job = context;
  const size_t columns = job->x->columns;
  float *row = memcpy(job->out->data + r * columns, job->x->data + r * columns, columns * sizeof(float));
  (void)worker;
  cpu_round_fp8(job->cpu, row, columns);
}

ms_status cpu_round_rows (cpu_backend *cpu, int slot, const tensor *x, tensor *rounded, ms_error *err) {
  *rounded = *x;
  if (cpu->base.numerics != MS_REFERENCE) return MS_OK;
  rounded->data = cpu_scratch(cpu, slot, x->rows * x->columns * sizeof(float), err);
  if (rounded->data == NULL) return MS_ENOMEM;
  rows_job job = { .cpu = cpu, .x = x, .out = rounded };
  cpu_pool_run(cpu->pool, x->rows, round_fp8_row, &job);
  return MS_OK;
}

ms_status cpu_linear (cpu_backend *cpu, const weight *w, const tensor *x, tensor *out, ms_error *err) {
  tensor rounded;
  TRY(cpu_round_rows(cpu, 0, x, &rounded, err));
  TRY(cpu_product(cpu, w, rounded.data, rounded.columns, rounded.rows, out->data, out->columns, err));
  round_results(cpu, out);
  return MS_OK;
}

static ms_status linear (backend *be, const weight *w, const tensor *x, tensor *out, ms_error *err) {
  return cpu_linear(cpu_of(be), w, x, out, err);
}

static ms_status grouped_linear (backend *be, const weight *w, size_t groups, const tensor *x, tensor *out,
                                 ms_error *err) {
  cpu_backend *cpu = cpu_of(be);
  TRY(cpu_product_grouped(cpu, w, groups, x->data, x->columns, x->rows, out->data, out->columns, err));
  round_results(cpu, out);
  return MS_OK;
}

static ms_status head (backend *be, const weight *w, const tensor *x, tensor *logits, ms_error *err) {
  return cpu_product(cpu_of(be), w, x->data, x->columns, x->rows, logits->data, logits->columns, err);
}

void cpu_install_dense (backend *be) {
  be->embed = embed;
  be->rms_norm = rms_norm;
  be->head_norm = head_norm;
  be->linear = linear;
  be->grouped_linear = grouped_linear;
  be->head = head;
}
