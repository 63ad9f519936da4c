/*
** A checkpoint on disk as one table of tensors under their official names (specs/formats.md 2.2), whatever
** container and spelling the files use. Opening reads headers only, and copies what lies unaligned in its
** file; the files stay mapped (or read, with MS_READ) until it is closed.
*/
#ifndef format_checkpoint_h
#define format_checkpoint_h

#include "metadata.h"
#include "tensor_table.h"

typedef struct checkpoint checkpoint;

/*
** `path`: a folder with model.safetensors.index.json and its shards, or with model.safetensors; or its
** config.json or index; or one .safetensors file, which is then read alone; or a GGUF file, with its other parts when
** it is one of several, whichever of them.
**   MS_ENOENT       no such file, folder or shard
**   MS_EFORMAT      a header or the index is not what the format allows, or a download went wrong
**   MS_EUNSUPPORTED another kind of file (the message says which), or beyond a limit of ours
**   MS_EINVAL       a device, FIFO or socket;  MS_EIO, MS_ENOMEM
** On failure *out is NULL.
*/
ms_status checkpoint_open (const char *path, ms_access access, checkpoint **out, ms_error *err);
void checkpoint_close (checkpoint *cp);              /* NULL is allowed; ends every stored_tensor of it */

/* Where configuration and tokenizer come from: the folder of config.json, or the (first) GGUF file. */
const char *checkpoint_origin (const checkpoint *cp);
/* The key/values of that GGUF file; NULL: there are JSON files instead. */
const metadata *checkpoint_metadata (const checkpoint *cp);
const stored_tensor *checkpoint_find (const checkpoint *cp, const char *name);   /* NULL: there is none */
size_t checkpoint_count (const checkpoint *cp);
const stored_tensor *checkpoint_at (const checkpoint *cp, size_t index);         /* index < count */

/* MS_EIO when a file was changed in place since it was opened; replaced and unlinked files are no matter. */
ms_status checkpoint_check_unchanged (const checkpoint *cp, ms_error *err);

/* These bytes of a tensor need not stay in memory. */
void checkpoint_forget (const checkpoint *cp, const uint8_t *data, size_t bytes);
/* A hash over inodes, sizes and times: changes when a file does, not with a device's number at the next start. */
uint64_t checkpoint_identity (const checkpoint *cp);

#endif
