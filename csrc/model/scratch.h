/* The work space of steps. */
#ifndef model_scratch_h
#define model_scratch_h

#include "step.h"

/* Shapes *s for `rows` rows, of which `logit_rows` want logits; grows its buffers when they are too small. */
ms_status model_scratch_shape (model_scratch *s, const model *m, backend *be, size_t rows, size_t logit_rows,
                               ms_error *err);
void model_scratch_free (model_scratch *s, backend *be);
/* Bytes for `rows` rows with logits of `logit_rows`. */
uint64_t model_scratch_plan (const model *m, size_t rows, size_t logit_rows);

#endif
