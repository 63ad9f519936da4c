/* The parts of the specs' window: each adds its functions to the table on top of the stack. */
#ifndef internals_internals_h
#define internals_internals_h

#include "../../csrc/lua/binding.h"    /* the Lua C API as one for 5.1 and 5.4 */

void register_arrays_internals (lua_State *L);
void register_format_internals (lua_State *L);
void register_kernels_internals (lua_State *L);
void register_pool_internals (lua_State *L);
void register_stages_internals (lua_State *L);
void register_model_internals (lua_State *L);
void register_rows_internals (lua_State *L);      /* called by register_stages_internals */
void register_text_internals (lua_State *L);
void register_runtime_internals (lua_State *L);
void register_faults_internals (lua_State *L);
void register_host_internals (lua_State *L);
void register_fill_internals (lua_State *L);
void register_encode_internals (lua_State *L);

#endif
