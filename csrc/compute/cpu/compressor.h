/* The compressor as a part of two stages: compress, and select for the indexer's own rows. */
#ifndef compute_cpu_compressor_h
#define compute_cpu_compressor_h

#include "cpu.h"

/* Which sequences of a segment it fills: raw and pooled, or index_raw and index_rows. */
typedef enum pooled_kind { POOLED_KV, POOLED_INDEX } pooled_kind;

/* Stores the raw row of every token and each pooled row whose last token is among them. */
ms_status cpu_compress (cpu_backend *cpu, const compressor *c, pooled_kind kind, const segment_list *segments,
                        const tensor *u, ms_error *err);

#endif
