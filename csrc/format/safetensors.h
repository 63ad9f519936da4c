/*
** The safetensors container (specs/formats.md 1.1). Parsing is apart from opening: it takes bytes, reads
** the header only and never trusts a number in it.
*/
#ifndef format_safetensors_h
#define format_safetensors_h

#include "tensor_table.h"

/*
** `path` names the file in errors and must outlive the table; bytes[0 .. size-1] is the whole file. Adds every tensor
** under the name the file gives it; after a failure the table may hold some of them. Refused besides what the format
** forbids: ranks above TENSOR_RANK_LIMIT, an entry of more than 4 KiB, metadata of more than 64 KiB. Accepted: rank 0
** (one value), dimensions 0 (no bytes) and tensors that start inside an element (the format does not align them).
** Time is linear in the header, memory below 16 times its size.
*/
ms_status safetensors_parse (const char *path, const uint8_t *bytes, size_t size, tensor_table *table,
                             ms_error *err);

#endif
