/*
** Weights to their stored forms: what compute/cpu decodes (blocks.h, base/number.h), the other way round. A call
** takes one band of rows, keeps no state and may run on any thread beside calls for other bands; which band is
** next, and where its bytes go, is the converter's business.
*/
#ifndef convert_encode_h
#define convert_encode_h

#include <stdbool.h>

#include "../compute/backend.h"

/* A band starts at a multiple of these rows and has as many, but the last of a tensor: FP8 tiles are as high. */
enum { ENCODE_BAND_ROWS = 128 };

/* Forms that are written: F32, BF16, F16, FP8 (tiles of 128 x 128), FP4, MXFP4, Q8_0, IQ4_NL, Q4_K. */
bool encode_writes (weight_encoding encoding);

/* Bytes that `rows` rows take; scales is 0 but for FP8 and FP4. */
typedef struct encoded_size { size_t data, scales; } encoded_size;

/*
** MS_EUNSUPPORTED, naming tensor `name`: a form that is not written, or columns that are no whole number of its
** blocks. Bands of one tensor lie behind one another: the size of all is the sum of theirs.
*/
ms_status encode_size (weight_encoding encoding, const char *name, size_t rows, size_t columns, encoded_size *size,
                       ms_error *err);

/* Rows [first_row, first_row + rows) of a tensor and the room for their stored form, as large as encode_size says. */
typedef struct encoded_band {
  weight_encoding encoding;
  const char *name;                  /* of the tensor, for messages */
  size_t first_row, rows, columns;
  uint8_t *data, *scales;            /* no alignment; scales: NULL when the encoding has none */
} encoded_band;

/*
** Fills the band from values [rows, columns].
** MS_EUNSUPPORTED: as encode_size, or a value that the form cannot hold, named with its row and column: NaN and
** infinities (which only F32, BF16 and F16 hold) and what is larger than the form's largest. A value that is smaller
** than the form's smallest becomes 0. After a failure the band's bytes are undefined.
*/
ms_status encode_values (const encoded_band *band, const float *values, ms_error *err);

/*
** Fills the band from codes of the same numbers in the other order, FP4 <-> MXFP4, without decoding: scales and
** codes are kept, bit for bit. `from` has the band's rows only.
** MS_EUNSUPPORTED: a scale code 255, which means NaN in FP4 and 2^128 in MXFP4.
*/
ms_status encode_repack (const encoded_band *band, const weight *from, ms_error *err);

#endif
