/* What the library asks of the system and plain Lua has not: a clock, a sleep, files that are on the disk. */
#ifndef lua_host_h
#define lua_host_h

#include <lua.h>

/* Adds clock, sleep and sync to the module table on top of the stack. */
void register_host (lua_State *L);

#endif
