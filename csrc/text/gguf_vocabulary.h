/* The tokenizer that a GGUF file holds (specs/conversation.md 1.10), in the shapes of tokenizer.json. */
#ifndef text_gguf_vocabulary_h
#define text_gguf_vocabulary_h

#include "../format/metadata.h"
#include "vocabulary.h"

/*
** MS_EFORMAT names the key and the token; MS_EUNSUPPORTED: another model or pre-tokenizer than ours. *parts is to be
** freed, after a failure too.
*/
ms_status gguf_vocabulary_read (const metadata *keys, vocabulary_parts *parts, ms_error *err);
void gguf_vocabulary_free (vocabulary_parts *parts);     /* {0} is allowed */

#endif
