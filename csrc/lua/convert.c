/* moonseek.convert: a model in another container, or with other types. */
#include "options.h"
#include "progress.h"

enum {
  SOURCE, TARGET, EXPERTS, ATTENTION, COMPRESSORS, SHARED, HEAD, EMBEDDING, THREADS, SHARD_BYTES, OVERWRITE,
  ON_PROGRESS, CONVERT_OPTIONS
};

static const option rows[] = {
  [SOURCE] = { "source", OPTION_STRING, 1, 0, 0 },
  [TARGET] = { "target", OPTION_STRING, 1, 0, 0 },
  [EXPERTS] = { "experts", OPTION_STRING, 0, 0, 0 },
  [ATTENTION] = { "attention", OPTION_STRING, 0, 0, 0 },
  [COMPRESSORS] = { "compressors", OPTION_STRING, 0, 0, 0 },
  [SHARED] = { "shared", OPTION_STRING, 0, 0, 0 },
  [HEAD] = { "head", OPTION_STRING, 0, 0, 0 },
  [EMBEDDING] = { "embedding", OPTION_STRING, 0, 0, 0 },
  [THREADS] = { "threads", OPTION_INTEGER, 0, 0, INT32_MAX },
  [SHARD_BYTES] = { "shard_bytes", OPTION_INTEGER, 0, 1, INTEGER_LIMIT },
  [OVERWRITE] = { "overwrite", OPTION_BOOLEAN, 0, 0, 0 },
  [ON_PROGRESS] = { "on_progress", OPTION_FUNCTION, 0, 0, 0 }
};

/* moonseek.convert{ source =, target =, experts =, ... } -> true */
static int module_convert (lua_State *L) {
  static const call from = { "moonseek.convert", 1 };
  ms_convert_options options;
  ms_error err;
  lua_settop(L, 1);
  int first = options_read(L, 1, &from, rows, CONVERT_OPTIONS, &err);
  if (first == 0) return push_failure(L, &err);
  ms_convert_options_default(&options);
  options.source = lua_tostring(L, first + SOURCE);
  options.target = lua_tostring(L, first + TARGET);
  const char **const types[] = { &options.experts, &options.attention, &options.compressors, &options.shared,
                                 &options.head, &options.embedding };
  for (int i = EXPERTS; i <= EMBEDDING; i++) *types[i - EXPERTS] = lua_tostring(L, first + i);   /* NULL for nil */
  if (!lua_isnil(L, first + THREADS)) options.threads = (size_t)lua_tonumber(L, first + THREADS);
  if (!lua_isnil(L, first + SHARD_BYTES)) options.shard_bytes = (uint64_t)lua_tonumber(L, first + SHARD_BYTES);
  options.overwrite = lua_toboolean(L, first + OVERWRITE);
  luaL_checkstack(L, 12, from.name);
  announcement news = begin_progress(L, first + ON_PROGRESS);
  if (!lua_isnil(L, news.function)) {
    options.progress = tell_progress;
    options.progress_user = &news;
  }
  ms_status status = ms_convert(&options, &err);
  if (news.failed) {
    lua_pushvalue(L, news.error);
    return lua_error(L);
  }
  if (status != MS_OK) return push_failure(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

void register_convert (lua_State *L) {
  lua_pushcfunction(L, module_convert);
  lua_setfield(L, -2, "convert");
}
