/*
** IQ2_XXS times one row of activations, by permutations of bytes: included by kernels_tile.h for "avx512vbmi". A byte
** is a group of eight values, and a register the 64 groups of a superblock of two outputs:
**
**   byte     0 .. 3       4 .. 7       8 .. 11      12 .. 15     ..   60 .. 63
**   groups   of block 0   of block 0   of block 1   of block 1   ..   of block 7
**            of output 0  of output 1  of output 0  of output 1       of output 1
**
** One lookup finds four values of all groups. Value i of each group times the same of the activations, eight times over
** the i, are the sums of blocks, one a lane of 32 bits: nothing is added across lanes. Integer sums have no order.
*/
#ifndef compute_cpu_kernels_avx512vbmi_iq2_h
#define compute_cpu_kernels_avx512vbmi_iq2_h

enum {
  IQ2_GROUP = 8,                         /* values */
  IQ2_TURNED = 32,                       /* superblocks of activations at a time: 22 KiB of the first cache, */
  IQ2_OUTPUTS = 128,                     /* for so many outputs */
  IQ2_AHEAD = 2 * OUTPUTS_INT8           /* outputs between the one at work and the one that memory is asked for */
};

/* {== Made once for many outputs ================================================================== */

/* The grid, 64 groups a register: two bits each for values 0 .. 3 of a group, and for values 4 .. 7. */
typedef struct iq2_grid { __m512i half[2][4]; } iq2_grid;

/* A superblock of activations: value i of the groups for all i, -128 times the sums of blocks, scales of both quads. */
typedef struct iq2_turned { __m512i values[IQ2_GROUP], start; lanes scales[2]; } iq2_turned;

/* The low and the high bytes of the codebook's words. */
ALWAYS_INLINE iq2_grid iq2_load_grid (void) {
  const __m512i low = _mm512_setr_epi64(0x0E0C0A0806040200, 0x1E1C1A1816141210, 0x2E2C2A2826242220, 0x3E3C3A3836343230,
                                        0x4E4C4A4846444240, 0x5E5C5A5856545250, 0x6E6C6A6866646260, 0x7E7C7A7876747270);
  iq2_grid grid;
  for (int n = 0; n < 4; n++) {
    const __m512i a = _mm512_loadu_si512(iq2_xxs_codes + 64 * n), b = _mm512_loadu_si512(iq2_xxs_codes + 64 * n + 32);
    grid.half[0][n] = _mm512_permutex2var_epi8(a, low, b);
    grid.half[1][n] = _mm512_permutex2var_epi8(a, _mm512_or_si512(low, _mm512_set1_epi8(1)), b);
  }
  return grid;
}

ALWAYS_INLINE void iq2_turn (const cpu_int8_rows *x, iq2_turned *out) {
  const __m512i first = _mm512_add_epi8(_mm512_set1_epi32(0x18100800),    /* value 0 of four groups, for four blocks */
    _mm512_setr_epi64(0, 0x2020202020202020, 0x4040404040404040, 0x6060606060606060,
                      0, 0x2020202020202020, 0x4040404040404040, 0x6060606060606060));
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  __m512i codes[4];
  for (int n = 0; n < 4; n++) codes[n] = codes_load(x->codes + 64 * n);
  for (int i = 0; i < IQ2_GROUP; i++) {
    const __m512i place = _mm512_add_epi8(first, _mm512_set1_epi8((char)i));
    out->values[i] = _mm512_mask_blend_epi64(0xF0, _mm512_permutex2var_epi8(codes[0], place, codes[1]),
                                             _mm512_permutex2var_epi8(codes[2], place, codes[3]));
  }
  const __m512i sums = _mm512_permutexvar_epi32(twice, _mm512_castsi256_si512(load_32(x->sums)));
  out->start = _mm512_madd_epi16(sums, _mm512_set1_epi16(-128));
  out->scales[0] = lanes_quads(x->scales);
  out->scales[1] = lanes_quads(x->scales + 4);
}

/* {== Two outputs ================================================================================= */

/* Numbers of the groups in the grid; words of signs and a scale. A lane is a block, as drawn above. */
typedef struct iq2_pair { __m512i groups, words; } iq2_pair;

ALWAYS_INLINE iq2_pair iq2_load_pair (const uint8_t *first, const uint8_t *second) {
  const __m512i a = _mm512_loadu_si512(first + offsetof(iq2_xxs_block, sub));
  const __m512i b = _mm512_loadu_si512(second + offsetof(iq2_xxs_block, sub));
  return (iq2_pair){ _mm512_mask_shuffle_epi32(a, 0xAAAA, b, _MM_PERM_CCAA),
                     _mm512_mask_shuffle_epi32(b, 0x5555, a, _MM_PERM_DDBB) };
}

ALWAYS_INLINE __m512i iq2_look_up (const __m512i *half, __m512i groups) {
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(groups),       /* 128 and more */
                                _mm512_permutex2var_epi8(half[0], groups, half[1]),
                                _mm512_permutex2var_epi8(half[2], groups, half[3]));
}

/*
** A byte of signs a group, bits 0 .. 7 those of values 2 3 6 7 0 1 4 5. Fields of seven bits are cut out. The eighth
** sign makes the number of ones even: a sum over GF(2), as are the others, which have one summand.
*/
ALWAYS_INLINE __m512i iq2_signs (__m512i words) {
  const __m512i fields = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x352E2720150E0700), words);
  return _mm512_gf2p8affine_epi64_epi8(fields, _mm512_set1_epi64(0x0408407F01021020), 0);   /* bit 0 first */
}

/*
** Sums of the blocks. A permutation heeds six bits of an index: those are two codes and their two signs, brought
** together from the half and the signs, and four tables give 128 + the value:
**
**   bit     0  1      2  3      4  5             bit     0  1      2  3      4  5
**   front   code 0    code 1    signs 0 and 1    back    signs     code 2    code 3
**                                                        2 and 3
**
** The second half finds its signs two bits further up. What a shift brings in from the next byte is not heeded.
*/
ALWAYS_INLINE __m512i iq2_dot (const iq2_grid *grid, const iq2_pair *w, const iq2_turned *x) {
  enum { P = 0x00AB9988, N = 0x00556778 };                         /* 128 + and - 8, 25, 43: bytes 0, 1, 2 */
  enum { P8 = -0x77777778, P25 = -0x66666667, P43 = -0x54545455, N8 = 0x78787878, N25 = 0x67676767, N43 = 0x55555555 };
  enum { S8 = 0x78788888, S25 = 0x67679999, S43 = 0x5555ABAB };    /* both signs, two bytes each; or one in turn: */
  const __m512i value[4] = {
    _mm512_setr_epi32(P, P, P, P, N, N, N, N, P, P, P, P, N, N, N, N),
    _mm512_setr_epi32(P8, P25, P43, 0, P8, P25, P43, 0, N8, N25, N43, 0, N8, N25, N43, 0),
    _mm512_broadcast_i32x4(_mm_setr_epi32(0x78887888, 0x67996799, 0x55AB55AB, 0)),
    _mm512_setr_epi32(S8, S8, S8, S8, S25, S25, S25, S25, S43, S43, S43, S43, 0, 0, 0, 0),
  };
  const __m512i front_codes = _mm512_set1_epi8(0x0F), back_codes = _mm512_set1_epi8((char)0xFC);
  enum { CHOOSE = 0xE4 };                                          /* third ? first : second */
  __m512i signs = iq2_signs(w->words), sum = x->start;
  UNROLL for (int half = 0; half < 2; half++) {
    const __m512i codes = iq2_look_up(grid->half[half], w->groups), up = _mm512_srli_epi16(codes, 2);
    const __m512i front = _mm512_ternarylogic_epi32(codes, signs, front_codes, CHOOSE);
    const __m512i back = _mm512_ternarylogic_epi32(up, signs, back_codes, CHOOSE);
    UNROLL for (int i = 0; i < 4; i++)
      sum = _mm512_dpbusd_epi32(sum, _mm512_permutexvar_epi8(i < 2 ? front : back, value[i]), x->values[4 * half + i]);
    signs = _mm512_srli_epi16(signs, 2);
  }
  return sum;
}

/* {== Four outputs ================================================================================ */

/* Block 4 quad + k of output j, at 4 k + j, as in kernels_int8.h. */
ALWAYS_INLINE __m512i iq2_quad (__m512i first, __m512i last, int quad) {
  const __m512i place = _mm512_setr_epi32(0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23);
  return _mm512_permutex2var_epi32(first, _mm512_add_epi32(place, _mm512_set1_epi32(8 * quad)), last);
}

ALWAYS_INLINE lanes iq2_add_superblock (const uint8_t *const *block, const iq2_grid *grid, const iq2_turned *x,
                                        lanes sum) {
  const __m512 scales = _mm512_setr_ps(0.125f, 0.375f, 0.625f, 0.875f, 1.125f, 1.375f, 1.625f, 1.875f, 2.125f, 2.375f,
                                       2.625f, 2.875f, 3.125f, 3.375f, 3.625f, 3.875f);      /* (i + 0.5) / 4 */
  const lanes d = lanes_halves(block, offsetof(iq2_xxs_block, d));
  const iq2_pair first = iq2_load_pair(block[0], block[1]), last = iq2_load_pair(block[2], block[3]);
  const __m512i products = iq2_dot(grid, &first, x), products_last = iq2_dot(grid, &last, x);
  UNROLL for (int quad = 0; quad < 2; quad++) {
    const __m512i four_bits = _mm512_srli_epi32(iq2_quad(first.words, last.words, quad), 28);
    const lanes by = lanes_mul(_mm512_permutexvar_ps(four_bits, scales), d);
    sum = lanes_fma(sums_lanes(iq2_quad(products, products_last, quad)), lanes_mul(by, x->scales[quad]), sum);
  }
  return sum;
}

/* {== A row ======================================================================================= */

/*
** Adds superblocks from .. from + count of four outputs, `row` and those that follow; beyond `last` they repeat it. The
** next outputs lie behind these, and memory is asked for them in its own order: in that of use it is slower by a fifth.
*/
ALWAYS_INLINE lanes iq2_add_superblocks (const weight *w, size_t row, size_t last, size_t from, size_t count,
                                         const iq2_grid *grid, const iq2_turned *x, lanes sum) {
  const size_t bytes = sizeof(iq2_xxs_block), row_bytes = w->columns / SUPERBLOCK * bytes;
  const uint8_t *block[OUTPUTS_INT8], *ahead = w->data + (row + IQ2_AHEAD) * row_bytes + OUTPUTS_INT8 * from * bytes;
  UNROLL for (size_t j = 0; j < OUTPUTS_INT8; j++)
    block[j] = w->data + (row + j < last ? row + j : last) * row_bytes + from * bytes;
  for (size_t s = 0; s < count; s++, ahead += OUTPUTS_INT8 * bytes) {
    for (size_t line = 0; line < OUTPUTS_INT8 * bytes; line += 64) prefetch(ahead + line);
    sum = iq2_add_superblock(block, grid, &x[s], sum);
    UNROLL for (int j = 0; j < OUTPUTS_INT8; j++) block[j] += bytes;
  }
  return sum;
}

/* At most IQ2_OUTPUTS outputs of one row of x. */
static void iq2_xxs_row (const weight *w, size_t row, size_t outputs, const cpu_int8_rows *x, float *out) {
  const iq2_grid grid = iq2_load_grid();
  iq2_turned turned[IQ2_TURNED];
  lanes sums[IQ2_OUTPUTS / OUTPUTS_INT8];
  for (size_t j = 0; j < outputs; j += OUTPUTS_INT8) sums[j / OUTPUTS_INT8] = lanes_set(0.0f);
  for (size_t from = 0, whole = w->columns / SUPERBLOCK, count; from < whole; from += count) {
    count = whole - from < IQ2_TURNED ? whole - from : IQ2_TURNED;
    for (size_t s = 0; s < count; s++) {
      const cpu_int8_rows xs = int8_rows_at(x, 0, (from + s) * SUPERBLOCK);
      iq2_turn(&xs, &turned[s]);
    }
    for (size_t j = 0; j < outputs; j += OUTPUTS_INT8) {
      lanes *sum = &sums[j / OUTPUTS_INT8];
      *sum = iq2_add_superblocks(w, row + j, row + outputs - 1, from, count, &grid, turned, *sum);
    }
  }
  for (size_t j = 0; j < outputs; j += OUTPUTS_INT8) {
    float four[OUTPUTS_INT8];
    lanes_join_quads(sums[j / OUTPUTS_INT8], four);
    memcpy(out + j, four, (outputs - j < OUTPUTS_INT8 ? outputs - j : OUTPUTS_INT8) * sizeof *four);
  }
}

static void product_iq2_xxs (const weight *w, size_t row, size_t outputs, const cpu_int8_rows *x, size_t rows,
                             float *out, size_t out_stride) {
  if (rows >= TILE_ROWS_LEAST) {
    int8_tiles(w, row, outputs, x, rows, out, out_stride, sizeof(iq2_xxs_block), fill_iq2_xxs, multiply_signed);
    return;
  }
  for (size_t j = 0; j < outputs; j += IQ2_OUTPUTS)
    iq2_xxs_row(w, row + j, outputs - j < IQ2_OUTPUTS ? outputs - j : IQ2_OUTPUTS, x, out + j);
}

#endif
