/*
** The threads of a CPU backend. The caller works too; the others spin shortly for the next task and then
** sleep. Workers block every signal and set their own floating-point mode.
*/
#ifndef compute_cpu_pool_h
#define compute_cpu_pool_h

#include "../../base/status.h"

typedef struct cpu_pool cpu_pool;

/* A pool without threads; cpu_pool_start makes them. `threads` counts the caller; 0: one a physical core. */
ms_status cpu_pool_open (size_t threads, cpu_pool **pool, ms_error *err);
void cpu_pool_close (cpu_pool *pool);              /* joins; NULL is allowed */
/* Starts the workers unless they run in this process (after a fork they do not). */
ms_status cpu_pool_start (cpu_pool *pool, ms_error *err);
ms_status cpu_pool_resize (cpu_pool *pool, size_t threads, ms_error *err);   /* between two runs only */
size_t cpu_pool_threads (const cpu_pool *pool);
/* The next runs take this many of its threads, from one up to all; the others sleep. Between two runs only. */
void cpu_pool_use (cpu_pool *pool, size_t threads);

/*
** Calls task(context, i, worker) for every i < count and returns when all have returned. Which worker
** takes which i is open: a task's result must not depend on it. `worker` < cpu_pool_threads names the
** scratch it may use. Runs on the caller alone when the pool is not started.
** Tasks run in the default floating-point mode, whatever the caller's is. No task calls cpu_pool_run.
*/
typedef void cpu_task (void *context, size_t i, size_t worker);
void cpu_pool_run (cpu_pool *pool, size_t count, cpu_task *task, void *context);

#endif
