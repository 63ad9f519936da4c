/* Which levels this machine can run, and the choice among them. */
#include "kernels.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* The compiler's check covers what the operating system saves; F16C is in no compiler's list. */
static int runs_avx2 (void) {
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

/* The compiler's check knows the name in gcc 12, not in clang 14. */
static int runs_avxvnni (void) {
  unsigned a, b, c, d;
  return runs_avx2() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && a >= 1 &&     /* a: the last subleaf */
         __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVXVNNI) != 0;
}

static int runs_avx512 (void) {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

static int runs_avx512vbmi (void) {
  return runs_avx512() && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("gfni");
}

static int runs_avx512bf16 (void) {
  return runs_avx512vbmi() && __builtin_cpu_supports("avx512bf16");
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

/* Slowest first. A machine may lack one in the middle: Ice Lake and Zen 4 have AVX-512, and no AVX-VNNI. */
static const struct level { const cpu_kernels *kernels; int (*runs) (void); } levels[] = {
  { &cpu_kernels_scalar, runs_always },
#if defined(__x86_64__)
  { &cpu_kernels_avx2, runs_avx2 },
  { &cpu_kernels_avxvnni, runs_avxvnni },
  { &cpu_kernels_avx512, runs_avx512 },
  { &cpu_kernels_avx512vbmi, runs_avx512vbmi },
  { &cpu_kernels_avx512bf16, runs_avx512bf16 },
#elif defined(__aarch64__)
  { &cpu_kernels_neon, runs_always },
  { &cpu_kernels_dotprod, runs_dotprod },
#endif
};

enum { LEVELS = sizeof levels / sizeof levels[0] };

const cpu_kernels *cpu_kernels_at (size_t i) {
  for (size_t k = 0; k < LEVELS; k++)
    if (levels[k].runs() && i-- == 0) return levels[k].kernels;
  return NULL;
}

const cpu_kernels *cpu_kernels_find (const char *name) {
  for (size_t i = LEVELS; i-- > 0;)
    if ((strcmp(name, "auto") == 0 || strcmp(name, levels[i].kernels->name) == 0) && levels[i].runs())
      return levels[i].kernels;
  return NULL;
}

const char *ms_cpu_features (char out[MS_CPU_FEATURES_BYTES]) {
  const cpu_kernels *kernels;
  out[0] = '\0';
  for (size_t i = 0, used = 0; (kernels = cpu_kernels_at(i)) != NULL && used < MS_CPU_FEATURES_BYTES; i++)
    used += (size_t)snprintf(out + used, MS_CPU_FEATURES_BYTES - used, i == 0 ? "%s" : " %s", kernels->name);
  return out;
}
