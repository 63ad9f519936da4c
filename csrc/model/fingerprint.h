/* Which model it is, in 16 bytes: what a saved session must be loaded into. */
#ifndef model_fingerprint_h
#define model_fingerprint_h

#include "weights.h"

typedef struct model_fingerprint { uint64_t low, high; } model_fingerprint;

/*
** XXH3 over everything that decides what a session's rows and tokens mean: the configuration, name, type and shape
** of every tensor in use with a sample of its bytes, and the tokenizer. Independent of the order and the number
** of files. `origin`: that of the checkpoint, as the process finds it now. Touches every tensor; MS_EIO or MS_ENOMEM
** when tokenizer.json cannot be read.
*/
ms_status model_fingerprint_make (const model *m, const char *origin, model_fingerprint *out, ms_error *err);

#endif
