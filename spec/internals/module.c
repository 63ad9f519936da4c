/*
** The specs' window into the engine: luaopen_moonseek_internals gives a table of functions over single
** parts. It is linked into moonseek_spec.so only, beside the whole module.
*/
#include "internals.h"

__attribute__((visibility("default")))
int luaopen_moonseek_internals (lua_State *L);

int luaopen_moonseek_internals (lua_State *L) {
  lua_newtable(L);
  register_arrays_internals(L);
  register_format_internals(L);
  register_kernels_internals(L);
  register_pool_internals(L);
  register_stages_internals(L);
  register_model_internals(L);
  register_runtime_internals(L);
  register_text_internals(L);
  register_faults_internals(L);
  register_host_internals(L);
  register_fill_internals(L);
  register_encode_internals(L);
  return 1;
}
