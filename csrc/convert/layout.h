/* Places of a plan's outputs in the files of the target, and what else these files hold. */
#ifndef convert_layout_h
#define convert_layout_h

#include "plan.h"

/* One file: key/values, then tensors in the order of the plan (gguf_file.c). */
ms_status layout_gguf (const model *m, plan *p, ms_error *err);
/* A folder: shards and their index, config.json, and what lies beside the source's weights (safetensors_file.c). */
ms_status layout_safetensors (const model *m, uint64_t shard_bytes, plan *p, ms_error *err);

#endif
