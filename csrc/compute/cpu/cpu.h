/* What the files of the CPU backend share: the object, its scratch, and the dense product. */
#ifndef compute_cpu_cpu_h
#define compute_cpu_cpu_h

#include "../backend.h"
#include "blas.h"
#include "kernels.h"
#include "pool.h"

typedef struct cpu_backend {
  backend base;                                    /* first: a backend * is a cpu_backend * */
  const cpu_kernels *kernels;
  cpu_pool *pool;
  cpu_blas *blas;                            /* of `exact`; NULL: own kernels */
  /* Work space of the stage in flight; grows on demand, never with the context. */
  void *scratch[5]; size_t scratch_size[5];        /* [0], [1] of the stage, [2], [3] of cpu_product, [4] of select */
} cpu_backend;

static inline cpu_backend *cpu_of (backend *be) {
  return (cpu_backend *)(void *)be;
}

/* Slot `slot` with at least `bytes`, contents undefined; NULL with *err filled. */
void *cpu_scratch (cpu_backend *cpu, int slot, size_t bytes, ms_error *err);

/*
** out[r, j] = W[j] . x[r] for all rows of w, in parallel; float32. Strides in floats. The one dense product of the
** backend: x becomes int8 where cpu_takes_codes, else nothing is rounded; `exact` gives large ones to OpenBLAS.
*/
ms_status cpu_product (cpu_backend *cpu, const weight *w, const float *x, size_t x_stride, size_t rows,
                       float *out, size_t out_stride, ms_error *err);
/* The same for outputs [from, from + count) of w only, at out[r * out_stride + j - from]. */
ms_status cpu_product_rows (cpu_backend *cpu, const weight *w, size_t from, size_t count, const float *x,
                            size_t x_stride, size_t rows, float *out, size_t out_stride, ms_error *err);

/*
** The same for `groups` matrices that lie behind one another in w: outputs of group g take the columns
** g * w->columns .. of x. out[r * out_stride + j] for all rows j of w.
*/
ms_status cpu_product_grouped (cpu_backend *cpu, const weight *w, size_t groups, const float *x,
                               size_t x_stride, size_t rows, float *out, size_t out_stride, ms_error *err);

/* The stage `linear` as a part of another: a stage that called it as one would have its time counted twice. */
ms_status cpu_linear (cpu_backend *cpu, const weight *w, const tensor *x, tensor *out, ms_error *err);

/* Are activations int8 for the products of w? */
static inline int cpu_takes_codes (const cpu_backend *cpu, const weight *w) {
  return cpu->base.numerics == MS_FAST && cpu->kernels->product_int8[w->encoding] != NULL;
}

/* MS_EUNSUPPORTED for tiles the kernels do not know: FP8 has 128 columns a tile, FP4 32, and blocks, all whole. */
ms_status cpu_check_weight (const weight *w, ms_error *err);

/* Row `row` of w as float32, out [w->columns]. */
void cpu_weight_row (const weight *w, size_t row, float *out);

/* Roundings of `reference`; each does nothing in the other numerics. */
void cpu_round_bf16 (const cpu_backend *cpu, float *x, size_t count);
/* x [columns] to what FP8 in blocks of 128 can hold (specs/architecture.md 2.0). */
void cpu_round_fp8 (const cpu_backend *cpu, float *x, size_t columns);

/* x for a product with FP8 or FP4 weights: in `reference` a rounded copy in scratch slot `slot`, else x. */
ms_status cpu_round_rows (cpu_backend *cpu, int slot, const tensor *x, tensor *rounded, ms_error *err);
/* The first `columns` of rows `x_stride` floats apart as int8 codes, scales and sums in scratch slot `slot`. */
ms_status cpu_int8_of (cpu_backend *cpu, int slot, const float *x, size_t x_stride, size_t columns, size_t rows,
                       cpu_int8_rows *codes, ms_error *err);

/* Each file of stages fills in its entries. */
void cpu_install_dense (backend *be);              /* dense.c: embed, norms, linear maps, head */
void cpu_install_hyper_connection (backend *be);   /* hyper_connection.c */
void cpu_install_rope (backend *be);               /* rope.c */
void cpu_install_rows (backend *be);               /* rows.c: row sizes, store_window */
void cpu_install_compressor (backend *be);         /* compressor.c */
void cpu_install_indexer (backend *be);            /* indexer.c */
void cpu_install_attention (backend *be);          /* attention.c */
void cpu_install_experts (backend *be);            /* experts.c: route, experts */

ms_status cpu_backend_open (const backend_options *options, backend **out, ms_error *err);

#endif
