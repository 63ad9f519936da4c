/* The thread pool: what its workers ran, on how many threads, and after a fork. */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/compute/cpu/cpu.h"
#include "float_mode.h"
#include "internals.h"

enum { TASKS_LIMIT = 4096 };

typedef struct tally {
  atomic_int ran[TASKS_LIMIT];
  atomic_int bad_worker, signal_open, odd_mode;
  size_t threads, spin;
} tally;

static void tally_task (void *context, size_t i, size_t worker) {
  tally *t = context;
  sigset_t mask;
  volatile float tiny = 1e-40f;                      /* a denormal: gone when they are flushed */
  atomic_fetch_add(&t->ran[i], 1);
  if (worker >= t->threads) atomic_fetch_add(&t->bad_worker, 1);
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  if (worker != 0 && !sigismember(&mask, SIGINT)) atomic_fetch_add(&t->signal_open, 1);
  if (tiny * 0.5f == 0.0f) atomic_fetch_add(&t->odd_mode, 1);
  for (volatile size_t k = 0; k < t->spin; k++) ;
}

/* Are all of `count` tasks counted `runs` times, and nothing else? */
static int tally_right (const tally *t, size_t count, int runs) {
  for (size_t i = 0; i < TASKS_LIMIT; i++)
    if (atomic_load(&t->ran[i]) != (i < count ? runs : 0)) return 0;
  return 1;
}

static int push_tally (lua_State *L, const tally *t, int right) {
  lua_pushboolean(L, right);
  lua_pushinteger(L, atomic_load(&t->bad_worker) + atomic_load(&t->signal_open) + atomic_load(&t->odd_mode));
  return 2;
}

/* pool_run(threads, tasks, runs, spin, resized) -> every task ran once a run, faults of workers */
static int pool_run (lua_State *L) {
  const size_t threads = (size_t)luaL_checkinteger(L, 1), count = (size_t)luaL_checkinteger(L, 2);
  const int runs = (int)luaL_checkinteger(L, 3);
  lua_settop(L, 5);
  const size_t resized = (size_t)luaL_optinteger(L, 5, 0);
  tally *t = lua_newuserdata(L, sizeof *t);
  memset(t, 0, sizeof *t);
  t->threads = threads > resized ? threads : resized;
  t->spin = (size_t)luaL_optinteger(L, 4, 0);
  luaL_argcheck(L, count <= TASKS_LIMIT, 2, "too many tasks");
  cpu_pool *pool;
  ms_error err;
  if (cpu_pool_open(threads, &pool, &err) != MS_OK) return push_failure(L, &err);
  ms_status status = cpu_pool_start(pool, &err);
  for (int i = 0; i < runs && status == MS_OK; i++) {
    if (i == runs / 2 && resized != 0) status = cpu_pool_resize(pool, resized, &err);
    cpu_pool_run(pool, count, tally_task, t);
    if (i % 64 == 63) usleep(100);                   /* long enough for the workers to fall asleep */
  }
  cpu_pool_close(pool);
  if (status != MS_OK) return push_failure(L, &err);
  return push_tally(L, t, tally_right(t, count, runs));
}

/* pool_widths(threads, tasks, runs) -> as pool_run: runs on one thread, on two .. on all and down again */
static int pool_widths (lua_State *L) {
  const size_t threads = (size_t)luaL_checkinteger(L, 1), count = (size_t)luaL_checkinteger(L, 2);
  const int runs = (int)luaL_checkinteger(L, 3);
  tally *t = lua_newuserdata(L, sizeof *t);
  memset(t, 0, sizeof *t);
  cpu_pool *pool;
  ms_error err;
  if (cpu_pool_open(threads, &pool, &err) != MS_OK) return push_failure(L, &err);
  if (cpu_pool_start(pool, &err) != MS_OK) {
    cpu_pool_close(pool);
    return push_failure(L, &err);
  }
  for (int i = 0; i < runs; i++) {
    const size_t step = (size_t)i / 8 % (2 * threads);
    t->threads = step < threads ? step + 1 : 2 * threads - step;
    cpu_pool_use(pool, t->threads);
    cpu_pool_run(pool, count, tally_task, t);
    if (i % 64 == 63) usleep(100);
  }
  cpu_pool_close(pool);
  return push_tally(L, t, tally_right(t, count, runs));
}

/* In the child: the pool starts anew, works and closes. */
static int child_works (cpu_pool *pool, tally *t, size_t count) {
  ms_error err;
  memset(t->ran, 0, sizeof t->ran);
  const int right = cpu_pool_start(pool, &err) == MS_OK;
  if (right) cpu_pool_run(pool, count, tally_task, t);
  cpu_pool_close(pool);
  return right && tally_right(t, count, 1);
}

/* pool_fork(threads, tasks) -> the parent's tasks ran, the child's tasks ran */
static int pool_fork (lua_State *L) {
  const size_t threads = (size_t)luaL_checkinteger(L, 1), count = (size_t)luaL_checkinteger(L, 2);
  tally *t = lua_newuserdata(L, sizeof *t);
  memset(t, 0, sizeof *t);
  t->threads = threads;
  cpu_pool *pool;
  ms_error err;
  int code = -1;
  if (cpu_pool_open(threads, &pool, &err) != MS_OK) return push_failure(L, &err);
  if (cpu_pool_start(pool, &err) != MS_OK) {
    cpu_pool_close(pool);
    return push_failure(L, &err);
  }
  cpu_pool_run(pool, count, tally_task, t);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);                                       /* a deadlock ends */
    _exit(child_works(pool, t, count) ? 0 : 1);
  }
  cpu_pool_run(pool, count, tally_task, t);
  waitpid(child, &code, 0);
  cpu_pool_close(pool);
  lua_pushboolean(L, tally_right(t, count, 2));
  lua_pushboolean(L, WIFEXITED(code) && WEXITSTATUS(code) == 0);
  return 2;
}

/* pool_flushed(threads, tasks): as pool_run, called with denormals flushed -> right, faults, mode kept */
static int pool_flushed (lua_State *L) {
  const uint64_t before = float_mode_get();
  float_mode_set(before | FLUSH_DENORMALS);
  const int results = pool_run(L);
  const int kept = (float_mode_get() & FLUSH_DENORMALS) == FLUSH_DENORMALS;
  float_mode_set(before);
  lua_pushboolean(L, kept);
  return results + 1;
}

void register_pool_internals (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "pool_run", pool_run }, { "pool_widths", pool_widths }, { "pool_fork", pool_fork },
    { "pool_flushed", pool_flushed }, { NULL, NULL }
  };
  luaL_setfuncs(L, functions, 0);
}
