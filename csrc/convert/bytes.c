/* A buffer that doubles. */
#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"

static ms_status make_room (byte_list *list, size_t count, ms_error *err) {
  size_t needed, capacity = list->capacity == 0 ? 4096 : list->capacity;
  if (!checked_add(list->count, count, &needed)) return fail_memory(err, SIZE_MAX, "a header");
  while (capacity < needed)
    if (!checked_mul(capacity, 2, &capacity)) return fail_memory(err, needed, "a header");
  if (capacity == list->capacity) return MS_OK;
  uint8_t *data = memory_resize(list->data, capacity, 1);
  if (data == NULL) return fail_memory(err, capacity, "a header");
  list->data = data;
  list->capacity = capacity;
  return MS_OK;
}

ms_status bytes_add (byte_list *list, const void *data, size_t count, ms_error *err) {
  if (count == 0) return MS_OK;
  TRY(make_room(list, count, err));
  memcpy(list->data + list->count, data, count);
  list->count += count;
  return MS_OK;
}

ms_status bytes_add_zeros (byte_list *list, size_t count, ms_error *err) {
  TRY(make_room(list, count, err));
  memset(list->data + list->count, 0, count);
  list->count += count;
  return MS_OK;
}

void bytes_put_unsigned (uint8_t *at, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; i++) at[i] = (uint8_t)(value >> 8 * i);
}

ms_status bytes_add_unsigned (byte_list *list, uint64_t value, size_t width, ms_error *err) {
  uint8_t bytes[8];
  bytes_put_unsigned(bytes, value, width);
  return bytes_add(list, bytes, width, err);
}

ms_status bytes_add_text (byte_list *list, ms_error *err, const char *format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, arguments);
  ms_status status = length < 0 ? MS_ENOMEM : make_room(list, (size_t)length + 1, err);
  if (status == MS_OK) {
    vsnprintf((char *)list->data + list->count, (size_t)length + 1, format, again);
    list->count += (size_t)length;
  }
  va_end(again);
  va_end(arguments);
  return status;
}

void bytes_clear (byte_list *list) {
  memory_free(list->data);
  *list = (byte_list){ 0 };
}
