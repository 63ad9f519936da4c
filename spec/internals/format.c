/*
** Files without a model: safetensors headers from memory, checkpoints as tables, names, configurations.
** And the two ways to make the system fail under them: the n-th allocation, the n-th call on a file.
*/
#include "internals.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "../../csrc/base/file.h"
#include "../../csrc/base/memory.h"
#include "../../csrc/format/checkpoint.h"
#include "../../csrc/format/gguf.h"
#include "../../csrc/format/names.h"
#include "../../csrc/format/safetensors.h"
#include "../../csrc/model/config.h"

static void set_number (lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

static void set_bool (lua_State *L, const char *key, int value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, key);
}

static void set_sizes (lua_State *L, const char *key, const size_t *values, size_t count) {
  lua_newtable(L);
  for (size_t i = 0; i < count; i++) {
    lua_pushnumber(L, (lua_Number)values[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, key);
}

/* {== Tensors ==================================================================================== */

/* { type =, shape = {}, bytes = n, stored_as =, file = } */
static void push_tensor (lua_State *L, const stored_tensor *tensor) {
  lua_newtable(L);
  set_string(L, "type", tensor_types[tensor->type].name);
  set_sizes(L, "shape", tensor->shape, tensor->rank);
  set_number(L, "bytes", (double)tensor->bytes);
  set_string(L, "stored_as", tensor->stored_as);
  set_string(L, "file", tensor->file);
}

/* A copy that ends where its memory ends, so that a sanitizer sees a read past it. */
static const uint8_t *exact_copy (lua_State *L, int index, size_t *size) {
  const char *bytes = luaL_checklstring(L, index, size);
  uint8_t *copy = lua_newuserdata(L, *size);
  memcpy(copy, bytes, *size);
  return copy;
}

/* A header from memory, without its data. */
typedef ms_status parse_header (const uint8_t *bytes, size_t size, metadata *keys, tensor_table *table, ms_error *err);

static ms_status parse_safetensors (const uint8_t *bytes, size_t size, metadata *keys, tensor_table *table,
                                    ms_error *err) {
  (void)keys;
  return safetensors_parse("memory", bytes, size, table, err);
}

static ms_status parse_gguf (const uint8_t *bytes, size_t size, metadata *keys, tensor_table *table, ms_error *err) {
  return gguf_parse("memory", bytes, size, keys, table, err);
}

/* { name = { ..., offset = in the file } } | nil, message, code */
static int push_parsed (lua_State *L, parse_header *parse) {
  size_t size;
  const uint8_t *bytes = exact_copy(L, 1, &size);
  tensor_table table = { 0 };
  metadata keys = { 0 };
  ms_error err;
  ms_status status = parse(bytes, size, &keys, &table, &err);
  lua_newtable(L);
  for (size_t i = 0; status == MS_OK && i < table.names.count; i++) {
    push_tensor(L, &table.tensors[i]);
    set_number(L, "offset", (double)(table.tensors[i].data - bytes));
    lua_setfield(L, -2, table.tensors[i].name);
  }
  lua_pushnumber(L, (lua_Number)keys.keys.count);
  tensor_table_clear(&table);
  metadata_clear(&keys);
  return status == MS_OK ? 2 : push_failure(L, &err);
}

/* tensors | nil, message, code: for headers too large to show, and for those that fail at any allocation */
static int count_parsed (lua_State *L, parse_header *parse) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  tensor_table table = { 0 };
  metadata keys = { 0 };
  ms_error err;
  ms_status status = parse((const uint8_t *)bytes, size, &keys, &table, &err);
  lua_pushnumber(L, (lua_Number)table.names.count);
  tensor_table_clear(&table);
  metadata_clear(&keys);
  return status == MS_OK ? 1 : push_failure(L, &err);
}

/* safetensors_parse(bytes) -> { name = { ..., offset = in the file } }, 0 | nil, message, code */
static int window_safetensors_parse (lua_State *L) {
  return push_parsed(L, parse_safetensors);
}

/* safetensors_count(bytes) -> tensors | nil, message, code */
static int window_safetensors_count (lua_State *L) {
  return count_parsed(L, parse_safetensors);
}

/* gguf_parse(bytes) -> { name = { ..., offset = in the file } }, key/values | nil, message, code */
static int window_gguf_parse (lua_State *L) {
  return push_parsed(L, parse_gguf);
}

/* gguf_count(bytes) -> tensors | nil, message, code */
static int window_gguf_count (lua_State *L) {
  return count_parsed(L, parse_gguf);
}

static ms_access access_of (lua_State *L, int index) {
  static const char *const names[] = { "map", "read", NULL };
  return luaL_checkoption(L, index, "map", names) == 0 ? MS_MAP : MS_READ;
}

/* checkpoint(path [, "map"|"read"]) -> { name = { ..., data = } }, folder | nil, message, code */
static int window_checkpoint (lua_State *L) {
  checkpoint *cp;
  ms_error err;
  if (checkpoint_open(luaL_checkstring(L, 1), access_of(L, 2), &cp, &err) != MS_OK)
    return push_failure(L, &err);
  lua_newtable(L);
  for (size_t i = 0; i < checkpoint_count(cp); i++) {
    const stored_tensor *tensor = checkpoint_at(cp, i);
    if (checkpoint_find(cp, tensor->name) != tensor) abort();
    push_tensor(L, tensor);
    lua_pushlstring(L, (const char *)tensor->data, tensor->bytes);
    lua_setfield(L, -2, "data");
    set_number(L, "misaligned", (double)((uintptr_t)tensor->data % tensor_types[tensor->type].alignment));
    lua_setfield(L, -2, tensor->name);
  }
  lua_pushstring(L, checkpoint_origin(cp));
  checkpoint_close(cp);
  return 2;
}

/* checkpoint_open(path [, access]) -> tensors | nil, message, code: opened, counted and closed */
static int window_checkpoint_open (lua_State *L) {
  checkpoint *cp;
  ms_error err;
  if (checkpoint_open(luaL_checkstring(L, 1), access_of(L, 2), &cp, &err) != MS_OK)
    return push_failure(L, &err);
  lua_pushnumber(L, (lua_Number)checkpoint_count(cp));
  checkpoint_close(cp);
  return 1;
}

/* checkpoint_while(path, change) -> true | nil, message, code: asks after change() whether files changed */
static int window_checkpoint_while (lua_State *L) {
  checkpoint *cp;
  ms_error err;
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (checkpoint_open(luaL_checkstring(L, 1), MS_MAP, &cp, &err) != MS_OK) return push_failure(L, &err);
  lua_settop(L, 2);
  int raised = lua_pcall(L, 0, 0, 0);
  ms_status status = checkpoint_check_unchanged(cp, &err);
  checkpoint_close(cp);
  if (raised) return lua_error(L);
  if (status != MS_OK) return push_failure(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* official_name(name) -> name, or block, leaf, part, part for a fused tensor | nil, message, code */
static int window_official_name (lua_State *L) {
  tensor_name name;
  ms_error err;
  if (name_translate(luaL_checkstring(L, 1), &name, &err) != MS_OK) return push_failure(L, &err);
  lua_pushstring(L, name.official);
  if (name.fused == NULL) return 1;
  lua_pushstring(L, name.fused->leaf);
  for (size_t i = 0; i < name.fused->count; i++) lua_pushstring(L, name.fused->parts[i]);
  return 2 + (int)name.fused->count;
}

/* gguf_name(official) -> the name that GGUF files give it; nil when they have none */
static int window_gguf_name (lua_State *L) {
  char name[NAME_LIMIT];
  if (!name_for_gguf(luaL_checkstring(L, 1), name)) return 0;
  lua_pushstring(L, name);
  return 1;
}

/* {== Configuration ============================================================================== */

static void push_config (lua_State *L, const model_config *c) {
  const struct { const char *key; size_t value; } sizes[] = {
    { "vocabulary", c->vocabulary }, { "width", c->width }, { "layers", c->layers }, { "context", c->context },
    { "heads", c->heads }, { "head_dim", c->head_dim }, { "rope_dim", c->rope_dim }, { "q_lora", c->q_lora },
    { "o_groups", c->o_groups }, { "o_lora", c->o_lora }, { "window", c->window },
    { "index_heads", c->index_heads }, { "index_dim", c->index_dim }, { "index_top_k", c->index_top_k },
    { "experts", c->experts }, { "top_k", c->top_k }, { "expert_width", c->expert_width },
    { "shared_experts", c->shared_experts }, { "hash_layers", c->hash_layers }, { "streams", c->streams },
    { "sinkhorn_rounds", c->sinkhorn_rounds }, { "mtp_layers", c->mtp_layers },
    { "sampling_top_k", c->sampling.top_k },
  };
  const struct { const char *key; double value; } numbers[] = {
    { "route_scale", c->route_scale }, { "swiglu_limit", c->swiglu_limit }, { "hc_eps", c->hc_eps },
    { "rms_eps", c->rms_eps }, { "rope_theta", c->rope_theta }, { "compress_rope_theta", c->compress_rope_theta },
    { "yarn_factor", c->yarn.factor }, { "yarn_original_context", c->yarn.original_context },
    { "yarn_beta_fast", c->yarn.beta_fast }, { "yarn_beta_slow", c->yarn.beta_slow }, { "bos", c->bos },
    { "temperature", c->sampling.temperature }, { "top_p", c->sampling.top_p }, { "min_p", c->sampling.min_p },
    { "repetition_penalty", c->sampling.repetition_penalty },
  };
  lua_newtable(L);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) set_number(L, sizes[i].key, (double)sizes[i].value);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) set_number(L, numbers[i].key, numbers[i].value);
  set_string(L, "architecture", c->architecture);
  set_bool(L, "compresses", c->compresses);
  set_bool(L, "indexes", c->indexes);
  set_bool(L, "tied_head", c->tied_head);
  set_bool(L, "sample", c->sampling.sample);
  set_sizes(L, "ratios", c->ratios, c->layers);
  set_sizes(L, "weight_block", c->weight_block, 2);
  size_t eos[MODEL_EOS_LIMIT];
  for (size_t i = 0; i < c->eos_count; i++) eos[i] = (size_t)c->eos[i];
  set_sizes(L, "eos", eos, c->eos_count);
}

/* config(folder) -> table | nil, message, code: config.json alone, without weights */
static int window_config (lua_State *L) {
  model_config config;
  ms_error err;
  if (model_config_read_folder(luaL_checkstring(L, 1), &config, &err) != MS_OK) return push_failure(L, &err);
  push_config(L, &config);
  model_config_clear(&config);
  return 1;
}

/* checkpoint_config(path) -> table | nil, message, code: of a checkpoint, whatever its weights */
static int window_checkpoint_config (lua_State *L) {
  checkpoint *cp;
  model_config config;
  ms_error err;
  if (checkpoint_open(luaL_checkstring(L, 1), MS_MAP, &cp, &err) != MS_OK) return push_failure(L, &err);
  ms_status status = model_config_read(cp, &config, &err);
  checkpoint_close(cp);
  if (status != MS_OK) return push_failure(L, &err);
  push_config(L, &config);
  model_config_clear(&config);
  return 1;
}

/* {== Faults and accounts ======================================================================== */

/* Shared by the hooks below; specs run one thread. */
static struct { size_t calls, failing, bytes, peak; } account;

static int is_allowed (void) {
  return ++account.calls != account.failing;
}

static void *counted (void *block) {
  if (block == NULL) return NULL;
  account.bytes += malloc_usable_size(block);
  if (account.bytes > account.peak) account.peak = account.bytes;
  return block;
}

static void *hooked_malloc (size_t bytes) {
  return is_allowed() ? counted(malloc(bytes)) : NULL;
}

/* What was allocated before the hooks came is not in the account. */
static void hooked_release (void *block) {
  size_t bytes = block == NULL ? 0 : malloc_usable_size(block);
  account.bytes -= bytes < account.bytes ? bytes : account.bytes;
  free(block);
}

/* Calls the function at the top of the stack under the hooks; its results replace it. */
static int call_hooked (lua_State *L, size_t failing) {
  const memory_system before = memory_table;
  int base = lua_gettop(L);
  memset(&account, 0, sizeof account);
  account.failing = failing;
  memory_table = (memory_system){ hooked_malloc, hooked_release };
  json_set_alloc_funcs(hooked_malloc, hooked_release);
  int raised = lua_pcall(L, 0, LUA_MULTRET, 0);
  memory_table = before;
  json_set_alloc_funcs(malloc, free);
  if (raised) return lua_error(L);
  return lua_gettop(L) - base + 1;
}

/* Below the results at the top of the stack: whether the call that was to fail was made at all. */
static int push_reached (lua_State *L, int results) {
  lua_pushboolean(L, account.calls >= account.failing);
  lua_insert(L, -results - 1);
  return results + 1;
}

/* fail_allocation(n, task) -> was there an n-th allocation, and what task() returned while it failed */
static int window_fail_allocation (lua_State *L) {
  lua_settop(L, 2);
  return push_reached(L, call_hooked(L, (size_t)luaL_checkinteger(L, 1)));
}

/* peak_memory(task) -> bytes allocated at most at one time, by us and by jansson */
static int window_peak_memory (lua_State *L) {
  lua_settop(L, 1);
  call_hooked(L, 0);
  lua_pushnumber(L, (lua_Number)account.peak);
  return 1;
}

/* descriptors() -> how many this process has open */
static int window_descriptors (lua_State *L) {
  DIR *listing = opendir("/proc/self/fd");
  int count = 0;
  while (listing != NULL && readdir(listing) != NULL) count++;
  if (listing != NULL) closedir(listing);
  lua_pushinteger(L, count);
  return 1;
}

void register_format_internals (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "safetensors_parse", window_safetensors_parse },
    { "safetensors_count", window_safetensors_count },
    { "checkpoint", window_checkpoint },
    { "checkpoint_open", window_checkpoint_open },
    { "checkpoint_while", window_checkpoint_while },
    { "official_name", window_official_name },
    { "gguf_name", window_gguf_name },
    { "config", window_config },
    { "checkpoint_config", window_checkpoint_config },
    { "gguf_parse", window_gguf_parse },
    { "gguf_count", window_gguf_count },
    { "fail_allocation", window_fail_allocation },
    { "peak_memory", window_peak_memory },
    { "descriptors", window_descriptors },
    { NULL, NULL }
  };
  luaL_setfuncs(L, functions, 0);
}
