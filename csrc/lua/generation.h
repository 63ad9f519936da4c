/* The options of generate, stream and start: from a Lua table to ms_generate_options. */
#ifndef lua_generation_h
#define lua_generation_h

#include "options.h"

enum { GENERATION_OPTIONS = 16, GENERATION_ON_EVENT = 16, GENERATION_OPTIONS_WITH_HOOK = 17 };

/*
** Reads the table at `index` and leaves `count` values on the stack: GENERATION_OPTIONS, or with on_event
** last. Returns the index of the first, or 0 with *err filled.
*/
int generation_read (lua_State *L, int index, const call *from, size_t count, ms_error *err);

/* Sets what the values from `first` on say; calls nothing that allocates or raises. */
void generation_apply (lua_State *L, int first, ms_generate_options *options);

#endif
