/*
** The GGUF container, versions 2 and 3, little-endian (specs/formats.md 1.2). Parsing is apart from opening: it takes
** bytes, reads the header only and never trusts a number in it.
*/
#ifndef format_gguf_h
#define format_gguf_h

#include "metadata.h"
#include "tensor_table.h"

/* The file says that it is one. No safetensors file starts so: its header would have 10^9 bytes. */
bool gguf_starts (const uint8_t *bytes, size_t size);
/* The same of a file; also one that only calls itself so, for gguf_read_keys knows what to say about it. */
ms_status gguf_is_file (const char *path, bool *is_gguf, ms_error *err);

/*
** `path` names the file in errors and must outlive *keys and *table; bytes[0 .. size-1] is the whole file, and *keys
** shows parts of it. Every tensor is added under the name the file gives it, its shape reversed: [out, in].
** Tensors may share their bytes, all of them; otherwise there is nothing between them but padding.
** After a failure *keys is to be cleared all the same, and *table may hold some of the tensors.
*/
ms_status gguf_parse (const char *path, const uint8_t *bytes, size_t size, metadata *keys, tensor_table *table,
                      ms_error *err);
/* The key/values alone: what follows them need not be there. */
ms_status gguf_read_keys (const char *path, const uint8_t *bytes, size_t size, metadata *keys, ms_error *err);

#endif
