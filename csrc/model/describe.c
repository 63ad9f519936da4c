/* What a model is, told from its configuration and tensor table, and the scan for undefined numbers. */
#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../base/number.h"

/* {== Describing ================================================================================= */

_Static_assert((int)TENSOR_TYPE_COUNT <= MS_TYPE_LIMIT, "more types than ms_model_info has room for");

/* A tensor that holds all experts is many here and one in its file; its views follow one another. */
static bool is_further_view (const checkpoint *files, size_t i) {
  if (i == 0) return false;
  const stored_tensor *t = checkpoint_at(files, i), *before = checkpoint_at(files, i - 1);
  return strcmp(t->stored_as, before->stored_as) == 0 && strcmp(t->file, before->file) == 0;
}

static void count_type (ms_model_info *info, const stored_tensor *t, bool is_further) {
  const char *name = tensor_types[t->type].name;
  size_t i = 0;
  while (i < info->type_count && strcmp(info->types[i].name, name) != 0) i++;
  if (i == info->type_count) {
    snprintf(info->types[i].name, sizeof info->types[i].name, "%s", name);
    info->type_count++;
  }
  info->types[i].tensors += !is_further;
  info->types[i].bytes += t->bytes;
}

/* Values a weight tensor holds: scales are none, an I8 tensor holds FP4 codes in pairs. */
static uint64_t parameters_of (const stored_tensor *t) {
  if (t->type == TENSOR_F8_E8M0 || t->type == TENSOR_I64 || t->type == TENSOR_I32) return 0;
  uint64_t values = t->type == TENSOR_I8 ? 2 : 1;
  for (size_t i = 0; i < t->rank; i++) values *= t->shape[i];
  return values;
}

void model_describe (const model *m, ms_model_info *info) {
  const model_config *c = &m->config;
  memset(info, 0, sizeof *info);
  snprintf(info->architecture, sizeof info->architecture, "%s", c->architecture);
  info->layers = c->layers;
  info->width = c->width;
  info->heads = c->heads;
  info->vocabulary = c->vocabulary;
  info->context = c->context;
  info->experts = c->experts;
  info->experts_per_token = c->top_k;
  for (size_t i = 0; i < checkpoint_count(m->files); i++) {
    const stored_tensor *t = checkpoint_at(m->files, i);
    const bool is_further = is_further_view(m->files, i);
    count_type(info, t, is_further);
    info->tensors += !is_further;
    info->ignored_tensors += !is_further && !m->used[i];
    if (!m->used[i]) continue;
    info->parameters += parameters_of(t);
    info->bytes += t->bytes;
  }
}

/* {== Checking every number ====================================================================== */

typedef int is_undefined (const uint8_t *data, size_t i);

static int f32_undefined (const uint8_t *data, size_t i) {
  float value;
  memcpy(&value, data + 4 * i, sizeof value);
  return !isfinite(value);
}

static uint16_t half_at (const uint8_t *data, size_t i) {
  return (uint16_t)(data[2 * i] | data[2 * i + 1] << 8);
}

static int bf16_undefined (const uint8_t *data, size_t i) {
  return (half_at(data, i) & 0x7F80) == 0x7F80;
}

static int f16_undefined (const uint8_t *data, size_t i) {
  return (half_at(data, i) & 0x7C00) == 0x7C00;
}

static int e4m3_undefined (const uint8_t *data, size_t i) {
  return (data[i] & 0x7F) == 0x7F;
}

static int e8m0_undefined (const uint8_t *data, size_t i) {
  return data[i] == 255;
}

/* Every code of the types that are nowhere here is a number. */
static is_undefined *const undefined_of[TENSOR_TYPE_COUNT] = {
  [TENSOR_F32] = f32_undefined, [TENSOR_BF16] = bf16_undefined, [TENSOR_F16] = f16_undefined,
  [TENSOR_F8_E4M3] = e4m3_undefined, [TENSOR_F8_E8M0] = e8m0_undefined
};

/* GGML's blocks: `halves` half-precision scales, the first at byte `at` (compute/cpu/blocks.h). */
typedef struct block_scales { size_t halves, at; } block_scales;

static const block_scales scales_of[TENSOR_TYPE_COUNT] = {
  [TENSOR_Q4_0] = { 1, 0 }, [TENSOR_Q4_1] = { 2, 0 }, [TENSOR_Q5_0] = { 1, 0 }, [TENSOR_Q5_1] = { 2, 0 },
  [TENSOR_Q8_0] = { 1, 0 }, [TENSOR_Q2_K] = { 2, 80 }, [TENSOR_Q3_K] = { 1, 108 }, [TENSOR_Q4_K] = { 2, 0 },
  [TENSOR_Q5_K] = { 2, 0 }, [TENSOR_Q6_K] = { 1, 208 }, [TENSOR_IQ1_S] = { 1, 0 }, [TENSOR_IQ2_XXS] = { 1, 0 },
  [TENSOR_IQ2_XS] = { 1, 0 }, [TENSOR_IQ2_S] = { 1, 0 }, [TENSOR_IQ3_XXS] = { 1, 0 }, [TENSOR_IQ3_S] = { 1, 0 },
  [TENSOR_IQ4_NL] = { 1, 0 }, [TENSOR_IQ4_XS] = { 1, 0 }
};

enum { IQ1_M_SCALES = 48 };      /* its half lies in the high nibbles of four 16-bit words from here on */

static int block_undefined (tensor_type type, const uint8_t *block) {
  const block_scales *scales = &scales_of[type];
  for (size_t i = 0; i < scales->halves; i++)
    if (f16_undefined(block + scales->at, i)) return 1;
  if (type == TENSOR_MXFP4) return e8m0_undefined(block, 0);
  if (type != TENSOR_IQ1_M) return 0;
  /* Words 0 to 3 hold bits 0-3, 4-7, 8-11, 12-15: the exponent is all of word 3's low three and word 2's high two. */
  return (block[IQ1_M_SCALES + 7] >> 4 & 7) == 7 && block[IQ1_M_SCALES + 5] >> 6 == 3;
}

static int can_be_undefined (tensor_type type) {
  return undefined_of[type] != NULL || scales_of[type].halves != 0 || type == TENSOR_MXFP4 || type == TENSOR_IQ1_M;
}

static int is_undefined_at (const stored_tensor *t, size_t i) {
  const tensor_type_info *type = &tensor_types[t->type];
  if (undefined_of[t->type] != NULL) return undefined_of[t->type](t->data, i);
  return block_undefined(t->type, t->data + i * type->block_bytes);
}

static ms_status check_tensor (const stored_tensor *t, ms_error *err) {
  const tensor_type_info *type = &tensor_types[t->type];
  size_t blocks = can_be_undefined(t->type) ? t->bytes / type->block_bytes : 0;
  for (size_t i = 0; i < blocks; i++)
    if (is_undefined_at(t, i))
      return fail(err, MS_EFORMAT, "%s: tensor %s holds no number at value %zu of %zu (NaN or Inf)", t->file,
                  t->name, i * type->block_values, blocks * type->block_values);
  return MS_OK;
}

ms_status model_check_weights (const model *m, ms_progress *progress, void *user, ms_error *err) {
  uint64_t done = 0, total = 0;
  for (size_t i = 0; i < checkpoint_count(m->files); i++)
    if (m->used[i]) total += checkpoint_at(m->files, i)->bytes;
  for (size_t i = 0; i < checkpoint_count(m->files); i++) {
    const stored_tensor *t = checkpoint_at(m->files, i);
    if (!m->used[i]) continue;
    TRY(check_tensor(t, err));
    done += t->bytes;
    if (progress != NULL) progress(user, "check", done, total);
  }
  return MS_OK;
}
