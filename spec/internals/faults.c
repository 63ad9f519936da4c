/*
** What fails on demand, in all threads of the process: allocations, threads that cannot be started, calls on
** files; and a clock that jumps. The hooks stand from the moment this module is loaded, before any engine.
*/
#include "internals.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../csrc/base/clock.h"
#include "../../csrc/base/file.h"
#include "../../csrc/base/memory.h"
#include "../../csrc/base/thread.h"

/* The n-th call fails, or all from the n-th on; 0: none does. */
typedef struct fault {
  atomic_ulong calls, first, last;
} fault;

static fault allocations, threads, files;

static int fails (fault *f) {
  unsigned long call = atomic_fetch_add(&f->calls, 1) + 1;
  return call >= atomic_load(&f->first) && call <= atomic_load(&f->last);
}

/* Arguments: n, for ever. Returns whether the call that was to fail before has been made. */
static int set_fault (lua_State *L, fault *f) {
  unsigned long n = (unsigned long)luaL_checkinteger(L, 1), first = atomic_load(&f->first);
  int reached = atomic_load(&f->last) == 0 || atomic_load(&f->calls) >= first;
  atomic_store(&f->last, 0);
  atomic_store(&f->calls, 0);
  atomic_store(&f->first, n);
  atomic_store(&f->last, n != 0 && lua_toboolean(L, 2) ? (unsigned long)-1 : n);
  lua_pushboolean(L, reached);
  return 1;
}

/* {== Hooks ====================================================================================== */

static memory_system system_memory;
static thread_system system_threads;
static file_system system_files;

static void *failing_allocate (size_t bytes) {
  return fails(&allocations) ? NULL : system_memory.allocate(bytes);
}

static int failing_create (uv_thread_t *thread, const uv_thread_options_t *options, uv_thread_cb run, void *argument) {
  return fails(&threads) ? UV_EAGAIN : system_threads.create(thread, options, run, argument);
}

/*
** How calls on files fail: by this errno; 0: by the usual one of each; SHORT: half of what was to be written is; TAKEN:
** somebody makes a file of the new name right before the move.
*/
static atomic_int file_fault;

enum { SHORT = -1, TAKEN = -2 };

static const struct { const char *name; int code; } file_faults[] = {
  { "ENOSPC", ENOSPC }, { "EDQUOT", EDQUOT }, { "EIO", EIO }, { "EINTR", EINTR }, { "short", SHORT },
  { "taken", TAKEN }
};

static int failing_file (int usual) {
  int code = atomic_load(&file_fault);
  if (code == TAKEN || !fails(&files)) return 0;
  errno = code > 0 ? code : usual;
  return 1;
}

/* Of a call that no signal interrupts. */
static int failing_steadily (int usual) {
  return atomic_load(&file_fault) != EINTR && failing_file(usual);
}

static int failing_open (const char *path, int flags) {
  return failing_file(EMFILE) ? -1 : system_files.open(path, flags);
}

static int failing_stat (int descriptor, struct stat *out) {
  return failing_steadily(EIO) ? -1 : system_files.stat(descriptor, out);
}

static ssize_t failing_read (int descriptor, void *out, size_t bytes, off_t offset) {
  return failing_file(EIO) ? -1 : system_files.read_at(descriptor, out, bytes, offset);
}

static void *failing_map (size_t bytes, int descriptor) {
  return failing_steadily(ENOMEM) ? MAP_FAILED : system_files.map(bytes, descriptor);
}

/* Linux closes the descriptor whatever it answers. */
static int failing_close (int descriptor) {
  int closed = system_files.close(descriptor);
  return failing_file(EIO) ? -1 : closed;
}

static int failing_stat_path (const char *path, struct stat *out) {
  return failing_steadily(EACCES) ? -1 : system_files.stat_path(path, out);
}

static ssize_t failing_write (int descriptor, const void *bytes, size_t count, off_t offset) {
  if (!failing_file(EIO)) return system_files.write_at(descriptor, bytes, count, offset);
  return atomic_load(&file_fault) == SHORT ? system_files.write_at(descriptor, bytes, (count + 1) / 2, offset) : -1;
}

static int failing_sync (int descriptor) {
  return failing_file(EIO) ? -1 : system_files.sync(descriptor);
}

static int failing_rename (const char *from, const char *to) {
  return failing_steadily(EXDEV) ? -1 : system_files.rename(from, to);
}

static int failing_rename_new (const char *from, const char *to) {
  if (failing_steadily(EXDEV)) return -1;
  if (atomic_load(&file_fault) == TAKEN && fails(&files)) system_files.close(system_files.open(to, O_WRONLY | O_CREAT));
  return system_files.rename_new(from, to);
}

static atomic_uint_least64_t clock_offset;

static uint64_t moved_clock (void) {
  return uv_hrtime() + atomic_load(&clock_offset);
}

static void install (void) {
  system_memory = memory_table;
  system_threads = thread_table;
  system_files = file_table;
  memory_table.allocate = failing_allocate;
  thread_table.create = failing_create;
  file_table = (file_system){ failing_open, failing_stat, failing_read, failing_map, system_files.unmap,
                              failing_close, failing_stat_path, failing_write, failing_sync, failing_rename,
                              failing_rename_new, system_files.unlink };
  clock_table.now = moved_clock;
}

/* {== Functions ================================================================================== */

/* fail_later(n [, for ever]): the n-th allocation from now on fails; 0: none. Whether an earlier one was reached. */
static int window_fail_later (lua_State *L) {
  return set_fault(L, &allocations);
}

/* fail_threads_later(n [, for ever]): alike for threads to be started */
static int window_fail_threads_later (lua_State *L) {
  return set_fault(L, &threads);
}

/* fail_files_later(n [, for ever]): alike for calls on files, but unmapping and removing */
static int window_fail_files_later (lua_State *L) {
  return set_fault(L, &files);
}

/* advance_clock(ms): the engine's clock jumps ahead */
static int window_advance_clock (lua_State *L) {
  atomic_fetch_add(&clock_offset, (uint64_t)(luaL_checknumber(L, 1) * 1e6));
  return 0;
}

/*
** fail_file(n, task [, fault]) -> was there an n-th call on a file, and what task() returned while it failed.
** fault: "ENOSPC", "EDQUOT", "EIO", "EINTR" (of calls that can be interrupted), "short" (of writing; others fail),
** "taken" (of moves to a new name alone: the n-th of them).
*/
static int window_fail_file (lua_State *L) {
  const char *name = luaL_optstring(L, 3, "");
  int code = 0;
  for (size_t i = 0; i < sizeof file_faults / sizeof *file_faults; i++)
    if (strcmp(file_faults[i].name, name) == 0) code = file_faults[i].code;
  atomic_store(&file_fault, code);
  lua_pushcfunction(L, window_fail_files_later);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  lua_settop(L, 2);
  int raised = lua_pcall(L, 0, LUA_MULTRET, 0);
  lua_pushcfunction(L, window_fail_files_later);
  lua_pushinteger(L, 0);
  lua_call(L, 1, 1);                       /* whether it was reached */
  atomic_store(&file_fault, 0);
  if (raised) {
    lua_pop(L, 1);
    return lua_error(L);
  }
  lua_insert(L, 2);
  return lua_gettop(L) - 1;
}

static int window_unset_environment (lua_State *L) {
  unsetenv(luaL_checkstring(L, 1));
  return 0;
}

static const luaL_Reg functions[] = {
  { "advance_clock", window_advance_clock },
  { "fail_file", window_fail_file },
  { "fail_files_later", window_fail_files_later },
  { "fail_later", window_fail_later },
  { "fail_threads_later", window_fail_threads_later },
  { "unset_environment", window_unset_environment },
  { NULL, NULL }
};

void register_faults_internals (lua_State *L) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, install);
  luaL_setfuncs(L, functions, 0);
}
