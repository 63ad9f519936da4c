/*
** A GGUF model in several files, "...-00002-of-00005.gguf": each is a GGUF file of its own and states by split.no,
** split.count and split.tensors.count which one it is and what all of them hold together.
*/
#ifndef format_gguf_parts_h
#define format_gguf_parts_h

#include "metadata.h"

/* Which of how many, as the name says: from 0; 0 of 1 when it says nothing. */
typedef struct gguf_part { size_t number, count; } gguf_part;

/* MS_EFORMAT: a name like "-00007-of-00005.gguf". */
ms_status gguf_part_of (const char *path, gguf_part *out, ms_error *err);
/* The path of another part beside `path`, as a new string; NULL when memory runs out. */
char *gguf_part_path (const char *path, gguf_part part);
/* *first: the path of the part that describes the model, as a new string. */
ms_status gguf_first_part (const char *path, char **first, ms_error *err);

/*
** Whether the file with these keys is the part that its name says. *tensors: how many all parts hold together, 0
** when there is one file alone. MS_EFORMAT names the key, what it is and what it should be.
*/
ms_status gguf_part_check (const metadata *keys, gguf_part part, size_t *tensors, ms_error *err);

#endif
