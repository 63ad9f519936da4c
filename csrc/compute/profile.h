/*
** Stopwatches before the stages of a backend, whichever it is: how often each was called and how long it took.
** They stand still until somebody asks for the first time.
*/
#ifndef compute_profile_h
#define compute_profile_h

#include "backend.h"

enum { STAGE_LIMIT = 32 };   /* there are not more stages than this */

typedef struct stage_time { const char *name; uint64_t calls, ns; } stage_time;   /* ns: on the thread that calls */

/* Puts the stopwatches before the stages of an opened backend; its close takes them away again. */
ms_status profile_install (backend *be, ms_error *err);

/* Fills the first `limit` of `times`, starting the stopwatches; returns how many stages there are. Any thread may. */
size_t profile_read (backend *be, stage_time *times, size_t limit);

#endif
