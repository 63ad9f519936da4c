/*
** The CPU backend's object: its threads, its work space, the dense product that most stages need, and the
** roundings of `reference` (specs/architecture.md 2.0). The stages are in the files beside it.
*/
#include "cpu.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "../../base/checked.h"
#include "../../base/memory.h"
#include "../../base/number.h"
#include "blocks.h"

enum {
  BLAS_ROWS = 32,         /* fewer rows, or fewer outputs, are faster in our own kernels */
  BLAS_OUTPUTS = 64,      /* outputs a call of OpenBLAS computes: fixed, so that its bits are, too */
  TASK_OUTPUTS = 64,      /* most outputs a task of our own kernels computes */
  REGISTER_OUTPUTS = 8,   /* whole register blocks of every level with one row */
  SMALL_PRODUCT = 1 << 15 /* multiplications not worth waking a thread */
};

/* {== Work space ================================================================================= */

void *cpu_scratch (cpu_backend *cpu, int slot, size_t bytes, ms_error *err) {
  if (bytes > cpu->scratch_size[slot] || cpu->scratch[slot] == NULL) {
    /* Freed before the new block is made, for nothing is kept; forgotten before it is freed, so that a child
       forked in between frees nothing twice. */
    void *old = cpu->scratch[slot];
    cpu->scratch[slot] = NULL;
    cpu->scratch_size[slot] = 0;
    atomic_signal_fence(memory_order_seq_cst);
    memory_free(old);
    cpu->scratch[slot] = memory_new(bytes == 0 ? 1 : bytes, 1);
    if (cpu->scratch[slot] == NULL) {
      fail_memory(err, bytes, "work space of the CPU backend");
      return NULL;
    }
    cpu->scratch_size[slot] = bytes;
  }
  return cpu->scratch[slot];
}

static size_t cpu_scratch_bytes (const backend *be) {
  const cpu_backend *cpu = (const cpu_backend *)(const void *)be;
  size_t bytes = 0;
  for (size_t i = 0; i < sizeof cpu->scratch_size / sizeof cpu->scratch_size[0]; i++)
    bytes += cpu->scratch_size[i];
  return bytes;
}

/* {== Weights ==================================================================================== */

ms_status cpu_check_weight (const weight *w, ms_error *err) {
  const int fp8 = w->encoding == WEIGHT_FP8, fp4 = w->encoding == WEIGHT_FP4;
  if (fp8 && (w->scales == NULL || w->scale_columns != 128 || w->scale_rows == 0))
    return fail(err, MS_EUNSUPPORTED, "%s: FP8 tiles of %zu columns; 128 are supported", w->name,
                w->scale_columns);
  if (fp4 && (w->scales == NULL || w->scale_columns != CPU_BLOCK || w->scale_rows != 1))
    return fail(err, MS_EUNSUPPORTED, "%s: FP4 tiles of %zu x %zu; 1 x 32 are supported", w->name,
                w->scale_rows, w->scale_columns);
  if (fp4 && w->columns % CPU_BLOCK != 0)
    return fail(err, MS_EUNSUPPORTED, "%s: %zu columns of FP4; a multiple of 32 is needed", w->name,
                w->columns);
  const tensor_type_info *type = cpu_block_type(w->encoding);
  if (type != NULL && w->columns % type->block_values != 0)
    return fail(err, MS_EUNSUPPORTED, "%s: %zu columns of %s; a multiple of %zu is needed", w->name, w->columns,
                type->name, type->block_values);
  return MS_OK;
}

static void decode_row (const cpu_kernels *kernels, const weight *w, size_t row, float *out) {
  const size_t columns = w->columns, first = row * columns;
  switch (w->encoding) {
    case WEIGHT_F32:
      memcpy(out, w->data + first * sizeof(float), columns * sizeof(float));
      break;
    case WEIGHT_BF16:
      kernels->decode_bf16(w->data + 2 * first, out, columns);
      break;
    case WEIGHT_F16:
      for (size_t i = 0; i < columns; i++) {
        uint16_t code;
        memcpy(&code, w->data + 2 * (first + i), sizeof code);
        out[i] = f16_decode(code);
      }
      break;
    case WEIGHT_FP8: {
      const uint8_t *scales = w->scales + row / w->scale_rows * blocks_of(columns, w->scale_columns);
      for (size_t i = 0; i < columns; i += w->scale_columns) {
        const size_t count = columns - i < w->scale_columns ? columns - i : w->scale_columns;
        kernels->decode_e4m3(w->data + first + i, e8m0_decode(scales[i / w->scale_columns]), out + i, count);
      }
      break;
    }
    case WEIGHT_FP4: {
      const uint8_t *scales = w->scales + row * (columns / w->scale_columns);
      for (size_t i = 0; i < columns; i++) {
        const uint8_t code = (uint8_t)(w->data[(first + i) / 2] >> 4 * (i % 2));
        out[i] = e2m1_decode(code) * e8m0_decode(scales[i / w->scale_columns]);
      }
      break;
    }
    default: kernels->decode_blocks(w, row, out);
  }
}

void cpu_weight_row (const weight *w, size_t row, float *out) {
  decode_row(&cpu_kernels_scalar, w, row, out);
}

/* {== The dense product ========================================================================== */

/* One or several products of equal shape, cut into tasks of `block` outputs. */
typedef struct product_job {
  const cpu_backend *cpu;
  const weight *w;
  size_t from, count;              /* outputs of the first group; the next group's follow */
  size_t block, blocks;            /* outputs a task, tasks a group */
  const float *x;
  size_t x_stride, rows;
  float *out;
  size_t out_stride;
  float *panels;                   /* OpenBLAS: [threads, block, columns] */
  cpu_int8_rows codes;             /* of x, where the weight takes them */
} product_job;

/* Task i: its outputs among those of its group. */
typedef struct product_task { size_t group, first, count; } product_task;

static product_task task_of (const product_job *job, size_t i) {
  product_task task = { .group = i / job->blocks, .first = i % job->blocks * job->block };
  task.count = job->count - task.first < job->block ? job->count - task.first : job->block;
  return task;
}

static void own_task (void *context, size_t i, size_t worker) {
  const product_job *job = context;
  const product_task task = task_of(job, i);
  const size_t output = task.group * job->count + task.first;
  (void)worker;
  job->cpu->kernels->product[job->w->encoding](job->w, job->from + output, task.count,
                                               job->x + task.group * job->w->columns, job->x_stride,
                                               job->rows, job->out + output, job->out_stride);
}

static void int8_task (void *context, size_t i, size_t worker) {
  const product_job *job = context;
  const product_task task = task_of(job, i);
  const size_t output = task.group * job->count + task.first, from = task.group * job->w->columns;
  const cpu_int8_rows x = { job->codes.codes + from, job->codes.scales + from / CPU_BLOCK,
                            job->codes.sums + from / CPU_HALF_BLOCK, job->codes.columns };
  (void)worker;
  job->cpu->kernels->product_int8[job->w->encoding](job->w, job->from + output, task.count, &x, job->rows,
                                                    job->out + output, job->out_stride);
}

static void blas_task (void *context, size_t i, size_t worker) {
  const product_job *job = context;
  const product_task task = task_of(job, i);
  const size_t output = task.group * job->count + task.first, columns = job->w->columns;
  float *panel = job->panels + worker * job->block * columns;
  for (size_t j = 0; j < task.count; j++)
    decode_row(job->cpu->kernels, job->w, job->from + output + j, panel + j * columns);
  cpu_blas_product(job->cpu->blas, job->rows, task.count, columns, job->x + task.group * columns,
                   job->x_stride, panel, job->out + output, job->out_stride);
}

/*
** How many outputs a task takes, for `outputs` of them on this many threads: several tasks a thread, each
** long enough to be worth handing out, of `together` outputs that a kernel computes at once. Own kernels give the same
** bits for every choice.
*/
static size_t outputs_a_task (const cpu_backend *cpu, size_t outputs, size_t together) {
  const size_t wanted = blocks_of(outputs, 4 * cpu_pool_threads(cpu->pool));
  const size_t block = blocks_of(wanted, together) * together;
  return block > TASK_OUTPUTS ? TASK_OUTPUTS : block;
}

/* {== Activations as int8 ======================================================================== */

typedef struct int8_job {
  const cpu_backend *cpu;
  const float *x;
  size_t x_stride, columns;
  int8_t *codes; float *scales; int16_t *sums;
} int8_job;

static void int8_row (void *context, size_t r, size_t worker) {
  const int8_job *job = context;
  const size_t first = r * blocks_of(job->columns, CPU_BLOCK);
  (void)worker;
  job->cpu->kernels->to_int8(job->x + r * job->x_stride, job->columns, job->codes + first * CPU_BLOCK,
                             job->scales + first, job->sums + 2 * first);
}

ms_status cpu_int8_of (cpu_backend *cpu, int slot, const float *x, size_t x_stride, size_t columns, size_t rows,
                       cpu_int8_rows *codes, ms_error *err) {
  const size_t blocks = rows * blocks_of(columns, CPU_BLOCK);
  float *scales = cpu_scratch(cpu, slot, blocks * CPU_INT8_BLOCK_BYTES, err);
  if (scales == NULL) return MS_ENOMEM;
  int8_job job = { .cpu = cpu, .x = x, .x_stride = x_stride, .columns = columns, .scales = scales,
                   .sums = (int16_t *)(void *)(scales + blocks) };
  job.codes = (int8_t *)(job.sums + 2 * blocks);
  cpu_pool_run(cpu->pool, rows, int8_row, &job);
  *codes = (cpu_int8_rows){ job.codes, job.scales, job.sums, columns };
  return MS_OK;
}

/* {== Running a product =========================================================================== */

/* Cuts the job and runs it; panels, when OpenBLAS takes it, and codes come from the product's work space. */
static ms_status run_product (cpu_backend *cpu, product_job *job, size_t groups, ms_error *err) {
  const int codes = cpu_takes_codes(cpu, job->w);
  cpu_task *task = codes ? int8_task : own_task;
  TRY(cpu_check_weight(job->w, err));
  if (job->rows == 0 || job->count == 0) return MS_OK;
  job->cpu = cpu;
  if (codes) TRY(cpu_int8_of(cpu, 3, job->x, job->x_stride, groups * job->w->columns, job->rows, &job->codes, err));
  if (cpu->blas != NULL && job->rows >= BLAS_ROWS && job->count >= BLAS_OUTPUTS) {
    size_t bytes;
    if (!checked_mul(BLAS_OUTPUTS * sizeof(float) * cpu_pool_threads(cpu->pool), job->w->columns, &bytes))
      return fail_memory(err, SIZE_MAX, job->w->name);
    job->panels = cpu_scratch(cpu, 2, bytes, err);
    if (job->panels == NULL) return MS_ENOMEM;
    job->block = BLAS_OUTPUTS;
    task = blas_task;
  } else if (job->count * job->w->columns < SMALL_PRODUCT / job->rows / groups) {
    job->block = job->count;
  } else {
    job->block = outputs_a_task(cpu, groups * job->count, codes && job->rows > 1 ? CPU_TILE_OUTPUTS : REGISTER_OUTPUTS);
  }
  job->blocks = blocks_of(job->count, job->block);
  cpu_pool_run(cpu->pool, groups * job->blocks, task, job);
  return MS_OK;
}

ms_status cpu_product_rows (cpu_backend *cpu, const weight *w, size_t from, size_t count, const float *x,
                            size_t x_stride, size_t rows, float *out, size_t out_stride, ms_error *err) {
  product_job job = { .w = w, .from = from, .count = count, .x = x, .x_stride = x_stride, .rows = rows,
                      .out = out, .out_stride = out_stride };
  return run_product(cpu, &job, 1, err);
}

ms_status cpu_product (cpu_backend *cpu, const weight *w, const float *x, size_t x_stride, size_t rows,
                       float *out, size_t out_stride, ms_error *err) {
  return cpu_product_rows(cpu, w, 0, w->rows, x, x_stride, rows, out, out_stride, err);
}

ms_status cpu_product_grouped (cpu_backend *cpu, const weight *w, size_t groups, const float *x,
                               size_t x_stride, size_t rows, float *out, size_t out_stride, ms_error *err) {
  product_job job = { .w = w, .count = w->rows / groups, .x = x, .x_stride = x_stride, .rows = rows,
                      .out = out, .out_stride = out_stride };
  return run_product(cpu, &job, groups, err);
}

/* {== Roundings of `reference` =================================================================== */

void cpu_round_bf16 (const cpu_backend *cpu, float *x, size_t count) {
  if (cpu->base.numerics != MS_REFERENCE) return;
  for (size_t i = 0; i < count; i++) x[i] = bf16_round(x[i]);
}

/* |value| <= 448 to what E4M3 holds: adding 1.5 * 2^(exponent + 20) leaves three bits behind the leading one. */
static float e4m3_nearest (float value) {
  uint32_t exponent = bits_of_float(value) >> 23 & 255;
  if (exponent < 121) exponent = 121;                 /* 2^-6, the smallest normal number */
  const float shift = float_of_bits((exponent + 20) << 23 | 0x400000);
  return value + shift - shift;
}

void cpu_round_fp8 (const cpu_backend *cpu, float *x, size_t columns) {
  if (cpu->base.numerics != MS_REFERENCE) return;
  for (size_t from = 0; from < columns; from += 128) {
    const size_t end = columns - from < 128 ? columns : from + 128;
    float largest = 1e-4f;
    for (size_t i = from; i < end; i++) {
      const float magnitude = fabsf(x[i]);
      if (magnitude > largest) largest = magnitude;
    }
    const float scale = e8m0_decode(power_scale(largest, 448.0f));
    for (size_t i = from; i < end; i++) {
      float value = x[i] / scale;
      value = value > 448.0f ? 448.0f : value < -448.0f ? -448.0f : value;   /* a NaN stays */
      x[i] = e4m3_nearest(value) * scale;
    }
  }
}

/* {== The object ================================================================================= */

static void cpu_close (backend *be) {
  if (be == NULL) return;
  cpu_backend *cpu = cpu_of(be);
  cpu_pool_close(cpu->pool);
  for (size_t i = 0; i < sizeof cpu->scratch / sizeof cpu->scratch[0]; i++) memory_free(cpu->scratch[i]);
  memory_free(cpu);
}

static ms_status cpu_start (backend *be, ms_error *err) {
  cpu_backend *cpu = cpu_of(be);
  if (be->numerics == MS_EXACT) cpu->blas = cpu_blas_open();
  return cpu_pool_start(cpu->pool, err);
}

static ms_status cpu_set_threads (backend *be, size_t threads, ms_error *err) {
  return cpu_pool_resize(cpu_of(be)->pool, threads, err);
}

static size_t cpu_threads (const backend *be) {
  return cpu_pool_threads(((const cpu_backend *)(const void *)be)->pool);
}

static void cpu_use_threads (backend *be, size_t threads) {
  cpu_pool_use(cpu_of(be)->pool, threads);
}

static void *cpu_allocate (backend *be, size_t bytes) {
  (void)be;
  return memory_new(bytes, 1);
}

static void cpu_release (backend *be, void *buffer) {
  (void)be;
  memory_free(buffer);
}

static ms_status cpu_copy (backend *be, void *to, const void *from, size_t bytes, ms_error *err) {
  (void)be;
  (void)err;
  memcpy(to, from, bytes);
  return MS_OK;
}

static void (*const installers[]) (backend *be) = {
  cpu_install_dense, cpu_install_hyper_connection, cpu_install_rope, cpu_install_rows,
  cpu_install_compressor, cpu_install_indexer, cpu_install_attention, cpu_install_experts,
};

ms_status cpu_backend_open (const backend_options *options, backend **out, ms_error *err) {
  const cpu_kernels *kernels = cpu_kernels_find(options->kernels);
  char levels[MS_CPU_FEATURES_BYTES];
  if (kernels == NULL)
    return fail(err, MS_ENODEV, "kernels '%s' cannot run on this machine; it has: auto %s",
                options->kernels, ms_cpu_features(levels));
  cpu_backend *cpu = memory_new(1, sizeof *cpu);
  if (cpu == NULL) return fail_memory(err, sizeof *cpu, "CPU backend");
  cpu->kernels = kernels;
  cpu->base = (backend){
    .name = "cpu", .kernels = kernels->name, .numerics = options->numerics,
    .close = cpu_close, .start = cpu_start, .set_threads = cpu_set_threads, .threads = cpu_threads,
    .use_threads = cpu_use_threads,
    .scratch_bytes = cpu_scratch_bytes, .allocate = cpu_allocate, .release = cpu_release,
    .upload = cpu_copy, .download = cpu_copy, .copy = cpu_copy,
  };
  for (size_t i = 0; i < sizeof installers / sizeof installers[0]; i++) installers[i](&cpu->base);
  ms_status status = cpu_pool_open(options->threads, &cpu->pool, err);
  if (status != MS_OK) {
    cpu_close(&cpu->base);
    return status;
  }
  *out = &cpu->base;
  return MS_OK;
}
