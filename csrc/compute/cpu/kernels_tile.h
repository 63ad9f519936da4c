/*
** Products of integer-coded blocks with several rows of int8 activations, for one level: included by kernels_body.h
** behind the pieces of kernels_int8.h, whose sums these are, bit by bit. A superblock of sixteen outputs is unpacked
** once, so that a lane is an output and four of its values a step; then each row is multiplied with it, and nothing
** is joined across lanes before the end. A level with registers enough multiplies TILES_AT_ONCE of these superblocks
** with what it loads of a row. It supplies the steps between:
**   codes_turn     sixteen bytes of sixteen outputs: word i of all of them, for the four i
**   codes_bits     some bits of each byte; codes_table, codes_chosen: values of a table by their number
**   codes_repeat   four values of a row to every lane
**   dot_start_of   what a dot of signed codes starts from, given the sums of the activations' half blocks
**   sums_of_pairs  two numbers of sixteen bits in each lane times the same two, added
*/
#ifndef compute_cpu_kernels_tile_h
#define compute_cpu_kernels_tile_h

enum { STEP_VALUES = 4, STEPS_INT8 = CPU_BLOCK / STEP_VALUES, OUTPUTS_TILE = TILES_AT_ONCE * CPU_LANES };

/* A superblock of sixteen outputs. */
typedef struct int8_tile {
  uint32_t codes[SUPERBLOCK / STEP_VALUES][CPU_LANES];   /* four a word; Q2_K's times the scale of their half block */
  float scales[SUPERBLOCK_BLOCKS][CPU_LANES];
  float minus_m[CPU_LANES];
  uint32_t mins[SUPERBLOCK_BLOCKS][CPU_LANES];           /* of a block's two halves, sixteen bits each */
  int32_t halves[2 * SUPERBLOCK_BLOCKS][CPU_LANES];      /* scales of half blocks, where these are signed */
} int8_tile;

/* One of the four sums of a row's outputs, as it stands between two superblocks. */
typedef lanes tile_sums[TILES_AT_ONCE];

/* A way through some tiles, for sums k .. end of groups of rows in turn. */
typedef struct tile_pass {
  const int8_tile *tiles;
  size_t count, k, end;
  const uint8_t *const *next;                            /* superblocks of the next tiles, asked for meanwhile: */
  size_t next_bytes;                                     /* so much of each */
  tile_sums (*sums)[ROWS_TILE];
  size_t row;                                            /* where those of the group begin */
} tile_pass;

/* {== Unpacking ==================================================================================== */

/* Unpacks superblocks of sixteen outputs. */
typedef void fill_tile (const uint8_t *const *block, int8_tile *tile);

ALWAYS_INLINE void tile_codes (int8_tile *tile, size_t step, byte_lanes codes) {
  memcpy(tile->codes[step], &codes, sizeof tile->codes[step]);
}

/* The halves at `at` of each block. */
ALWAYS_INLINE void tile_halves (const uint8_t *const *block, size_t at, float *out) {
  uint8_t halves[2 * CPU_LANES];
  for (size_t l = 0; l < CPU_LANES; l++) memcpy(halves + 2 * l, block[l] + at, 2);
  lanes_store(out, lanes_f16(halves));
}

/* Sixteen bytes of each block as four words. */
ALWAYS_INLINE void tile_words (const uint8_t *const *block, size_t at, uint32_t words[4][CPU_LANES]) {
  byte_lanes turned[4];
  codes_turn(block, at, turned);
  memcpy(words, turned, sizeof turned);
}

static void fill_q8_0 (const uint8_t *const *block, int8_tile *tile) {
  for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++) {
    const size_t at = b * sizeof(q8_0_block);
    tile_halves(block, at, tile->scales[b]);
    UNROLL for (size_t half = 0; half < 2; half++) {
      byte_lanes w[4];
      codes_turn(block, at + offsetof(q8_0_block, q) + 16 * half, w);
      UNROLL for (size_t i = 0; i < 4; i++) tile_codes(tile, STEPS_INT8 * b + 4 * half + i, codes_signed(w[i]));
    }
  }
}

/* Blocks of nibbles, `bytes` long, whose q begins at `at`; their scales are left to the caller. */
ALWAYS_INLINE void fill_nibbles (const uint8_t *const *block, int8_tile *tile, const size_t bytes, const size_t at,
                                 const int8_t *values) {
  const byte_lanes table = codes_signed(codes_table(values));
  for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++) {
    byte_lanes w[4];
    codes_turn(block, b * bytes + at, w);
    UNROLL for (size_t i = 0; i < 4; i++) {
      tile_codes(tile, STEPS_INT8 * b + i, codes_chosen(table, codes_bits(w[i], 0, 15)));
      tile_codes(tile, STEPS_INT8 * b + 4 + i, codes_chosen(table, codes_bits(w[i], 4, 15)));
    }
  }
}

static void fill_q4_0 (const uint8_t *const *block, int8_tile *tile) {
  fill_nibbles(block, tile, sizeof(q4_0_block), offsetof(q4_0_block, q), q4_0_values);
  for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++) tile_halves(block, b * sizeof(q4_0_block), tile->scales[b]);
}

static void fill_iq4_nl (const uint8_t *const *block, int8_tile *tile) {
  fill_nibbles(block, tile, sizeof(iq4_nl_block), offsetof(iq4_nl_block, q), iq4_nl_values);
  for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++) tile_halves(block, b * sizeof(iq4_nl_block), tile->scales[b]);
}

static void fill_iq4_xs (const uint8_t *const *block, int8_tile *tile) {
  float d[CPU_LANES];
  fill_nibbles(block, tile, 16, offsetof(iq4_xs_block, q), iq4_nl_values);
  tile_halves(block, offsetof(iq4_xs_block, d), d);
  for (size_t s = 0; s < SUPERBLOCK_BLOCKS; s++)
    for (size_t l = 0; l < CPU_LANES; l++) tile->scales[s][l] = (float)iq4_xs_scale((const void *)block[l], s) * d[l];
}

static void fill_mxfp4 (const uint8_t *const *block, int8_tile *tile) {
  fill_nibbles(block, tile, sizeof(mxfp4_block), offsetof(mxfp4_block, q), mxfp4_values);
  for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++) {
    uint8_t codes[CPU_LANES];
    for (size_t l = 0; l < CPU_LANES; l++) codes[l] = block[l][b * sizeof(mxfp4_block)];
    lanes_store(tile->scales[b], lanes_e8m0_halves(codes));
  }
}

/* Codes that lie apart, a superblock an output. */
ALWAYS_INLINE void fill_values (const uint8_t values[CPU_LANES][SUPERBLOCK], int8_tile *tile, const int is_signed) {
  const uint8_t *rows[CPU_LANES];
  for (size_t l = 0; l < CPU_LANES; l++) rows[l] = values[l];
  for (size_t n = 0; n < SUPERBLOCK / 16; n++) {
    byte_lanes w[4];
    codes_turn(rows, 16 * n, w);
    UNROLL for (size_t i = 0; i < 4; i++) tile_codes(tile, 4 * n + i, is_signed ? codes_signed(w[i]) : w[i]);
  }
}

/* Scales and mins, which Q5_K has in the same place. */
static void fill_q4_k_scales (const uint8_t *const *block, int8_tile *tile) {
  uint32_t words[4][CPU_LANES];                  /* d and m, then the three of prepare_q4_k */
  float d[CPU_LANES];
  tile_halves(block, offsetof(q4_k_block, d), d);
  tile_halves(block, offsetof(q4_k_block, m), tile->minus_m);
  tile_words(block, 0, words);
  for (size_t l = 0; l < CPU_LANES; l++) tile->minus_m[l] = 0.0f - tile->minus_m[l];
  for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++) {
    const size_t shift = b % 4 * 8;
    for (size_t l = 0; l < CPU_LANES; l++) {
      const uint32_t first = words[1][l] >> shift, second = words[2][l] >> shift, third = words[3][l] >> shift;
      const uint32_t scale = b < 4 ? first & 63 : (third & 15) | (first >> 2 & 48);
      const uint32_t min = b < 4 ? second & 63 : (third >> 4 & 15) | (second >> 2 & 48);
      tile->scales[b][l] = (float)(int)scale * d[l];
      tile->mins[b][l] = min | min << 16;
    }
  }
}

static void fill_q4_k (const uint8_t *const *block, int8_tile *tile) {
  for (size_t n = 0; n < 8; n++) {
    const size_t step = 16 * (n / 2) + 4 * (n % 2);
    byte_lanes w[4];
    codes_turn(block, offsetof(q4_k_block, q) + 16 * n, w);
    UNROLL for (size_t i = 0; i < 4; i++) {
      tile_codes(tile, step + i, codes_bits(w[i], 0, 15));
      tile_codes(tile, step + STEPS_INT8 + i, codes_bits(w[i], 4, 15));
    }
  }
  fill_q4_k_scales(block, tile);
}

static void fill_q5_k (const uint8_t *const *block, int8_tile *tile) {
  uint8_t values[CPU_LANES][SUPERBLOCK];
  for (size_t l = 0; l < CPU_LANES; l++) expand_q5_k(block[l], values[l]);
  fill_values(values, tile, 0);
  fill_q4_k_scales(block, tile);
}

static void fill_q2_k (const uint8_t *const *block, int8_tile *tile) {
  uint32_t words[4][CPU_LANES];                  /* a byte a half block */
  float d[CPU_LANES];
  for (size_t n = 0; n < 4; n++) {
    byte_lanes w[4];
    codes_turn(block, offsetof(q2_k_block, q) + 16 * n, w);
    UNROLL for (size_t i = 0; i < 4; i++)
      UNROLL for (size_t part = 0; part < 4; part++)
        tile_codes(tile, 32 * (n / 2) + STEPS_INT8 * part + 4 * (n % 2) + i, codes_bits(w[i], 2 * (int)part, 3));
  }
  tile_words(block, offsetof(q2_k_block, scales), words);
  tile_halves(block, offsetof(q2_k_block, d), d);
  tile_halves(block, offsetof(q2_k_block, m), tile->minus_m);
  for (size_t l = 0; l < CPU_LANES; l++) tile->minus_m[l] = 0.0f - tile->minus_m[l];
  for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++) {
    const uint32_t *word = words[b / 2];
    const size_t shift = b % 2 * 16;
    for (size_t l = 0; l < CPU_LANES; l++) {
      tile->mins[b][l] = (word[l] >> shift & 0xF0F0) >> 4;
      tile->mins[b][l] = (tile->mins[b][l] & 15) | (tile->mins[b][l] & 0xF00) << 8;
      tile->scales[b][l] = d[l];
    }
    for (size_t step = 0; step < STEPS_INT8; step++)                       /* 15 * 3 fits the byte */
      for (size_t l = 0; l < CPU_LANES; l++)
        tile->codes[STEPS_INT8 * b + step][l] *= word[l] >> (shift + step / 4 * 8) & 15;
  }
}

static void fill_iq2_xxs (const uint8_t *const *block, int8_tile *tile) {
  uint8_t values[CPU_LANES][SUPERBLOCK], four_bits[CPU_LANES][CPU_LANES];
  const uint8_t *four_bits_of[CPU_LANES];
  uint32_t words[4][CPU_LANES];                  /* a byte a block */
  float d[CPU_LANES];
  for (size_t l = 0; l < CPU_LANES; l++) {
    iq2_xxs_parts parts;
    iq2_xxs_begin((const void *)block[l], &parts, four_bits[l]);
    for (size_t p = 0; p < SUPERBLOCK / 64; p++) {
      const byte_lanes pair = iq2_xxs_pair(&parts, p);
      memcpy(values[l] + 64 * p, &pair, 64);
    }
    four_bits_of[l] = four_bits[l];
  }
  fill_values(values, tile, 0);
  tile_words(four_bits_of, 0, words);
  tile_halves(block, offsetof(iq2_xxs_block, d), d);
  for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++)
    for (size_t l = 0; l < CPU_LANES; l++)
      tile->scales[b][l] = ((float)(int)(words[b / 4][l] >> b % 4 * 8 & 15) + 0.5f) * 0.25f * d[l];
}

static void fill_expanded (const uint8_t *const *block, int8_tile *tile, expand_superblock *expand) {
  uint8_t values[CPU_LANES][SUPERBLOCK];
  for (size_t l = 0; l < CPU_LANES; l++) {
    int8_t scales[2 * SUPERBLOCK_BLOCKS];
    const float d = expand(block[l], (int8_t *)values[l], scales);
    for (size_t b = 0; b < SUPERBLOCK_BLOCKS; b++) tile->scales[b][l] = d;
    for (size_t h = 0; h < 2 * SUPERBLOCK_BLOCKS; h++) tile->halves[h][l] = scales[h];
  }
  fill_values(values, tile, 1);
}

/* {== Multiplying ================================================================================== */

/* Block b of m rows and n tiles: sums of integers, of half blocks by their scales where `kind` says so. */
ALWAYS_INLINE void multiply_block (const int8_tile *w, size_t b, const cpu_int8_rows *x,
                                   int_lanes products[][TILES_AT_ONCE], const int m, const int n,
                                   const int8_kind kind) {
  const int halves = kind == KIND_HALVES, parts = halves ? 2 : 1, is_signed = halves || kind == KIND_SIGNED;
  const size_t blocks = x->columns / CPU_BLOCK, steps = halves ? STEPS_INT8 / 2 : STEPS_INT8;
  UNROLL for (int part = 0; part < parts; part++) {
    int_lanes sums[ROWS_MULTIPLIED][TILES_AT_ONCE];
    UNROLL for (int r = 0; r < m; r++) {
      const int16_t *two = x->sums + 2 * ((size_t)r * blocks + b), one[2] = { two[part], 0 };
      const int_lanes start = is_signed ? dot_start_of(halves ? one : two) : sums_zero();
      UNROLL for (int t = 0; t < n; t++) sums[r][t] = start;
    }
    UNROLL for (size_t i = 0; i < steps; i++) {
      const size_t step = STEPS_INT8 * b + steps * (size_t)part + i;
      byte_lanes wi[TILES_AT_ONCE];
      UNROLL for (int t = 0; t < n; t++) wi[t] = codes_load((const void *)w[t].codes[step]);
      UNROLL for (int r = 0; r < m; r++) {
        const byte_lanes xi = codes_repeat(x->codes + (size_t)r * x->columns + STEP_VALUES * step);
        UNROLL for (int t = 0; t < n; t++)
          sums[r][t] = is_signed ? dot_signed(sums[r][t], wi[t], xi) : dot_plain(sums[r][t], wi[t], xi);
      }
    }
    UNROLL for (int r = 0; r < m; r++)
      UNROLL for (int t = 0; t < n; t++) {
        int_lanes sum = sums[r][t];
        if (halves) sum = sums_mul(sum, sums_load(w[t].halves[2 * b + (size_t)part]));
        products[r][t] = part == 0 ? sum : sums_add(products[r][t], sum);
      }
  }
}

ALWAYS_INLINE void prefetch_next (const tile_pass *pass, size_t k, const int n) {
  const uint8_t *const *next = pass->next + 4 * (size_t)n * k;
  for (size_t line = 0; line < pass->next_bytes; line += 64)
    UNROLL for (int j = 0; j < 4 * n; j++) prefetch(next[j] + line);
}

/* The superblock that begins at m rows of x, added to their sums: sum k has blocks k and k + 4. */
ALWAYS_INLINE void int8_multiply (const tile_pass *pass, const cpu_int8_rows *x, const int m, const int n,
                                  const int8_kind kind) {
  const size_t blocks = x->columns / CPU_BLOCK;
  const int8_tile *w = pass->tiles;
  for (size_t k = pass->k; k < pass->end; k++) {
    tile_sums *const sums = pass->sums[k] + pass->row;
    prefetch_next(pass, k, n);
    for (size_t b = k; b < SUPERBLOCK_BLOCKS; b += 4) {
      int_lanes products[ROWS_MULTIPLIED][TILES_AT_ONCE];
      multiply_block(w, b, x, products, m, n, kind);
      UNROLL for (int t = 0; t < n; t++) {
        const lanes by = lanes_load(w[t].scales[b]);
        UNROLL for (int r = 0; r < m; r++) {
          const size_t at = (size_t)r * blocks + b;
          const lanes x_scale = lanes_set(x->scales[at]);
          lanes sum = lanes_fma(sums_lanes(products[r][t]), lanes_mul(by, x_scale), sums[r][t]);
          if (kind == KIND_MINS) {
            const int_lanes least = sums_of_pairs(w[t].mins[b], x->sums + 2 * at);
            sum = lanes_fma(sums_lanes(least), lanes_mul(lanes_load(w[t].minus_m), x_scale), sum);
          }
          sums[r][t] = sum;
        }
      }
    }
  }
}

/* At most ROWS_MULTIPLIED rows and TILES_AT_ONCE tiles (a level's registers hold their products). */
typedef void multiply_rows (const tile_pass *pass, const cpu_int8_rows *x, size_t m);

#define MULTIPLY(rows, n, kind) \
  if (m == rows && pass->count == n && rows <= ROWS_MULTIPLIED && n <= TILES_AT_ONCE) \
    int8_multiply(pass, x, rows, n, kind)

_Static_assert(TILES_AT_ONCE == 1 ? ROWS_MULTIPLIED <= 7
                                  : TILES_AT_ONCE == 2 && ROWS_MULTIPLIED >= 7 && ROWS_MULTIPLIED <= 8,
               "a group of rows that MULTIPLY_ROWS has not");
_Static_assert(CPU_TILE_OUTPUTS % (int)OUTPUTS_TILE == 0, "tasks would end amid a tile");

/* Fewer than ROWS_MULTIPLIED rows meet one tile; more come in groups of about one size, of four rows at least. */
#define MULTIPLY_ROWS(name, kind) \
  static void name (const tile_pass *pass, const cpu_int8_rows *x, size_t m) { \
    MULTIPLY(1, 1, kind); \
    MULTIPLY(2, 1, kind); \
    MULTIPLY(3, 1, kind); \
    MULTIPLY(4, 1, kind); \
    MULTIPLY(5, 1, kind); \
    MULTIPLY(6, 1, kind); \
    MULTIPLY(7, 1, kind); \
    MULTIPLY(4, 2, kind); \
    MULTIPLY(5, 2, kind); \
    MULTIPLY(6, 2, kind); \
    MULTIPLY(7, 2, kind); \
    MULTIPLY(8, 2, kind); \
  }

MULTIPLY_ROWS(multiply_signed, KIND_SIGNED)
MULTIPLY_ROWS(multiply_mins, KIND_MINS)        /* Q2_K's, too: its tile has codes times the scale of their half block */
MULTIPLY_ROWS(multiply_halves, KIND_HALVES)

/* {== Rows ========================================================================================= */

/* Multiplies a superblock with all rows: sum by sum where there are several groups of them, for the first cache. */
static void tile_multiply (tile_pass *pass, const cpu_int8_rows *x, size_t rows, multiply_rows *multiply) {
  const size_t step = rows <= ROWS_MULTIPLIED ? 4 : 1, next_bytes = pass->next_bytes;
  for (pass->k = 0; pass->k < 4; pass->k = pass->end) {
    pass->end = pass->k + step;
    pass->next_bytes = next_bytes;
    pass->row = 0;
    for (size_t groups = blocks_of(rows, ROWS_MULTIPLIED), m; groups > 0; groups--, pass->row += m) {
      const cpu_int8_rows some = int8_rows_at(x, pass->row, 0);
      m = blocks_of(rows - pass->row, groups);             /* groups of about one size */
      multiply(pass, &some, m);
      pass->next_bytes = 0;                                /* once is enough */
    }
  }
}

/* Outputs row .. row + n (n <= those of `at_once` tiles) of up to ROWS_TILE rows, `bytes` a superblock. */
static void int8_tile_rows (const weight *w, size_t row, size_t n, const cpu_int8_rows *x, size_t rows, float *out,
                            size_t out_stride, size_t at_once, size_t bytes, fill_tile *fill, multiply_rows *multiply) {
  const size_t outputs = at_once * CPU_LANES;
  const size_t row_bytes = int8_row_bytes(w->columns, bytes);
  int8_tile tiles[TILES_AT_ONCE];
  tile_sums sums[4][ROWS_TILE];
  for (size_t k = 0; k < 4; k++)
    for (size_t r = 0; r < rows; r++)
      for (size_t t = 0; t < at_once; t++) sums[k][r][t] = lanes_set(0.0f);

  for (size_t from = 0; from < w->columns; from += SUPERBLOCK) {
    const size_t count = w->columns - from < SUPERBLOCK ? w->columns - from : SUPERBLOCK;
    cpu_int8_rows xs = int8_rows_at(x, 0, from);
    int8_last_rows last_rows;
    uint8_t last[OUTPUTS_TILE][LARGEST_SUPERBLOCK];
    const uint8_t *block[OUTPUTS_TILE], *next[OUTPUTS_TILE];
    for (size_t j = 0; j < outputs; j++) {                 /* outputs that are missing repeat the last */
      block[j] = w->data + (row + (j < n ? j : n - 1)) * row_bytes + from / SUPERBLOCK * bytes;
      next[j] = block[j] + outputs * row_bytes;
      if (count == SUPERBLOCK) continue;
      memset(last[j], 0, bytes);
      block[j] = memcpy(last[j], block[j], int8_row_bytes(count, bytes));
    }
    for (size_t t = 0; t < at_once; t++) fill(block + t * CPU_LANES, &tiles[t]);
    if (count < SUPERBLOCK) xs = pad_rows(&xs, rows, count, &last_rows);
    tile_pass pass = { .tiles = tiles, .count = at_once, .next = next, .next_bytes = bytes, .sums = sums };
    tile_multiply(&pass, &xs, rows, multiply);
  }
  for (size_t r = 0; r < rows; r++) {
    float all[OUTPUTS_TILE];
    for (size_t t = 0; t < at_once; t++)
      lanes_store(all + t * CPU_LANES, lanes_add(lanes_add(sums[0][r][t], sums[2][r][t]),
                                                 lanes_add(sums[1][r][t], sums[3][r][t])));
    memcpy(out + r * out_stride, all, n * sizeof(float));
  }
}

static void int8_tiles (const weight *w, size_t row, size_t outputs, const cpu_int8_rows *x, size_t rows, float *out,
                        size_t out_stride, size_t bytes, fill_tile *fill, multiply_rows *multiply) {
  for (size_t r = 0; r < rows; r += ROWS_TILE) {
    const size_t some = rows - r < ROWS_TILE ? rows - r : ROWS_TILE, tiles = some < ROWS_MULTIPLIED ? 1 : TILES_AT_ONCE;
    const cpu_int8_rows xs = int8_rows_at(x, r, 0);
    for (size_t j = 0, n; j < outputs; j += n) {
      n = outputs - j < tiles * CPU_LANES ? outputs - j : tiles * CPU_LANES;
      int8_tile_rows(w, row + j, n, &xs, some, out + r * out_stride + j, out_stride, tiles, bytes, fill, multiply);
    }
  }
}

/* One function a type: few rows by the template of kernels_int8.h, several by tiles. */
#define PRODUCT_INT8(name, bytes, prepare, unpack, scales, kind, fill, multiply) \
  static void name (const weight *w, size_t row, size_t outputs, const cpu_int8_rows *x, size_t rows, float *out, \
                    size_t out_stride) { \
    if (rows >= TILE_ROWS_LEAST) { \
      int8_tiles(w, row, outputs, x, rows, out, out_stride, bytes, fill, multiply); \
      return; \
    } \
    for (size_t r = 0; r < rows; r++) { \
      const cpu_int8_rows xr = int8_rows_at(x, r, 0); \
      for (size_t j = 0; j < outputs; j += OUTPUTS_INT8) \
        int8_four_outputs(w, row + j, outputs - j < OUTPUTS_INT8 ? outputs - j : OUTPUTS_INT8, &xr, \
                          out + r * out_stride + j, bytes, prepare, unpack, scales, kind); \
    } \
  }

PRODUCT_INT8(product_q8_0, SUPERBLOCK_BLOCKS * sizeof(q8_0_block), prepare_nothing, unpack_q8_0, scales_q8_0,
             KIND_SIGNED, fill_q8_0, multiply_signed)
PRODUCT_INT8(product_mxfp4, SUPERBLOCK_BLOCKS * sizeof(mxfp4_block), prepare_nothing, unpack_mxfp4, scales_mxfp4,
             KIND_SIGNED, fill_mxfp4, multiply_signed)
PRODUCT_INT8(product_q4_0, SUPERBLOCK_BLOCKS * sizeof(q4_0_block), prepare_nothing, unpack_q4_0, scales_q4_0,
             KIND_SIGNED, fill_q4_0, multiply_signed)
PRODUCT_INT8(product_iq4_nl, SUPERBLOCK_BLOCKS * sizeof(iq4_nl_block), prepare_nothing, unpack_iq4_nl, scales_q4_0,
             KIND_SIGNED, fill_iq4_nl, multiply_signed)
PRODUCT_INT8(product_iq4_xs, sizeof(iq4_xs_block), prepare_iq4_xs, unpack_iq4_xs, scales_iq4_xs, KIND_SIGNED,
             fill_iq4_xs, multiply_signed)
PRODUCT_INT8(product_q4_k, sizeof(q4_k_block), prepare_q4_k, unpack_q4_k, scales_q4_k, KIND_MINS, fill_q4_k,
             multiply_mins)
PRODUCT_INT8(product_q5_k, sizeof(q5_k_block), prepare_q5_k, unpack_values, scales_q4_k, KIND_MINS, fill_q5_k,
             multiply_mins)
PRODUCT_INT8(product_q2_k, sizeof(q2_k_block), prepare_q2_k, unpack_q2_k, scales_q2_k, KIND_HALF_MINS, fill_q2_k,
             multiply_mins)
#ifdef LEVEL_PERMUTES_IQ2_XXS       /* one row by permutations of bytes */
#include "kernels_avx512vbmi_iq2.h"
#else
PRODUCT_INT8(product_iq2_xxs, sizeof(iq2_xxs_block), prepare_iq2_xxs, unpack_iq2_xxs, scales_iq2_xxs,
             KIND_SIGNED, fill_iq2_xxs, multiply_signed)
#endif

#define PRODUCT_EXPANDED(type) \
  ALWAYS_INLINE void prepare_##type (const uint8_t *const *block, int8_prepared *out) { \
    prepare_expanded(block, out, expand_##type); \
  } \
  static void fill_##type (const uint8_t *const *block, int8_tile *tile) { \
    fill_expanded(block, tile, expand_##type); \
  } \
  PRODUCT_INT8(product_##type, sizeof(type##_block), prepare_##type, unpack_signed_values, scales_expanded, \
               KIND_HALVES, fill_##type, multiply_halves)

PRODUCT_EXPANDED(q3_k)
PRODUCT_EXPANDED(q6_k)
PRODUCT_EXPANDED(iq1_s)
PRODUCT_EXPANDED(iq1_m)
PRODUCT_EXPANDED(iq2_xs)
PRODUCT_EXPANDED(iq2_s)
PRODUCT_EXPANDED(iq3_xxs)
PRODUCT_EXPANDED(iq3_s)

#endif
