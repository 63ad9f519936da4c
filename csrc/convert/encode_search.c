/*
** Forms whose scales are searched for: IQ4_NL and Q4_K, 4.5 bits a value (specs/formats.md 5). The squared error is
** what is made small, every value weighing the same: docs/convert.md has what comes out. Candidates of a scale are
** tried, fitted to the codes that they give by least squares, and the best is kept as it is stored.
*/
#include <math.h>
#include <string.h>

#include "../base/number.h"
#include "../compute/cpu/blocks.h"
#include "encode_forms.h"

enum { BLOCK = 32, LANES = 8, SUBS = SUPERBLOCK / BLOCK };

static const float HALF_LARGEST = 65504.0f;

static float stored_half (float value, block_half out) {
  const uint16_t code = f16_encode(fminf(fmaxf(value, -HALF_LARGEST), HALF_LARGEST));
  out[0] = (uint8_t)code;
  out[1] = (uint8_t)(code >> 8);
  return f16_decode(code);
}

/* Sums in LANES parts, so that the compiler may use its registers: their order is fixed. */
static float sum_lanes (const float *part) {
  return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

static float dot (const float *a, const float *b) {
  float part[LANES] = { 0 };
  for (int i = 0; i < BLOCK; i += LANES)
    for (int l = 0; l < LANES; l++) part[l] += a[i + l] * b[i + l];
  return sum_lanes(part);
}

static float sum (const float *a) {
  float part[LANES] = { 0 };
  for (int i = 0; i < BLOCK; i += LANES)
    for (int l = 0; l < LANES; l++) part[l] += a[i + l];
  return sum_lanes(part);
}

/* {== IQ4_NL ====================================================================================== */

static const float levels[16] = { IQ4_VALUES };

/* The levels nearest to x * factor. */
static void nearest_levels (const float *x, float factor, float *out) {
  for (int i = 0; i < BLOCK; i++) {
    const float scaled = x[i] * factor;
    float level = levels[0];
    for (int k = 1; k < 16; k++) level += scaled > (levels[k - 1] + levels[k]) / 2 ? levels[k] - levels[k - 1] : 0;
    out[i] = level;
  }
}

static int level_code (float level) {
  int code = 0;
  while (levels[code] < level) code++;
  return code;
}

/* The scale that fits the levels nearest to x / scale best, and by how much it lowers the squares of x. */
static float fitted (const float *x, float scale, float *lowers) {
  float y[BLOCK];
  nearest_levels(x, 1.0f / scale, y);
  const float xy = dot(x, y), yy = dot(y, y);
  *lowers = xy * (xy / yy);
  return xy / yy;
}

enum { IQ4_NL_CANDIDATES = 15 };

/* The levels reach farther down than up, so both signs of the scale are tried. */
static float search_iq4_nl (const float *x, float largest) {
  float best = 0, most = -1, lowers;
  for (int i = 0; i < 2 * IQ4_NL_CANDIDATES; i++) {
    const float reach = (i % 2 == 0 ? 1.0f : -1.0f) * (88.0f + 4.0f * (float)(i / 2));   /* levels up to 127 */
    const float scale = fitted(x, largest / reach, &lowers);
    if (lowers > most) {
      most = lowers;
      best = scale;
    }
  }
  return fitted(x, best, &lowers);
}

static void encode_iq4_nl_block (const float *x, iq4_nl_block *block) {
  float largest = 0, y[BLOCK];
  for (int i = 0; i < BLOCK; i++) largest = fmaxf(largest, fabsf(x[i]));
  const int tiny = largest < 0x1p-100f;                 /* no half but 0, and 1 / scale may be infinite */
  const float scale = stored_half(tiny ? 0 : search_iq4_nl(x, largest), block->d);
  nearest_levels(x, scale == 0 ? 0 : 1.0f / scale, y);
  for (int i = 0; i < BLOCK / 2; i++) block->q[i] = (uint8_t)(level_code(y[i]) | level_code(y[i + BLOCK / 2]) << 4);
}

void encode_iq4_nl (const encoded_band *band, const float *values) {
  iq4_nl_block *block = (void *)band->data;
  for (size_t b = 0; b < band->rows * (band->columns / BLOCK); b++) encode_iq4_nl_block(values + BLOCK * b, block + b);
}

/* {== Q4_K ======================================================================================== */

/* x is about scale * q - least, q = 0 .. 15. */
typedef struct line { float scale, least; } line;

/* The codes nearest to x on a line; a line without a scale has code 0 only. */
static void nearest_codes (const float *x, line at, float *q) {
  const float factor = at.scale < 0x1p-120f ? 0 : 1.0f / at.scale;
  for (int i = 0; i < BLOCK; i++) {
    const float code = (x[i] + at.least) * factor;
    const float bounded = code < 0 ? 0 : code > 15 ? 15 : code;
    q[i] = (bounded + 0x1.8p23f) - 0x1.8p23f;           /* to nearest, ties to even */
  }
}

static float line_error (const float *x, line at, float *q) {
  float off[BLOCK];
  nearest_codes(x, at, q);
  for (int i = 0; i < BLOCK; i++) off[i] = x[i] - (at.scale * q[i] - at.least);
  return dot(off, off);
}

/* The line that fits x and its codes best, `least` never below 0, and by how much it lowers the squares of x. */
static line fitted_line (const float *x, float x_sum, const float *q, float *lowers) {
  const float q_sum = sum(q), qq = dot(q, q), xq = dot(x, q);
  const float spread = qq - q_sum * q_sum / BLOCK, common = xq - x_sum * q_sum / BLOCK;
  const line both = { common / spread, (common / spread * q_sum - x_sum) / BLOCK }, alone = { xq / qq, 0 };
  if (spread > 0 && common > 0 && both.least > 0) {
    *lowers = common * both.scale + x_sum * x_sum / BLOCK;
    return both;
  }
  if (xq > 0) {
    *lowers = xq * alone.scale;
    return alone;
  }
  const float least = fmaxf(0, -x_sum / BLOCK);          /* all at code 0 */
  *lowers = least * least * BLOCK;
  return (line){ 0, least };
}

/* Where a candidate's codes 0 and 15 lie, as parts of the way from 0 (or the middle) to the lowest and highest. */
static const float reaches[] = { 0.72f, 0.77f, 0.82f, 0.87f, 0.92f, 0.97f, 1.02f, 1.07f };
enum { REACHES = sizeof reaches / sizeof reaches[0] };

static line search_line (const float *x) {
  float highest = x[0], lowest = 0, q[BLOCK], most = -1, lowers;
  line best = { 0, 0 };
  for (int i = 0; i < BLOCK; i++) {
    highest = x[i] > highest ? x[i] : highest;
    lowest = x[i] < lowest ? x[i] : lowest;
  }
  const float pivot = highest < 0 ? (lowest + highest) / 2 : 0;
  if (fmaxf(highest, -lowest) < 0x1p-100f) return best;         /* no half but 0, and 1 / scale may be infinite */
  const float x_sum = sum(x);
  for (int i = 0; i < REACHES * REACHES; i++) {
    const float from = pivot + (lowest - pivot) * reaches[i / REACHES];
    const float to = pivot + (highest - pivot) * reaches[i % REACHES];
    nearest_codes(x, (line){ (to - from) / 15, -from }, q);
    const line fitted = fitted_line(x, x_sum, q, &lowers);
    if (lowers > most) {
      most = lowers;
      best = fitted;
    }
  }
  return best;
}

/* A block on its way: what is stored is d * scales[s] and m * leasts[s]. */
typedef struct lines {
  float d, m;
  uint8_t scales[SUBS], leasts[SUBS];
  float q[SUBS][BLOCK];
} lines;

static int rounded_code (float value, float unit) {
  return unit == 0 ? 0 : (int)rintf(fminf(fmaxf(value / unit, 0), 63));
}

/* Sub-block s with the scale and the least of six bits that suit it best, near those of `wanted`. */
static void store_line (const float *x, line wanted, lines *to, int s) {
  float q[BLOCK], fewest = INFINITY;
  for (int by = -1; by <= 1; by++) {
    const int scale = rounded_code(wanted.scale + (float)by * to->d, to->d);
    const float stored = to->d * (float)scale;
    /* What the other scale moves in the middle of the codes, the least makes up for. */
    const int least = rounded_code(wanted.least + (stored - wanted.scale) * 7.5f, to->m);
    const float error = line_error(x, (line){ stored, to->m * (float)least }, q);
    if (error >= fewest) continue;
    fewest = error;
    to->scales[s] = (uint8_t)scale;
    to->leasts[s] = (uint8_t)least;
    memcpy(to->q[s], q, sizeof q);
  }
}

static void pack_q4_k (const lines *from, q4_k_block *block) {
  memset(block->scales, 0, sizeof block->scales);
  for (int s = 0; s < SUBS; s++) {
    const int scale = from->scales[s], least = from->leasts[s];
    uint8_t *q = block->q + s / 2 * BLOCK;
    if (s < 4) {
      block->scales[s] |= (uint8_t)scale;
      block->scales[s + 4] |= (uint8_t)least;
    } else {
      block->scales[s + 4] |= (uint8_t)((scale & 15) | (least & 15) << 4);
      block->scales[s - 4] |= (uint8_t)(scale >> 4 << 6);
      block->scales[s] |= (uint8_t)(least >> 4 << 6);
    }
    for (int i = 0; i < BLOCK; i++)
      q[i] = (uint8_t)((s % 2 == 0 ? 0 : q[i]) | (int)from->q[s][i] << s % 2 * 4);
  }
}

static void encode_q4_k_block (const float *x, q4_k_block *block) {
  line wanted[SUBS];
  lines stored;
  float scale = 0, least = 0;
  for (int s = 0; s < SUBS; s++) {
    wanted[s] = search_line(x + s * BLOCK);
    scale = fmaxf(scale, wanted[s].scale);
    least = fmaxf(least, wanted[s].least);
  }
  stored.d = stored_half(scale / 63, block->d);
  stored.m = stored_half(least / 63, block->m);
  for (int s = 0; s < SUBS; s++) store_line(x + s * BLOCK, wanted[s], &stored, s);
  pack_q4_k(&stored, block);
}

void encode_q4_k (const encoded_band *band, const float *values) {
  q4_k_block *block = (void *)band->data;
  for (size_t b = 0; b < band->rows * (band->columns / SUPERBLOCK); b++)
    encode_q4_k_block(values + SUPERBLOCK * b, block + b);
}
