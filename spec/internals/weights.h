/* How the window takes weights and arrays: kernels.c reads them, dense.c too. */
#ifndef internals_weights_h
#define internals_weights_h

#include "../../csrc/compute/backend.h"
#include "internals.h"

/* A type's name. */
weight_encoding check_encoding (lua_State *L, int index);
/* { type =, shape =, bytes =, scales = }, whose strings the table keeps alive. */
weight check_weight (lua_State *L, int index);
/* A string of packed float32. */
const float *check_floats (lua_State *L, int index, size_t *count);
/* Zeroed, in a userdata left on the stack. */
float *push_array (lua_State *L, size_t count);

void register_dense_internals (lua_State *L);

#endif
