/* What a file that is no checkpoint probably is, so that an error can say how it came there. */
#ifndef format_wrong_file_h
#define format_wrong_file_h

#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

/*
** Fills *err with the likely cause and returns its status if the start of the file or the end of its name
** gives it away; MS_OK if not: then the caller has only its own complaint. Safetensors may start like some
** of these: ask when the file is known to be wrong.
*/
ms_status wrong_file (const char *path, const uint8_t *bytes, size_t size, ms_error *err);

/* The failure of a folder without weights: names what lies there instead. */
ms_status wrong_folder (const char *folder, ms_error *err);

#endif
