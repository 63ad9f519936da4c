/* A key/value row of a page as float32, whatever attention multiplies. */
#ifndef spec_internals_kv_row_h
#define spec_internals_kv_row_h

#include "../../csrc/base/number.h"
#include "../../csrc/compute/cpu/rows.h"

static inline void kv_row_floats (backend *be, const row_view *view, size_t row, size_t head, size_t rotated,
                                  float *out) {
  cpu_kv_load(cpu_of(be), view, row, (kv_layout){ head - rotated, rotated }, out);
  if (be->numerics == MS_EXACT) return;
  for (size_t i = head; i-- > 0;) {
    uint16_t code;                         /* what is written lies behind what is still to be read */
    memcpy(&code, (const uint8_t *)out + 2 * i, sizeof code);
    out[i] = bf16_decode(code);
  }
}

#endif
