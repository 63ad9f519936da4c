/*
** Sessions as long as nobody would wait for: rows that were not computed. For measurements of what depends on a
** session's length alone (bench/million.lua, bench/depth.lua).
*/
#include "internals.h"

#include <string.h>

#include "../../csrc/lua/session.h"
#include "../../csrc/runtime/runtime.h"

/*
** Tokens filled at once, which periods are a multiple of, so that whole groups of 16 index rows are copied; and those
** after which every kind of row of every layer ends with a page: 64 rows of ratio 128.
*/
enum { PART = 256, PERIOD = 64 * 128 };

/* Rows [to, to + count) become those of [from, from + count), where these have not been given up. */
static void copy_rows (const row_view *view, size_t from, size_t to, size_t count) {
  for (size_t row = 0, piece; row < count && view->row_bytes != 0; row += piece) {
    const size_t page = view->rows_per_page, source_row = (from + row) % page, row_of_page = (to + row) % page;
    const size_t left = page - (source_row > row_of_page ? source_row : row_of_page);
    piece = count - row < left ? count - row : left;
    if ((from + row) / page >= view->first_page)
      memcpy(row_view_page(view, to + row) + row_of_page * view->row_bytes,
             row_view_page(view, from + row) + source_row * view->row_bytes, piece * view->row_bytes);
  }
}

/*
** The compressed rows of the next PART tokens are those of the tokens a period before; those that only the next tokens
** can reach stay what they are, and come right with the last part.
*/
static void repeat_rows (const model *m, model_cache *cache, size_t period) {
  size_t to = model_cache_position(cache), from = to - period;
  for (size_t i = 0; i < m->config.layers; i++) {
    size_t ratio = m->layers[i].ratio;
    segment seen = model_cache_segment(cache, i, 0, PART);
    copy_rows(&seen.window, to - PART, to, PART);
    if (ratio == 0) continue;
    copy_rows(&seen.raw, seen.raw_from - PART, seen.raw_from, to + PART - seen.raw_from);
    copy_rows(&seen.index_raw, seen.index_raw_from - PART, seen.index_raw_from, to + PART - seen.index_raw_from);
    copy_rows(&seen.pooled, from / ratio, to / ratio, PART / ratio);
    copy_rows(&seen.index_rows, from / ratio, to / ratio, PART / ratio);
  }
}

static ms_status fill_session (ms_session *session, size_t period, ms_error *err) {
  const model *m = session->engine->model;
  size_t read = session_read(session);
  if (session->job != NULL || read == 0 || read % period != 0)
    return fail(err, MS_EINVAL, "%zu tokens are read: not a multiple of %zu", read, period);
  for (; session->tokens.count - read >= period; read += period) {
    for (size_t part = 0; part < period; part += PART) {
      TRY(session_reserve(session, PART, false, err));
      repeat_rows(m, session->cache, period);
      model_cache_commit(session->cache, PART);
    }
  }
  return MS_OK;
}

/*
** fill(session, period) -> session | nil, message, code. Its unread tokens count as read, a period (8192, or another
** multiple of 256) at a time: their rows are copies of those of the period before. As many are read, or a multiple;
** fewer may be left unread.
*/
static int window_fill (lua_State *L) {
  static const call from = { "fill", 0 };
  ms_session *session = free_session(L, 1, &from);
  const size_t period = (size_t)luaL_optinteger(L, 2, PERIOD);
  ms_error err;
  luaL_argcheck(L, period != 0 && period % PART == 0, 2, "not a multiple of 256");
  engine_lock(session->engine);
  ms_status status = fill_session(session, period, &err);
  engine_unlock(session->engine);
  if (status != MS_OK) return push_failure(L, &err);
  lua_settop(L, 1);
  return 1;
}

static const luaL_Reg functions[] = { { "fill", window_fill }, { NULL, NULL } };

void register_fill_internals (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  lua_pushinteger(L, PERIOD);
  lua_setfield(L, -2, "FILL_PERIOD");
}
