#include "thread.h"

#include <pthread.h>
#include <signal.h>

thread_system thread_table = { uv_thread_create_ex };

/* A thread inherits the mask of the one that starts it. */
int thread_start (uv_thread_t *thread, size_t stack_bytes, uv_thread_cb run, void *argument) {
  const uv_thread_options_t options = { .flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = stack_bytes };
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int code = thread_table.create(thread, &options, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return code;
}
