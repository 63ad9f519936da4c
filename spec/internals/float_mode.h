/* The register that rounding, traps and flushing are set in, without its sticky exceptions. */
#ifndef spec_internals_float_mode_h
#define spec_internals_float_mode_h

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define FLUSH_DENORMALS 0x8040u          /* MXCSR: results and operands */
static inline uint64_t float_mode_get (void) { return _mm_getcsr() & ~0x3Fu; }
static inline void float_mode_set (uint64_t mode) { _mm_setcsr((unsigned)mode); }

#elif defined(__aarch64__)
#define FLUSH_DENORMALS (1u << 24)       /* FPCR: both */
static inline uint64_t float_mode_get (void) {
  uint64_t mode;
  __asm__ volatile ("mrs %0, fpcr" : "=r" (mode));
  return mode;
}
static inline void float_mode_set (uint64_t mode) { __asm__ volatile ("msr fpcr, %0" : : "r" (mode)); }

#else                                    /* nothing known to set */
#define FLUSH_DENORMALS 0u
static inline uint64_t float_mode_get (void) { return 0; }
static inline void float_mode_set (uint64_t mode) { (void)mode; }
#endif

#endif
