/*
** Level "avx512vbmi": AVX-512 with shifts and permutations of single bytes (VBMI), which codebooks are made for, and with
** GFNI, which is wherever VBMI and VNNI are.
*/
#if defined(__x86_64__)
#define LEVEL cpu_kernels_avx512vbmi
#define LEVEL_NAME "avx512vbmi"
#define LEVEL_PERMUTES_IQ2_XXS

#include "kernels_avx512.c"
#endif
