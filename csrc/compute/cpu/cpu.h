/* What the files of the CPU backend share: the object, its scratch, and the dense product. */
#ifndef compute_cpu_cpu_h
#define compute_cpu_cpu_h

#include "../backend.h"
#include "kernels.h"
#include "pool.h"

typedef struct cpu_blas cpu_blas;                  /* OpenBLAS, when `exact` found it (blas.h) */

typedef struct cpu_backend {
  backend base;                                    /* first: a backend * is a cpu_backend * */
  const cpu_kernels *kernels;
  cpu_pool *pool;
  cpu_blas *blas;                                  /* NULL: own kernels */
  /* Work space of the stage in flight; grows on demand, never with the context. */
  void *scratch[4]; size_t scratch_size[4];        /* [0] and [1] of the stage, [2] and [3] of cpu_product */
} cpu_backend;

static inline cpu_backend *cpu_of (backend *be) {
  return (cpu_backend *)(void *)be;
}

/* Slot `slot` with at least `bytes`, contents undefined; NULL with *err filled. */
void *cpu_scratch (cpu_backend *cpu, int slot, size_t bytes, ms_error *err);

/*
** out[r, j] = W[j] . x[r] for all rows of w, in parallel; float32, nothing rounded. Strides in floats. The
** one dense product of the backend: `exact` gives large ones to OpenBLAS, all others go to the kernels.
*/
ms_status cpu_product (cpu_backend *cpu, const weight *w, const float *x, size_t x_stride, size_t rows,
                       float *out, size_t out_stride, ms_error *err);
/* The same for outputs [from, from + count) of w only, at out[r * out_stride + j - from]. */
ms_status cpu_product_rows (cpu_backend *cpu, const weight *w, size_t from, size_t count, const float *x,
                            size_t x_stride, size_t rows, float *out, size_t out_stride, ms_error *err);

/* Row `row` of w as float32, out [w->columns]. */
void cpu_weight_row (const weight *w, size_t row, float *out);

/* Roundings of `reference`; each does nothing in the other numerics. */
void cpu_round_bf16 (const cpu_backend *cpu, float *x, size_t count);
/* x [columns] to what FP8 in blocks of 128 can hold (specs/architecture.md 2.0). */
void cpu_round_fp8 (const cpu_backend *cpu, float *x, size_t columns);

/* Each file of stages fills in its entries. */
void cpu_install_dense (backend *be);              /* dense.c: embed, rms_norm, head_norm, linear, grouped_linear, head */
void cpu_install_hyper_connection (backend *be);   /* hyper_connection.c */
void cpu_install_rope (backend *be);               /* rope.c */
void cpu_install_rows (backend *be);               /* rows.c: row sizes, store_window */
void cpu_install_compressor (backend *be);         /* compressor.c */
void cpu_install_indexer (backend *be);            /* indexer.c */
void cpu_install_attention (backend *be);          /* attention.c */
void cpu_install_experts (backend *be);            /* experts.c: route, experts */

ms_status cpu_backend_open (const backend_options *options, backend **out, ms_error *err);

#endif
