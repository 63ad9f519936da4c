/*
** From logits to a token. The order of steps: logit_bias; repetition, frequency and
** presence penalties; temperature; top_k; top_p; min_p; then one draw. Randomness is a pure function of seed
** and position, so there is nothing to rewind, save or fork; ties go to the lower id, so there is nothing
** that depends on the order of work.
*/
#ifndef runtime_sampler_h
#define runtime_sampler_h

#include "../base/status.h"

typedef struct sampler {
  ms_generate_options options;   /* checked; its pointers are not followed after sampler_open */
  size_t vocabulary;
  ms_bias *bias;                 /* [options.bias_count] */
  uint8_t *held;                 /* [vocabulary] 1: the session holds it; NULL without a repetition penalty */
  uint32_t *generated;           /* [vocabulary] how often this job drew it; NULL without the other two */
} sampler;                       /* {0} is a closed one */

typedef struct candidate { float value; int32_t id; } candidate;

/* Work space for any sampler of one vocabulary. {0} is empty. */
typedef struct sampler_scratch {
  float *values;                 /* [vocabulary] logits after bias and penalties */
  double *weights;               /* [vocabulary] unnormalised probabilities; the likeliest has 1 */
  candidate *heap;               /* [vocabulary] */
  size_t vocabulary;
} sampler_scratch;

/* held[0 .. count-1]: the tokens that a repetition penalty looks back on. */
ms_status sampler_open (sampler *s, const ms_generate_options *options, size_t vocabulary, const int32_t *held,
                        size_t count, ms_error *err);
void sampler_close (sampler *s);
void sampler_scratch_free (sampler_scratch *scratch);

/*
** Draws the token at `position` from logits [vocabulary]; never one of probability 0. MS_EFORMAT for NaN or
** +Inf, MS_EINVAL when no token is left. -Inf is a token that cannot be.
*/
ms_status sampler_choose (const sampler *s, sampler_scratch *scratch, const float *logits, size_t position,
                          int32_t *id, ms_error *err);
void sampler_count (sampler *s, int32_t id);   /* the token has been drawn */

/* Log-probability of `id`, and the `count` likeliest tokens (ties: lower id) in `top`: of the logits as they are. */
float sampler_logprobs (const float *logits, size_t vocabulary, int32_t id, ms_logprob *top, size_t count);

/*
** Output number `position` (from 0) of SplitMix64 started at `seed` (Steele, Lea, Flood 2014), which is a
** hash of seed + (position + 1) * 0x9E3779B97F4A7C15 and can be asked for at any position.
*/
uint64_t sampler_random (uint64_t seed, size_t position);
double sampler_uniform (uint64_t seed, size_t position);   /* its upper 53 bits: 0 <= u < 1 */

#endif
