/*
** The sampler. Sums run in ascending id over float64 weights. Truncation is kept as "the last candidate that
** stays", in the one order of candidates (higher value first, then lower id), found with a heap: only as many
** candidates are sorted as stay.
*/
#include "sampler.h"

#include <math.h>
#include <string.h>

#include "../base/memory.h"

/* {== Randomness ================================================================================= */

uint64_t sampler_random (uint64_t seed, size_t position) {
  uint64_t z = seed + ((uint64_t)position + 1) * UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

double sampler_uniform (uint64_t seed, size_t position) {
  return (double)(sampler_random(seed, position) >> 11) * 0x1p-53;
}

/* {== Opening ==================================================================================== */

static ms_status copy_bias (sampler *s, ms_error *err) {
  size_t count = s->options.bias_count;
  if (count == 0) return MS_OK;
  s->bias = memory_new(count, sizeof *s->bias);
  if (s->bias == NULL) return fail_memory(err, count * sizeof *s->bias, "logit_bias");
  memcpy(s->bias, s->options.bias, count * sizeof *s->bias);
  return MS_OK;
}

static ms_status open_penalties (sampler *s, const int32_t *held, size_t count, ms_error *err) {
  const ms_generate_options *o = &s->options;
  if (o->repetition_penalty != 1) {
    s->held = memory_new(s->vocabulary, sizeof *s->held);
    if (s->held == NULL) return fail_memory(err, s->vocabulary, "repetition_penalty");
    for (size_t i = 0; i < count; i++) s->held[held[i]] = 1;
  }
  if (o->frequency_penalty != 0 || o->presence_penalty != 0) {
    s->generated = memory_new(s->vocabulary, sizeof *s->generated);
    if (s->generated == NULL) return fail_memory(err, s->vocabulary * sizeof *s->generated, "penalties");
  }
  return MS_OK;
}

ms_status sampler_open (sampler *s, const ms_generate_options *options, size_t vocabulary, const int32_t *held,
                        size_t count, ms_error *err) {
  *s = (sampler){ .options = *options, .vocabulary = vocabulary };
  ms_status status = copy_bias(s, err);
  if (status == MS_OK) status = open_penalties(s, held, count, err);
  if (status != MS_OK) sampler_close(s);
  return status;
}

void sampler_close (sampler *s) {
  memory_free(s->bias);
  memory_free(s->held);
  memory_free(s->generated);
  *s = (sampler){ 0 };
}

void sampler_count (sampler *s, int32_t id) {
  if (s->held != NULL) s->held[id] = 1;
  if (s->generated != NULL && s->generated[id] != UINT32_MAX) s->generated[id]++;
}

void sampler_scratch_free (sampler_scratch *scratch) {
  memory_free(scratch->values);
  memory_free(scratch->weights);
  memory_free(scratch->heap);
  *scratch = (sampler_scratch){ 0 };
}

static ms_status scratch_shape (sampler_scratch *scratch, size_t vocabulary, ms_error *err) {
  if (scratch->vocabulary == vocabulary) return MS_OK;
  sampler_scratch_free(scratch);
  scratch->values = memory_new(vocabulary, sizeof *scratch->values);
  scratch->weights = memory_new(vocabulary, sizeof *scratch->weights);
  scratch->heap = memory_new(vocabulary, sizeof *scratch->heap);
  if (scratch->values == NULL || scratch->weights == NULL || scratch->heap == NULL) {
    sampler_scratch_free(scratch);
    return fail_memory(err, vocabulary * sizeof *scratch->weights, "sampling");
  }
  scratch->vocabulary = vocabulary;
  return MS_OK;
}

/* {== Values ===================================================================================== */

/* Repetition is over all tokens held, frequency and presence over those of this job. */
static float penalised (const sampler *s, size_t id, float value) {
  const ms_generate_options *o = &s->options;
  if (s->held != NULL && s->held[id])
    value = (float)(value > 0 ? value / o->repetition_penalty : value * o->repetition_penalty);
  if (s->generated != NULL && s->generated[id] != 0)
    value = (float)(value - o->frequency_penalty * s->generated[id] - o->presence_penalty);
  return value;
}

static void adjust (const sampler *s, const float *logits, float *values) {
  memcpy(values, logits, s->vocabulary * sizeof *values);
  for (size_t i = 0; i < s->options.bias_count; i++) values[s->bias[i].id] += s->bias[i].value;
  if (s->held != NULL || s->generated != NULL)
    for (size_t id = 0; id < s->vocabulary; id++) values[id] = penalised(s, id, values[id]);
}

static ms_status find_likeliest (const float *values, size_t count, size_t position, size_t *best, ms_error *err) {
  *best = 0;
  for (size_t id = 0; id < count; id++) {
    if (isnan(values[id]) || values[id] == INFINITY)
      return fail(err, MS_EFORMAT, "the logit of token %zu at position %zu is not finite", id, position);
    if (values[id] > values[*best]) *best = id;
  }
  if (values[*best] == -INFINITY)
    return fail(err, MS_EINVAL, "no token is possible at position %zu: the logits of all %zu are -inf", position,
                count);
  return MS_OK;
}

/* exp((value - highest) / temperature): a quotient of -inf is weight 0, a temperature of 1e-300 no trouble. */
static void weigh (const float *values, size_t count, double highest, double temperature, double *weights) {
  for (size_t id = 0; id < count; id++) weights[id] = exp(((double)values[id] - highest) / temperature);
}

/* {== Truncation ================================================================================= */

static inline int comes_before (candidate a, candidate b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

static void sift_down (candidate *heap, size_t count, size_t i) {
  candidate moved = heap[i];
  for (size_t child; (child = 2 * i + 1) < count; i = child) {
    if (child + 1 < count && comes_before(heap[child + 1], heap[child])) child++;
    if (!comes_before(heap[child], moved)) break;
    heap[i] = heap[child];
  }
  heap[i] = moved;
}

static void heap_build (candidate *heap, const float *values, size_t count) {
  for (size_t id = 0; id < count; id++) heap[id] = (candidate){ .value = values[id], .id = (int32_t)id };
  for (size_t i = count / 2; i-- > 0; ) sift_down(heap, count, i);
}

/* The best of the heap's `count`; it is put behind the others that are left. */
static candidate heap_pop (candidate *heap, size_t count) {
  candidate best = heap[0];
  heap[0] = heap[count - 1];
  heap[count - 1] = best;
  if (count > 1) sift_down(heap, count - 1, 0);
  return best;
}

static double sum_of (const double *weights, size_t count) {
  double sum = 0;
  for (size_t id = 0; id < count; id++) sum += weights[id];
  return sum;
}

/*
** The last candidate that top_k and then top_p leave: top_p keeps the fewest of the best whose weights reach
** its share of the sum of those that top_k kept, and at least one.
*/
static candidate last_candidate (const sampler *s, sampler_scratch *scratch) {
  size_t count = s->vocabulary, limit = s->options.top_k;
  if (limit == 0 || limit > count) limit = count;
  double top_p = s->options.top_p, reached = 0, sum;
  candidate *heap = scratch->heap;
  heap_build(heap, scratch->values, count);
  candidate last = heap[0];
  if (limit == count) {
    sum = sum_of(scratch->weights, count);
  } else {
    sum = 0;
    for (size_t i = 0; i < limit; i++) {
      last = heap_pop(heap, count - i);
      sum += scratch->weights[last.id];
    }
    if (top_p == 1) return last;
    heap_build(heap, scratch->values, count);
  }
  size_t i = 0;
  do {
    last = heap_pop(heap, count - i++);
    reached += scratch->weights[last.id];
  } while (i < limit && reached < top_p * sum);
  return last;
}

/* Weights of candidates that do not stay become 0. */
static void truncate_weights (const sampler *s, sampler_scratch *scratch) {
  size_t top_k = s->options.top_k, count = s->vocabulary;
  if ((top_k != 0 && top_k < count) || s->options.top_p < 1) {
    candidate last = last_candidate(s, scratch);
    for (size_t id = 0; id < count; id++)
      if (comes_before(last, (candidate){ .value = scratch->values[id], .id = (int32_t)id }))
        scratch->weights[id] = 0;
  }
  if (s->options.min_p > 0)
    for (size_t id = 0; id < count; id++)
      if (scratch->weights[id] < s->options.min_p) scratch->weights[id] = 0;
}

/* {== The draw =================================================================================== */

/* The id at which the running sum passes u * sum. A weight of 0 never passes it. */
static size_t draw (const double *weights, size_t count, double u) {
  double target = u * sum_of(weights, count), sum = 0;
  size_t drawn = 0;
  for (size_t id = 0; id < count; id++) {
    if (weights[id] == 0) continue;
    drawn = id;                    /* the last one, if rounding took the target up to the whole sum */
    sum += weights[id];
    if (sum > target) break;
  }
  return drawn;
}

ms_status sampler_choose (const sampler *s, sampler_scratch *scratch, const float *logits, size_t position,
                          int32_t *id, ms_error *err) {
  size_t count = s->vocabulary, chosen;
  TRY(scratch_shape(scratch, count, err));
  adjust(s, logits, scratch->values);
  TRY(find_likeliest(scratch->values, count, position, &chosen, err));
  if (s->options.temperature > 0) {
    weigh(scratch->values, count, scratch->values[chosen], s->options.temperature, scratch->weights);
    truncate_weights(s, scratch);
    chosen = draw(scratch->weights, count, sampler_uniform(s->options.seed, position));
  }
  *id = (int32_t)chosen;
  return MS_OK;
}

/* {== Log-probabilities ========================================================================== */

/* Puts `id` where it belongs among the `filled` best, which come in order of id: an equal one stays behind. */
static size_t insert_best (ms_logprob *top, size_t filled, size_t count, int32_t id, float logit) {
  if (filled == count && !(logit > top[count - 1].logprob)) return filled;
  size_t i = filled < count ? filled : count - 1;
  for (; i > 0 && logit > top[i - 1].logprob; i--) top[i] = top[i - 1];
  top[i] = (ms_logprob){ .id = id, .logprob = logit };
  return filled < count ? filled + 1 : count;
}

float sampler_logprobs (const float *logits, size_t vocabulary, int32_t id, ms_logprob *top, size_t count) {
  double highest = -INFINITY, sum = 0;
  size_t filled = 0;
  for (size_t i = 0; i < vocabulary; i++)
    if (logits[i] > highest) highest = logits[i];
  for (size_t i = 0; i < vocabulary; i++) {
    sum += exp((double)logits[i] - highest);
    if (count != 0) filled = insert_best(top, filled, count, (int32_t)i, logits[i]);
  }
  double log_sum = log(sum);             /* of what is relative to `highest`: large logits lose nothing */
  for (size_t i = 0; i < filled; i++) top[i].logprob = (float)(top[i].logprob - highest - log_sum);
  return (float)(logits[id] - highest - log_sum);
}
