#include "profile.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "../base/clock.h"
#include "../base/memory.h"

/* Every stage of backend.h: its name, its parameters and how they are handed on. */
#define STAGES(X) \
  X(embed, (backend *be, const weight *embedding, const int32_t *tokens, size_t streams, tensor *out, ms_error *err), \
    (be, embedding, tokens, streams, out, err)) \
  X(hc_pre, (backend *be, const hyper_connection *hc, const tensor *streams, tensor *mixed, tensor *post, \
             tensor *comb, ms_error *err), \
    (be, hc, streams, mixed, post, comb, err)) \
  X(hc_post, (backend *be, const tensor *result, const tensor *post, const tensor *comb, tensor *streams, \
              ms_error *err), \
    (be, result, post, comb, streams, err)) \
  X(hc_head, (backend *be, const hyper_connection *hc, const tensor *streams, tensor *mixed, ms_error *err), \
    (be, hc, streams, mixed, err)) \
  X(rms_norm, (backend *be, const weight *gain, float eps, const tensor *x, tensor *out, ms_error *err), \
    (be, gain, eps, x, out, err)) \
  X(head_norm, (backend *be, size_t head, float eps, tensor *x, ms_error *err), \
    (be, head, eps, x, err)) \
  X(linear, (backend *be, const weight *w, const tensor *x, tensor *out, ms_error *err), \
    (be, w, x, out, err)) \
  X(grouped_linear, (backend *be, const weight *w, size_t groups, const tensor *x, tensor *out, ms_error *err), \
    (be, w, groups, x, out, err)) \
  X(rope_angles, (backend *be, const rope_table *table, const int32_t *positions, tensor *angles, ms_error *err), \
    (be, table, positions, angles, err)) \
  X(rope, (backend *be, const tensor *angles, size_t head, tensor *x, ms_error *err), \
    (be, angles, head, x, err)) \
  X(rope_inverse, (backend *be, const tensor *angles, size_t head, tensor *x, ms_error *err), \
    (be, angles, head, x, err)) \
  X(store_window, (backend *be, const segment_list *segments, size_t rotated, const tensor *kv, ms_error *err), \
    (be, segments, rotated, kv, err)) \
  X(compress, (backend *be, const compressor *c, const segment_list *segments, const tensor *u, ms_error *err), \
    (be, c, segments, u, err)) \
  X(select, (backend *be, const indexer *ix, const segment_list *segments, const tensor *u, const tensor *latent, \
             const tensor *angles, id_tensor *chosen, ms_error *err), \
    (be, ix, segments, u, latent, angles, chosen, err)) \
  X(sparse_attention, (backend *be, const attention_shape *shape, const segment_list *segments, size_t rotated, \
                       const tensor *q, const id_tensor *chosen, tensor *out, ms_error *err), \
    (be, shape, segments, rotated, q, chosen, out, err)) \
  X(route, (backend *be, const router *r, const int32_t *tokens, const route_policy *const *policies, \
            const tensor *u, id_tensor *chosen, tensor *weights, ms_error *err), \
    (be, r, tokens, policies, u, chosen, weights, err)) \
  X(experts, (backend *be, const expert_set *set, const tensor *u, const id_tensor *chosen, const tensor *weights, \
              tensor *out, ms_error *err), \
    (be, set, u, chosen, weights, out, err)) \
  X(head, (backend *be, const weight *w, const tensor *x, tensor *logits, ms_error *err), \
    (be, w, x, logits, err))

#define NUMBER_OF(stage, parameters, arguments) STAGE_##stage,
#define NAME_OF(stage, parameters, arguments) #stage,
enum { STAGES(NUMBER_OF) STAGE_COUNT };
static const char *const names[] = { STAGES(NAME_OF) };
_Static_assert((int)STAGE_COUNT <= (int)STAGE_LIMIT, "more stages than profile.h promises");

struct backend_profile {
  backend inner;                   /* the stages and the close of the backend itself */
  atomic_bool running;
  struct { atomic_uint_least64_t calls, ns; } stages[STAGE_COUNT];
};

static void add (backend_profile *profile, size_t stage, uint64_t began) {
  atomic_fetch_add_explicit(&profile->stages[stage].calls, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&profile->stages[stage].ns, clock_now() - began, memory_order_relaxed);
}

#define TIMED(stage, parameters, arguments) \
  static ms_status timed_##stage parameters { \
    backend_profile *profile = be->profile; \
    if (!atomic_load_explicit(&profile->running, memory_order_relaxed)) return profile->inner.stage arguments; \
    const uint64_t began = clock_now(); \
    const ms_status status = profile->inner.stage arguments; \
    add(profile, STAGE_##stage, began); \
    return status; \
  }

STAGES(TIMED)

static void close_profiled (backend *be) {
  void (*const close_inner) (backend *be) = be->profile->inner.close;
  memory_free(be->profile);
  close_inner(be);
}

#define INSTALL(stage, parameters, arguments) be->stage = timed_##stage;

ms_status profile_install (backend *be, ms_error *err) {
  backend_profile *profile = memory_new(1, sizeof *profile);
  if (profile == NULL) return fail_memory(err, sizeof *profile, "the stages' stopwatches");
  profile->inner = *be;
  be->profile = profile;
  be->close = close_profiled;
  STAGES(INSTALL)
  return MS_OK;
}

size_t profile_read (backend *be, stage_time *times, size_t limit) {
  backend_profile *profile = be->profile;
  atomic_store(&profile->running, true);
  for (size_t i = 0; i < STAGE_COUNT && i < limit; i++)
    times[i] = (stage_time){ .name = names[i], .calls = atomic_load(&profile->stages[i].calls),
                             .ns = atomic_load(&profile->stages[i].ns) };
  return STAGE_COUNT;
}
