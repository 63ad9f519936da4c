/* Growable lists of token ids. */
#include <string.h>

#include "../base/memory.h"
#include "../base/status.h"

ms_status ms_tokens_append (ms_tokens *tokens, const int32_t *ids, size_t count, ms_error *err) {
  if (count > INT32_MAX || tokens->count > INT32_MAX - count)
    return fail(err, MS_EINVAL, "%zu tokens and %zu more: at most %d are allowed", tokens->count, count, INT32_MAX);
  size_t needed = tokens->count + count;
  if (needed > tokens->capacity) {
    size_t wanted = needed < 2 * tokens->capacity ? 2 * tokens->capacity : needed;
    int32_t *grown = memory_resize(tokens->ids, wanted, sizeof *ids);
    if (grown == NULL) return fail_memory(err, wanted * sizeof *ids, "tokens");
    tokens->ids = grown;
    tokens->capacity = wanted;
  }
  if (count != 0) memcpy(tokens->ids + tokens->count, ids, count * sizeof *ids);
  tokens->count = needed;
  return MS_OK;
}

void ms_tokens_free (ms_tokens *tokens) {
  memory_free(tokens->ids);
  *tokens = (ms_tokens){ 0 };
}
