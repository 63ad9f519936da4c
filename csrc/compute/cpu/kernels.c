/* Which levels this machine can run, and the choice among them. */
#include "kernels.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* The compiler's check covers what the operating system saves; F16C is in no compiler's list. */
static int runs_avx2 (void) {
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static int runs_avx512 (void) {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

static int runs_avx512vbmi (void) {
  return runs_avx512() && __builtin_cpu_supports("avx512vbmi");
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

enum { HAS_DOTPROD = 1 << 20 };        /* HWCAP_ASIMDDP of <asm/hwcap.h> */

static int runs_dotprod (void) {
  return (getauxval(AT_HWCAP) & HAS_DOTPROD) != 0;
}
#endif

static int runs_always (void) {
  return 1;
}

/* Slowest first. Each level's machine runs all before it. */
static const struct level { const cpu_kernels *kernels; int (*runs) (void); const char *up_to_here; } levels[] = {
  { &cpu_kernels_scalar, runs_always, "scalar" },
#if defined(__x86_64__)
  { &cpu_kernels_avx2, runs_avx2, "scalar avx2" },
  { &cpu_kernels_avx512, runs_avx512, "scalar avx2 avx512" },
  { &cpu_kernels_avx512vbmi, runs_avx512vbmi, "scalar avx2 avx512 avx512vbmi" },
#elif defined(__aarch64__)
  { &cpu_kernels_neon, runs_always, "scalar neon" },
  { &cpu_kernels_dotprod, runs_dotprod, "scalar neon dotprod" },
#endif
};

enum { LEVELS = sizeof levels / sizeof levels[0] };

const cpu_kernels *cpu_kernels_at (size_t i) {
  return i < LEVELS && levels[i].runs() ? levels[i].kernels : NULL;
}

const cpu_kernels *cpu_kernels_find (const char *name) {
  for (size_t i = LEVELS; i-- > 0;)
    if ((strcmp(name, "auto") == 0 || strcmp(name, levels[i].kernels->name) == 0) && levels[i].runs())
      return levels[i].kernels;
  return NULL;
}

const char *ms_cpu_features (void) {
  size_t best = LEVELS - 1;
  while (!levels[best].runs()) best--;
  return levels[best].up_to_here;
}
