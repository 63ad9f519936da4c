/* Tensors in the order of their arrival, beside the index of their names. */
#include "tensor_table.h"

#include <string.h>

#include "../base/memory.h"

/* Room for one more; there are at most NAME_COUNT_LIMIT, so doubling cannot wrap. */
static ms_status make_room (tensor_table *table, ms_error *err) {
  if (table->names.count < table->capacity) return MS_OK;
  size_t capacity = table->capacity == 0 ? 64 : table->capacity * 2;
  stored_tensor *tensors = memory_resize(table->tensors, capacity, sizeof *tensors);
  if (tensors == NULL) return fail_memory(err, capacity * sizeof *tensors, "a table of tensors");
  table->tensors = tensors;
  table->capacity = capacity;
  return MS_OK;
}

ms_status tensor_table_add (tensor_table *table, const stored_tensor *tensor, const stored_tensor **present,
                            ms_error *err) {
  size_t number;
  bool added;
  const char *spelling = NULL;
  *present = NULL;
  TRY(make_room(table, err));
  if (tensor->stored_as != NULL && strcmp(tensor->stored_as, tensor->name) != 0) {
    spelling = name_index_text(&table->names, tensor->stored_as);
    if (spelling == NULL) return fail_memory(err, strlen(tensor->stored_as), "a name");
  }
  TRY(name_index_add(&table->names, tensor->name, &number, &added, err));
  if (!added) {
    *present = &table->tensors[number];
    return MS_OK;
  }
  stored_tensor *copy = &table->tensors[number];
  *copy = *tensor;
  copy->name = table->names.names[number];
  copy->stored_as = spelling == NULL ? copy->name : spelling;
  return MS_OK;
}

const stored_tensor *tensor_table_find (const tensor_table *table, const char *name) {
  size_t number;
  return name_index_find(&table->names, name, &number) ? &table->tensors[number] : NULL;
}

void tensor_table_clear (tensor_table *table) {
  memory_free(table->tensors);
  name_index_clear(&table->names);
  memset(table, 0, sizeof *table);
}
