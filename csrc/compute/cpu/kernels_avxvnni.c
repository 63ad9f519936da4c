/* Level "avxvnni": AVX2 with a byte product that adds (AVX-VNNI): laptops since Alder Lake, Zen 5 and later. */
#if defined(__x86_64__)
#define LEVEL cpu_kernels_avxvnni
#define LEVEL_NAME "avxvnni"

#include "kernels_avx2.c"
#endif
