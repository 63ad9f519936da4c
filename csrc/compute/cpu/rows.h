/*
** Rows of a session's memory: the one place that knows how key/value rows and indexer rows are stored.
**
** Key/value row, `exact`: `head` float32. Otherwise packed, which loses nothing of the published FP8 round
** trip (specs/architecture.md 3):
**   | nope E4M3 codes | 8 * ceil(nope / 512) E8M0 scales, one for 64 codes, zero padded | rotated bf16 |
** Indexer row, `exact`: `width` float32. Otherwise Hadamard-transformed E2M1, in groups of 16 rows whose
** values lie side by side, as kernels->index_products wants them. So a page holds a multiple of 16 rows and is
** copied and saved whole. For every block of 32 values, for every 4 of them, and behind all codes:
**   | 2 bytes of row 0: values 0 1 2 3, low nibble first | 2 bytes of row 1 | .. row 15 |
**   | for every block: E8M0 scale of row 0 | of row 1 | .. row 15 |
*/
#ifndef compute_cpu_rows_h
#define compute_cpu_rows_h

#include "cpu.h"

/* Consecutive tokens of one segment: what one task takes. `row` and `position` are of the first. */
typedef struct token_run { const segment *in; size_t row, position, count; } token_run;

/* Every segment cut into runs of `size` tokens and a rest: their number, and run `i`. */
size_t cpu_run_count (const segment_list *segments, size_t size);
token_run cpu_run_at (const segment_list *segments, size_t size, size_t i);

/* A float32 row of a page: raw rows of every numerics, all rows of `exact`. */
static inline float *cpu_float_row (const row_view *view, size_t row) {
  return (float *)(void *)(row_view_page(view, row) + row % view->rows_per_page * view->row_bytes);
}

/* Asks the memory for rows of one page that are read soon. */
static inline void cpu_expect_rows (const row_view *view, size_t first, size_t count) {
  enum { CACHE_LINE = 64 };
  const uint8_t *bytes = row_view_page(view, first) + first % view->rows_per_page * view->row_bytes;
  for (size_t i = 0; i < count * view->row_bytes; i += CACHE_LINE) __builtin_prefetch(bytes + i);
}

/* How the values of a key/value row lie. */
typedef struct kv_layout { size_t nope, rotated; } kv_layout;

void cpu_kv_store (const cpu_backend *cpu, const row_view *view, size_t row, kv_layout layout,
                   const float *x);
/* The row as attention multiplies it: float32 in `exact`, otherwise bf16, which loses nothing. */
void cpu_kv_load (const cpu_backend *cpu, const row_view *view, size_t row, kv_layout layout, void *out);

enum { INDEX_GROUP = CPU_LANES };    /* rows that lie side by side */

/* x [width] is work space and lost. */
void cpu_index_store (const cpu_backend *cpu, const row_view *view, size_t row, size_t width, float *x);
void cpu_index_load (const cpu_backend *cpu, const row_view *view, size_t row, size_t width, float *out);
/* A query head as kernels.h has it, treated as the keys are: codes [width], scales and sums [width / 32]. */
void cpu_index_query (float *x, size_t width, int8_t *codes, float *scales, int32_t *sums);

/* Block formats, parts of the above: 64 values to E4M3, 32 to E2M1 codes, one a byte; the scale's code. */
enum { FP8_BLOCK = 64, FP4_BLOCK = 32 };
uint8_t cpu_encode_fp8 (const float *x, uint8_t *codes);
uint8_t cpu_encode_fp4 (const float *x, uint8_t *codes);
/* Normalised Walsh-Hadamard transform in natural order, rounded to bf16; width is a power of two. */
void cpu_hadamard (float *x, size_t width);

/* MS_EINVAL naming `what` when pages of other rows arrive than the numerics store. */
ms_status cpu_check_row_bytes (const char *what, size_t have, size_t want, ms_error *err);

#endif
