/* What the library asks of the system and plain Lua has not: a clock, a sleep, files that are on the disk. */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "binding.h"

#define LONGEST_SLEEP 1000.0   /* ms: a sleep is a part of a wait, so that hooks of the host run in between */

/* clock() -> milliseconds since some moment, never going back */
static int host_clock (lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec * 1e3 + (lua_Number)now.tv_nsec / 1e6);
  return 1;
}

/* sleep(ms): ends early on a signal, so that the interpreter's handler runs */
static int host_sleep (lua_State *L) {
  lua_Number ms = luaL_checknumber(L, 1);
  if (!(ms > 0))
    return 0;
  if (ms > LONGEST_SLEEP)
    ms = LONGEST_SLEEP;
  struct timespec span = { .tv_sec = (time_t)(ms / 1e3) };
  span.tv_nsec = (long)((ms - (lua_Number)span.tv_sec * 1e3) * 1e6);
  nanosleep(&span, NULL);
  return 0;
}

/* sync(path) -> true | nil, message, "EIO": what was written to a file, or renamed in a folder, is on the disk */
static int host_sync (lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  int descriptor, failed;
  do
    descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  while (descriptor < 0 && errno == EINTR);
  failed = descriptor < 0 ? errno : 0;
  if (failed == 0) {
    while (fsync(descriptor) != 0 && (failed = errno) == EINTR)
      failed = 0;
    close(descriptor);
  }
  if (failed == 0 || failed == EINVAL || failed == EROFS) {   /* a pipe or device has nothing to sync */
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", path, strerror(failed));
  lua_pushliteral(L, "EIO");
  return 3;
}

static const luaL_Reg functions[] = {
  { "clock", host_clock },
  { "sleep", host_sleep },
  { "sync", host_sync },
  { NULL, NULL }
};

void register_host (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
