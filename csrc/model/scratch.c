/*
** One buffer a tensor, its columns named once in the table below. Buffers grow to the largest step seen and
** are kept: steps have at most a few hundred rows whatever the context.
*/
#include "scratch.h"

#include "../base/checked.h"

/* {== Columns ==================================================================================== */

typedef size_t columns_of (const model_config *c);

static size_t stream_columns (const model_config *c) { return c->streams * c->width; }
static size_t width_columns (const model_config *c) { return c->width; }
static size_t post_columns (const model_config *c) { return c->streams; }
static size_t comb_columns (const model_config *c) { return c->streams * c->streams; }
static size_t latent_columns (const model_config *c) { return c->q_lora; }
static size_t head_columns (const model_config *c) { return c->heads * c->head_dim; }
static size_t kv_columns (const model_config *c) { return c->head_dim; }
static size_t group_columns (const model_config *c) { return c->o_groups * c->o_lora; }
static size_t expert_columns (const model_config *c) { return c->top_k; }
static size_t choice_columns (const model_config *c) { return c->layers * c->top_k; }
static size_t angle_columns (const model_config *c) { return c->rope_dim; }
static size_t vocabulary_columns (const model_config *c) { return c->vocabulary; }
static size_t index_columns (const model_config *c) { return c->index_top_k; }

/* Which rows a tensor has: all of the step, or those whose logits are wanted. */
typedef enum row_count { STEP_ROWS, LOGIT_ROWS } row_count;

typedef struct tensor_rule { size_t offset; columns_of *columns; row_count rows; } tensor_rule;

#define RULE(field, columns, rows) { offsetof(model_scratch, field), columns, rows }

static const tensor_rule tensors[] = {
  RULE(streams, stream_columns, STEP_ROWS),
  RULE(mixed, width_columns, STEP_ROWS), RULE(normed, width_columns, STEP_ROWS),
  RULE(result, width_columns, STEP_ROWS),
  RULE(post, post_columns, STEP_ROWS), RULE(comb, comb_columns, STEP_ROWS),
  RULE(latent, latent_columns, STEP_ROWS),
  RULE(q, head_columns, STEP_ROWS), RULE(heads, head_columns, STEP_ROWS),
  RULE(kv, kv_columns, STEP_ROWS), RULE(groups, group_columns, STEP_ROWS),
  RULE(expert_weights, expert_columns, STEP_ROWS),
  RULE(window_angles, angle_columns, STEP_ROWS), RULE(compress_angles, angle_columns, STEP_ROWS),
  RULE(last, width_columns, LOGIT_ROWS), RULE(logits, vocabulary_columns, LOGIT_ROWS)
};

static const tensor_rule ids[] = {
  RULE(chosen_rows, index_columns, STEP_ROWS), RULE(chosen_experts, choice_columns, STEP_ROWS)
};

enum { TENSOR_RULES = sizeof tensors / sizeof tensors[0], ID_RULES = sizeof ids / sizeof ids[0] };
_Static_assert(TENSOR_RULES + ID_RULES == SCRATCH_BUFFERS, "a size for every buffer");

static tensor *tensor_at (model_scratch *s, const tensor_rule *rule) {
  return (tensor *)(void *)((char *)s + rule->offset);
}

static id_tensor *ids_at (model_scratch *s, const tensor_rule *rule) {
  return (id_tensor *)(void *)((char *)s + rule->offset);
}

/* {== Buffers ==================================================================================== */

/* A buffer of rows x columns values of 4 bytes in place of *data, when that one is too small. */
static ms_status fit (model_scratch *s, backend *be, void **data, size_t *held, size_t rows, size_t columns,
                      ms_error *err) {
  size_t values, bytes;
  if (!checked_mul(rows, columns, &values) || !checked_mul(values, sizeof(float), &bytes))
    return fail(err, MS_ENOMEM, "a step of %zu rows of %zu values is too large", rows, columns);
  if (bytes <= *held) return MS_OK;
  void *larger = be->allocate(be, bytes);
  if (larger == NULL) return fail_memory(err, bytes, "a step's work space");
  be->release(be, *data);
  s->bytes += bytes - *held;
  *data = larger;
  *held = bytes;
  return MS_OK;
}

ms_status model_scratch_shape (model_scratch *s, const model *m, backend *be, size_t rows, size_t logit_rows,
                               ms_error *err) {
  for (size_t i = 0; i < TENSOR_RULES; i++) {
    tensor *t = tensor_at(s, &tensors[i]);
    size_t count = tensors[i].rows == STEP_ROWS ? rows : logit_rows, columns = tensors[i].columns(&m->config);
    void *data = t->data;
    TRY(fit(s, be, &data, &s->held[i], count, columns, err));
    *t = (tensor){ .data = data, .rows = count, .columns = columns };
  }
  for (size_t i = 0; i < ID_RULES; i++) {
    id_tensor *t = ids_at(s, &ids[i]);
    size_t columns = ids[i].columns(&m->config);
    void *data = t->data;
    TRY(fit(s, be, &data, &s->held[TENSOR_RULES + i], rows, columns, err));
    *t = (id_tensor){ .data = data, .rows = rows, .columns = columns };
  }
  return MS_OK;
}

void model_scratch_free (model_scratch *s, backend *be) {
  for (size_t i = 0; i < TENSOR_RULES; i++) be->release(be, tensor_at(s, &tensors[i])->data);
  for (size_t i = 0; i < ID_RULES; i++) be->release(be, ids_at(s, &ids[i])->data);
  *s = (model_scratch){ 0 };
}

uint64_t model_scratch_plan (const model *m, size_t rows, size_t logit_rows) {
  uint64_t values = 0;
  for (size_t i = 0; i < TENSOR_RULES; i++)
    values += (uint64_t)(tensors[i].rows == STEP_ROWS ? rows : logit_rows) * tensors[i].columns(&m->config);
  for (size_t i = 0; i < ID_RULES; i++) values += (uint64_t)rows * ids[i].columns(&m->config);
  return values * sizeof(float);
}
