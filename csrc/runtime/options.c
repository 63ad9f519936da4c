/* Options of a generation: what the model asks for, and the limits of what a caller may ask for. */
#include <math.h>
#include <stddef.h>

#include "runtime.h"

/* {== Defaults =================================================================================== */

void ms_generate_options_default (ms_session *session, ms_generate_options *options) {
  const sampling_config *c = &session->engine->model->config.sampling;
  *options = (ms_generate_options){
    .max_tokens = SIZE_MAX,
    .temperature = c->sample ? c->temperature : 0,
    .top_p = c->top_p, .min_p = c->min_p, .top_k = c->top_k,
    .repetition_penalty = c->repetition_penalty,
    .deadline_ms = -1
  };
}

/* {== Limits ===================================================================================== */

typedef struct number_limit { const char *name; size_t offset; double low, high; } number_limit;

static const number_limit number_limits[] = {
  { "temperature", offsetof(ms_generate_options, temperature), 0, 100 },
  { "top_p", offsetof(ms_generate_options, top_p), 0, 1 },
  { "min_p", offsetof(ms_generate_options, min_p), 0, 1 },
  { "repetition_penalty", offsetof(ms_generate_options, repetition_penalty), 0.01, 100 },
  { "frequency_penalty", offsetof(ms_generate_options, frequency_penalty), -100, 100 },
  { "presence_penalty", offsetof(ms_generate_options, presence_penalty), -100, 100 }
};

enum { STOP_LIMIT = 256 };               /* every one is a step of work for every byte of text */

enum { PRIORITY_LIMIT = 1000 };

static const double bias_limit = 10000;

static ms_status check_numbers (const ms_generate_options *options, ms_error *err) {
  for (size_t i = 0; i < sizeof number_limits / sizeof *number_limits; i++) {
    const number_limit *limit = &number_limits[i];
    double value = *(const double *)(const void *)((const char *)options + limit->offset);
    if (!(value >= limit->low && value <= limit->high))   /* so that NaN fails */
      return fail(err, MS_EINVAL, "%s is %g: it must lie between %g and %g", limit->name,
                  isnan(value) ? NAN : value, limit->low, limit->high);
  }
  if (options->logprobs > MS_LOGPROBS_LIMIT)
    return fail(err, MS_EINVAL, "logprobs is %zu: it must lie between 0 and %d", options->logprobs,
                MS_LOGPROBS_LIMIT);
  if (options->priority < -PRIORITY_LIMIT || options->priority > PRIORITY_LIMIT)
    return fail(err, MS_EINVAL, "priority is %d: it must lie between %d and %d", options->priority, -PRIORITY_LIMIT,
                PRIORITY_LIMIT);
  if (options->score != 0 && options->max_tokens != 0)
    return fail(err, MS_EINVAL, "score is %zu: tokens are scored only when max_tokens is 0", options->score);
  return MS_OK;
}

static ms_status check_id (const char *name, int32_t id, size_t vocabulary, ms_error *err) {
  if (id >= 0 && (size_t)id < vocabulary) return MS_OK;
  return fail(err, MS_EINVAL, "%s: token %d does not exist: the vocabulary has %zu", name, (int)id, vocabulary);
}

static ms_status check_bias (const ms_generate_options *options, size_t vocabulary, ms_error *err) {
  for (size_t i = 0; i < options->bias_count; i++) {
    const ms_bias *bias = &options->bias[i];
    TRY(check_id("logit_bias", bias->id, vocabulary, err));
    double value = bias->value;
    if (value != -INFINITY && !(value >= -bias_limit && value <= bias_limit))
      return fail(err, MS_EINVAL, "logit_bias of token %d is %g: it must be -inf or lie between %g and %g",
                  (int)bias->id, isnan(value) ? NAN : value, -bias_limit, bias_limit);
  }
  return MS_OK;
}

static ms_status check_stops (const ms_generate_options *options, size_t vocabulary, ms_error *err) {
  if (options->stop_count > STOP_LIMIT)
    return fail(err, MS_EINVAL, "stop has %zu entries: at most %d are allowed", options->stop_count, STOP_LIMIT);
  for (size_t i = 0; i < options->stop_count; i++) {
    const ms_stop *stop = &options->stop[i];
    if (stop->text == NULL) {
      TRY(check_id("stop", stop->id, vocabulary, err));
      continue;
    }
    if (stop->bytes == 0) return fail(err, MS_EINVAL, "stop: entry %zu is an empty string", i + 1);
    if (!options->raw && !text_is_utf8(stop->text, stop->bytes))
      return fail(err, MS_EINVAL, "stop: entry %zu is no UTF-8, and only raw = true gives such text", i + 1);
  }
  return MS_OK;
}

ms_status options_check (const ms_generate_options *options, size_t vocabulary, ms_error *err) {
  TRY(check_numbers(options, err));
  TRY(check_bias(options, vocabulary, err));
  return check_stops(options, vocabulary, err);
}
