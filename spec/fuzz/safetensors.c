/* libFuzzer target: any bytes as a safetensors file. The header is parsed, every tensor's place is touched. */
#include "../../csrc/format/safetensors.h"

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t size);

static volatile uint8_t touched;

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t size) {
  tensor_table table = { 0 };
  ms_error err;
  if (safetensors_parse("memory", bytes, size, &table, &err) == MS_OK)
    for (size_t i = 0; i < table.names.count; i++)
      if (table.tensors[i].bytes != 0) touched = table.tensors[i].data[table.tensors[i].bytes - 1];
  tensor_table_clear(&table);
  return 0;
}
