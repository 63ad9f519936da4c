/*
** What a tokenizer.json asks for besides its vocabulary, checked to be what we implement.
*/
#ifndef text_pipeline_h
#define text_pipeline_h

#include "../base/json.h"

/* MS_EUNSUPPORTED, naming the field, when the file wants another normalizer, pre-tokenizer or model. */
ms_status pipeline_check (const char *path, const json_t *file, ms_error *err);

#endif
