/*
** Threads of the engine: each with a stack of a stated size, whatever RLIMIT_STACK says, and with every signal
** blocked, for signals are the host's. The system's call stands in a table, so that a spec can make the n-th fail.
*/
#ifndef base_thread_h
#define base_thread_h

#include <stddef.h>
#include <uv.h>

typedef struct thread_system {
  int (*create) (uv_thread_t *thread, const uv_thread_options_t *options, uv_thread_cb run, void *argument);
} thread_system;

extern thread_system thread_table;

/* 0, or libuv's code for what went wrong. */
int thread_start (uv_thread_t *thread, size_t stack_bytes, uv_thread_cb run, void *argument);

#endif
