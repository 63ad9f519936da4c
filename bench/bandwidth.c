/*
** How fast this machine reads memory: the roof of decoding. Each of N threads adds up its part of a buffer that is
** larger than all caches; the fastest of several passes counts.
**
**   bandwidth [THREADS [MIB]]      prints GB/s (10^9 bytes), by default of 1 thread and 1024 MiB
*/
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PASSES = 8, LANES = 64, THREADS_LIMIT = 256 };

typedef struct part { const uint64_t *words; size_t count; uint64_t sum; } part;

static void *read_part (void *argument) {
  part *p = argument;
  uint64_t lanes[LANES] = { 0 };
  for (size_t i = 0; i + LANES <= p->count; i += LANES)
    for (size_t j = 0; j < LANES; j++) lanes[j] ^= p->words[i + j];
  for (size_t j = 0; j < LANES; j++) p->sum ^= lanes[j];
  return NULL;
}

static double now (void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds of one pass; the calling thread reads the first part. */
static double pass (part *parts, size_t threads) {
  pthread_t ids[THREADS_LIMIT];
  const double began = now();
  for (size_t i = 1; i < threads; i++)
    if (pthread_create(&ids[i], NULL, read_part, &parts[i]) != 0) exit(1);
  read_part(&parts[0]);
  for (size_t i = 1; i < threads; i++) pthread_join(ids[i], NULL);
  return now() - began;
}

int main (int count, char **arguments) {
  const long threads = count > 1 ? atol(arguments[1]) : 1, mib = count > 2 ? atol(arguments[2]) : 1024;
  if (threads < 1 || threads > THREADS_LIMIT || mib < 1) return 2;
  const size_t bytes = (size_t)mib << 20, words = bytes / sizeof(uint64_t) / (size_t)threads;
  uint64_t *buffer = malloc(bytes), check = 0;
  part parts[THREADS_LIMIT];
  double best = 1e9;
  if (buffer == NULL) return 1;
  memset(buffer, 1, bytes);
  for (long i = 0; i < threads; i++) parts[i] = (part){ buffer + (size_t)i * words, words, 0 };
  for (int i = 0; i < PASSES; i++) {
    const double seconds = pass(parts, (size_t)threads);
    if (seconds < best) best = seconds;
  }
  for (long i = 0; i < threads; i++) check ^= parts[i].sum;
  printf("%.2f\n", (double)(words * (size_t)threads * sizeof(uint64_t)) / best / 1e9);
  free(buffer);
  return check == 1;      /* so that the reading is not left out */
}
