/*
** The key/values of a GGUF file (specs/formats.md 3.1), written: those of a model whose configuration was read from
** elsewhere, or those of another GGUF file as they are there.
*/
#ifndef convert_gguf_keys_h
#define convert_gguf_keys_h

#include "../model/weights.h"
#include "bytes.h"

typedef struct key_list {
  byte_list bytes;
  uint64_t count;                /* of the pairs in `bytes` */
} key_list;

/* One pair; or its start, behind which its value is to be added, or as many values as the array has. */
ms_status key_u32 (key_list *keys, const char *key, uint32_t value, ms_error *err);
ms_status key_bool (key_list *keys, const char *key, bool value, ms_error *err);
ms_status key_string (key_list *keys, const char *key, const char *text, ms_error *err);
ms_status key_begin_array (key_list *keys, const char *key, metadata_type type, size_t count, ms_error *err);
ms_status key_add_string (key_list *keys, const char *text, size_t bytes, ms_error *err);

/*
** `file_type`: general.file_type, as llama.cpp numbers what most of a file is. Blocks behind the layers are not
** converted, so none are announced. A folder without tokenizer.json gives keys without a tokenizer.
*/
ms_status gguf_keys_make (const model *m, uint32_t file_type, key_list *keys, ms_error *err);
void gguf_keys_clear (key_list *keys);

#endif
