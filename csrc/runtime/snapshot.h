/*
** The file of a saved session: what is in it, and how it is written and distrusted. snapshot.c knows the bytes;
** who saves and loads is ms_session_save, ms_session_load and the prefix store.
*/
#ifndef runtime_snapshot_h
#define runtime_snapshot_h

#include "../base/file.h"
#include "../model/cache.h"
#include "../model/fingerprint.h"
#include "../model/routing.h"

enum { SNAPSHOT_VERSION = 1 };

/* Whose sessions they are. */
typedef struct snapshot_owner {
  const model *m;
  page_heap *heap;
  model_fingerprint fingerprint;
} snapshot_owner;

/* A session at rest. */
typedef struct snapshot {
  ms_tokens tokens;                      /* held; read are those before model_cache_position(cache) */
  model_cache *cache;
  float *logits;                         /* [vocabulary] after the last token read, or NULL */
  size_t context, reread_end;
  model_routing *routing;                /* or NULL */
  bool steered;                          /* some rows were read under a policy */
} snapshot;

void snapshot_clear (snapshot *s);       /* {0} is allowed */

/* Replaces `path` as a whole (base/file.h). */
ms_status snapshot_write (const snapshot_owner *owner, const snapshot *s, const char *path,
                          file_durability durability, ms_error *err);

/*
** Everything in the file is checked before *s is filled. Rows stay in it, mapped or read as `access` says.
** Refused with a sentence that names the file and both values:
**   MS_EFORMAT       no saved session, damaged, cut, or with contents that contradict each other
**   MS_EUNSUPPORTED  another version of the format, or the other byte order
**   MS_EMODEL        saved by another model, or with other numerics
*/
ms_status snapshot_read (const snapshot_owner *owner, const char *path, ms_access access, snapshot *s, ms_error *err);

/* Bytes of the file of a session that holds `count` tokens, all read, with logits. */
ms_status snapshot_bytes (const model *m, const backend *be, size_t count, uint64_t *bytes, ms_error *err);

#endif
