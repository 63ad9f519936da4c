/* A tokenizer.json as the key/values of a GGUF file, and back (specs/conversation.md 1.10). */
#ifndef convert_gguf_tokenizer_h
#define convert_gguf_tokenizer_h

#include "../model/config.h"
#include "gguf_keys.h"

/*
** The tokenizer and the chat template in `folder`, with as many tokens as the model has rows, and the ids that begin
** and end a text, which the model needs in any case. MS_EFORMAT, MS_EUNSUPPORTED: it is none that we run.
*/
ms_status gguf_tokenizer_make (const char *folder, const model_config *config, key_list *keys, ms_error *err);

/* *text: a tokenizer.json, as a new string; NULL: the file has no tokenizer. */
ms_status gguf_tokenizer_json (const metadata *keys, byte_list *text, ms_error *err);

#endif
