/* From the source's tensors to the target's bytes, a band of rows after the other. */
#ifndef convert_stream_h
#define convert_stream_h

#include "../compute/cpu/pool.h"
#include "target.h"

typedef struct stream {
  model *m;
  target *to;
  cpu_pool *pool;                /* bands of a wave are encoded side by side */
  struct band_job *bands;        /* [threads] */
  size_t band_count;
} stream;

/* On failure *s is to be closed all the same. */
ms_status stream_open (model *m, target *to, size_t threads, stream *s, ms_error *err);
/* Writes everything that the target lacks. */
ms_status stream_run (stream *s, ms_error *err);
void stream_close (stream *s);

#endif
