/*
** The open engines of the process: the only state outside an object. A fork of the process takes all their
** locks first, so that the child finds every session as it is between two changes; there it makes the locks
** anew and leaves the rest to the next call on the engine (engine_adopt). By their ids other Lua states of the
** process find them.
*/
#include <errno.h>
#include <pthread.h>

#include "runtime.h"

static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t registry_lock;
static ms_engine *engines;               /* registry_lock */
static uint64_t last_id;                 /* registry_lock */
static int trouble;                      /* errno of what could not be set up */

static void before_fork (void) {
  uv_mutex_lock(&registry_lock);
  for (ms_engine *engine = engines; engine != NULL; engine = engine->next) {
    uv_mutex_lock(&engine->tokenizer_lock);
    uv_mutex_lock(&engine->lock);
  }
}

static void after_fork_parent (void) {
  for (ms_engine *engine = engines; engine != NULL; engine = engine->next) {
    uv_mutex_unlock(&engine->lock);
    uv_mutex_unlock(&engine->tokenizer_lock);
  }
  uv_mutex_unlock(&registry_lock);
}

/* Made anew, not unlocked: the threads that wait at them exist in the parent only. */
static void after_fork_child (void) {
  for (ms_engine *engine = engines; engine != NULL; engine = engine->next) {
    uv_mutex_init(&engine->lock);
    uv_mutex_init(&engine->tokenizer_lock);
    uv_cond_init(&engine->work);
    uv_cond_init(&engine->events);
    engine->forked = true;
  }
  uv_mutex_init(&registry_lock);
}

static void set_up (void) {
  if (uv_mutex_init(&registry_lock) != 0) trouble = ENOMEM;
  else trouble = pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

ms_status registry_add (ms_engine *engine, ms_error *err) {
  uv_once(&once, set_up);
  if (trouble != 0) return fail_system(err, trouble, "engine", "prepare for forks");
  uv_mutex_lock(&registry_lock);
  engine->id = ++last_id;
  engine->next = engines;
  engines = engine;
  uv_mutex_unlock(&registry_lock);
  return MS_OK;
}

void registry_remove (ms_engine *engine) {
  uv_mutex_lock(&registry_lock);
  ms_engine **link = &engines;
  while (*link != engine) link = &(*link)->next;
  *link = engine->next;
  uv_mutex_unlock(&registry_lock);
}

uint64_t ms_engine_id (ms_engine *engine) {
  return engine->id;
}

/* Under the registry's lock no engine's memory goes away: it is struck off the list first. */
static ms_engine *retain (uint64_t id) {
  ms_engine *engine = engines;
  while (engine != NULL && engine->id != id) engine = engine->next;
  if (engine == NULL) return NULL;
  engine_lock(engine);
  bool open = engine->handles != 0;
  engine->handles += open;
  engine_unlock(engine);
  return open ? engine : NULL;
}

ms_status ms_engine_attach (uint64_t id, ms_engine **engine, ms_error *err) {
  uv_once(&once, set_up);
  uv_mutex_lock(&registry_lock);
  *engine = retain(id);
  uv_mutex_unlock(&registry_lock);
  if (*engine != NULL) return MS_OK;
  return fail(err, MS_ENOENT, "no engine of this process has the id %llu: it was closed, or belongs to another",
              (unsigned long long)id);
}
