/*
** Sparse attention with a sink (specs/architecture.md 2.4, step 6): the window rows of a token, then its
** pooled rows, in blocks of 64 with an online softmax. A row is key and value of all heads. The blocks of a
** token depend on its position and choice alone, so its result does not depend on its company; work space
** does not grow with the context.
**
** Queries, rows and weights are bf16, as published, and multiplied in pairs; `exact` has float32. kernels.h calls
** either a unit. In the products of a block a lane is a head (scores) or a column (values):
**   scores [row, head]  += rows [row, unit] x queries [unit, head]      a unit: columns 2 u and 2 u + 1
**   out [head, column]  += weights [unit, head] x values [unit, column] a unit: rows 2 u and 2 u + 1
** So queries lie transposed, once for all their blocks, and rows are read twice: as they are and side by side.
*/
#include <math.h>
#include <string.h>

#include "rows.h"
#include "../../base/checked.h"
#include "../../base/number.h"

enum { BLOCK = 64,                     /* rows of an online-softmax step, as published */
       RUN = 16,                       /* tokens of a task at most: they share decoded rows */
       HEADS_A_TASK = CPU_LANES,       /* at least: every task decodes the rows for itself, and fills the lanes */
       ROWS_AHEAD = 8,                 /* chosen rows on their way while one is decoded */
       COLUMNS = 64 };                 /* of the values that lie in the first cache while the heads pass */

typedef struct attention_task {
  const cpu_backend *cpu;
  const attention_shape *shape;
  const segment_list *segments;
  kv_layout layout;
  const tensor *q, *out;
  const id_tensor *chosen;             /* NULL: all visible */
  size_t run, groups, group;           /* tokens a run; heads in `groups` groups of `group` */
  unit_kind unit;
  size_t values_a_unit, units;         /* 1 or 2; units of a row */
  size_t lanes;                        /* `group`, rounded up to whole lanes */
  float scale; const float *sinks;
  uint32_t *workers; size_t room;
} attention_task;

/* What a worker holds while it computes some heads of a run. */
typedef struct attention_run {
  const attention_task *task;
  token_run tokens;
  size_t first_head, heads;
  uint32_t *queries;                   /* [run, unit, lanes] */
  float *state;                        /* [run, 2, lanes]: cpu_softmax */
  float *rescale;                      /* [lanes] */
  float *scores;                       /* [BLOCK, lanes] */
  uint16_t *rounded;                   /* [2, lanes] */
  uint32_t *weights;                   /* [unit, lanes] */
  uint32_t *values;                    /* [columns / COLUMNS, unit, COLUMNS]: the block's rows side by side */
  uint32_t *pooled;                    /* [BLOCK, unit] */
  uint32_t *window;                    /* [window + run - 1, unit], from row window_first on */
  size_t window_first;
} attention_run;

static size_t least (size_t a, size_t b) { return a < b ? a : b; }

/* {== One block ================================================================================== */

/* The units that `count` rows give when they lie side by side. */
static size_t steps_of (const attention_task *task, size_t count) {
  return blocks_of(count, task->values_a_unit);
}

/* The next block's rows as values. Behind an odd number of rows stands one of zeros. */
static void set_values (const attention_run *run, const uint32_t *rows, size_t count) {
  static const uint16_t zeros[COLUMNS];
  const attention_task *task = run->task;
  const size_t head = task->shape->head, steps = steps_of(task, count);
  uint32_t *out = run->values;
  for (size_t c = 0; c < head; c += COLUMNS)
    for (size_t s = 0; s < steps; s++, out += COLUMNS) {
      const size_t columns = least(COLUMNS, head - c);
      if (task->unit == UNIT_FLOAT) {
        memcpy(out, rows + s * head + c, columns * sizeof *out);
      } else {
        const uint16_t *first = (const uint16_t *)(const void *)(rows + 2 * s * task->units) + c;
        task->cpu->kernels->pair_rows(first, 2 * s + 1 < count ? first + head : zeros, out, columns);
      }
    }
}

/* The weights of a block as units; rounded for the product with the values only, the sum has them unrounded. */
static const uint32_t *pair_weights (const attention_run *run, size_t count) {
  const attention_task *task = run->task;
  const cpu_kernels *kernels = task->cpu->kernels;
  const size_t lanes = task->lanes;
  if (task->unit == UNIT_FLOAT) return (const uint32_t *)(const void *)run->scores;
  memset(run->scores + count * lanes, 0, count % 2 * lanes * sizeof *run->scores);
  for (size_t s = 0; s < steps_of(task, count); s++) {
    kernels->to_bf16(run->scores + 2 * s * lanes, run->rounded, 2 * lanes);
    kernels->pair_rows(run->rounded, run->rounded + lanes, run->weights + s * lanes, lanes);
  }
  return run->weights;
}

/* Adds `count` <= BLOCK rows, which are the values that were set, to token `t` of the run. */
static void add_block (const attention_run *run, size_t t, const uint32_t *rows, size_t count) {
  const attention_task *task = run->task;
  const cpu_kernels *kernels = task->cpu->kernels;
  const size_t head = task->shape->head, lanes = task->lanes, steps = steps_of(task, count);
  float *out = task->out->data + (run->tokens.row + t) * task->out->columns + run->first_head * head;
  cpu_softmax state = { run->state + 2 * t * lanes, run->state + (2 * t + 1) * lanes, run->rescale };

  memset(run->scores, 0, count * lanes * sizeof *run->scores);
  kernels->multiply_add[task->unit]((cpu_units){ rows, task->units, 1 }, count,
                                    run->queries + t * task->units * lanes, lanes, task->units, lanes,
                                    run->scores, lanes);
  kernels->softmax(run->scores, count, lanes, task->scale, &state);
  for (size_t h = 0; h < run->heads; h++)
    if (run->rescale[h] != 1.0f) kernels->scale(out + h * head, run->rescale[h], head);
  const cpu_units weights = { pair_weights(run, count), 1, lanes };
  for (size_t c = 0; c < head; c += COLUMNS)
    kernels->multiply_add[task->unit](weights, run->heads, run->values + c * steps, COLUMNS, steps,
                                      least(COLUMNS, head - c), out + c, head);
}

/* {== The keys of a run ========================================================================== */

static void load_rows (const attention_run *run, const row_view *view, size_t first, size_t count,
                       uint32_t *out) {
  const attention_task *task = run->task;
  for (size_t i = 0; i < count; i++)
    cpu_kv_load(task->cpu, view, first + i, task->layout, out + i * task->units);
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
    for (size_t count; first < end; first += count) {
      const uint32_t *rows = run->window + (first - run->window_first) * run->task->units;
      count = least(BLOCK, end - first);
      set_values(run, rows, count);
      add_block(run, t, rows, count);
    }
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
    for (size_t t = 0, set = 0; t < run->tokens.count; t++) {
      size_t visible = visible_rows(shape, position + t);
      if (visible <= first) continue;
      size_t count = least(BLOCK, visible - first);
      if (count != set) set_values(run, run->pooled, set = count);
      add_block(run, t, run->pooled, count);
    }
  }
}

/* The chosen rows of every token; the list ends at the first -1. They lie anywhere, so they are asked for in time. */
static void add_chosen (attention_run *run) {
  const attention_task *task = run->task;
  const id_tensor *chosen = task->chosen;
  for (size_t t = 0; t < run->tokens.count; t++) {
    const int32_t *rows = chosen->data + (run->tokens.row + t) * chosen->columns;
    size_t count = 0;
    for (size_t i = 0; i < chosen->columns && rows[i] >= 0; i++) {
      if (i + ROWS_AHEAD < chosen->columns && rows[i + ROWS_AHEAD] >= 0)
        cpu_expect_rows(&run->tokens.in->pooled, (size_t)rows[i + ROWS_AHEAD], 1);
      load_rows(run, &run->tokens.in->pooled, (size_t)rows[i], 1, run->pooled + count * task->units);
      if (++count < BLOCK && i + 1 < chosen->columns && rows[i + 1] >= 0) continue;
      set_values(run, run->pooled, count);
      add_block(run, t, run->pooled, count);
      count = 0;
    }
  }
}

/* {== A run of tokens ============================================================================ */

/* Heads that fill some lanes, of one token: queries [unit, lanes], zeros behind the last head. */
static void set_queries (const attention_run *run, const float *q, size_t heads, uint32_t *queries) {
  const attention_task *task = run->task;
  const size_t head = task->shape->head, units = task->units;
  uint32_t *rows = run->values;                /* work space until the first block */
  memset(rows, 0, CPU_LANES * units * sizeof *rows);
  for (size_t h = 0; h < heads; h++, q += head) {
    if (task->unit == UNIT_FLOAT) memcpy(rows + h * units, q, head * sizeof *q);
    else task->cpu->kernels->to_bf16(q, (uint16_t *)(void *)(rows + h * units), head);
  }
  for (size_t u = 0; u < units; u++)
    for (size_t l = 0; l < CPU_LANES; l++) queries[u * task->lanes + l] = rows[l * units + u];
}

static void begin (const attention_run *run) {
  const attention_task *task = run->task;
  const size_t head = task->shape->head, lanes = task->lanes;
  for (size_t t = 0; t < run->tokens.count; t++) {
    const size_t at = (run->tokens.row + t) * task->out->columns + run->first_head * head;
    for (size_t h = 0; h < lanes; h += CPU_LANES)
      set_queries(run, task->q->data + at + h * head, least(CPU_LANES, run->heads - least(h, run->heads)),
                  run->queries + t * task->units * lanes + h);
    memset(task->out->data + at, 0, run->heads * head * sizeof *task->out->data);
    for (size_t l = 0; l < lanes; l++) {
      run->state[2 * t * lanes + l] = -INFINITY;
      run->state[(2 * t + 1) * lanes + l] = 0;
    }
  }
}

/* out / (sum + exp(sink - largest)): the sink takes part in the denominator only, without a factor. */
static void finish (const attention_run *run) {
  const attention_task *task = run->task;
  const size_t head = task->shape->head, lanes = task->lanes;
  for (size_t t = 0; t < run->tokens.count; t++) {
    const float *largest = run->state + 2 * t * lanes, *sum = largest + lanes;
    float *out = task->out->data + (run->tokens.row + t) * task->out->columns + run->first_head * head;
    for (size_t h = 0; h < run->heads; h++, out += head) {
      float sink = task->sinks[run->first_head + h] - largest[h];
      task->cpu->kernels->exp(&sink, 1);
      task->cpu->kernels->scale(out, 1.0f / (sum[h] + sink), head);
      cpu_round_bf16(task->cpu, out, head);
    }
  }
}

/* The parts of a worker's room, each in whole lanes; returns its size in units when `space` is NULL. */
static size_t share_room (const attention_task *task, size_t window, uint32_t *space, attention_run *run) {
  const size_t lanes = task->lanes, head = task->shape->head;
  size_t used = 0;
#define TAKE(member, count) do { \
    if (space != NULL) run->member = (void *)(space + used); \
    used += blocks_of(count, CPU_LANES) * CPU_LANES; \
  } while (0)
  TAKE(queries, task->run * task->units * lanes);
  TAKE(values, steps_of(task, BLOCK) * blocks_of(head, COLUMNS) * COLUMNS);
  TAKE(pooled, BLOCK * task->units);
  TAKE(scores, BLOCK * lanes);
  TAKE(weights, steps_of(task, BLOCK) * lanes);
  TAKE(state, task->run * 2 * lanes);
  TAKE(rescale, lanes);
  TAKE(rounded, lanes);
  TAKE(window, window * task->units);
#undef TAKE
  return used;
}

static void attend_run (void *context, size_t i, size_t worker) {
  const attention_task *task = context;
  attention_run run = { .task = task, .first_head = i % task->groups * task->group };
  share_room(task, 0, task->workers + worker * task->room, &run);
  run.tokens = cpu_run_at(task->segments, task->run, i / task->groups);
  run.heads = least(task->group, task->shape->heads - run.first_head);
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
  task->lanes = blocks_of(task->group, CPU_LANES) * CPU_LANES;
  task->room = share_room(task, least(task->shape->window, deepest(task->segments)) + task->run - 1, NULL, NULL);
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
                          .unit = be->numerics == MS_EXACT ? UNIT_FLOAT : UNIT_PAIR,
                          .scale = (float)(1.0 / sqrt((double)shape->head)) };
  task.values_a_unit = task.unit == UNIT_FLOAT ? 1 : 2;
  task.units = shape->head / task.values_a_unit;
  divide(&task, q->rows, threads);
  const size_t rooms = threads * task.room;
  uint32_t *space = cpu_scratch(cpu, 0, (rooms + shape->heads) * sizeof *space, err);
  if (space == NULL) return MS_ENOMEM;
  float *sinks = (float *)(void *)(space + rooms);
  cpu_weight_row(&shape->sink, 0, sinks);
  task.sinks = sinks;
  task.workers = space;
  cpu_pool_run(cpu->pool, cpu_run_count(segments, task.run) * task.groups, attend_run, &task);
  return MS_OK;
}

void cpu_install_attention (backend *be) {
  be->sparse_attention = sparse_attention;
}
