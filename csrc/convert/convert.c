/* ms_convert: open, plan, write, complete. */
#include <string.h>

#include "stream.h"

static bool ends_with (const char *text, const char *ending) {
  const size_t length = strlen(text), tail = strlen(ending);
  return length > tail && strcmp(text + length - tail, ending) == 0;
}

static ms_status choose_container (const char *path, container *out, ms_error *err) {
  if (path[0] == '\0') return fail(err, MS_EINVAL, "target: is empty: give a file x.gguf, or a folder");
  if (ends_with(path, ".safetensors"))
    return fail(err, MS_EINVAL, "%s: a safetensors model is written to a folder: give its name", path);
  *out = ends_with(path, ".gguf") ? CONTAINER_GGUF : CONTAINER_SAFETENSORS;
  return MS_OK;
}

static ms_status write_target (model *m, const plan *p, const ms_convert_options *options, ms_error *err) {
  target to;
  stream s = { 0 };
  const size_t threads = options->threads == MS_ALL_CORES ? 0 : options->threads == 0 ? 1 : options->threads;
  ms_status status = target_open(p, options, &to, err);
  if (status == MS_OK) status = stream_open(m, &to, threads, &s, err);
  if (status == MS_OK) status = stream_run(&s, err);
  if (status == MS_OK) status = checkpoint_check_unchanged(m->files, err);
  if (status == MS_OK) status = target_complete(&to, err);
  stream_close(&s);
  target_close(&to);
  return status;
}

void ms_convert_options_default (ms_convert_options *options) {
  *options = (ms_convert_options){ .threads = MS_ALL_CORES, .shard_bytes = 4ull << 30 };
}

ms_status ms_convert (const ms_convert_options *options, ms_error *err) {
  container into = CONTAINER_GGUF;
  model *m = NULL;
  plan p = { 0 };
  TRY(choose_container(options->target, &into, err));
  TRY(model_open(options->source, MS_MAP, &m, err));
  ms_status status = plan_make(m, into, options, &p, err);
  if (status == MS_OK) status = write_target(m, &p, options, err);
  plan_clear(&p);
  model_close(m);
  return status;
}
