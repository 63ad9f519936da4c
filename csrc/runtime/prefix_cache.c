/*
** How an engine uses its prefix store: looking when a job is about to read, on the caller's thread; storing when a
** prompt is read, on a thread of its own that runs while there is something to write, so that no step waits for
** the disk. An engine without threads stores after the step.
*/
#include <string.h>

#include "../base/memory.h"
#include "../base/thread.h"
#include "prefix_store.h"
#include "runtime.h"

enum { WAITING_LIMIT = 4 };              /* prefixes; a slower disk stores fewer of them */
enum { STACK_BYTES = 1 << 20 };          /* whatever RLIMIT_STACK says */

/* {== Looking ==================================================================================== */

/* Rows that an expert policy steered are no other session's, and a session under one needs its own. */
static bool may_share (const ms_session *session) {
  return session->routing == NULL && !session->steered;
}

static bool wants_prefix (const ms_session *session) {
  return session->job == NULL && may_share(session)
      && session->tokens.count - session_read(session) >= session->engine->cache->minimum;
}

/* What was found is what the session still holds and has not read meanwhile. */
static void take_prefix (ms_session *session, snapshot *s) {
  size_t count = s->tokens.count;
  if (session->job != NULL || !may_share(session) || session->tokens.count < count || session_read(session) >= count
      || memcmp(session->tokens.ids, s->tokens.ids, count * sizeof *s->tokens.ids) != 0) return;
  model_cache_close(session->cache);
  session->cache = s->cache;
  memory_free(session->logits);
  session->logits = s->logits;
  session->logits_at = count;
  s->cache = NULL;
  s->logits = NULL;
}

void prefix_find (ms_session *session) {
  ms_engine *engine = session->engine;
  snapshot_owner owner;
  snapshot s;
  if (engine->cache == NULL) return;
  engine_lock(engine);
  bool wanted = wants_prefix(session);
  ms_tokens held = session->tokens;
  size_t read = session_read(session);
  if (wanted) memory_share(held.ids);
  engine_unlock(engine);
  if (!wanted) return;
  if (engine_owner(engine, &owner, NULL) == MS_OK
      && prefix_load(engine->cache, &owner, engine->access, held.ids, held.count, read, &s)) {
    engine_lock(engine);
    take_prefix(session, &s);
    engine_unlock(engine);
    snapshot_clear(&s);
  }
  memory_free(held.ids);
}

/* {== Storing ==================================================================================== */

static void free_item (prefix_item *item) {
  snapshot_clear(&item->state);
  memory_free(item);
}

static prefix_item *take_item (prefix_writer *w) {
  prefix_item *item = w->first;
  if (item == NULL) return NULL;
  w->first = item->next;
  w->count--;
  return item;
}

void prefix_write (ms_engine *engine) {
  snapshot_owner owner;
  for (prefix_item *item; (item = take_item(&engine->writer)) != NULL; ) {
    engine_unlock(engine);
    if (engine_owner(engine, &owner, NULL) == MS_OK) prefix_save(engine->cache, &owner, &item->state);
    free_item(item);
    engine_lock(engine);
  }
}

static void run_writer (void *argument) {
  ms_engine *engine = argument;
  engine_lock(engine);
  prefix_write(engine);
  engine->writer.busy = false;
  engine_unlock(engine);
}

/* A thread that ended is joined before the next: it has nothing more to do than to return. */
static void start_writer (ms_engine *engine) {
  prefix_writer *w = &engine->writer;
  if (w->busy || engine->hosted) return;
  if (w->started) uv_thread_join(&w->thread);
  w->started = w->busy = thread_start(&w->thread, STACK_BYTES, run_writer, engine) == 0;
}

void prefix_offer (ms_session *session, size_t read) {
  ms_engine *engine = session->engine;
  prefix_writer *w = &engine->writer;
  if (engine->cache == NULL || read < engine->cache->minimum || !may_share(session)) return;
  if (session_current_logits(session) == NULL) return;     /* some of it was only scored */
  prefix_item *item = w->count < WAITING_LIMIT ? memory_new(1, sizeof *item) : NULL;
  if (item == NULL) return;
  session_snapshot(session, &item->state);
  item->state.reread_end = 0;
  if (w->first == NULL) w->first = item;
  else w->last->next = item;
  w->last = item;
  w->count++;
  start_writer(engine);
}

void prefix_end (ms_engine *engine) {
  if (engine->writer.started) uv_thread_join(&engine->writer.thread);
  for (prefix_item *item; (item = take_item(&engine->writer)) != NULL; ) free_item(item);
}

/* The child has no such thread. What it was writing stays the parent's to finish. */
void prefix_after_fork (ms_engine *engine) {
  engine->writer.started = engine->writer.busy = false;
  for (prefix_item *item; (item = take_item(&engine->writer)) != NULL; ) free_item(item);
}
