/* config.json of a converted model: what the configuration says, and how the weights are stored now. */
#ifndef convert_config_json_h
#define convert_config_json_h

#include "../model/weights.h"
#include "bytes.h"

/* How the target stores its matrices, as config.json says it. */
typedef struct stored_form {
  bool fp8, fp4;                 /* some dense weights are FP8; the experts are FP4 */
  size_t block[2];               /* rows and columns a scale of FP8 weights */
} stored_form;

/* That of the source's folder with what changed, or one from the key/values of a GGUF file. */
ms_status config_json_make (const model *m, const stored_form *form, byte_list *text, ms_error *err);

#endif
