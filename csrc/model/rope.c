/*
** Frequencies f_i = theta^(-2i/dim) in float32, for compressing layers blended with f_i / factor by YaRN
** between the pairs that turn beta_fast and beta_slow times over the original context.
*/
#include "rope.h"

#include <math.h>

#include "../base/memory.h"

/* The pair index at which a frequency turns `turns` times within the original context. */
static double pair_of_turns (double turns, double dim, double theta, double context) {
  return dim * log(context / (turns * 2 * M_PI)) / (2 * log(theta));
}

static void scale_by_yarn (const yarn_config *yarn, double theta, size_t pairs, float *frequencies) {
  double dim = 2 * (double)pairs;
  double low = floor(pair_of_turns(yarn->beta_fast, dim, theta, yarn->original_context));
  double high = ceil(pair_of_turns(yarn->beta_slow, dim, theta, yarn->original_context));
  low = fmax(low, 0);
  high = fmin(high, dim - 1);
  double span = high != low ? high - low : 0.001;
  for (size_t i = 0; i < pairs; i++) {
    float ramp = fminf(fmaxf(((float)i - (float)low) / (float)span, 0.0f), 1.0f);
    float keep = 1.0f - ramp;
    frequencies[i] = frequencies[i] / (float)yarn->factor * (1.0f - keep) + frequencies[i] * keep;
  }
}

ms_status rope_table_make (const model_config *config, rope_kind kind, rope_table *table, ms_error *err) {
  size_t pairs = config->rope_dim / 2;
  double theta = kind == ROPE_WINDOW ? config->rope_theta : config->compress_rope_theta;
  float *frequencies = memory_new(pairs, sizeof *frequencies);
  if (frequencies == NULL) return fail_memory(err, pairs * sizeof *frequencies, "rotary frequencies");
  for (size_t i = 0; i < pairs; i++)
    frequencies[i] = 1.0f / powf((float)theta, (float)(2 * i) / (float)config->rope_dim);
  if (kind == ROPE_COMPRESS && config->yarn.factor != 0) scale_by_yarn(&config->yarn, theta, pairs, frequencies);
  *table = (rope_table){ .frequencies = frequencies, .pairs = pairs };
  return MS_OK;
}

void rope_table_free (rope_table *table) {
  memory_free((void *)(uintptr_t)table->frequencies);
  *table = (rope_table){ 0 };
}
