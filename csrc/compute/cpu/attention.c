/*
** Sparse attention with a sink (specs/architecture.md 2.4, step 6): the window rows of a token, then its
** pooled rows, in blocks of 64 with an online softmax. A row is key and value of all heads. The blocks of a
** token depend on its position and choice alone, so its result does not depend on its company; work space
** does not grow with the context.
*/
#include <math.h>
#include <string.h>

#include "rows.h"
#include "../../base/checked.h"
#include "../../base/number.h"

enum { BLOCK = 64,           /* rows of an online-softmax step, as published */
       RUN = 16,             /* tokens of a task at most: they share decoded rows */
       HEADS_A_TASK = 8,     /* at least: every task decodes the rows for itself */
       VALUES_AT_ONCE = 128 };

/* Of one head of one token: the largest score so far, and the sum of exp(score - largest). */
typedef struct softmax { float largest, sum; } softmax;

typedef struct attention_task {
  const cpu_backend *cpu;
  const attention_shape *shape;
  const segment_list *segments;
  kv_layout layout;
  const tensor *q, *out;
  const id_tensor *chosen;             /* NULL: all visible */
  size_t run, groups, group;           /* tokens a run; heads in `groups` groups of `group` */
  float scale; const float *sinks;
  float *workers; size_t room;
} attention_task;

/* What a worker holds while it computes some heads of a run. */
typedef struct attention_run {
  const attention_task *task;
  token_run tokens;
  size_t first_head, heads;
  softmax *state;                      /* [run, group] */
  float *scores;                       /* [group, BLOCK] */
  float *pooled;                       /* [BLOCK, head] decoded */
  float *window;                       /* [window + run - 1, head] decoded, from row window_first on */
  size_t window_first;
} attention_run;

/* {== One block ================================================================================== */

/* Sum in 16 lanes, joined by the tree of kernels.h. */
static float sum_block (const float *p) {
  float lanes[CPU_LANES] = { 0 };
  for (size_t i = 0; i < BLOCK; i += CPU_LANES)
    for (size_t l = 0; l < CPU_LANES; l++) lanes[l] += p[i + l];
  for (size_t half = CPU_LANES / 2; half > 0; half /= 2)
    for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
  return lanes[0];
}

/*
** p [BLOCK]: the products of `count` rows, which become their weights; out [head]: the sum of weight x row so far,
** rescaled as the largest product grows.
*/
static void weigh (const attention_task *task, softmax *state, float *p, size_t count, float *out) {
  const cpu_kernels *kernels = task->cpu->kernels;
  size_t head = task->shape->head;
  float largest = state->largest;
  for (size_t i = 0; i < count; i++) {
    p[i] *= task->scale;
    largest = p[i] > largest ? p[i] : largest;
  }
  for (size_t i = 0; i < count; i++) p[i] -= largest;
  for (size_t i = count; i < BLOCK; i++) p[i] = -INFINITY;
  float rescale = state->largest - largest;
  kernels->exp(p, BLOCK);
  kernels->exp(&rescale, 1);
  state->largest = largest;
  state->sum = state->sum * rescale + sum_block(p);
  if (rescale != 1.0f) kernels->scale(out, rescale, head);
  cpu_round_bf16(task->cpu, p, count);         /* of the value product only: the sum has them unrounded */
}

/* out += weights x rows, for all heads. A part of the columns lies in the first cache while the heads pass. */
static void add_values (const attention_run *run, const float *rows, size_t count, float *out) {
  const cpu_kernels *kernels = run->task->cpu->kernels;
  size_t head = run->task->shape->head;
  float part[BLOCK * VALUES_AT_ONCE];
  for (size_t c = 0, columns; c < head; c += columns) {
    columns = head - c < VALUES_AT_ONCE ? head - c : VALUES_AT_ONCE;
    for (size_t i = 0; i < count; i++)
      memcpy(part + i * columns, rows + i * head + c, columns * sizeof *part);
    for (size_t h = 0; h < run->heads; h++)
      kernels->add_rows(out + h * head + c, part, columns, run->scores + h * BLOCK, 1, count, columns);
  }
}

/* Adds `count` <= BLOCK decoded rows to token `t` of the run. */
static void add_block (const attention_run *run, size_t t, const float *rows, size_t count) {
  const attention_task *task = run->task;
  size_t head = task->shape->head, at = (run->tokens.row + t) * task->q->columns + run->first_head * head;
  weight keys = { .encoding = WEIGHT_F32, .data = (const uint8_t *)rows, .rows = count, .columns = head,
                  .name = "keys" };
  task->cpu->kernels->product[WEIGHT_F32](&keys, 0, count, task->q->data + at, head, run->heads,
                                          run->scores, BLOCK);
  for (size_t h = 0; h < run->heads; h++)
    weigh(task, &run->state[t * task->group + h], run->scores + h * BLOCK, count, task->out->data + at + h * head);
  add_values(run, rows, count, task->out->data + at);
}

/* {== The keys of a run ========================================================================== */

static size_t least (size_t a, size_t b) { return a < b ? a : b; }

static void load_rows (const attention_run *run, const row_view *view, size_t first, size_t count,
                       float *out) {
  const attention_task *task = run->task;
  for (size_t i = 0; i < count; i++)
    cpu_kv_load(task->cpu, view, first + i, task->layout, out + i * task->shape->head);
}

/* Window rows of token t: max(0, t - window + 1) .. t. Decoded once for the whole run. */
static void add_window (attention_run *run) {
  const attention_shape *shape = run->task->shape;
  size_t position = run->tokens.position;
  run->window_first = position + 1 - least(position + 1, shape->window);
  load_rows(run, &run->tokens.in->window, run->window_first, position + run->tokens.count - run->window_first,
            run->window);
  for (size_t t = 0; t < run->tokens.count; t++) {
    size_t end = position + t + 1, first = end - least(end, shape->window);
    for (; first < end; first += least(BLOCK, end - first))
      add_block(run, t, run->window + (first - run->window_first) * shape->head, least(BLOCK, end - first));
  }
}

static size_t visible_rows (const attention_shape *shape, size_t position) {
  return (position + 1) / shape->ratio;
}

/* All visible pooled rows, a decoded block for all tokens of the run in turn. */
static void add_visible (attention_run *run) {
  const attention_shape *shape = run->task->shape;
  size_t position = run->tokens.position, end = visible_rows(shape, position + run->tokens.count - 1);
  for (size_t first = 0; first < end; first += BLOCK) {
    load_rows(run, &run->tokens.in->pooled, first, least(BLOCK, end - first), run->pooled);
    for (size_t t = 0; t < run->tokens.count; t++) {
      size_t visible = visible_rows(shape, position + t);
      if (visible > first) add_block(run, t, run->pooled, least(BLOCK, visible - first));
    }
  }
}

/* The chosen rows of every token; the list ends at the first -1. */
static void add_chosen (attention_run *run) {
  const attention_task *task = run->task;
  const id_tensor *chosen = task->chosen;
  for (size_t t = 0; t < run->tokens.count; t++) {
    const int32_t *rows = chosen->data + (run->tokens.row + t) * chosen->columns;
    size_t count = 0;
    for (size_t i = 0; i < chosen->columns && rows[i] >= 0; i++) {
      load_rows(run, &run->tokens.in->pooled, (size_t)rows[i], 1, run->pooled + count * task->shape->head);
      if (++count == BLOCK) {
        add_block(run, t, run->pooled, count);
        count = 0;
      }
    }
    if (count > 0) add_block(run, t, run->pooled, count);
  }
}

/* {== A run of tokens ============================================================================ */

static void begin (const attention_run *run) {
  const attention_task *task = run->task;
  size_t head = task->shape->head;
  for (size_t t = 0; t < run->tokens.count; t++) {
    float *out = task->out->data + (run->tokens.row + t) * task->out->columns + run->first_head * head;
    for (size_t i = 0; i < run->heads * head; i++) out[i] = 0;
    for (size_t h = 0; h < run->heads; h++) run->state[t * task->group + h] = (softmax){ -INFINITY, 0 };
  }
}

/* out / (sum + exp(sink - largest)): the sink takes part in the denominator only, unscaled. */
static void finish (const attention_run *run) {
  const attention_task *task = run->task;
  size_t head = task->shape->head;
  for (size_t t = 0; t < run->tokens.count; t++) {
    float *out = task->out->data + (run->tokens.row + t) * task->out->columns + run->first_head * head;
    for (size_t h = 0; h < run->heads; h++, out += head) {
      softmax state = run->state[t * task->group + h];
      float sink = task->sinks[run->first_head + h] - state.largest;
      task->cpu->kernels->exp(&sink, 1);
      for (size_t i = 0; i < head; i++) out[i] /= state.sum + sink;
      cpu_round_bf16(task->cpu, out, head);
    }
  }
}

static void attend_run (void *context, size_t i, size_t worker) {
  const attention_task *task = context;
  float *space = task->workers + worker * task->room;
  size_t head = task->shape->head;
  attention_run run = { .task = task, .first_head = i % task->groups * task->group };
  run.tokens = cpu_run_at(task->segments, task->run, i / task->groups);
  run.heads = least(task->group, task->shape->heads - run.first_head);
  run.pooled = space;
  run.scores = run.pooled + BLOCK * head;
  run.state = (softmax *)(void *)(run.scores + task->group * BLOCK);
  run.window = (float *)(void *)(run.state + task->run * task->group);
  begin(&run);
  add_window(&run);
  if (task->chosen != NULL) add_chosen(&run);
  else if (task->shape->ratio != 0) add_visible(&run);
  finish(&run);
}

/* {== The stage ================================================================================== */

/* Tokens of the longest session after the step: no token sees more window rows. */
static size_t deepest (const segment_list *segments) {
  size_t tokens = 0;
  for (size_t s = 0; s < segments->count; s++) {
    size_t end = segments->items[s].position + segments->items[s].count;
    if (end > tokens) tokens = end;
  }
  return tokens;
}

/* Long runs share decoded rows; when there are few, the heads are shared out among the threads too. */
static void divide (attention_task *task, size_t rows, size_t threads) {
  size_t heads = task->shape->heads;
  task->run = least(blocks_of(rows, threads), RUN);
  size_t runs = cpu_run_count(task->segments, task->run);
  size_t groups = runs >= threads ? 1 : least(blocks_of(threads, runs), blocks_of(heads, HEADS_A_TASK));
  task->group = blocks_of(heads, groups);
  task->groups = blocks_of(heads, task->group);
  size_t head = task->shape->head;
  task->room = BLOCK * head + task->group * BLOCK + 2 * task->run * task->group
             + (least(task->shape->window, deepest(task->segments)) + task->run - 1) * head;
}

static ms_status sparse_attention (backend *be, const attention_shape *shape, const segment_list *segments,
                                   size_t rotated, const tensor *q, const id_tensor *chosen, tensor *out,
                                   ms_error *err) {
  cpu_backend *cpu = cpu_of(be);
  size_t bytes = be->kv_row_bytes(be, shape->head, rotated), threads = cpu_pool_threads(cpu->pool);
  for (size_t s = 0; s < segments->count; s++) {
    const segment *item = &segments->items[s];
    TRY(cpu_check_row_bytes("window", item->window.row_bytes, bytes, err));
    if (shape->ratio != 0) TRY(cpu_check_row_bytes("pooled", item->pooled.row_bytes, bytes, err));
  }
  if (q->rows == 0) return MS_OK;
  attention_task task = { .cpu = cpu, .shape = shape, .segments = segments, .q = q, .out = out,
                          .chosen = chosen, .layout = { shape->head - rotated, rotated },
                          .scale = (float)(1.0 / sqrt((double)shape->head)) };
  divide(&task, q->rows, threads);
  float *space = cpu_scratch(cpu, 0, (shape->heads + threads * task.room) * sizeof *space, err);
  if (space == NULL) return MS_ENOMEM;
  cpu_weight_row(&shape->sink, 0, space);
  task.sinks = space;
  task.workers = space + shape->heads;
  cpu_pool_run(cpu->pool, cpu_run_count(segments, task.run) * task.groups, attend_run, &task);
  return MS_OK;
}

void cpu_install_attention (backend *be) {
  be->sparse_attention = sparse_attention;
}
