/*
** libFuzzer target: any bytes as a GGUF file. The header is parsed, every tensor's place is touched at both ends, and
** the tokenizer is built from the key/values. `make fuzz` runs it; what it finds becomes a spec.
*/
#include <string.h>

#include "../../csrc/format/gguf.h"
#include "../../csrc/text/gguf_vocabulary.h"

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t size);

/* Read so that a sanitizer sees a place outside of the file. */
static volatile uint8_t touched;

static void touch_tensors (const tensor_table *table) {
  for (size_t i = 0; i < table->names.count; i++) {
    const stored_tensor *tensor = &table->tensors[i];
    touched = tensor->data[0];
    touched = tensor->data[tensor->bytes - 1];
  }
}

static void build_tokenizer (const metadata *keys) {
  vocabulary_parts parts;
  vocabulary built;
  ms_error err;
  if (gguf_vocabulary_read(keys, &parts, &err) == MS_OK) {
    vocabulary_load(&built, "memory", &parts, &err);
    vocabulary_free(&built);
  }
  gguf_vocabulary_free(&parts);
}

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t size) {
  metadata keys;
  tensor_table table = { 0 };
  ms_error err;
  memset(&err, 0, sizeof err);
  if (gguf_parse("memory", bytes, size, &keys, &table, &err) == MS_OK) touch_tensors(&table);
  else touched = (uint8_t)err.message[0];
  build_tokenizer(&keys);
  tensor_table_clear(&table);
  metadata_clear(&keys);
  return 0;
}
