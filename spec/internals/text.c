/* The tokenizer from several threads at once, which no Lua program can do alone. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internals.h"


enum { THREADS = 4, ROUNDS = 3 };

typedef struct task {
  pthread_t thread;
  ms_tokenizer *tokenizer;
  const ms_piece *piece;
  const ms_tokens *expected;
  int started, same;
} task;

static void *encode_rounds (void *user) {
  task *t = user;
  t->same = 1;
  for (int i = 0; i < ROUNDS; i++) {
    ms_tokenizer *own = ms_tokenizer_retain(t->tokenizer);
    ms_tokens tokens = { 0 };
    ms_error err;
    t->same = t->same && ms_tokenizer_encode(own, t->piece, 1, &tokens, NULL, &err) == MS_OK &&
              tokens.count == t->expected->count &&
              memcmp(tokens.ids, t->expected->ids, tokens.count * sizeof *tokens.ids) == 0;
    ms_tokens_free(&tokens);
    ms_tokenizer_release(own);
  }
  return NULL;
}

/* With 64 KiB of stack, or the least that a thread may have: encoding needs no more, whatever the text. */
static int start (task *t) {
  const long least = sysconf(_SC_THREAD_STACK_MIN), stack = least > 64 * 1024 ? least : 64 * 1024;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return 0;
  int failed = pthread_attr_setstacksize(&attributes, (size_t)stack) != 0 ||
               pthread_create(&t->thread, &attributes, encode_rounds, t) != 0;
  pthread_attr_destroy(&attributes);
  return !failed;
}

/* encode_in_threads(path, text) -> whether threads with small stacks get the ids that this thread gets */
static int window_encode_in_threads (lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  ms_piece piece = { .kind = MS_PIECE_TEXT };
  piece.text = luaL_checklstring(L, 2, &piece.bytes);
  ms_tokenizer *tokenizer;
  ms_tokens expected = { 0 };
  ms_error err;
  task tasks[THREADS] = { 0 };
  int same = 1;
  if (ms_tokenizer_open(path, &tokenizer, &err) != MS_OK) return push_failure(L, &err);
  if (ms_tokenizer_encode(tokenizer, &piece, 1, &expected, NULL, &err) != MS_OK) same = 0;
  for (int i = 0; i < THREADS; i++) {
    tasks[i].tokenizer = tokenizer;
    tasks[i].piece = &piece;
    tasks[i].expected = &expected;
    tasks[i].started = start(&tasks[i]);
  }
  for (int i = 0; i < THREADS; i++) {
    if (tasks[i].started) pthread_join(tasks[i].thread, NULL);
    same = same && tasks[i].started && tasks[i].same;
  }
  ms_tokens_free(&expected);
  ms_tokenizer_release(tokenizer);
  lua_pushboolean(L, same);
  return 1;
}

void register_text_internals (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "encode_in_threads", window_encode_in_threads },
    { NULL, NULL }
  };
  luaL_setfuncs(L, functions, 0);
}
