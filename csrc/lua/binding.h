/*
** What the files of the binding share: one Lua C API for 5.1, LuaJIT and 5.4, handles, the failure triple,
** and the order in which the module is put together. The binding uses the engine through moonseek.h only.
**
** Rules: a handle is pushed closed, then filled, so that an error of Lua between the two leaks nothing;
** nothing that needs freeing is held across a call that may raise; a closed handle raises, what can happen
** to a correct program is returned as nil, message, code.
*/
#ifndef lua_binding_h
#define lua_binding_h

#include <lauxlib.h>
#include <lua.h>

#include "../moonseek.h"

/* {== One API for two ABIs ======================================================================= */

#if LUA_VERSION_NUM < 502
#define lua_rawlen(L, index) lua_objlen((L), (index))
#define luaL_setfuncs(L, list, upvalues) luaL_register((L), NULL, (list))   /* upvalues: always 0 here */
#define luaL_newlib(L, list) (lua_newtable(L), luaL_register((L), NULL, (list)))
int lua_absindex (lua_State *L, int index);
#endif

#define INTEGER_LIMIT 9007199254740991.0   /* 2^53 - 1: the last integer before doubles skip one */

/* A count as an integer where Lua has integers. */
void push_count (lua_State *L, uint64_t count);

/* A user value that keeps one Lua table alive with a userdata. */
void set_companion (lua_State *L, int userdata);     /* pops a table */
int find_companion (lua_State *L, int userdata);     /* pushes it, or returns 0: the debug library has changed it */
void push_companion (lua_State *L, int userdata);    /* pushes it, or raises */

/* {== Failure ==================================================================================== */

int push_failure (lua_State *L, const ms_error *err);   /* nil, message, code; returns 3 */

/* {== Handles ==================================================================================== */

/*
** A handle is a userdata that holds one pointer, NULL while closed. `type` is its metatable's name
** ("moonseek.session"), which messages print.
*/
typedef struct handle { void *object; } handle;

handle *push_closed (lua_State *L, const char *type);
/* The object of the handle at `index`; raises on another type and on a closed handle. */
void *check_open (lua_State *L, int index, const char *type);
handle *check_handle (lua_State *L, int index, const char *type);   /* raises on another type only */

/*
** Makes the metatable `type`: methods in a table of their own (left on the stack), __gc and __close =
** `close`, __name, a locked __metatable. `meta` adds metamethods and may be NULL.
*/
void new_handle_type (lua_State *L, const char *type, const luaL_Reg *methods, const luaL_Reg *meta,
                      lua_CFunction close);

/* {== Fields: of the table on top of the stack ================================================== */

void set_string (lua_State *L, const char *field, const char *value);
void set_count (lua_State *L, const char *field, uint64_t value);

/* {== Arguments ================================================================================== */

/* An integer in [low, high]; raises "number has no integer representation" or with value and limits. */
int64_t check_integer (lua_State *L, int index, int64_t low, int64_t high, const char *what);

/*
** Where tokens are taken (a packed userdata, a table of ids, or, with a tokenizer, text or pieces). Raises
** on a wrong type; otherwise 1, or 0 with *err filled. *tokens is memory owned by a userdata left on the
** stack: it stays valid while that value does. Ids given as such are compared with no vocabulary: a model may
** have more rows than its tokenizer has ids. The caller keeps the tokenizer alive, for a finaliser may run.
*/
int take_tokens (lua_State *L, int index, ms_tokenizer *tokenizer, ms_tokens **tokens, ms_error *err);

/* Pushes an empty packed-tokens userdata and returns its contents. */
ms_tokens *push_tokens (lua_State *L);

/* {== Objects: each file registers its type and leaves its public functions in the module table at -1 */

#define ENGINE "moonseek.engine"
#define TOKENIZER "moonseek.tokenizer"
#define TOKENS "moonseek.tokens"
#define SESSION "moonseek.session"
#define JOB "moonseek.job"
#define LOGITS "moonseek.logits"
#define RESULT "moonseek.result"
#define CACHE "moonseek.cache"

void register_tokens (lua_State *L);
void register_tokenizer (lua_State *L);
void register_cache (lua_State *L);
void register_engine (lua_State *L);
void register_session (lua_State *L);
void register_logits (lua_State *L);
void register_job (lua_State *L);
void register_convert (lua_State *L);


#endif
