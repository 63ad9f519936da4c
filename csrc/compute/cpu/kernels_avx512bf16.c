/* Level "avx512bf16": with products of bf16 pairs, which attention is made of, besides (Zen 4, Sapphire Rapids). */
#if defined(__x86_64__)
#define LEVEL cpu_kernels_avx512bf16
#define LEVEL_NAME "avx512bf16"

#include "kernels_avx512.c"
#endif
