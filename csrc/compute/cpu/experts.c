/*
** Routing and the experts (specs/architecture.md 2.7).
**
** The rows of a step are grouped by expert, so that each expert's weights are read once a step:
**   pair p     one row at one expert, sorted by expert, then by row; the shared expert's pairs come last
**   up         task (expert, 128 hidden values): gate and up products, SwiGLU, times the row's weight,
**              rounded as the down product wants it
**   down       task (64 outputs): all experts in ascending id, added to these outputs of their rows
** Both cuts are fixed and fine enough for one row to use every thread.
*/
#include <math.h>
#include <string.h>

#include "../../base/checked.h"
#include "cpu.h"

enum {
  HIDDEN_A_TASK = 128,    /* the FP8 block of activations, and whole int8 blocks */
  OUTPUTS_A_TASK = 64,
  ROWS_AT_ONCE = 32       /* rows gathered for one product */
};

/* {== Routing ==================================================================================== */

typedef struct route_job {
  const cpu_backend *cpu;
  const router *r;
  const int32_t *tokens;
  const route_policy *const *policies;   /* [rows], or NULL */
  float *scores;                   /* [rows, experts]: logits, then sqrt(softplus) */
  const float *bias;               /* [experts], or NULL */
  id_tensor *chosen;
  tensor *weights;
} route_job;

/* The unchosen expert of highest score + bias (+ more), ties to the lowest id; a NaN is above nothing. */
static int32_t best_unchosen (const route_job *job, const float *more, const float *scores, const int32_t *taken,
                              size_t count) {
  int32_t best = -1;
  float highest = 0.0f;
  for (size_t e = 0; e < job->r->experts; e++) {
    float value = job->bias == NULL ? scores[e] : scores[e] + job->bias[e];
    if (more != NULL) {
      if (isinf(more[e])) continue;
      value += more[e];
    }
    if (best >= 0 && !(value > highest)) continue;
    size_t i = 0;
    while (i < count && taken[i] != (int32_t)e) i++;
    if (i < count) continue;
    best = (int32_t)e;
    highest = value;
  }
  return best;
}

static void sort_ids (int32_t *ids, size_t count) {
  for (size_t i = 1; i < count; i++) {
    const int32_t id = ids[i];
    size_t at = i;
    for (; at > 0 && ids[at - 1] > id; at--) ids[at] = ids[at - 1];
    ids[at] = id;
  }
}

static void route_row (void *context, size_t row, size_t worker) {
  const route_job *job = context;
  const router *r = job->r;
  float *scores = job->scores + row * r->experts, *weights = job->weights->data + row * r->top_k;
  int32_t *ids = job->chosen->data + row * r->top_k;
  const route_policy *policy = job->policies == NULL || r->table.ids != NULL ? NULL : job->policies[row];
  const size_t top_k = policy == NULL ? r->top_k : policy->top_k;
  float sum = 0.0f;
  (void)worker;

  job->cpu->kernels->sqrt_softplus(scores, r->experts);
  for (size_t k = 0; k < top_k; k++) {
    if (r->table.ids == NULL) {
      ids[k] = best_unchosen(job, policy == NULL ? NULL : policy->bias, scores, ids, k);
    } else {
      /* its range was checked when the model was opened */
      ids[k] = (int32_t)expert_table_id(&r->table, (size_t)job->tokens[row] * r->top_k + k);
    }
  }
  sort_ids(ids, top_k);
  for (size_t k = 0; k < top_k; k++) sum += scores[ids[k]];
  for (size_t k = 0; k < top_k; k++) weights[k] = scores[ids[k]] / sum * r->route_scale;
  if (policy != NULL && sum == 0.0f)         /* experts it forces may all have a score of 0 */
    for (size_t k = 0; k < top_k; k++) weights[k] = r->route_scale / (float)top_k;
  for (size_t k = top_k; k < r->top_k; k++) {
    ids[k] = -1;
    weights[k] = 0.0f;
  }
}

static ms_status route (backend *be, const router *r, const int32_t *tokens, const route_policy *const *policies,
                        const tensor *u, id_tensor *chosen, tensor *weights, ms_error *err) {
  cpu_backend *cpu = cpu_of(be);
  route_job job = { .cpu = cpu, .r = r, .tokens = tokens, .policies = policies, .chosen = chosen,
                    .weights = weights };
  float *bias = cpu_scratch(cpu, 0, (u->rows + 1) * r->experts * sizeof(float), err);
  if (bias == NULL) return MS_ENOMEM;
  job.scores = bias + r->experts;
  if (r->bias.data != NULL) {
    cpu_weight_row(&r->bias, 0, bias);
    job.bias = bias;
  }
  TRY(cpu_product(cpu, &r->gate, u->data, u->columns, u->rows, job.scores, r->experts, err));
  cpu_pool_run(cpu->pool, u->rows, route_row, &job);
  return MS_OK;
}

/* {== The work of a step ========================================================================= */

/* Rows of activations in the forms the products take; `codes` only for weights that take them. */
typedef struct operand {
  const float *values;             /* [rows, columns] */
  cpu_int8_rows codes;
  size_t columns;
} operand;

/* The pairs of one expert: first .. first + count. */
typedef struct pair_group { const expert *e; size_t first, count; } pair_group;

/* One pair's row of the step and the factor of its hidden values. */
typedef struct pair { size_t row; float weight; } pair;

typedef struct experts_job {
  const cpu_backend *cpu;
  float limit;
  operand u;
  pair_group *groups;              /* of experts with pairs, ascending; the shared one last */
  size_t group_count;
  pair *pairs;
  size_t pair_count;
  size_t hidden, hidden_tasks;     /* the widest expert's */
  float *h;                        /* [pairs, hidden] */
  size_t coded;                    /* hidden width of the experts whose w2 takes codes; 0: none does */
  int8_t *h_codes;                 /* [pairs, coded], and their scales */
  float *h_scales;
  int16_t *h_sums;
  uint8_t *gathered;               /* [threads, gathered_bytes] */
  size_t gathered_bytes;
  tensor *out;
} experts_job;

/* Outputs first .. first + count of w for `rows` rows that lie one behind the other. */
static void product_of (const cpu_backend *cpu, const weight *w, size_t first, size_t count,
                        const operand *x, size_t rows, float *out, size_t out_stride) {
  if (cpu_takes_codes(cpu, w))
    cpu->kernels->product_int8[w->encoding](w, first, count, &x->codes, rows, out, out_stride);
  else
    cpu->kernels->product[w->encoding](w, first, count, x->values, x->columns, rows, out, out_stride);
}

/* Do the rows of these pairs lie one behind the other? They ascend, so nothing lies between the ends. */
static int together (const pair *pairs, size_t count) {
  return pairs[count - 1].row - pairs[0].row == count - 1;
}

/* The activations of `count` pairs, in `space` unless they lie together. */
static operand gather_values (const experts_job *job, const pair *pairs, size_t count, uint8_t *space) {
  const size_t columns = job->u.columns;
  float *to = (float *)(void *)space;
  operand x = { .values = job->u.values + pairs[0].row * columns, .columns = columns };
  if (together(pairs, count)) return x;
  for (size_t i = 0; i < count; i++)
    memcpy(to + i * columns, job->u.values + pairs[i].row * columns, columns * sizeof(float));
  x.values = to;
  return x;
}

static operand gather_codes (const experts_job *job, const pair *pairs, size_t count, uint8_t *space) {
  const cpu_int8_rows *u = &job->u.codes;
  const size_t columns = u->columns, blocks = columns / CPU_BLOCK;   /* whole blocks */
  float *scales = (float *)(void *)space;
  int16_t *sums = (int16_t *)(void *)(scales + count * blocks);
  int8_t *to = (int8_t *)(sums + 2 * count * blocks);
  operand x = { .columns = columns, .codes = { u->codes + pairs[0].row * columns,
                                               u->scales + pairs[0].row * blocks,
                                               u->sums + pairs[0].row * 2 * blocks, columns } };
  if (together(pairs, count)) return x;
  for (size_t i = 0; i < count; i++) {
    memcpy(scales + i * blocks, u->scales + pairs[i].row * blocks, blocks * sizeof(float));
    memcpy(sums + i * 2 * blocks, u->sums + pairs[i].row * 2 * blocks, 2 * blocks * sizeof *sums);
    memcpy(to + i * columns, u->codes + pairs[i].row * columns, columns);
  }
  x.codes = (cpu_int8_rows){ to, scales, sums, columns };
  return x;
}

static operand gather (const experts_job *job, const weight *w, const pair *pairs, size_t count, uint8_t *space) {
  return cpu_takes_codes(job->cpu, w) ? gather_codes(job, pairs, count, space)
                                  : gather_values(job, pairs, count, space);
}

/* {== Gate and up ================================================================================ */

/* h = weight * silu(gate) * up, as the down product takes it: `count` hidden values from `first` on. */
static void finish_hidden (const experts_job *job, const weight *w2, size_t p, size_t first, size_t count,
                           float *gate, float *up) {
  const cpu_backend *cpu = job->cpu;
  float *h = job->h + p * job->hidden + first;
  cpu_round_bf16(cpu, gate, count);
  cpu_round_bf16(cpu, up, count);
  cpu->kernels->swiglu(gate, up, job->limit, h, count);
  cpu->kernels->scale(h, job->pairs[p].weight, count);
  cpu_round_bf16(cpu, h, count);
  cpu_round_fp8(cpu, h, count);
  if (cpu_takes_codes(cpu, w2))
    cpu->kernels->to_int8(h, count, job->h_codes + p * job->coded + first,
                          job->h_scales + (p * job->coded + first) / CPU_BLOCK,
                          job->h_sums + (p * job->coded + first) / CPU_HALF_BLOCK);
}

static void up_task (void *context, size_t i, size_t worker) {
  const experts_job *job = context;
  const pair_group *group = &job->groups[i / job->hidden_tasks];
  const expert *e = group->e;
  const size_t first = i % job->hidden_tasks * HIDDEN_A_TASK;
  float gate[ROWS_AT_ONCE][HIDDEN_A_TASK], up[ROWS_AT_ONCE][HIDDEN_A_TASK];
  if (first >= e->w1.rows) return;
  const size_t count = e->w1.rows - first < HIDDEN_A_TASK ? e->w1.rows - first : HIDDEN_A_TASK;

  for (size_t done = 0; done < group->count; done += ROWS_AT_ONCE) {
    const size_t p = group->first + done;
    const size_t rows = group->count - done < ROWS_AT_ONCE ? group->count - done : ROWS_AT_ONCE;
    uint8_t *space = job->gathered + worker * job->gathered_bytes;
    operand x = gather(job, &e->w1, job->pairs + p, rows, space);
    product_of(job->cpu, &e->w1, first, count, &x, rows, gate[0], HIDDEN_A_TASK);
    if (cpu_takes_codes(job->cpu, &e->w3) != cpu_takes_codes(job->cpu, &e->w1))
      x = gather(job, &e->w3, job->pairs + p, rows, space);
    product_of(job->cpu, &e->w3, first, count, &x, rows, up[0], HIDDEN_A_TASK);
    for (size_t r = 0; r < rows; r++) finish_hidden(job, &e->w2, p + r, first, count, gate[r], up[r]);
  }
}

/* {== Down ======================================================================================= */

/* h of pair p on. */
static operand hidden_of (const experts_job *job, size_t p) {
  return (operand){
    .values = job->h + p * job->hidden, .columns = job->hidden,
    .codes = { job->h_codes + p * job->coded, job->h_scales + p * job->coded / CPU_BLOCK,
               job->h_sums + p * job->coded / CPU_HALF_BLOCK, job->coded },
  };
}

static void down_task (void *context, size_t i, size_t worker) {
  const experts_job *job = context;
  const size_t first = i * OUTPUTS_A_TASK, width = job->out->columns;
  const size_t count = width - first < OUTPUTS_A_TASK ? width - first : OUTPUTS_A_TASK;
  float some[ROWS_AT_ONCE][OUTPUTS_A_TASK];
  (void)worker;

  for (size_t r = 0; r < job->out->rows; r++)
    memset(job->out->data + r * width + first, 0, count * sizeof(float));
  for (const pair_group *group = job->groups; group < job->groups + job->group_count; group++) {
    for (size_t done = 0; done < group->count; done += ROWS_AT_ONCE) {
      const size_t p = group->first + done;
      const size_t rows = group->count - done < ROWS_AT_ONCE ? group->count - done : ROWS_AT_ONCE;
      const operand h = hidden_of(job, p);
      product_of(job->cpu, &group->e->w2, first, count, &h, rows, some[0], OUTPUTS_A_TASK);
      for (size_t r = 0; r < rows; r++) {
        float *out = job->out->data + job->pairs[p + r].row * width + first;
        cpu_round_bf16(job->cpu, some[r], count);
        for (size_t j = 0; j < count; j++) out[j] += some[r][j];
      }
    }
  }
  for (size_t r = 0; r < job->out->rows; r++)
    cpu_round_bf16(job->cpu, job->out->data + r * width + first, count);
}

/* {== The stage ================================================================================== */

/*
** Sorts the pairs by expert, by counting; a pair keeps its place among the rows of its expert. The -1 of a
** row that takes fewer experts makes no pair.
*/
static void sort_pairs (experts_job *job, const expert_set *set, const id_tensor *chosen,
                        const tensor *weights, size_t *next) {
  const size_t places = chosen->rows * chosen->columns;
  memset(next, 0, (set->count + 1) * sizeof *next);
  for (size_t i = 0; i < places; i++)
    if (chosen->data[i] >= 0) next[chosen->data[i] + 1]++;
  for (size_t e = 0; e < set->count; e++) {
    const size_t count = next[e + 1];
    next[e + 1] += next[e];
    if (count != 0)
      job->groups[job->group_count++] = (pair_group){ &set->routed[e], next[e], count };
  }
  const size_t routed = next[set->count];
  for (size_t i = 0; i < places; i++)
    if (chosen->data[i] >= 0) job->pairs[next[chosen->data[i]]++] = (pair){ i / chosen->columns, weights->data[i] };
  for (size_t r = 0; r < chosen->rows; r++) job->pairs[routed + r] = (pair){ r, 1.0f };
  job->groups[job->group_count++] = (pair_group){ &set->shared, routed, chosen->rows };
}

static ms_status check_experts (const experts_job *job, const tensor *u, ms_error *err) {
  for (size_t g = 0; g < job->group_count; g++) {
    const expert *e = job->groups[g].e;
    const weight *const parts[] = { &e->w1, &e->w2, &e->w3 };
    for (size_t i = 0; i < 3; i++) {
      TRY(cpu_check_weight(parts[i], err));
      const size_t columns = i == 1 ? job->coded : u->columns;
      if (cpu_takes_codes(job->cpu, parts[i]) && parts[i]->columns != columns)
        return fail(err, MS_EUNSUPPORTED, "%s: %zu columns where other experts have %zu", parts[i]->name,
                    parts[i]->columns, columns);
    }
  }
  return MS_OK;
}

/*
** Divides the stage's scratch [0] among the parts of the job. Sizes are products of a step's rows with the
** model's widths, which the loader has bounded.
*/
static ms_status make_room (cpu_backend *cpu, experts_job *job, size_t experts, size_t **next, ms_error *err) {
  const size_t line = 64;
  const size_t sizes[] = {
    (experts + 1) * sizeof(size_t), (experts + 1) * sizeof(pair_group), job->pair_count * sizeof(pair),
    job->pair_count * job->hidden * sizeof(float), job->pair_count * job->coded,
    job->pair_count * job->coded / CPU_BLOCK * sizeof(float),
    job->pair_count * job->coded / CPU_HALF_BLOCK * sizeof(int16_t), job->gathered_bytes * cpu_pool_threads(cpu->pool),
  };
  enum { PARTS = sizeof sizes / sizeof sizes[0] };
  uint8_t *parts[PARTS], *space;
  size_t total = 0;
  for (size_t i = 0; i < PARTS; i++) total += blocks_of(sizes[i], line) * line;
  if ((space = cpu_scratch(cpu, 0, total, err)) == NULL) return MS_ENOMEM;
  for (size_t i = 0; i < PARTS; i++) {
    parts[i] = space;
    space += blocks_of(sizes[i], line) * line;
  }
  *next = (size_t *)(void *)parts[0];
  job->groups = (pair_group *)(void *)parts[1];
  job->pairs = (pair *)(void *)parts[2];
  job->h = (float *)(void *)parts[3];
  job->h_codes = (int8_t *)parts[4];
  job->h_scales = (float *)(void *)parts[5];
  job->h_sums = (int16_t *)(void *)parts[6];
  job->gathered = parts[7];
  return MS_OK;
}

static ms_status experts (backend *be, const expert_set *set, const tensor *u, const id_tensor *chosen,
                          const tensor *weights, tensor *out, ms_error *err) {
  cpu_backend *cpu = cpu_of(be);
  experts_job job = { .cpu = cpu, .limit = set->limit, .u.columns = u->columns, .out = out };
  size_t *next;
  tensor rounded;
  int codes = 0;

  job.pair_count = u->rows * (chosen->columns + 1);
  for (size_t i = 0; i <= set->count; i++) {
    const expert *e = i < set->count ? &set->routed[i] : &set->shared;
    if (e->w1.rows > job.hidden) job.hidden = e->w1.rows;
    if (cpu_takes_codes(cpu, &e->w2)) job.coded = e->w2.columns;
    codes |= cpu_takes_codes(cpu, &e->w1) | cpu_takes_codes(cpu, &e->w3);
  }
  job.hidden_tasks = blocks_of(job.hidden, HIDDEN_A_TASK);
  job.gathered_bytes = blocks_of(ROWS_AT_ONCE * u->columns * sizeof(float), 64) * 64;

  TRY(make_room(cpu, &job, set->count, &next, err));
  sort_pairs(&job, set, chosen, weights, next);
  TRY(check_experts(&job, u, err));
  TRY(cpu_round_rows(cpu, 1, u, &rounded, err));
  job.u.values = rounded.data;
  if (codes) TRY(cpu_int8_of(cpu, 1, u->data, u->columns, u->columns, u->rows, &job.u.codes, err));
  cpu_pool_run(cpu->pool, job.group_count * job.hidden_tasks, up_task, &job);
  cpu_pool_run(cpu->pool, blocks_of(out->columns, OUTPUTS_A_TASK), down_task, &job);
  return MS_OK;
}

void cpu_install_experts (backend *be) {
  be->route = route;
  be->experts = experts;
}
