/*
** Encoding and decoding of stored rows (specs/architecture.md 2.0, fq8 and fq4), and store_window.
** Encoders work on bits, without branches, so that the compiler can vectorise them; base/number.h is
** the definition they are compared with. A value that is not finite makes its block NaN: never hidden.
*/
#include "rows.h"

#include <string.h>

#include "../../base/checked.h"
#include "../../base/number.h"

enum { NAN_SCALE = 255, NAN_BITS = 0x7F800000 };

/* {== Segments =================================================================================== */

size_t cpu_run_count (const segment_list *segments, size_t size) {
  size_t runs = 0;
  for (size_t s = 0; s < segments->count; s++) runs += blocks_of(segments->items[s].count, size);
  return runs;
}

token_run cpu_run_at (const segment_list *segments, size_t size, size_t i) {
  const segment *s = segments->items;
  for (; i >= blocks_of(s->count, size); s++) i -= blocks_of(s->count, size);
  size_t from = i * size, left = s->count - from;
  return (token_run){ s, s->first + from, s->position + from, left < size ? left : size };
}

ms_status cpu_check_row_bytes (const char *what, size_t have, size_t want, ms_error *err) {
  if (have == want && want != 0) return MS_OK;
  return fail(err, MS_EINVAL, "%s rows take %zu bytes, not %zu", what, want, have);
}

/* {== Block formats ============================================================================== */

/* The largest magnitude as bits: ordered like the values, infinities and NaN above all others. */
static uint32_t largest_bits (const float *x, size_t count) {
  uint32_t largest = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits = bits_of_float(x[i]) & 0x7FFFFFFF;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

/* The scale code of a block, at least that of `least`; NAN_SCALE when a value is not finite. */
static uint8_t block_scale (const float *x, size_t count, float least, float limit) {
  uint32_t largest = largest_bits(x, count);
  if (largest >= NAN_BITS) return NAN_SCALE;
  float magnitude = float_of_bits(largest);
  return power_scale(magnitude > least ? magnitude : least, limit);
}

/* 1 / 2^(code - 127); the codes of finite blocks are 1 to 253. */
static float inverse_scale (uint8_t code) {
  return float_of_bits((uint32_t)(254 - code) << 23);
}

uint8_t cpu_encode_fp8 (const float *x, uint8_t *codes) {
  const float denormal_step = 16384.0f;        /* its last mantissa bit is 2^-9, the step below 2^-6 */
  uint8_t scale = block_scale(x, FP8_BLOCK, 1e-4f, 448.0f);
  if (scale == NAN_SCALE) {
    memset(codes, 0, FP8_BLOCK);               /* 0 x NaN */
    return scale;
  }
  float inverse = inverse_scale(scale);
  for (size_t i = 0; i < FP8_BLOCK; i++) {
    uint32_t sign = bits_of_float(x[i]) >> 24 & 0x80;
    float magnitude = float_of_bits(bits_of_float(x[i]) & 0x7FFFFFFF) * inverse;
    magnitude = magnitude < 448.0f ? magnitude : 448.0f;
    uint32_t bits = bits_of_float(magnitude);
    uint32_t normal = ((bits + 0x7FFFF + (bits >> 20 & 1)) >> 20) - (120 << 3);
    uint32_t denormal = bits_of_float(magnitude + denormal_step) - bits_of_float(denormal_step);
    codes[i] = (uint8_t)(sign | (magnitude < 0.015625f ? denormal : normal));
  }
  return scale;
}

/* Ties go to the even code. */
uint8_t cpu_encode_fp4 (const float *x, uint8_t *codes) {
  uint8_t scale = block_scale(x, FP4_BLOCK, 6.0f * 0x1p-126f, 6.0f);
  if (scale == NAN_SCALE) {
    memset(codes, 0, FP4_BLOCK);
    return scale;
  }
  float inverse = inverse_scale(scale);
  for (size_t i = 0; i < FP4_BLOCK; i++) {
    float m = float_of_bits(bits_of_float(x[i]) & 0x7FFFFFFF) * inverse;
    int code = (m > 0.25f) + (m >= 0.75f) + (m > 1.25f) + (m >= 1.75f) + (m > 2.5f) + (m >= 3.5f)
             + (m > 5.0f);
    codes[i] = (uint8_t)((uint32_t)code | (bits_of_float(x[i]) >> 28 & 8));
  }
  return scale;
}

void cpu_hadamard (float *x, size_t width) {
  for (size_t h = 1; h < width; h *= 2)
    for (size_t i = 0; i < width; i += 2 * h)
      for (size_t j = i; j < i + h; j++) {
        float a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
  float factor = (float)(1.0 / __builtin_sqrt((double)width));
  for (size_t i = 0; i < width; i++) x[i] = bf16_round(x[i] * factor);
}

/* {== Key/value rows ============================================================================= */

static size_t scale_bytes (size_t nope) {
  return 8 * blocks_of(nope, 512);
}

static size_t kv_row_bytes (const backend *be, size_t head, size_t rotated) {
  if (rotated > head) return 0;
  if (be->numerics == MS_EXACT) return head * sizeof(float);
  size_t nope = head - rotated;
  return nope % FP8_BLOCK != 0 ? 0 : nope + scale_bytes(nope) + 2 * rotated;
}

void cpu_kv_store (const cpu_backend *cpu, const row_view *view, size_t row, kv_layout layout,
                   const float *x) {
  if (cpu->base.numerics == MS_EXACT) {
    memcpy(cpu_float_row(view, row), x, (layout.nope + layout.rotated) * sizeof *x);
    return;
  }
  uint8_t *codes = row_view_page(view, row) + row % view->rows_per_page * view->row_bytes;
  uint8_t *scales = codes + layout.nope, *tail = scales + scale_bytes(layout.nope);
  memset(scales, 0, scale_bytes(layout.nope));
  for (size_t b = 0; b < layout.nope / FP8_BLOCK; b++)
    scales[b] = cpu_encode_fp8(x + b * FP8_BLOCK, codes + b * FP8_BLOCK);
  for (size_t i = 0; i < layout.rotated; i++) {
    uint16_t code = bf16_encode(x[layout.nope + i]);
    memcpy(tail + 2 * i, &code, sizeof code);
  }
}

void cpu_kv_load (const cpu_backend *cpu, const row_view *view, size_t row, kv_layout layout, void *out) {
  if (cpu->base.numerics == MS_EXACT) {
    memcpy(out, cpu_float_row(view, row), (layout.nope + layout.rotated) * sizeof(float));
    return;
  }
  const uint8_t *codes = row_view_page(view, row) + row % view->rows_per_page * view->row_bytes;
  const uint8_t *scales = codes + layout.nope;
  cpu->kernels->e4m3_to_bf16(codes, scales, out, layout.nope / FP8_BLOCK);
  memcpy((uint16_t *)out + layout.nope, scales + scale_bytes(layout.nope), 2 * layout.rotated);
}

/* {== Indexer rows =============================================================================== */

static size_t index_row_bytes (const backend *be, size_t width) {
  if (be->numerics == MS_EXACT) return width * sizeof(float);
  if (width == 0 || width % FP4_BLOCK != 0 || (width & (width - 1)) != 0) return 0;
  return width / 2 + width / FP4_BLOCK;
}

/* Where a row's codes and scales begin in its group. */
typedef struct index_place { uint8_t *codes, *scales; } index_place;

enum { INDEX_STEP = 4, INDEX_STEP_BYTES = INDEX_GROUP * INDEX_STEP / 2 };

static index_place place_of (const row_view *view, size_t row, size_t width) {
  size_t in_page = row % view->rows_per_page, in_group = in_page % INDEX_GROUP;
  uint8_t *group = row_view_page(view, row) + (in_page - in_group) * view->row_bytes;
  return (index_place){ group + in_group * INDEX_STEP / 2, group + INDEX_GROUP * width / 2 + in_group };
}

void cpu_index_store (const cpu_backend *cpu, const row_view *view, size_t row, size_t width, float *x) {
  if (cpu->base.numerics == MS_EXACT) {
    memcpy(cpu_float_row(view, row), x, width * sizeof *x);
    return;
  }
  index_place place = place_of(view, row, width);
  cpu_hadamard(x, width);
  for (size_t b = 0; b < width / FP4_BLOCK; b++, place.scales += INDEX_GROUP) {
    uint8_t block[FP4_BLOCK];
    *place.scales = cpu_encode_fp4(x + b * FP4_BLOCK, block);
    for (size_t i = 0; i < FP4_BLOCK; i += INDEX_STEP, place.codes += INDEX_STEP_BYTES) {
      place.codes[0] = (uint8_t)(block[i] | block[i + 1] << 4);
      place.codes[1] = (uint8_t)(block[i + 2] | block[i + 3] << 4);
    }
  }
}

void cpu_index_load (const cpu_backend *cpu, const row_view *view, size_t row, size_t width, float *out) {
  if (cpu->base.numerics == MS_EXACT) {
    memcpy(out, cpu_float_row(view, row), width * sizeof *out);
    return;
  }
  index_place place = place_of(view, row, width);
  for (size_t i = 0; i < width; i++) {
    uint8_t both = place.codes[i / INDEX_STEP * INDEX_STEP_BYTES + i % INDEX_STEP / 2];
    out[i] = e2m1_decode((uint8_t)(both >> 4 * (i % 2))) * e8m0_decode(place.scales[i / FP4_BLOCK * INDEX_GROUP]);
  }
}

void cpu_index_query (float *x, size_t width, int8_t *codes, float *scales, int32_t *sums) {
  static const int8_t doubled[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };
  cpu_hadamard(x, width);
  for (size_t b = 0; b < width / FP4_BLOCK; b++) {
    uint8_t block[FP4_BLOCK];
    scales[b] = e8m0_decode(cpu_encode_fp4(x + b * FP4_BLOCK, block)) * 0.5f;
    sums[b] = 0;
    for (size_t i = 0; i < FP4_BLOCK; i++) {
      codes[b * FP4_BLOCK + i] = doubled[block[i]];
      sums[b] += doubled[block[i]];
    }
  }
}

/* {== The stage ================================================================================== */

typedef struct window_task { const cpu_backend *cpu; const segment_list *segments; const tensor *kv;
                             kv_layout layout; } window_task;

static void store_window_row (void *context, size_t i, size_t worker) {
  const window_task *task = context;
  (void)worker;
  token_run token = cpu_run_at(task->segments, 1, i);
  cpu_kv_store(task->cpu, &token.in->window, token.position, task->layout,
               task->kv->data + token.row * task->kv->columns);
}

static ms_status store_window (backend *be, const segment_list *segments, size_t rotated, const tensor *kv,
                               ms_error *err) {
  for (size_t s = 0; s < segments->count; s++)
    TRY(cpu_check_row_bytes("window", segments->items[s].window.row_bytes,
                            kv_row_bytes(be, kv->columns, rotated), err));
  window_task task = { cpu_of(be), segments, kv, { kv->columns - rotated, rotated } };
  cpu_pool_run(cpu_of(be)->pool, cpu_run_count(segments, 1), store_window_row, &task);
  return MS_OK;
}

void cpu_install_rows (backend *be) {
  be->kv_row_bytes = kv_row_bytes;
  be->index_row_bytes = index_row_bytes;
  be->store_window = store_window;
}
