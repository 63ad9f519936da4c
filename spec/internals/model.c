/*
** The forward pass without sessions and threads of the engine: a whole text in chunks of any length, and
** single layers fed with streams of the oracle. Float arrays are strings of packed float32.
*/
#include "internals.h"

#include <string.h>

#include "../../csrc/base/memory.h"
#include "../../csrc/compute/backend.h"
#include "../../csrc/model/cache.h"
#include "../../csrc/model/forward.h"
#include "../../csrc/model/scratch.h"

/* {== Options ==================================================================================== */

typedef struct bench {
  model *m;
  backend *be;
  page_heap heap;
  model_cache *cache;
  model_runner *runner;
  model_scratch scratch;
} bench;

static void bench_close (bench *b) {
  if (b->be != NULL) model_scratch_free(&b->scratch, b->be);
  model_runner_close(b->runner);
  model_cache_close(b->cache);
  if (b->be != NULL) b->be->close(b->be);
  model_close(b->m);
}

static ms_status bench_open (bench *b, const char *path, const backend_options *options, ms_error *err) {
  memset(b, 0, sizeof *b);
  TRY(model_open(path, MS_MAP, &b->m, err));
  TRY(backend_open("cpu", options, &b->be, err));
  TRY(b->be->start(b->be, err));
  b->heap.be = b->be;
  TRY(model_cache_open(b->m, &b->heap, &b->cache, err));
  return model_runner_open(b->m, b->be, &b->runner, err);
}

/* {path =, numerics =, threads =, kernels =} at index 1; strings stay valid while the table does. */
static const char *read_options (lua_State *L, backend_options *options) {
  static const char *const modes[] = { "fast", "reference", "exact", NULL };
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "numerics");
  options->numerics = (ms_numerics)luaL_checkoption(L, -1, "exact", modes);
  lua_getfield(L, 1, "threads");
  options->threads = (size_t)luaL_optinteger(L, -1, 1);
  lua_getfield(L, 1, "kernels");
  options->kernels = luaL_optstring(L, -1, "auto");
  lua_getfield(L, 1, "path");
  return luaL_checkstring(L, -1);
}

static int push_trouble (lua_State *L, const ms_error *err) {
  lua_pushnil(L);
  lua_pushstring(L, err->message);
  lua_pushstring(L, ms_status_name(err->status));
  return 3;
}

/* The list of integers at `index`, in a userdata left on the stack. */
static int32_t *read_ids (lua_State *L, int index, size_t *count) {
  luaL_checktype(L, index, LUA_TTABLE);
  *count = lua_rawlen(L, index);
  int32_t *ids = lua_newuserdata(L, (*count + 1) * sizeof *ids);
  for (size_t i = 0; i < *count; i++) {
    lua_rawgeti(L, index, (int)i + 1);
    ids[i] = (int32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  return ids;
}

/* {== A whole text =============================================================================== */

static ms_status read_text (bench *b, const int32_t *tokens, size_t count, size_t chunk, float *logits,
                            ms_error *err) {
  for (size_t at = 0; at < count; ) {
    size_t length = count - at < chunk ? count - at : chunk;
    model_segment part = { .cache = b->cache, .tokens = tokens + at, .count = length, .logit_rows = length };
    TRY(model_forward(b->runner, &part, 1, NULL, NULL, logits + at * b->m->config.vocabulary, err));
    model_cache_commit(b->cache, length);
    at += length;
  }
  return MS_OK;
}

/* logits(options, tokens, chunk) -> packed [tokens, vocabulary], vocabulary | nil, message, code */
static int model_logits (lua_State *L) {
  backend_options options;
  const char *path = read_options(L, &options);
  size_t count, vocabulary;
  int32_t *tokens = read_ids(L, 2, &count);
  size_t chunk = (size_t)luaL_checkinteger(L, 3);
  bench b;
  ms_error err;
  float *logits = NULL;
  ms_status status = bench_open(&b, path, &options, &err);
  if (status == MS_OK) {
    logits = memory_new(count * b.m->config.vocabulary, sizeof *logits);
    status = logits == NULL ? fail_memory(&err, count, "logits") : read_text(&b, tokens, count, chunk, logits, &err);
  }
  vocabulary = status == MS_OK ? b.m->config.vocabulary : 0;
  bench_close(&b);
  if (status != MS_OK) {
    memory_free(logits);
    return push_trouble(L, &err);
  }
  lua_pushlstring(L, (const char *)logits, count * vocabulary * sizeof *logits);
  memory_free(logits);
  lua_pushinteger(L, (lua_Integer)vocabulary);
  return 2;
}

/* {== One layer ================================================================================== */

/* Runs layer `index` over streams [count, streams * width] in place, cut into chunks. */
static ms_status run_one_layer (bench *b, size_t index, const int32_t *tokens, size_t count, size_t chunk,
                                float *streams, ms_error *err) {
  backend *be = b->be;
  const model *m = b->m;
  size_t columns = m->config.streams * m->config.width;
  for (size_t at = 0; at < count; ) {
    size_t length = count - at < chunk ? count - at : chunk;
    int32_t positions[4096];
    if (length > sizeof positions / sizeof positions[0]) return fail(err, MS_EINVAL, "chunk of %zu rows", length);
    for (size_t i = 0; i < length; i++) positions[i] = (int32_t)(at + i);
    TRY(model_scratch_shape(&b->scratch, m, be, length, 0, err));
    TRY(model_cache_reserve(b->cache, length, err));
    model_scratch *s = &b->scratch;
    segment seen = model_cache_segment(b->cache, index, 0, length);
    model_step step = { .m = m, .be = be, .tokens = tokens + at, .positions = positions,
                        .segments = { .items = &seen, .count = 1 }, .scratch = s };
    TRY(be->rope_angles(be, &m->window_rope, positions, &s->window_angles, err));
    if (m->config.compresses) TRY(be->rope_angles(be, &m->compress_rope, positions, &s->compress_angles, err));
    TRY(be->upload(be, s->streams.data, streams + at * columns, length * columns * sizeof *streams, err));
    TRY(model_run_layer(&step, &m->layers[index], err));
    TRY(be->download(be, streams + at * columns, s->streams.data, length * columns * sizeof *streams, err));
    model_cache_commit(b->cache, length);
    at += length;
  }
  return MS_OK;
}

/* layer(options, index, tokens, streams, chunk) -> packed streams | nil, message, code */
static int model_layer_streams (lua_State *L) {
  backend_options options;
  const char *path = read_options(L, &options);
  size_t index = (size_t)luaL_checkinteger(L, 2), count, bytes;
  const char *given = luaL_checklstring(L, 4, &bytes);
  size_t chunk = (size_t)luaL_checkinteger(L, 5);
  int32_t *tokens = read_ids(L, 3, &count);
  float *streams = lua_newuserdata(L, bytes + 1);
  memcpy(streams, given, bytes);
  bench b;
  ms_error err;
  ms_status status = bench_open(&b, path, &options, &err);
  if (status == MS_OK && (index >= b.m->config.layers
                          || bytes != count * b.m->config.streams * b.m->config.width * sizeof *streams))
    status = fail(&err, MS_EINVAL, "layer %zu, %zu bytes of streams", index, bytes);
  if (status == MS_OK) status = run_one_layer(&b, index, tokens, count, chunk, streams, &err);
  bench_close(&b);
  if (status != MS_OK) return push_trouble(L, &err);
  lua_pushlstring(L, (const char *)streams, bytes);
  return 1;
}

/* routing_image(path, bytes) -> the bytes of the policy that they hold | nil, message, code */
static int routing_image (lua_State *L) {
  size_t count;
  const char *bytes = luaL_checklstring(L, 2, &count);
  model *m;
  model_routing *routing = NULL;
  ms_error err;
  uint8_t *image = lua_newuserdata(L, count + 1);
  if (model_open(luaL_checkstring(L, 1), MS_MAP, &m, &err) != MS_OK) return push_trouble(L, &err);
  ms_status status = model_routing_read_image(m, (const uint8_t *)bytes, count, &routing, &err);
  size_t written = model_routing_image_bytes(routing);
  if (written <= count) model_routing_write_image(routing, image);
  model_routing_release(routing);
  model_close(m);
  if (status != MS_OK) return push_trouble(L, &err);
  lua_pushlstring(L, (const char *)image, written <= count ? written : 0);
  return 1;
}

static const luaL_Reg functions[] = {
  { "routing_image", routing_image },
  { "logits", model_logits },
  { "layer", model_layer_streams },
  { NULL, NULL }
};

void register_model_internals (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
