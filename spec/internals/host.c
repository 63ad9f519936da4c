/*
** What only a host in C can do: Lua states of its own, on threads of their own or short of memory; the processor's
** modes, the locale, and a storm of signals around a call.
*/
#define _GNU_SOURCE
#include "internals.h"

#include <fenv.h>
#include <locale.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "float_mode.h"

enum { STATE_LIMIT = 16 };

/* {== States ===================================================================================== */

typedef struct guest {
  pthread_t thread;
  int started;
  const char *script;
  int64_t rounds;
  char result[512];
} guest;

/* Runs the script, keeps what it returns as text, and closes the state. */
static int run_in (lua_State *L, guest *g) {
  if (L == NULL) {
    snprintf(g->result, sizeof g->result, "no state");
    return 0;
  }
  luaL_openlibs(L);
  int worked = luaL_loadstring(L, g->script) == 0 && lua_pcall(L, 0, 1, 0) == 0;
  const char *text = lua_tostring(L, -1);
  snprintf(g->result, sizeof g->result, "%s", text == NULL ? luaL_typename(L, -1) : text);
  lua_close(L);
  return worked;
}

static void *run_guest (void *argument) {
  guest *g = argument;
  int worked = 1;
  for (int64_t i = 0; i < g->rounds && worked; i++) worked = run_in(luaL_newstate(), g);
  return NULL;
}

/*
** in_states(script, count [, rounds]) -> what the script returned (or its error) in each of `count` states at once;
** with `rounds`, each is closed and made anew so often, and the last one tells
*/
static int in_states (lua_State *L) {
  const char *script = luaL_checkstring(L, 1);
  int count = (int)check_integer(L, 2, 1, STATE_LIMIT, "count");
  int64_t rounds = lua_isnoneornil(L, 3) ? 1 : check_integer(L, 3, 1, INT32_MAX, "rounds");
  guest *guests = lua_newuserdata(L, STATE_LIMIT * sizeof *guests);
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    guests[i].script = script;
    guests[i].rounds = rounds;
    guests[i].started = pthread_create(&guests[i].thread, NULL, run_guest, &guests[i]) == 0;
  }
  for (int i = 0; i < count; i++)
    if (guests[i].started) pthread_join(guests[i].thread, NULL);
  for (int i = 0; i < count; i++) {
    lua_pushstring(L, guests[i].started ? guests[i].result : "no thread");
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* {== A state short of memory ==================================================================== */

/* The n-th allocation of the state fails, or all from the n-th on; one state at a time. */
static struct { unsigned long calls, first, last; } shortage;

static void *short_of_memory (void *user, void *block, size_t before, size_t bytes) {
  (void)user;
  if (bytes == 0) {
    free(block);
    return NULL;
  }
  if (block != NULL && bytes <= before) return realloc(block, bytes);   /* Lua takes this for certain */
  unsigned long call = ++shortage.calls;
  return call >= shortage.first && call <= shortage.last ? NULL : realloc(block, bytes);
}

/* fail_lua_later(n [, for ever]): the n-th allocation of the state of in_short_state; whether it was reached */
static int fail_lua_later (lua_State *L) {
  unsigned long n = (unsigned long)luaL_checkinteger(L, 1);
  lua_pushboolean(L, shortage.last == 0 || shortage.calls >= shortage.first);
  shortage.calls = 0;
  shortage.first = n;
  shortage.last = n != 0 && lua_toboolean(L, 2) ? (unsigned long)-1 : n;
  return 1;
}

/* in_short_state(script) -> what it returned (or its error) in a state whose memory obeys fail_lua_later */
static int in_short_state (lua_State *L) {
  guest g = { .script = luaL_checkstring(L, 1) };
  run_in(lua_newstate(short_of_memory, NULL), &g);
  shortage.last = 0;
  lua_pushstring(L, g.result);
  return 1;
}

/* {== The processor, the locale, signals ========================================================= */

/* floating_point() -> rounding mode, and the register that all modes are in */
static int floating_point (lua_State *L) {
  lua_pushinteger(L, fegetround());
  lua_pushinteger(L, (lua_Integer)float_mode_get());
  return 2;
}

typedef enum host_mode { ROUND_UP, TRAPS, FLUSH } host_mode;

/* with_mode(name, task) -> task() while the host rounds up, traps what is exceptional, or flushes denormals to zero */
static int with_mode (lua_State *L) {
  static const char *const names[] = { "round up", "traps", "flush", NULL };
  host_mode mode = (host_mode)luaL_checkoption(L, 1, NULL, names);
  fenv_t before;
  fegetenv(&before);
  feclearexcept(FE_ALL_EXCEPT);
  if (mode == ROUND_UP) fesetround(FE_UPWARD);
  else if (mode == TRAPS) feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW | FE_UNDERFLOW);
  else float_mode_set(float_mode_get() | FLUSH_DENORMALS);
  lua_settop(L, 2);
  int raised = lua_pcall(L, 0, LUA_MULTRET, 0);
  fesetenv(&before);
  return raised ? lua_error(L) : lua_gettop(L) - 1;
}

/* with_locale(name, task) -> what task(decimal point) returns in this locale; nothing if the system lacks it */
static int with_locale (lua_State *L) {
  char before[64];
  snprintf(before, sizeof before, "%s", setlocale(LC_ALL, NULL));
  if (setlocale(LC_ALL, luaL_checkstring(L, 1)) == NULL) return 0;
  lua_settop(L, 2);
  lua_pushstring(L, localeconv()->decimal_point);
  int raised = lua_pcall(L, 1, LUA_MULTRET, 0);
  setlocale(LC_ALL, before);
  return raised ? lua_error(L) : lua_gettop(L) - 1;
}

static atomic_int signals_here, signals_elsewhere;
static pthread_t host_thread;

static void count_signal (int number) {
  (void)number;
  if (pthread_equal(pthread_self(), host_thread)) atomic_fetch_add(&signals_here, 1);
  else atomic_fetch_add(&signals_elsewhere, 1);
}

/* in_signal_storm(task) -> signals that this thread took, that others took: 1,000 a second while task() runs */
static int in_signal_storm (lua_State *L) {
  const struct sigaction action = { .sa_handler = count_signal };     /* no SA_RESTART: calls are interrupted */
  const struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
  struct sigaction before;
  signals_here = signals_elsewhere = 0;
  host_thread = pthread_self();
  sigaction(SIGALRM, &action, &before);
  setitimer(ITIMER_REAL, &often, NULL);
  lua_settop(L, 1);
  int raised = lua_pcall(L, 0, 0, 0);
  setitimer(ITIMER_REAL, &never, NULL);
  sigaction(SIGALRM, &before, NULL);
  if (raised) return lua_error(L);
  lua_pushinteger(L, signals_here);
  lua_pushinteger(L, signals_elsewhere);
  return 2;
}

/* set_environment(name, value) */
static int set_environment (lua_State *L) {
  setenv(luaL_checkstring(L, 1), luaL_checkstring(L, 2), 1);
  return 0;
}

static int change_folder (lua_State *L) {
  lua_pushboolean(L, chdir(luaL_checkstring(L, 1)) == 0);
  return 1;
}

static const luaL_Reg functions[] = {
  { "change_folder", change_folder },
  { "fail_lua_later", fail_lua_later },
  { "floating_point", floating_point },
  { "in_short_state", in_short_state },
  { "in_signal_storm", in_signal_storm },
  { "in_states", in_states },
  { "set_environment", set_environment },
  { "with_locale", with_locale },
  { "with_mode", with_mode },
  { NULL, NULL }
};

void register_host_internals (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
