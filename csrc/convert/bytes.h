/* Bytes that grow at their end: headers are put together in memory, little-endian, before a file is written. */
#ifndef convert_bytes_h
#define convert_bytes_h

#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

typedef struct byte_list { uint8_t *data; size_t count, capacity; } byte_list;   /* {0} is empty */

ms_status bytes_add (byte_list *list, const void *data, size_t count, ms_error *err);
ms_status bytes_add_zeros (byte_list *list, size_t count, ms_error *err);
/* An unsigned integer of `width` bytes, at most 8. */
ms_status bytes_add_unsigned (byte_list *list, uint64_t value, size_t width, ms_error *err);
ms_status bytes_add_text (byte_list *list, ms_error *err, const char *format, ...)
  __attribute__((format(printf, 3, 4)));
void bytes_put_unsigned (uint8_t *at, uint64_t value, size_t width);
void bytes_clear (byte_list *list);                  /* leaves it empty */

#endif
