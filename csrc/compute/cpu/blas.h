/*
** OpenBLAS, found at run time and never needed: large dense products of `exact`. Called single-threaded
** from our own tasks on blocks of a fixed size, so that its result does not depend on the thread count.
*/
#ifndef compute_cpu_blas_h
#define compute_cpu_blas_h

#include <stddef.h>

typedef struct cpu_blas cpu_blas;

/*
** The process's OpenBLAS, opened at the first call; NULL when there is none. Never closed: a library with
** threads cannot be unloaded.
*/
cpu_blas *cpu_blas_open (void);

/* out [rows, outputs] = x [rows, columns] times w [outputs, columns] transposed; strides in floats. */
void cpu_blas_product (cpu_blas *blas, size_t rows, size_t outputs, size_t columns, const float *x,
                       size_t x_stride, const float *w, float *out, size_t out_stride);

#endif
