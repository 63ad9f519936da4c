/*
** What a tokenizer.json asks for besides its vocabulary, checked to be what we implement.
*/
#ifndef text_pipeline_h
#define text_pipeline_h

#include "vocabulary.h"

/* MS_EUNSUPPORTED, naming the field, when the file wants another normalizer, pre-tokenizer or model. */
ms_status pipeline_check (const char *path, const json_t *file, ms_error *err);
/* What such a file says of the vocabulary: parts that belong to `file`, and are not to be freed. */
vocabulary_parts pipeline_parts (const json_t *file);
/* A tokenizer.json of these parts; the caller owns it. NULL when memory runs out. */
json_t *pipeline_file (const vocabulary_parts *parts);

#endif
