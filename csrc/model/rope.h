/* Rotary frequencies of the two kinds of layer (specs/architecture.md 2.0). */
#ifndef model_rope_h
#define model_rope_h

#include "../compute/backend.h"
#include "config.h"

/* Window layers rotate by the plain table, compressing ones by their own base with YaRN. */
typedef enum rope_kind { ROPE_WINDOW, ROPE_COMPRESS } rope_kind;

ms_status rope_table_make (const model_config *config, rope_kind kind, rope_table *table, ms_error *err);
void rope_table_free (rope_table *table);      /* an empty table is allowed; leaves it empty */

#endif
