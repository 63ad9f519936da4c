/*
** Threads that share the tasks of one run after the other.
**
** A run is announced by opening `gate`. A worker that sees it open enters, takes task numbers from `next`
** until none is left, and leaves. The caller works along, closes the gate and waits until nobody is inside:
** a worker that comes late finds it closed, so a run never waits for a thread that slept through it.
** Lock order: only `mutex`, held around sleeping and waking, never during a task.
*/
#define _GNU_SOURCE   /* sched_getaffinity */
#include "pool.h"

#include <fenv.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "../../base/memory.h"
#include "../../base/thread.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define relax() _mm_pause()
#elif defined(__aarch64__)
#define relax() __asm__ volatile ("yield")
#else
#define relax() ((void)0)
#endif

enum {
  THREADS_LIMIT = 256,
  STACK_BYTES = 1 << 20,
  SPIN_NS = 30000        /* longer than the pause between two stages of a step, shorter than a step */
};

/* gate: bits 0..15 workers inside, bit 16 open, bit 17 the pool ends, bits 18.. number of the run. */
#define INSIDE ((uint64_t)0xFFFF)
#define OPEN ((uint64_t)1 << 16)
#define ENDING ((uint64_t)1 << 17)
#define RUN_SHIFT 18

/* What the workers share; made by start, and left behind in a child process, whose copy has no threads. */
typedef struct crew {
  _Alignas(64) atomic_uint_least64_t gate;
  _Alignas(64) atomic_size_t next;
  size_t count;                    /* of this run: written while the gate is closed */
  cpu_task *task;
  void *context;
  atomic_size_t width;             /* threads that take part, the caller among them; changes while the gate is closed */
  _Alignas(64) atomic_int sleepers;   /* workers that wait for `opened`, or are about to */
  atomic_int waiting;              /* the caller waits for `emptied`, or is about to */
  uv_mutex_t mutex;
  uv_cond_t opened, emptied, widened;
  size_t workers;                  /* threads running */
  struct seat { struct crew *crew; size_t worker; uv_thread_t thread; } seats[];
} crew;

struct cpu_pool {
  size_t threads, used;            /* used: those that the next runs take */
  crew *crew;                      /* NULL: not started */
  pid_t pid;                       /* process in which it was */
};

/* {== Floating-point mode ======================================================================== */

/* Kernels need ties to even and denormals; a host may have set something else on its thread. */
#if defined(__x86_64__)
typedef unsigned float_mode;

static inline float_mode mode_set (void) {
  const float_mode before = _mm_getcsr();
  if ((before & 0xFFC0) != 0x1F80) _mm_setcsr(0x1F80);
  return before;
}

static inline void mode_restore (float_mode before) {
  if ((before & 0xFFC0) != 0x1F80) _mm_setcsr(before);
}
#elif defined(__aarch64__)
typedef uint64_t float_mode;       /* FPCR; 0: no flushing, no NaN put for another, IEEE halves */

static inline void mode_restore (float_mode before) {
  if (before != 0) __asm__ volatile ("msr fpcr, %0" : : "r" (before));
}

static inline float_mode mode_set (void) {
  float_mode before;
  __asm__ volatile ("mrs %0, fpcr" : "=r" (before));
  if (before != 0) __asm__ volatile ("msr fpcr, xzr");
  return before;
}
#else
typedef fenv_t float_mode;

static inline float_mode mode_set (void) {
  float_mode before;
  fegetenv(&before);
  fesetenv(FE_DFL_ENV);
  return before;
}

static inline void mode_restore (float_mode before) {
  fesetenv(&before);
}
#endif

/* {== Workers ==================================================================================== */

static void take_tasks (crew *c, size_t worker) {
  const size_t count = c->count;
  cpu_task *task = c->task;
  void *context = c->context;
  for (size_t i; (i = atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed)) < count;)
    task(context, i, worker);
}

/* Is there something for a worker that has seen run `seen`? */
static inline int calls (uint64_t gate, uint64_t seen) {
  return (gate & ENDING) != 0 || ((gate & OPEN) != 0 && gate >> RUN_SHIFT != seen);
}

static uint64_t wait_for_call (crew *c, uint64_t seen) {
  uint64_t gate;
  const uint64_t until = uv_hrtime() + SPIN_NS;
  do {
    for (int i = 0; i < 64; i++) {
      gate = atomic_load_explicit(&c->gate, memory_order_acquire);
      if (calls(gate, seen)) return gate;
      relax();
    }
  } while (uv_hrtime() < until);

  /* Sequentially consistent on both sides: either this thread sees the gate, or the caller sees a sleeper. */
  uv_mutex_lock(&c->mutex);
  atomic_fetch_add(&c->sleepers, 1);
  while (!calls(gate = atomic_load(&c->gate), seen)) uv_cond_wait(&c->opened, &c->mutex);
  atomic_fetch_sub(&c->sleepers, 1);
  uv_mutex_unlock(&c->mutex);
  return gate;
}

static void leave (crew *c) {
  const uint64_t before = atomic_fetch_sub(&c->gate, 1);
  if ((before & (INSIDE | OPEN)) == 1 && atomic_load(&c->waiting)) {
    uv_mutex_lock(&c->mutex);
    uv_cond_signal(&c->emptied);
    uv_mutex_unlock(&c->mutex);
  }
}

/* Sleeps while this worker takes no part. */
static void wait_for_place (crew *c, size_t worker) {
  if (worker < atomic_load(&c->width)) return;
  uv_mutex_lock(&c->mutex);
  while (worker >= atomic_load(&c->width) && (atomic_load(&c->gate) & ENDING) == 0)
    uv_cond_wait(&c->widened, &c->mutex);
  uv_mutex_unlock(&c->mutex);
}

static void work (void *argument) {
  struct seat *seat = argument;
  crew *c = seat->crew;
  uint64_t seen = 0;
  mode_set();
  for (;;) {
    wait_for_place(c, seat->worker);
    uint64_t gate = wait_for_call(c, seen);
    if (gate & ENDING) return;
    /* Enter this run, unless it has closed meanwhile; another worker's entering only makes it try again. */
    while ((gate & OPEN) != 0 && gate >> RUN_SHIFT != seen && seat->worker < atomic_load(&c->width)) {
      if (atomic_compare_exchange_weak(&c->gate, &gate, gate + 1)) {
        seen = gate >> RUN_SHIFT;
        take_tasks(c, seat->worker);
        leave(c);
        break;
      }
    }
  }
}

/* {== The pool =================================================================================== */

/* The first of the threads that share a core, as the system lists them ("0,64" or "0-1"); itself if unknown. */
static size_t first_of_core (size_t cpu) {
  char path[96];
  size_t first = cpu;
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", cpu);
  FILE *file = fopen(path, "re");
  if (file == NULL) return cpu;
  if (fscanf(file, "%zu", &first) != 1 || first >= CPU_SETSIZE) first = cpu;
  fclose(file);
  return first;
}

/* Cores this process may run on: processors it may use, but one for all that share a core. */
static size_t available_cores (void) {
  cpu_set_t allowed, cores;
  CPU_ZERO(&allowed);
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (size_t)online;
  }
  for (size_t i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &allowed)) CPU_SET(first_of_core(i), &cores);
  return (size_t)CPU_COUNT(&cores);
}

static size_t valid_threads (size_t threads) {
  if (threads == 0) threads = available_cores();
  return threads > THREADS_LIMIT ? THREADS_LIMIT : threads;
}

ms_status cpu_pool_open (size_t threads, cpu_pool **pool, ms_error *err) {
  cpu_pool *made = memory_new(1, sizeof *made);
  if (made == NULL) return fail_memory(err, sizeof *made, "thread pool");
  made->threads = made->used = valid_threads(threads);
  *pool = made;
  return MS_OK;
}

static void destroy_locks (crew *c) {
  uv_cond_destroy(&c->widened);
  uv_cond_destroy(&c->emptied);
  uv_cond_destroy(&c->opened);
  uv_mutex_destroy(&c->mutex);
}

/* Ends and frees the crew. In a child process there is nobody to join and the locks may be held for ever. */
static void dismiss (cpu_pool *pool) {
  crew *c = pool->crew;
  if (c == NULL) return;
  if (pool->pid == getpid()) {
    atomic_fetch_or(&c->gate, ENDING);
    uv_mutex_lock(&c->mutex);
    uv_cond_broadcast(&c->opened);
    uv_cond_broadcast(&c->widened);
    uv_mutex_unlock(&c->mutex);
    for (size_t i = 0; i < c->workers; i++) uv_thread_join(&c->seats[i].thread);
    destroy_locks(c);
  }
  pool->crew = NULL;
  memory_free(c);
}

void cpu_pool_close (cpu_pool *pool) {
  if (pool == NULL) return;
  dismiss(pool);
  memory_free(pool);
}

/* The locks of a new crew; all of them or none. */
static int make_locks (crew *c) {
  int code = uv_mutex_init(&c->mutex);
  if (code != 0) return code;
  if ((code = uv_cond_init(&c->opened)) == 0) {
    if ((code = uv_cond_init(&c->emptied)) == 0) {
      if ((code = uv_cond_init(&c->widened)) == 0) return 0;
      uv_cond_destroy(&c->emptied);
    }
    uv_cond_destroy(&c->opened);
  }
  uv_mutex_destroy(&c->mutex);
  return code;
}

static int make_threads (crew *c, size_t count) {
  int code = 0;
  for (size_t i = 0; i < count && code == 0; i++) {
    c->seats[i].crew = c;
    c->seats[i].worker = i + 1;
    code = thread_start(&c->seats[i].thread, STACK_BYTES, work, &c->seats[i]);
    if (code == 0) c->workers++;
  }
  return code;
}

ms_status cpu_pool_start (cpu_pool *pool, ms_error *err) {
  if (pool->crew != NULL && pool->pid == getpid()) return MS_OK;
  dismiss(pool);
  const size_t workers = pool->threads - 1;
  const size_t bytes = sizeof(crew) + workers * sizeof(struct seat);
  crew *c = memory_new(1, bytes);
  if (c == NULL) return fail_memory(err, bytes, "thread pool");
  int code = make_locks(c);
  if (code != 0) {
    memory_free(c);
    return fail(err, MS_ENOMEM, "cannot make the locks of the thread pool: %s", uv_strerror(code));
  }
  atomic_store(&c->width, pool->used);
  pool->crew = c;
  pool->pid = getpid();
  code = make_threads(c, workers);
  if (code == 0) return MS_OK;
  dismiss(pool);
  return fail(err, MS_ENOMEM, "cannot start %zu threads: %s", workers, uv_strerror(code));
}

ms_status cpu_pool_resize (cpu_pool *pool, size_t threads, ms_error *err) {
  threads = valid_threads(threads);
  if (threads == pool->threads) return MS_OK;
  const int started = pool->crew != NULL && pool->pid == getpid();
  dismiss(pool);
  pool->threads = pool->used = threads;
  return started ? cpu_pool_start(pool, err) : MS_OK;
}

size_t cpu_pool_threads (const cpu_pool *pool) {
  return pool->threads;
}

void cpu_pool_use (cpu_pool *pool, size_t threads) {
  crew *c = pool->crew;
  pool->used = threads < 1 ? 1 : threads > pool->threads ? pool->threads : threads;
  if (c == NULL || pool->pid != getpid() || pool->used == atomic_load(&c->width)) return;
  uv_mutex_lock(&c->mutex);
  atomic_store(&c->width, pool->used);
  uv_cond_broadcast(&c->widened);
  uv_mutex_unlock(&c->mutex);
}

/* Waits until no worker is inside; those inside finish their task at most. */
static void wait_until_empty (crew *c) {
  const uint64_t until = uv_hrtime() + SPIN_NS;
  do {
    for (int i = 0; i < 64; i++) {
      if ((atomic_load_explicit(&c->gate, memory_order_acquire) & INSIDE) == 0) return;
      relax();
    }
  } while (uv_hrtime() < until);
  uv_mutex_lock(&c->mutex);
  atomic_store(&c->waiting, 1);
  while ((atomic_load(&c->gate) & INSIDE) != 0) uv_cond_wait(&c->emptied, &c->mutex);
  atomic_store(&c->waiting, 0);
  uv_mutex_unlock(&c->mutex);
}

void cpu_pool_run (cpu_pool *pool, size_t count, cpu_task *task, void *context) {
  crew *c = pool->crew;
  const float_mode mode = mode_set();
  if (count <= 1 || c == NULL || pool->used == 1) {
    for (size_t i = 0; i < count; i++) task(context, i, 0);
  } else {
    c->count = count;
    c->task = task;
    c->context = context;
    atomic_store_explicit(&c->next, 0, memory_order_relaxed);
    /* Nobody is inside: the gate holds only the number of the last run. */
    const uint64_t run = (atomic_load(&c->gate) >> RUN_SHIFT) + 1;
    atomic_store(&c->gate, run << RUN_SHIFT | OPEN);
    if (atomic_load(&c->sleepers) > 0) {
      uv_mutex_lock(&c->mutex);
      uv_cond_broadcast(&c->opened);
      uv_mutex_unlock(&c->mutex);
    }
    take_tasks(c, 0);
    atomic_fetch_and(&c->gate, ~OPEN);
    wait_until_empty(c);
  }
  mode_restore(mode);
}
