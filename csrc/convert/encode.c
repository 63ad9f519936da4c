/* Which forms are written: their sizes, and what their values may be. The forms themselves are in encode_*.c. */
#include "encode.h"

#include <math.h>

#include "../base/checked.h"
#include "../base/number.h"
#include "../format/tensor_type.h"
#include "encode_forms.h"

/* {== The forms ================================================================================== */

/*
** `largest` is the largest magnitude that is not rounded to an infinity. Where a half is the scale of a block, it is
** the largest half times the largest code. FP8: 448 * 2^119, as its decoders take 256 times the scale.
*/
static const struct form {
  encode_function *encode;           /* NULL: not written */
  tensor_type type;                  /* of the data; block_values and block_bytes are its */
  size_t scale_rows, scale_columns;  /* of a tile; 0: no scales beside the data */
  float largest;
  bool special;                      /* NaN and infinities are values of it */
} forms[WEIGHT_ENCODINGS] = {
  [WEIGHT_F32]   = { encode_f32, TENSOR_F32, 0, 0, 0x1.fffffep127f, true },
  [WEIGHT_BF16]  = { encode_bf16, TENSOR_BF16, 0, 0, 0x1.fefffep127f, true },
  [WEIGHT_F16]   = { encode_f16, TENSOR_F16, 0, 0, 0x1.ffdffep15f, true },
  [WEIGHT_FP8]   = { encode_fp8, TENSOR_F8_E4M3, ENCODE_BAND_ROWS, 128, 0x1.cp127f, false },
  [WEIGHT_FP4]   = { encode_fp4, TENSOR_F4, 1, 32, 0x1.bffffep127f, false },
  [WEIGHT_MXFP4] = { encode_mxfp4, TENSOR_MXFP4, 0, 0, 0x1.bffffep127f, false },
  [WEIGHT_IQ4_NL] = { encode_iq4_nl, TENSOR_IQ4_NL, 0, 0, 113 * 65504.0f, false },
  [WEIGHT_Q4_K]  = { encode_q4_k, TENSOR_Q4_K, 0, 0, 63 * 65504.0f, false },
  [WEIGHT_Q8_0]  = { encode_q8_0, TENSOR_Q8_0, 0, 0, 127 * 65504.0f, false },
};

/* As messages call it: FP4 is I8 in files, and one name for two things. */
static const char *form_name (weight_encoding encoding) {
  if (encoding == WEIGHT_FP4) return "FP4";
  return encoding == WEIGHT_FP8 ? "FP8" : tensor_types[forms[encoding].type].name;
}

bool encode_writes (weight_encoding encoding) {
  return forms[encoding].encode != NULL;
}

/* Values of a row that share a scale and must be whole; FP8's last tile may be partial. */
static size_t block_columns (const struct form *form) {
  if (form->scale_rows == 1) return form->scale_columns;
  return tensor_types[form->type].block_values;
}

ms_status encode_size (weight_encoding encoding, const char *name, size_t rows, size_t columns, encoded_size *size,
                       ms_error *err) {
  const struct form *form = &forms[encoding];
  if (form->encode == NULL)
    return fail(err, MS_EUNSUPPORTED, "tensor %s cannot be written in encoding %d: there is no encoder for it", name,
                (int)encoding);
  if (columns % block_columns(form) != 0)
    return fail(err, MS_EUNSUPPORTED, "tensor %s has %zu columns; %s needs a multiple of %zu: choose another type "
                "for it", name, columns, form_name(encoding), block_columns(form));
  const size_t shape[2] = { rows, columns };
  size->scales = 0;
  if (!tensor_type_bytes(form->type, 2, shape, &size->data) ||
      (form->scale_rows != 0 && !checked_mul(blocks_of(rows, form->scale_rows), blocks_of(columns, form->scale_columns),
                                             &size->scales)))
    return fail(err, MS_EUNSUPPORTED, "tensor %s has %zu x %zu values: too many", name, rows, columns);
  return MS_OK;
}

/* {== Values ====================================================================================== */

/* Bits of magnitudes are ordered as the magnitudes are, infinities and NaN last. */
static uint32_t magnitude_bits (float value) {
  return bits_of_float(value) & 0x7FFFFFFF;
}

static bool holds (const struct form *form, float value) {
  return isfinite(value) ? fabsf(value) <= form->largest : form->special;
}

static bool all_small (const float *values, size_t count, uint32_t limit) {
  uint32_t over = 0;
  for (size_t i = 0; i < count; i++) over |= limit - magnitude_bits(values[i]);   /* the sign bit: larger */
  return over >> 31 == 0;
}

static ms_status check_values (const encoded_band *band, const float *values, ms_error *err) {
  const struct form *form = &forms[band->encoding];
  const size_t columns = band->columns;
  for (size_t r = 0; r < band->rows; r++) {
    const float *row = values + r * columns;
    if (all_small(row, columns, bits_of_float(form->largest))) continue;
    for (size_t c = 0; c < columns; c++)
      if (!holds(form, row[c]))
        return fail(err, MS_EUNSUPPORTED, "tensor %s has %g at row %zu, column %zu, which %s cannot hold: choose a "
                    "wider type for it", band->name, (double)row[c], band->first_row + r, c, form_name(band->encoding));
  }
  return MS_OK;
}

ms_status encode_values (const encoded_band *band, const float *values, ms_error *err) {
  encoded_size size;
  TRY(encode_size(band->encoding, band->name, band->rows, band->columns, &size, err));
  TRY(check_values(band, values, err));
  forms[band->encoding].encode(band, values);
  return MS_OK;
}
