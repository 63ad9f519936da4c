/* One function a form: fills a band whose shape and values encode.c has checked (encode.h). */
#ifndef convert_encode_forms_h
#define convert_encode_forms_h

#include "encode.h"

typedef void encode_function (const encoded_band *band, const float *values);

encode_function encode_f32, encode_bf16, encode_f16;      /* encode_plain.c */
encode_function encode_fp8, encode_fp4, encode_mxfp4;
encode_function encode_q8_0;
encode_function encode_iq4_nl, encode_q4_k;              /* encode_search.c */

#endif
