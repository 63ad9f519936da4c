/*
** An expert policy, checked against a model and laid out as the route stage takes it. It never changes once
** made, so a session, its forks and a step in flight share one.
*/
#ifndef model_routing_h
#define model_routing_h

#include <stdatomic.h>

#include "../compute/backend.h"
#include "weights.h"

typedef struct model_routing {
  atomic_size_t references;
  size_t top_k;
  ms_expert_bias *given;               /* [count] */
  size_t count;
  float *bias;                         /* [1 or layers, experts]: what was given, added up; -INFINITY: disabled */
  route_policy *layers;                /* [layers] */
} model_routing;

/*
** *out is NULL when the policy asks for nothing but what the model does. MS_EINVAL names the number, its place
** and its limits. A layer that routes by table takes no bias of its own and follows its table.
*/
ms_status model_routing_open (const model *m, const ms_routing *given, model_routing **out, ms_error *err);
/* One more who refers to it, and one less; NULL is allowed. */
model_routing *model_routing_retain (model_routing *routing);
void model_routing_release (model_routing *routing);

/*
** As it lies in a file: u64 top_k, then for every bias u32 layer, u32 expert, u32 bits of the value, u32 0;
** little-endian. No policy is no bytes. Reading checks everything anew: MS_EFORMAT.
*/
size_t model_routing_image_bytes (const model_routing *routing);
void model_routing_write_image (const model_routing *routing, uint8_t *out);
ms_status model_routing_read_image (const model *m, const uint8_t *bytes, size_t count, model_routing **out,
                                    ms_error *err);

#endif
