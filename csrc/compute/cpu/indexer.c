/*
** The lightning indexer (specs/architecture.md 2.6): scores every visible pooled row for every token and
** keeps the top_k best. Scores are made a tile of keys at a time and never stored. In packed numerics they
** come from exact integer products of E2M1 codes. Which rows are best does not depend on how they were
** visited: scores are ranked by value, then by row, and no two ranks are equal.
*/
#include <math.h>
#include <string.h>

#include "compressor.h"
#include "rope.h"
#include "rows.h"
#include "../../base/checked.h"
#include "../../base/number.h"

enum { TILE = 64,            /* keys scored at a time, whole groups: a page of a session */
       QUERIES = 64,         /* heads of a run's tokens at most, unless one token has more */
       PART = 1024 };        /* keys worth a task of their own */

typedef struct select_task {
  cpu_backend *cpu;
  const indexer *ix;
  const segment_list *segments;
  const tensor *angles;
  tensor q;                            /* [rows, heads * width]; lost where the numerics pack it */
  int8_t *codes; float *scales; int32_t *sums;      /* the same packed; exact: NULL */
  float *head_weights;                 /* [rows, heads] */
  size_t run, parts;                   /* tokens a run; ranges into which the keys of a run are cut */
  uint64_t *best; size_t *found;       /* [rows, parts, top_k], [rows, parts] */
  uint8_t *workers; size_t room;
  id_tensor *chosen;
} select_task;

static size_t visible_rows (const select_task *task, size_t position) {
  return (position + 1) / task->ix->keys.ratio;
}

/* {== The best rows ============================================================================== */

/*
** The candidates of one token, by ascending row. Nothing below `floor` can be among the best any more, and
** so no score below `worst`, the score of that rank.
*/
typedef struct candidates { uint64_t *ranks; size_t count; uint64_t floor; float worst; } candidates;

/* Higher is better: the score's bits in order, NaN lowest; then the lower row. */
static uint64_t rank_of (float score, size_t row) {
  uint32_t bits = bits_of_float(score + 0.0f);           /* -0 ties with 0 */
  uint32_t order = bits & 0x80000000 ? ~bits : bits | 0x80000000;
  if (score != score) order = 0;
  return (uint64_t)order << 32 | (UINT32_MAX - (uint32_t)row);
}

static float score_of (uint64_t rank) {
  uint32_t order = (uint32_t)(rank >> 32);
  if (order == 0) return -INFINITY;
  return float_of_bits(order & 0x80000000 ? order & 0x7FFFFFFF : ~order);
}

static uint64_t middle_of (uint64_t a, uint64_t b, uint64_t c) {
  uint64_t low = a < b ? a : b, high = a < b ? b : a;
  return c < low ? low : c > high ? high : c;
}

/* The n-th largest, n from 1, of distinct ranks, whose order is lost (Hoare's selection). */
static uint64_t nth_largest (uint64_t *ranks, size_t count, size_t n) {
  ptrdiff_t low = 0, high = (ptrdiff_t)count - 1, wanted = (ptrdiff_t)n - 1;
  while (low < high) {
    uint64_t pivot = middle_of(ranks[low], ranks[low + (high - low) / 2], ranks[high]);
    ptrdiff_t i = low, j = high;
    while (i <= j) {
      while (ranks[i] > pivot) i++;
      while (ranks[j] < pivot) j--;
      if (i > j) break;
      uint64_t rank = ranks[i];
      ranks[i++] = ranks[j];
      ranks[j--] = rank;
    }
    if (j < wanted) low = i;
    if (wanted < i) high = j;
  }
  return ranks[wanted];
}

/* Leaves the `top_k` best, still by ascending row. space: as many ranks as there are. */
static void keep_best (candidates *c, size_t top_k, uint64_t *space) {
  if (c->count <= top_k) return;
  memcpy(space, c->ranks, c->count * sizeof *space);
  c->floor = nth_largest(space, c->count, top_k);
  c->worst = score_of(c->floor);
  size_t kept = 0;
  for (size_t i = 0; i < c->count; i++)
    if (c->ranks[i] >= c->floor) c->ranks[kept++] = c->ranks[i];
  c->count = kept;
}

/* {== Queries ==================================================================================== */

static void make_query (void *context, size_t i, size_t worker) {
  const select_task *task = context;
  (void)worker;
  size_t heads = task->ix->heads, width = task->ix->width, row = cpu_run_at(task->segments, 1, i).row;
  const float *angles = task->angles->data + row * task->angles->columns;
  for (size_t h = 0; h < heads; h++) {
    float *q = task->q.data + (row * heads + h) * width;
    cpu_rotate(task->cpu, angles, task->angles->columns / 2, q, width);
    if (task->codes != NULL)
      cpu_index_query(q, width, task->codes + (row * heads + h) * width,
                      task->scales + (row * heads + h) * (width / CPU_BLOCK),
                      task->sums + (row * heads + h) * (width / CPU_BLOCK));
  }
  float factor = (float)(1.0 / sqrt((double)width) / sqrt((double)heads));
  float *weights = task->head_weights + row * heads;
  cpu_round_bf16(task->cpu, weights, heads);
  for (size_t h = 0; h < heads; h++) weights[h] *= factor;
  cpu_round_bf16(task->cpu, weights, heads);
}

static ms_status make_queries (select_task *task, const tensor *u, const tensor *latent, ms_error *err) {
  const indexer *ix = task->ix;
  cpu_backend *cpu = task->cpu;
  size_t rows = u->rows, values = rows * ix->heads * ix->width;
  size_t packed = cpu->base.numerics == MS_EXACT ? 0 : values;
  size_t bytes = (values + rows * ix->heads + 2 * packed / CPU_BLOCK) * sizeof(float) + packed;
  float *space = cpu_scratch(cpu, 4, bytes, err);
  if (space == NULL) return MS_ENOMEM;
  task->q = (tensor){ space, rows, ix->heads * ix->width };
  task->head_weights = space + values;
  task->scales = task->head_weights + rows * ix->heads;
  task->sums = (int32_t *)(void *)(task->scales + packed / CPU_BLOCK);
  task->codes = packed == 0 ? NULL : (int8_t *)(task->sums + packed / CPU_BLOCK);
  TRY(cpu_linear(cpu, &ix->wq_b, latent, &task->q, err));
  TRY(cpu_product(cpu, &ix->weights_proj, u->data, u->columns, rows, task->head_weights, ix->heads, err));
  cpu_pool_run(cpu->pool, cpu_run_count(task->segments, 1), make_query, task);
  return MS_OK;
}

/* {== Scores ===================================================================================== */

/* Products [queries, TILE] of all heads of `tokens` rows of the step with `count` keys of one page. */
static void tile_products (const select_task *task, const row_view *view, size_t first, size_t count, size_t row,
                           size_t tokens, float *out) {
  const indexer *ix = task->ix;
  size_t query = row * ix->heads, blocks = query * (ix->width / CPU_BLOCK);
  const float *keys = cpu_float_row(view, first);      /* the first of a group: its row begins the group */
  if (task->codes == NULL) {
    weight page = { .encoding = WEIGHT_F32, .data = (const uint8_t *)keys, .rows = count,
                    .columns = ix->width, .name = "indexer rows" };
    task->cpu->kernels->product[WEIGHT_F32](&page, 0, count, task->q.data + query * ix->width, ix->width,
                                            tokens * ix->heads, out, TILE);
    return;
  }
  cpu_index_queries q = { task->codes + query * ix->width, task->scales + blocks, task->sums + blocks, ix->width };
  task->cpu->kernels->index_products((const uint8_t *)keys, blocks_of(count, INDEX_GROUP), &q,
                                     tokens * ix->heads, out, TILE);
}

static void offer_tile (const select_task *task, candidates *c, const float *scores, size_t first,
                        size_t count, uint64_t *space) {
  size_t top_k = task->ix->top_k;
  for (size_t j = 0; j < count; j++) {
    if (scores[j] < c->worst) continue;                  /* most are */
    uint64_t rank = rank_of(scores[j], first + j);
    if (rank <= c->floor) continue;
    c->ranks[c->count++] = rank;
    if (c->count == 2 * top_k) keep_best(c, top_k, space);
  }
}

/* A worker's space: ranks [run, 2 * top_k], then as many again as one token has. */
typedef struct select_space { uint64_t *ranks, *space; candidates *of; float *products, *sums; } select_space;

/* Ranks of a worker: those of a run, or what the parts of one token found. */
static size_t worker_ranks (const select_task *task) {
  size_t scoring = 2 * (task->run + 1);
  return (scoring > task->parts ? scoring : task->parts) * task->ix->top_k;
}

static size_t worker_bytes (const select_task *task) {
  size_t bytes = worker_ranks(task) * sizeof(uint64_t) + task->run * sizeof(candidates)
               + (task->run * task->ix->heads + 1) * TILE * sizeof(float);
  return blocks_of(bytes, 64) * 64;
}

static select_space space_of (const select_task *task, size_t worker) {
  select_space s = { .ranks = (uint64_t *)(void *)(task->workers + worker * task->room) };
  s.space = s.ranks + task->run * 2 * task->ix->top_k;
  s.of = (candidates *)(void *)(s.ranks + worker_ranks(task));
  s.products = (float *)(void *)(s.of + task->run);
  s.sums = s.products + task->run * task->ix->heads * TILE;
  return s;
}

/* Scores keys [from, end) for a run; a token sees those below its own limit. */
static void score_keys (const select_task *task, token_run run, size_t from, size_t end, select_space *s) {
  const row_view *view = &run.in->index_rows;
  for (size_t first = from, count; first < end; first += count) {
    size_t page_left = view->rows_per_page - first % view->rows_per_page;
    count = end - first < TILE ? end - first : TILE;
    if (count > page_left) count = page_left;
    const size_t next = first + count, behind = view->rows_per_page - next % view->rows_per_page;
    if (next < end) cpu_expect_rows(view, next, behind < TILE ? behind : TILE);
    tile_products(task, view, first, count, run.row, run.count, s->products);
    for (size_t t = 0; t < run.count; t++) {
      size_t visible = visible_rows(task, run.position + t);
      if (visible <= first) continue;
      size_t seen = visible - first < count ? visible - first : count;
      size_t heads = task->ix->heads, whole = blocks_of(seen, CPU_LANES) * CPU_LANES;   /* the rest is not looked at */
      task->cpu->kernels->sum_relu(s->products + t * heads * TILE, TILE, task->head_weights + (run.row + t) * heads,
                                   heads, s->sums, whole);
      offer_tile(task, &s->of[t], s->sums, first, seen, s->space);
    }
  }
}

/* One range of the keys for one run: leaves every token's best of the range. */
static void score_part (void *context, size_t i, size_t worker) {
  const select_task *task = context;
  size_t top_k = task->ix->top_k, part = i % task->parts;
  token_run run = cpu_run_at(task->segments, task->run, i / task->parts);
  size_t end = visible_rows(task, run.position + run.count - 1);
  size_t share = blocks_of(blocks_of(end, task->parts), INDEX_GROUP) * INDEX_GROUP;
  if (end <= top_k) return;                              /* all are chosen */
  select_space s = space_of(task, worker);
  for (size_t t = 0; t < run.count; t++) s.of[t] = (candidates){ s.ranks + t * 2 * top_k, 0, 0, -INFINITY };
  size_t from = part * share < end ? part * share : end;
  score_keys(task, run, from, end - from < share ? end : from + share, &s);
  for (size_t t = 0; t < run.count; t++) {
    size_t at = (run.row + t) * task->parts + part;
    keep_best(&s.of[t], top_k, s.space);
    task->found[at] = s.of[t].count;
    memcpy(task->best + at * top_k, s.of[t].ranks, s.of[t].count * sizeof *task->best);
  }
}

/* {== The choice ================================================================================= */

static size_t choose_all (int32_t *out, size_t visible) {
  for (size_t j = 0; j < visible; j++) out[j] = (int32_t)j;
  return visible;
}

/* The best of the parts' best; parts ascend, and so do the rows of each. */
static size_t choose_best (const select_task *task, size_t row, int32_t *out, uint64_t *space) {
  size_t top_k = task->ix->top_k, total = 0;
  uint64_t *all = task->best + row * task->parts * top_k;
  for (size_t p = 0; p < task->parts; p++) {
    size_t count = task->found[row * task->parts + p];
    memmove(all + total, all + p * top_k, count * sizeof *all);
    total += count;
  }
  candidates c = { all, total, 0, -INFINITY };
  keep_best(&c, top_k, space);
  for (size_t i = 0; i < c.count; i++) out[i] = (int32_t)(UINT32_MAX - (uint32_t)all[i]);
  return c.count;
}

static void choose_row (void *context, size_t i, size_t worker) {
  const select_task *task = context;
  token_run token = cpu_run_at(task->segments, 1, i);
  int32_t *out = task->chosen->data + token.row * task->chosen->columns;
  size_t visible = visible_rows(task, token.position);
  size_t count = visible <= task->ix->top_k ? choose_all(out, visible)
               : choose_best(task, token.row, out, space_of(task, worker).ranks);
  for (; count < task->chosen->columns; count++) out[count] = -1;
}

/* {== The stage ================================================================================== */

/* The most rows that a token of the step sees. */
static size_t most_visible (const select_task *task) {
  size_t most = 0;
  for (size_t s = 0; s < task->segments->count; s++) {
    const segment *item = &task->segments->items[s];
    size_t visible = visible_rows(task, item->position + item->count - 1);
    if (item->count > 0 && visible > most) most = visible;
  }
  return most;
}

/*
** Leaves the best of every part in `best`. When there are few runs, the keys of each are shared out among
** the threads: every cut has the same best rows.
*/
static ms_status score_all (select_task *task, size_t rows, size_t most, ms_error *err) {
  cpu_backend *cpu = task->cpu;
  size_t top_k = task->ix->top_k, threads = cpu_pool_threads(cpu->pool);
  task->run = QUERIES / task->ix->heads > 1 ? QUERIES / task->ix->heads : 1;
  size_t runs = cpu_run_count(task->segments, task->run), parts = blocks_of(threads, runs);
  task->parts = parts < blocks_of(most, PART) ? parts : blocks_of(most, PART);
  task->room = worker_bytes(task);
  size_t ranks = rows * task->parts * top_k * sizeof(uint64_t), found = rows * task->parts * sizeof(size_t);
  task->workers = cpu_scratch(cpu, 0, threads * task->room + ranks + found, err);
  if (task->workers == NULL) return MS_ENOMEM;
  task->best = (uint64_t *)(void *)(task->workers + threads * task->room);
  task->found = (size_t *)(void *)(task->workers + threads * task->room + ranks);
  cpu_pool_run(cpu->pool, runs * task->parts, score_part, task);
  return MS_OK;
}

static ms_status select_rows (backend *be, const indexer *ix, const segment_list *segments, const tensor *u,
                              const tensor *latent, const tensor *angles, id_tensor *chosen, ms_error *err) {
  select_task task = { .cpu = cpu_of(be), .ix = ix, .segments = segments, .angles = angles,
                       .chosen = chosen };
  for (size_t s = 0; s < segments->count; s++)
    if (segments->items[s].index_rows.rows_per_page % INDEX_GROUP != 0)
      return fail(err, MS_EINVAL, "a page of indexer rows holds %zu, not a multiple of %d",
                  segments->items[s].index_rows.rows_per_page, INDEX_GROUP);
  TRY(cpu_compress(task.cpu, &ix->keys, POOLED_INDEX, segments, u, err));
  size_t most = most_visible(&task);
  if (most > ix->top_k) {
    TRY(make_queries(&task, u, latent, err));
    TRY(score_all(&task, u->rows, most, err));
  }
  cpu_pool_run(task.cpu->pool, cpu_run_count(segments, 1), choose_row, &task);
  return MS_OK;
}

void cpu_install_indexer (backend *be) {
  be->select = select_rows;
}
