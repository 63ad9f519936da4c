/*
** Stages of the CPU backend that need no session: dense_stage(name, options, arguments), options
** { numerics =, threads =, kernels = }, arguments by name as each stage below reads them.
*/
#include <string.h>

#include "../../csrc/compute/backend.h"
#include "internals.h"
#include "weights.h"

enum { OPTIONS = 2, ARGUMENTS = 3 };

typedef struct call { lua_State *L; backend *be; tensor x, out; ms_error err; } call;

static weight weight_of (lua_State *L, const char *name) {
  lua_getfield(L, ARGUMENTS, name);
  const weight w = check_weight(L, -1);
  lua_pop(L, 1);
  return w;
}

static size_t size_of (lua_State *L, const char *name) {
  lua_getfield(L, ARGUMENTS, name);
  const size_t size = (size_t)luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  return size;
}

static float number_of (lua_State *L, const char *name) {
  lua_getfield(L, ARGUMENTS, name);
  const float number = (float)luaL_checknumber(L, -1);
  lua_pop(L, 1);
  return number;
}

/* NULL when it is not given. */
static const char *bytes_of (lua_State *L, const char *name) {
  lua_getfield(L, ARGUMENTS, name);
  const char *bytes = lua_tostring(L, -1);
  lua_pop(L, 1);
  return bytes;
}

static const int32_t *ids_of (lua_State *L, const char *name) {
  return (const int32_t *)(const void *)bytes_of(L, name);
}

static void take_x (call *c, size_t columns) {
  size_t count;
  lua_getfield(c->L, ARGUMENTS, "x");
  const float *x = check_floats(c->L, -1, &count);
  c->x = (tensor){ push_array(c->L, count), count / columns, columns };
  memcpy(c->x.data, x, count * sizeof *x);
}

static void make_out (call *c, size_t rows, size_t columns) {
  c->out = (tensor){ push_array(c->L, rows * columns), rows, columns };
}

/* {== The stages ================================================================================= */

static ms_status run_embed (call *c) {
  const weight w = weight_of(c->L, "w");
  const size_t streams = size_of(c->L, "streams");
  make_out(c, size_of(c->L, "rows"), streams * w.columns);
  return c->be->embed(c->be, &w, ids_of(c->L, "tokens"), streams, &c->out, &c->err);
}

static ms_status run_rms_norm (call *c) {
  const weight w = weight_of(c->L, "w");
  take_x(c, w.columns);
  c->out = c->x;
  return c->be->rms_norm(c->be, &w, number_of(c->L, "eps"), &c->x, &c->out, &c->err);
}

static ms_status run_head_norm (call *c) {
  take_x(c, size_of(c->L, "columns"));
  c->out = c->x;
  return c->be->head_norm(c->be, size_of(c->L, "head"), number_of(c->L, "eps"), &c->out, &c->err);
}

static ms_status run_linear (call *c) {
  const weight w = weight_of(c->L, "w");
  take_x(c, w.columns);
  make_out(c, c->x.rows, w.rows);
  return c->be->linear(c->be, &w, &c->x, &c->out, &c->err);
}

static ms_status run_grouped_linear (call *c) {
  const weight w = weight_of(c->L, "w");
  const size_t groups = size_of(c->L, "groups");
  take_x(c, groups * w.columns);
  make_out(c, c->x.rows, w.rows);
  return c->be->grouped_linear(c->be, &w, groups, &c->x, &c->out, &c->err);
}

static ms_status run_head (call *c) {
  const weight w = weight_of(c->L, "w");
  take_x(c, w.columns);
  make_out(c, c->x.rows, w.rows);
  return c->be->head(c->be, &w, &c->x, &c->out, &c->err);
}

/* A copy at an odd address, as a mapped table may lie; NULL when it is not given. */
static const uint8_t *odd_bytes_of (lua_State *L, const char *name) {
  size_t bytes;
  lua_getfield(L, ARGUMENTS, name);
  const char *data = lua_tolstring(L, -1, &bytes);
  if (data == NULL) return NULL;
  uint8_t *copy = lua_newuserdata(L, bytes + 1);
  return memcpy(copy + 1, data, bytes);
}

/*
** policies = { [row] = { top_k =, bias = packed floats } }, rows from 1: an array of pointers in a userdata left on
** the stack; NULL when the field is absent.
*/
static const route_policy *const *policies_of (lua_State *L, size_t rows) {
  lua_getfield(L, ARGUMENTS, "policies");
  if (lua_isnil(L, -1)) return NULL;
  const route_policy **list = lua_newuserdata(L, rows * sizeof *list);
  route_policy *all = lua_newuserdata(L, rows * sizeof *all);
  for (size_t i = 0; i < rows; i++) {
    list[i] = NULL;
    lua_rawgeti(L, -3, (int)i + 1);
    if (lua_istable(L, -1)) {
      lua_getfield(L, -1, "top_k");
      lua_getfield(L, -2, "bias");               /* the table keeps the string */
      all[i] = (route_policy){ (size_t)lua_tointeger(L, -2), (const float *)(const void *)lua_tostring(L, -1) };
      list[i] = &all[i];
      lua_pop(L, 2);
    }
    lua_pop(L, 1);
  }
  return list;
}

/* Gives the ids [rows, top_k] and behind them, as float32, the weights. */
static ms_status run_route (call *c) {
  router r = { .gate = weight_of(c->L, "gate"), .table = { odd_bytes_of(c->L, "table"), sizeof(int64_t) },
               .top_k = size_of(c->L, "top_k"), .route_scale = number_of(c->L, "route_scale") };
  r.experts = r.gate.rows;
  lua_getfield(c->L, ARGUMENTS, "bias");
  if (!lua_isnil(c->L, -1)) r.bias = check_weight(c->L, -1);
  take_x(c, r.gate.columns);
  const size_t rows = c->x.rows;
  make_out(c, 2 * rows, r.top_k);
  id_tensor chosen = { (int32_t *)(void *)c->out.data, rows, r.top_k };
  tensor weights = { c->out.data + rows * r.top_k, rows, r.top_k };
  return c->be->route(c->be, &r, ids_of(c->L, "tokens"), policies_of(c->L, rows), &c->x, &chosen, &weights, &c->err);
}

static expert expert_at (lua_State *L, int table, int i) {
  static const char *const parts[] = { "w1", "w2", "w3" };
  weight w[3];
  lua_rawgeti(L, table, i);
  for (int k = 0; k < 3; k++) {
    lua_getfield(L, -1, parts[k]);
    w[k] = check_weight(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return (expert){ w[0], w[1], w[2] };
}

/* experts = { routed ..., shared } */
static ms_status run_experts (call *c) {
  lua_State *L = c->L;
  lua_getfield(L, ARGUMENTS, "experts");
  const int table = lua_gettop(L), count = (int)lua_rawlen(L, table) - 1;
  expert *all = lua_newuserdata(L, (size_t)(count + 1) * sizeof *all);
  for (int i = 0; i <= count; i++) all[i] = expert_at(L, table, i + 1);
  const expert_set set = { all, all[count], (size_t)count, number_of(L, "limit") };
  const size_t top_k = size_of(L, "top_k");
  take_x(c, all[count].w1.columns);
  make_out(c, c->x.rows, all[count].w2.rows);
  const id_tensor chosen = { lua_newuserdata(L, c->x.rows * top_k * sizeof(int32_t)), c->x.rows, top_k };
  memcpy(chosen.data, bytes_of(L, "chosen"), c->x.rows * top_k * sizeof *chosen.data);
  const tensor weights = { push_array(L, c->x.rows * top_k), c->x.rows, top_k };
  memcpy(weights.data, bytes_of(L, "weights"), c->x.rows * top_k * sizeof *weights.data);
  return c->be->experts(c->be, &set, &c->x, &chosen, &weights, &c->out, &c->err);
}

static const struct { const char *name; ms_status (*run) (call *c); } stages[] = {
  { "embed", run_embed }, { "rms_norm", run_rms_norm }, { "head_norm", run_head_norm },
  { "linear", run_linear }, { "grouped_linear", run_grouped_linear }, { "head", run_head },
  { "route", run_route }, { "experts", run_experts },
};

/* {== Between Lua and a stage ==================================================================== */

static backend_options read_options (lua_State *L, const char **name) {
  static const char *const modes[] = { "fast", "reference", "exact", NULL };
  backend_options options = { .threads = 0 };
  luaL_checktype(L, OPTIONS, LUA_TTABLE);
  lua_getfield(L, OPTIONS, "numerics");
  options.numerics = (ms_numerics)luaL_checkoption(L, -1, "exact", modes);
  lua_getfield(L, OPTIONS, "threads");
  options.threads = (size_t)luaL_optinteger(L, -1, 1);
  lua_getfield(L, OPTIONS, "kernels");
  options.kernels = luaL_optstring(L, -1, "auto");
  lua_getfield(L, OPTIONS, "backend");
  *name = luaL_optstring(L, -1, "auto");
  lua_settop(L, ARGUMENTS);                  /* the options keep their strings */
  return options;
}

/* dense_stage(name, options, arguments) -> packed results | nil, message, code */
static int dense_stage (lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *backend_name;
  const backend_options options = read_options(L, &backend_name);
  call c = { .L = L };
  luaL_checktype(L, ARGUMENTS, LUA_TTABLE);
  if (backend_open(backend_name, &options, &c.be, &c.err) != MS_OK) return push_failure(L, &c.err);
  ms_status status = c.be->start(c.be, &c.err);
  for (size_t i = 0; i < sizeof stages / sizeof stages[0] && status == MS_OK; i++)
    if (strcmp(stages[i].name, name) == 0) status = stages[i].run(&c);
  c.be->close(c.be);
  if (status != MS_OK) return push_failure(L, &c.err);
  lua_pushlstring(L, (const char *)c.out.data, c.out.rows * c.out.columns * sizeof(float));
  return 1;
}

/* open_backend(options) -> name, kernels, threads | nil, message, code */
static int open_backend (lua_State *L) {
  lua_settop(L, 2);
  lua_insert(L, 1);                          /* options at OPTIONS */
  const char *name;
  const backend_options options = read_options(L, &name);
  backend *be;
  ms_error err;
  if (backend_open(name, &options, &be, &err) != MS_OK) return push_failure(L, &err);
  lua_pushstring(L, be->name);
  lua_pushstring(L, be->kernels);
  lua_pushinteger(L, (lua_Integer)be->threads(be));
  be->close(be);
  return 3;
}

void register_dense_internals (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "dense_stage", dense_stage }, { "open_backend", open_backend }, { NULL, NULL }
  };
  luaL_setfuncs(L, functions, 0);
}
