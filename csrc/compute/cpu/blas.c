/*
** OpenBLAS by dlopen (specs/performance.md 4). The serial build comes first: the others start threads
** while they load, which is why loading waits until an engine computes and blocks signals meanwhile.
** A serial build hands out its work space without a lock, and two products at once spoil each other: calls
** are made one at a time. What surrounds them, decoding weights above all, runs on all threads.
*/
#include "blas.h"

#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>
#include <uv.h>

/* Of cblas.h, which need not be installed. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };

typedef void sgemm (int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                    const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);
typedef void set_threads (int count);

struct cpu_blas {
  sgemm *product;
  uv_mutex_t one_at_a_time;
  pid_t process;               /* whose mutex it is: a child's may have been copied while it was held */
};

static const char *const names[] = {
#if defined(__x86_64__)
  "/usr/lib/x86_64-linux-gnu/openblas-serial/libopenblas.so.0",   /* Debian: not on the search path */
#elif defined(__aarch64__)
  "/usr/lib/aarch64-linux-gnu/openblas-serial/libopenblas.so.0",
#endif
  "libopenblas.so.0", "libopenblas.so",
};

static cpu_blas found;         /* of the process, like the library itself; guarded by `once` */
static uv_once_t once = UV_ONCE_INIT;

static void load (void) {
  void *library = NULL;
  for (size_t i = 0; i < sizeof names / sizeof names[0] && library == NULL; i++)
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return;
  sgemm *product = (sgemm *)dlsym(library, "cblas_sgemm");
  set_threads *threads = (set_threads *)dlsym(library, "openblas_set_num_threads");
  if (product == NULL || threads == NULL) return;
  threads(1);
  if (uv_mutex_init(&found.one_at_a_time) != 0) return;
  found.process = getpid();
  found.product = product;
}

/* The first call in a forked child; one thread makes it, for the others start later. */
static void renew_after_fork (void) {
  if (found.product == NULL || found.process == getpid()) return;
  if (uv_mutex_init(&found.one_at_a_time) == 0) found.process = getpid();
  else found.product = NULL;
}

cpu_blas *cpu_blas_open (void) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  uv_once(&once, load);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  renew_after_fork();
  return found.product == NULL ? NULL : &found;
}

void cpu_blas_product (cpu_blas *blas, size_t rows, size_t outputs, size_t columns, const float *x,
                       size_t x_stride, const float *w, float *out, size_t out_stride) {
  uv_mutex_lock(&blas->one_at_a_time);
  blas->product(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, (int)rows, (int)outputs, (int)columns, 1.0f, x,
                (int)x_stride, w, (int)columns, 0.0f, out, (int)out_stride);
  uv_mutex_unlock(&blas->one_at_a_time);
}
