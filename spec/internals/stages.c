/*
** Single stages of the CPU backend that touch a session's memory or its streams, fed with arrays of the
** oracle: a text of `tokens` tokens, cut into chunks, of one or several sessions that walk through it one
** chunk behind the other. Arrays are strings of packed 4-byte values, one row a token.
*/
#include "internals.h"

#include <string.h>

#include "../../csrc/base/checked.h"
#include "../../csrc/base/memory.h"
#include "../../csrc/model/weights.h"
#include "kv_row.h"

enum { ARRAYS = 5, SESSIONS = 3, SEQUENCES = 5 };

/* One sequence of rows: `shown` is what a segment may see of it, NULL where pages would be given up. */
typedef struct sequence { uint8_t **pages, **shown; size_t count, row_bytes; } sequence;

typedef enum sequence_kind { WINDOW, POOLED, RAW, INDEX_ROWS, INDEX_RAW } sequence_kind;
static const char *const sequence_names[SEQUENCES] = { "window", "pooled", "raw", "index_rows", "index_raw" };

typedef struct stage stage;

typedef struct bench {
  const stage *run;
  model *m;
  backend *be;
  const model_layer *layer;
  hyper_connection hc;
  size_t tokens, chunk, sessions, rows_per_page;
  sequence memory[SESSIONS][SEQUENCES];
  const float *inputs[ARRAYS]; size_t in_columns[ARRAYS];
  const float *rows; size_t row_count;                     /* pooled rows that are there from the start */
  float *results[ARRAYS]; size_t out_columns[ARRAYS];      /* [sessions, tokens, columns] */
  tensor in[ARRAYS], out[ARRAYS], angles;                  /* of one step */
  int32_t *positions;
  segment segments[SESSIONS];
  segment_list list;
} bench;

struct stage {
  const char *name, *inputs[ARRAYS], *outputs[ARRAYS];
  void (*shape) (bench *b);                                /* fills out_columns */
  ms_status (*run) (bench *b, ms_error *err);
};

/* {== The stages ================================================================================= */

/* x [width] becomes the query head that its codes and scales hold. */
static void decode_query (float *x, size_t width) {
  int8_t codes[1024];
  float scales[1024 / FP4_BLOCK];
  int32_t sums[1024 / FP4_BLOCK];
  cpu_index_query(x, width, codes, scales, sums);
  for (size_t i = 0; i < width; i++) x[i] = (float)codes[i] * scales[i / FP4_BLOCK];
}

static void shape_hc_pre (bench *b) {
  b->out_columns[0] = b->hc.fn.columns / b->hc.streams;
  b->out_columns[1] = b->hc.streams;
  b->out_columns[2] = b->hc.streams * b->hc.streams;
}

static ms_status run_hc_pre (bench *b, ms_error *err) {
  return b->be->hc_pre(b->be, &b->hc, &b->in[0], &b->out[0], &b->out[1], &b->out[2], err);
}

static ms_status run_hc_head (bench *b, ms_error *err) {
  return b->be->hc_head(b->be, &b->hc, &b->in[0], &b->out[0], err);
}

static void shape_first (bench *b) { b->out_columns[0] = b->in_columns[0]; }

static void copy_first (bench *b) {
  memcpy(b->out[0].data, b->in[0].data, b->in[0].rows * b->in[0].columns * sizeof(float));
}

static ms_status run_hc_post (bench *b, ms_error *err) {
  copy_first(b);
  return b->be->hc_post(b->be, &b->in[1], &b->in[2], &b->in[3], &b->out[0], err);
}

static ms_status run_rope (bench *b, ms_error *err) {
  copy_first(b);
  return b->be->rope(b->be, &b->angles, b->m->config.head_dim, &b->out[0], err);
}

static ms_status run_rope_inverse (bench *b, ms_error *err) {
  copy_first(b);
  return b->be->rope_inverse(b->be, &b->angles, b->m->config.head_dim, &b->out[0], err);
}

static ms_status run_store_window (bench *b, ms_error *err) {
  return b->be->store_window(b->be, &b->list, b->m->config.rope_dim, &b->in[0], err);
}

static ms_status run_compress (bench *b, ms_error *err) {
  return b->be->compress(b->be, &b->layer->compressor, &b->list, &b->in[0], err);
}

static void shape_select (bench *b) { b->out_columns[0] = b->layer->indexer.top_k; }

static ms_status run_select (bench *b, ms_error *err) {
  id_tensor chosen = { (int32_t *)(void *)b->out[0].data, b->out[0].rows, b->out[0].columns };
  return b->be->select(b->be, &b->layer->indexer, &b->list, &b->in[0], &b->in[1], &b->angles, &chosen, err);
}

static void shape_query (bench *b) { b->out_columns[0] = b->layer->indexer.heads * b->layer->indexer.width; }

/* The indexer's queries as its scores see them: what select does before it scores. */
static ms_status run_index_query (bench *b, ms_error *err) {
  const indexer *ix = &b->layer->indexer;
  TRY(b->be->linear(b->be, &ix->wq_b, &b->in[0], &b->out[0], err));
  TRY(b->be->rope(b->be, &b->angles, ix->width, &b->out[0], err));
  if (b->be->numerics == MS_EXACT) return MS_OK;
  for (size_t at = 0; at < b->out[0].rows * b->out[0].columns; at += ix->width)
    decode_query(b->out[0].data + at, ix->width);
  return MS_OK;
}

static ms_status run_attention (bench *b, ms_error *err) {
  id_tensor chosen = { (int32_t *)(void *)b->in[2].data, b->in[2].rows, b->in[2].columns };
  size_t rotated = b->m->config.rope_dim;
  TRY(b->be->store_window(b->be, &b->list, rotated, &b->in[1], err));
  return b->be->sparse_attention(b->be, &b->layer->attention, &b->list, rotated, &b->in[0],
                                 b->inputs[2] == NULL ? NULL : &chosen, &b->out[0], err);
}

static const stage stages[] = {
  { "hc_pre", { "streams" }, { "mixed", "post", "comb" }, shape_hc_pre, run_hc_pre },
  { "hc_head", { "streams" }, { "mixed" }, shape_hc_pre, run_hc_head },
  { "hc_post", { "streams", "result", "post", "comb" }, { "streams" }, shape_first, run_hc_post },
  { "rope", { "x" }, { "x" }, shape_first, run_rope },
  { "rope_inverse", { "x" }, { "x" }, shape_first, run_rope_inverse },
  { "store_window", { "kv" }, { NULL }, NULL, run_store_window },
  { "compress", { "u" }, { NULL }, NULL, run_compress },
  { "select", { "u", "latent" }, { "chosen" }, shape_select, run_select },
  { "index_query", { "latent" }, { "q" }, shape_query, run_index_query },
  { "sparse_attention", { "q", "kv", "chosen" }, { "heads" }, shape_first, run_attention },
};

/* {== A session's memory ========================================================================= */

static ms_status open_memory (bench *b, sequence *s, size_t rows, size_t row_bytes, ms_error *err) {
  s->count = blocks_of(rows, b->rows_per_page);
  s->row_bytes = row_bytes;
  s->pages = memory_new(s->count + 1, sizeof *s->pages);
  s->shown = memory_new(s->count + 1, sizeof *s->shown);
  if (s->pages == NULL || s->shown == NULL) return fail_memory(err, s->count, "pages");
  for (size_t p = 0; p < s->count; p++)
    if ((s->pages[p] = b->be->allocate(b->be, b->rows_per_page * row_bytes)) == NULL)
      return fail_memory(err, b->rows_per_page * row_bytes, "a page");
  return MS_OK;
}

static ms_status open_session (bench *b, sequence *memory, ms_error *err) {
  const model_config *c = &b->m->config;
  const compressor *main = &b->layer->compressor, *keys = &b->layer->indexer.keys;
  size_t kv_bytes = b->be->kv_row_bytes(b->be, c->head_dim, c->rope_dim);
  if (kv_bytes == 0) return fail(err, MS_EUNSUPPORTED, "a head of %zu cannot be packed", c->head_dim);
  TRY(open_memory(b, &memory[WINDOW], b->tokens, kv_bytes, err));
  if (b->layer->ratio == 0) return MS_OK;
  TRY(open_memory(b, &memory[POOLED], b->tokens / main->ratio, kv_bytes, err));
  TRY(open_memory(b, &memory[RAW], b->tokens, 2 * main->lanes * main->width * sizeof(float), err));
  row_view pooled = { memory[POOLED].pages, 0, b->rows_per_page, kv_bytes };
  for (size_t j = 0; j < b->row_count; j++)
    cpu_kv_store(cpu_of(b->be), &pooled, j, (kv_layout){ c->head_dim - c->rope_dim, c->rope_dim },
                 b->rows + j * c->head_dim);
  if (!b->layer->has_indexer) return MS_OK;
  TRY(open_memory(b, &memory[INDEX_ROWS], b->tokens / keys->ratio,
                  b->be->index_row_bytes(b->be, keys->width), err));
  return open_memory(b, &memory[INDEX_RAW], b->tokens, 2 * keys->lanes * keys->width * sizeof(float), err);
}

/* Pages whose rows all lie before `oldest` are given up: no part of the table, and nothing lies before it. */
static row_view show (const bench *b, const sequence *s, size_t oldest) {
  size_t first = oldest / b->rows_per_page < s->count ? oldest / b->rows_per_page : s->count;
  for (size_t p = 0; p < s->count; p++) s->shown[p] = p < first ? NULL : s->pages[p];
  return (row_view){ s->shown + first, first, b->rows_per_page, s->row_bytes };
}

static segment segment_of (const bench *b, const sequence *memory, size_t first, size_t position,
                           size_t count) {
  size_t window = b->layer->attention.window, ratio = b->layer->ratio == 0 ? 1 : b->layer->ratio;
  size_t seen = position + 1 > window ? position + 1 - window : 0;
  size_t block = position / ratio, oldest = block == 0 ? 0 : (block - 1) * ratio;
  return (segment){ .first = first, .count = count, .position = position,
                    .window = show(b, &memory[WINDOW], seen), .pooled = show(b, &memory[POOLED], 0),
                    .raw = show(b, &memory[RAW], oldest), .index_rows = show(b, &memory[INDEX_ROWS], 0),
                    .index_raw = show(b, &memory[INDEX_RAW], oldest) };
}

static void close_bench (bench *b) {
  for (size_t s = 0; s < SESSIONS && b->be != NULL; s++)
    for (size_t k = 0; k < SEQUENCES; k++) {
      for (size_t p = 0; p < b->memory[s][k].count; p++) b->be->release(b->be, b->memory[s][k].pages[p]);
      memory_free(b->memory[s][k].pages);
      memory_free(b->memory[s][k].shown);
    }
  for (size_t i = 0; i < ARRAYS; i++) {
    memory_free(b->in[i].data);
    memory_free(b->out[i].data);
    memory_free(b->results[i]);
  }
  memory_free(b->angles.data);
  memory_free(b->positions);
  if (b->be != NULL) b->be->close(b->be);
  model_close(b->m);
}

/* {== Running a stage ============================================================================ */

static float *new_floats (size_t rows, size_t columns, ms_error *err) {
  float *data = memory_new(rows * columns + 1, sizeof *data);
  if (data == NULL) fail_memory(err, rows * columns * sizeof *data, "an array");
  return data;
}

static ms_status open_arrays (bench *b, ms_error *err) {
  size_t rows = b->chunk * b->sessions;
  if (b->run->shape != NULL) b->run->shape(b);
  for (size_t i = 0; i < ARRAYS; i++) {
    b->in[i] = (tensor){ new_floats(rows, b->in_columns[i], err), 0, b->in_columns[i] };
    b->out[i] = (tensor){ new_floats(rows, b->out_columns[i], err), 0, b->out_columns[i] };
    b->results[i] = new_floats(b->sessions * b->tokens, b->out_columns[i], err);
    if (b->in[i].data == NULL || b->out[i].data == NULL || b->results[i] == NULL) return MS_ENOMEM;
  }
  b->angles = (tensor){ new_floats(rows, b->m->config.rope_dim, err), 0, b->m->config.rope_dim };
  b->positions = memory_new(rows, sizeof *b->positions);
  return b->angles.data == NULL || b->positions == NULL ? MS_ENOMEM : MS_OK;
}

/* Step `step`: session s is at chunk step - s, and its rows lie behind those of session s + 1. */
static void gather (bench *b, size_t step) {
  size_t rows = 0;
  b->list = (segment_list){ b->segments, 0 };
  for (size_t s = b->sessions; s-- > 0; ) {
    if (step < s || (step - s) * b->chunk >= b->tokens) continue;
    size_t at = (step - s) * b->chunk, count = b->tokens - at < b->chunk ? b->tokens - at : b->chunk;
    b->segments[b->list.count++] = segment_of(b, b->memory[s], rows, at, count);
    for (size_t i = 0; i < ARRAYS; i++)
      if (b->inputs[i] != NULL)
        memcpy(b->in[i].data + rows * b->in_columns[i], b->inputs[i] + at * b->in_columns[i],
               count * b->in_columns[i] * sizeof(float));
    for (size_t t = 0; t < count; t++) b->positions[rows + t] = (int32_t)(at + t);
    rows += count;
  }
  for (size_t i = 0; i < ARRAYS; i++) b->in[i].rows = b->out[i].rows = rows;
  b->angles.rows = rows;
}

static void scatter (bench *b, size_t step) {
  size_t used = 0;
  for (size_t s = b->sessions; s-- > 0; ) {
    if (step < s || (step - s) * b->chunk >= b->tokens) continue;
    const segment *item = &b->segments[used++];
    for (size_t i = 0; i < ARRAYS; i++) {
      size_t columns = b->out_columns[i];
      memcpy(b->results[i] + (s * b->tokens + item->position) * columns,
             b->out[i].data + item->first * columns, item->count * columns * sizeof(float));
    }
  }
}

static ms_status run_bench (bench *b, ms_error *err) {
  const rope_table *rope = b->layer->ratio == 0 ? &b->m->window_rope : &b->m->compress_rope;
  TRY(b->be->start(b->be, err));
  for (size_t s = 0; s < b->sessions; s++) TRY(open_session(b, b->memory[s], err));
  TRY(open_arrays(b, err));
  for (size_t step = 0; step < blocks_of(b->tokens, b->chunk) + b->sessions - 1; step++) {
    gather(b, step);
    TRY(b->be->rope_angles(b->be, rope, b->positions, &b->angles, err));
    TRY(b->run->run(b, err));
    scatter(b, step);
  }
  return MS_OK;
}

/* {== Between Lua and the bench ================================================================== */

static size_t option_size (lua_State *L, const char *name, size_t fallback) {
  lua_getfield(L, 2, name);
  size_t value = (size_t)luaL_optinteger(L, -1, (lua_Integer)fallback);
  lua_pop(L, 1);
  return value;
}

static const char *option_text (lua_State *L, const char *name, const char *fallback) {
  lua_getfield(L, 2, name);                    /* the table keeps it alive */
  const char *text = luaL_optstring(L, -1, fallback);
  lua_pop(L, 1);
  return text;
}

static const float *array_field (lua_State *L, int table, const char *name, size_t *floats) {
  size_t bytes = 0;
  lua_getfield(L, table, name);
  const char *data = lua_isnil(L, -1) ? NULL : luaL_checklstring(L, -1, &bytes);
  lua_pop(L, 1);
  *floats = bytes / sizeof(float);
  return (const float *)(const void *)data;
}

static void read_inputs (lua_State *L, bench *b) {
  for (size_t i = 0; i < ARRAYS && b->run->inputs[i] != NULL; i++) {
    size_t floats;
    b->inputs[i] = array_field(L, 3, b->run->inputs[i], &floats);
    luaL_argcheck(L, floats % b->tokens == 0, 3, "an array has not one row a token");
    b->in_columns[i] = floats / b->tokens;
  }
  b->rows = array_field(L, 3, "rows", &b->row_count);
}

static weight vector_field (lua_State *L, int table, const char *name, size_t rows) {
  size_t floats;
  const float *data = array_field(L, table, name, &floats);
  return (weight){ .encoding = WEIGHT_F32, .data = (const uint8_t *)data, .rows = rows,
                   .columns = floats / rows, .name = name };
}

/* Of the model, by `which`; or of arrays, hc = {fn =, base =, scale =, streams =, rounds =, eps =, norm_eps =}. */
static void read_hyper_connection (lua_State *L, bench *b) {
  const char *which = option_text(L, "which", "attn");
  b->hc = strcmp(which, "head") == 0 ? b->m->head_hc
        : strcmp(which, "ffn") == 0 ? b->layer->feed_forward_hc : b->layer->attention_hc;
  lua_getfield(L, 2, "hc");
  if (lua_istable(L, -1)) {
    int table = lua_gettop(L);
    lua_getfield(L, table, "streams");
    lua_getfield(L, table, "rounds");
    lua_getfield(L, table, "eps");
    lua_getfield(L, table, "norm_eps");
    b->hc.streams = (size_t)lua_tointeger(L, -4);
    b->hc.rounds = (size_t)lua_tointeger(L, -3);
    b->hc.eps = (float)lua_tonumber(L, -2);
    b->hc.norm_eps = (float)lua_tonumber(L, -1);
    b->hc.base = vector_field(L, table, "base", 1);
    b->hc.scale = vector_field(L, table, "scale", 1);
    b->hc.fn = vector_field(L, table, "fn", b->hc.base.columns);
    lua_settop(L, table);
  }
  lua_pop(L, 1);
}

static void push_floats (lua_State *L, const float *data, size_t count, const char *name) {
  lua_pushlstring(L, (const char *)data, count * sizeof *data);
  lua_setfield(L, -2, name);
}

/* A sequence of session 0, decoded. */
static void push_sequence (lua_State *L, const bench *b, sequence_kind kind) {
  const sequence *s = &b->memory[0][kind];
  const model_config *c = &b->m->config;
  row_view view = { s->pages, 0, b->rows_per_page, s->row_bytes };
  size_t ratio = b->layer->ratio == 0 ? 1 : b->layer->ratio, head = c->head_dim, index = c->index_dim;
  size_t rows = kind == POOLED || kind == INDEX_ROWS ? b->tokens / ratio : b->tokens;
  size_t width = kind == WINDOW || kind == POOLED ? head
               : kind == INDEX_ROWS ? index : s->row_bytes / sizeof(float);
  float *out = lua_newuserdata(L, (rows * width + 1) * sizeof *out);
  for (size_t row = 0; row < rows && s->count > 0; row++) {
    float *to = out + row * width;
    if (kind == WINDOW || kind == POOLED) {
      kv_row_floats(b->be, &view, row, head, c->rope_dim, to);
    } else if (kind == INDEX_ROWS) {
      cpu_index_load(cpu_of(b->be), &view, row, index, to);
    } else {
      memcpy(to, cpu_float_row(&view, row), s->row_bytes);
    }
  }
  lua_pushlstring(L, (const char *)out, s->count == 0 ? 0 : rows * width * sizeof *out);
  lua_setfield(L, -3, sequence_names[kind]);
  lua_pop(L, 1);
}

static ms_status open_bench (lua_State *L, bench *b, const backend_options *options, ms_error *err) {
  TRY(model_open(option_text(L, "path", "spec/oracle/tinystage"), MS_MAP, &b->m, err));
  size_t layer = option_size(L, "layer", 0);
  if (layer >= b->m->config.layers) return fail(err, MS_EINVAL, "there is no layer %zu", layer);
  b->layer = &b->m->layers[layer];
  b->row_count /= b->m->config.head_dim;
  read_hyper_connection(L, b);
  return backend_open("cpu", options, &b->be, err);
}

/* run_stage(name, {layer =, tokens =, chunk =, ...}, inputs) -> outputs and rows | nil, message, code */
static int run_stage (lua_State *L) {
  static const char *const modes[] = { "fast", "reference", "exact", NULL };
  const char *name = luaL_checkstring(L, 1);
  bench b = { .run = NULL };
  for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
    if (strcmp(stages[i].name, name) == 0) b.run = &stages[i];
  luaL_argcheck(L, b.run != NULL, 1, "no such stage");
  lua_getfield(L, 2, "numerics");
  backend_options options = { .kernels = option_text(L, "kernels", "auto"),
                              .numerics = (ms_numerics)luaL_checkoption(L, -1, "exact", modes),
                              .threads = option_size(L, "threads", 1) };
  b.tokens = option_size(L, "tokens", 1);
  b.chunk = option_size(L, "chunk", b.tokens);
  b.sessions = option_size(L, "sessions", 1);
  b.rows_per_page = option_size(L, "rows_per_page", 16);
  luaL_argcheck(L, b.sessions >= 1 && b.sessions <= SESSIONS, 2, "too many sessions");
  luaL_argcheck(L, b.tokens > 0 && b.chunk > 0, 2, "no tokens");
  read_inputs(L, &b);

  ms_error err = { .status = MS_OK };
  ms_status status = open_bench(L, &b, &options, &err);
  if (status == MS_OK) status = run_bench(&b, &err);
  if (status == MS_OK) {
    lua_newtable(L);
    for (size_t i = 0; i < ARRAYS && b.run->outputs[i] != NULL; i++)
      push_floats(L, b.results[i], b.sessions * b.tokens * b.out_columns[i], b.run->outputs[i]);
    for (size_t k = 0; k < SEQUENCES; k++) push_sequence(L, &b, (sequence_kind)k);
  }
  close_bench(&b);
  return status == MS_OK ? 1 : push_failure(L, &err);
}

void register_stages_internals (lua_State *L) {
  static const luaL_Reg functions[] = { { "run_stage", run_stage }, { NULL, NULL } };
  luaL_setfuncs(L, functions, 0);
  register_rows_internals(L);
}
