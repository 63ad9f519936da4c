/* Level "avxvnni": AVX2 with a byte product that adds (AVX-VNNI): laptops since Alder Lake, Zen 5 and later. */
#if defined(__x86_64__)
#define LEVEL cpu_kernels_avxvnni
#define LEVEL_NAME "avxvnni"
#define LEVEL_TILE_ROWS 3              /* multiplying is quicker, so fewer rows pay for a tile's unpacking */

#include "kernels_avx2.c"
#endif
