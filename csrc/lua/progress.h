/*
** A function of the script's that is called while the engine works on this thread. The work must not be left by a Lua
** error, so what can raise runs under lua_pcall; the first error is kept, and raised when the work has ended.
*/
#ifndef lua_progress_h
#define lua_progress_h

#include "binding.h"

typedef struct announcement {
  lua_State *L;
  int function, error;                       /* stack slots: the callback; its error, once `failed` */
  int failed;
  const char *phase;
  uint64_t done, total;
} announcement;

/* Leaves what the calls need on the stack; `index` is the function, or nil. */
announcement begin_progress (lua_State *L, int index);
/* An ms_convert_progress: not 0 when it returned false or failed. After a failure it is not called again. */
int tell_progress (void *user, const char *phase, uint64_t done, uint64_t total);

#endif
