/*
** An options table read against declared rows. Wrong types, NaN and unknown names are the caller's mistakes
** and raise at the caller's line; a value outside its limits can happen and is returned as a failure.
*/
#ifndef lua_options_h
#define lua_options_h

#include "binding.h"

/* The public function that is called, and how many levels up its caller stands: 1 from Lua, 2 through our Lua. */
typedef struct call {
  const char *name;
  int level;
} call;

typedef enum option_kind {
  OPTION_BOOLEAN,
  OPTION_INTEGER,
  OPTION_NUMBER,            /* no NaN; limits are the engine's */
  OPTION_STRING,            /* without a NUL byte */
  OPTION_TABLE,
  OPTION_FUNCTION,
  OPTION_CACHE,             /* a handle of that type, perhaps closed */
  OPTION_SEED               /* 0 to 2^64-1: a number below 2^53, an integer of 5.4, or a string of digits */
} option_kind;

typedef struct option {
  const char *name;
  option_kind kind;
  int required;
  double low, high;         /* of an integer */
} option;

/*
** Reads the table at `index` (none or nil is an empty one) by raw access and leaves `count` values on the
** stack in the order of `rows`, nil where an option is absent: they keep strings alive, and what happens to
** the table afterwards has no effect. Returns the stack index of the first; 0 with *err filled, and nothing
** pushed, when a value is outside its limits.
*/
int options_read (lua_State *L, int index, const call *from, const option *rows, size_t count, ms_error *err);

/* Like lua_error, with the caller's position and "NAME: " before the text that is formatted (luaL_error's marks). */
int raise_from (lua_State *L, const call *from, const char *format, ...);

/* Fills *err with MS_EINVAL and returns 0. */
int refuse (ms_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* check_open, for a function that our own Lua calls. */
void *check_open_from (lua_State *L, int index, const char *type, const call *from);

/*
** The number of a token, expert or layer (`kind`) at `index`, for option `name`: raises when it is no integer, 0 with
** *err filled when nothing can have it. What there is, the engine knows.
*/
int read_id (lua_State *L, int index, const call *from, const char *name, const char *kind, int32_t *id,
             ms_error *err);

/* A path as the system takes it; raises on another type, NULL with *err filled on a zero byte inside. */
const char *check_path (lua_State *L, int index, const char *function, ms_error *err);

int seed_at (lua_State *L, int index, uint64_t *seed);   /* 0: no seed of any form */

#endif
