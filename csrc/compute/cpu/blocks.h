/*
** GGML's block types: how a block lies in memory and which numbers it stands for (specs/formats.md 5). A block
** holds consecutive values of a row; its fields are bytes, little-endian, and have no alignment. The decoders in
** blocks_*.h are the definition; spec/compute/cpu/blocks_spec.lua compares them with the gguf package bit by bit.
*/
#ifndef compute_cpu_blocks_h
#define compute_cpu_blocks_h

#include <stdint.h>

#include "../../format/tensor_type.h"
#include "../backend.h"

/* Values and bytes of a block; NULL for an encoding that does not come in blocks. */
const tensor_type_info *cpu_block_type (weight_encoding encoding);

enum { SUPERBLOCK = 256 };         /* values of a block of the K and IQ types; the others have CPU_BLOCK */

typedef uint8_t block_half[2];     /* IEEE half */

/* {== Blocks of 32: value i and value i + 16 share a byte, low nibble first ======================= */

typedef struct q4_0_block { block_half d; uint8_t q[16]; } q4_0_block;                       /* d (q - 8) */
typedef struct q4_1_block { block_half d, m; uint8_t q[16]; } q4_1_block;                    /* d q + m */
typedef struct q5_0_block { block_half d; uint8_t high[4]; uint8_t q[16]; } q5_0_block;    /* d (q - 16); high bit i: */
typedef struct q5_1_block { block_half d, m; uint8_t high[4]; uint8_t q[16]; } q5_1_block;   /* bit 4 of value i */
typedef struct q8_0_block { block_half d; int8_t q[32]; } q8_0_block;                        /* d q */
typedef struct iq4_nl_block { block_half d; uint8_t q[16]; } iq4_nl_block;                   /* d iq4_values[q] */
typedef struct mxfp4_block { uint8_t scale; uint8_t q[16]; } mxfp4_block;              /* 2^(scale - 127) E2M1(q) */

/* {== Blocks of 256: d and m times the small scales of sub-blocks ================================= */

typedef struct q2_k_block { uint8_t scales[16]; uint8_t q[64]; block_half d, m; } q2_k_block;  /* scale low, min high */
typedef struct q3_k_block { uint8_t high[32]; uint8_t q[64]; uint8_t scales[12]; block_half d; } q3_k_block;
typedef struct q4_k_block { block_half d, m; uint8_t scales[12]; uint8_t q[128]; } q4_k_block;
typedef struct q5_k_block { block_half d, m; uint8_t scales[12]; uint8_t high[32]; uint8_t q[128]; } q5_k_block;
typedef struct q6_k_block { uint8_t q[128]; uint8_t high[64]; int8_t scales[16]; block_half d; } q6_k_block;

/* {== Blocks of 256: groups of 8 or 4 values by their number in a codebook ======================== */

typedef struct iq1_s_block { block_half d; uint8_t q[32]; uint8_t high[16]; } iq1_s_block;
typedef struct iq1_m_block { uint8_t q[32]; uint8_t high[16]; uint8_t scales[8]; } iq1_m_block;
typedef struct iq2_xxs_block { block_half d; struct { uint8_t grid[4], signs[4]; } sub[8]; } iq2_xxs_block;
typedef struct iq2_xs_block { block_half d; uint8_t q[64]; uint8_t scales[8]; } iq2_xs_block;
typedef struct iq2_s_block { block_half d; uint8_t q[32], signs[32], high[8], scales[8]; } iq2_s_block;
typedef struct iq3_xxs_block { block_half d; uint8_t q[64]; uint8_t signs[8][4]; } iq3_xxs_block;
typedef struct iq3_s_block { block_half d; uint8_t q[64], high[8], signs[32], scales[4]; } iq3_s_block;
typedef struct iq4_xs_block { block_half d; uint8_t scales_high[2], scales[4]; uint8_t q[128]; } iq4_xs_block;

/* {== Codebooks (codebooks.c) ===================================================================== */

/* IQ4's sixteen values. */
#define IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

extern const uint8_t iq_signs[128];          /* seven signs and the eighth, which makes their number even */
extern const uint64_t iq2_xxs_grid[256];     /* eight magnitudes, a byte each */
/* Eight codes of two bits: magnitudes 8, 25, 43, or for iq1_grid -1, 0, 1. */
extern const uint16_t iq2_xxs_codes[256], iq2_xs_grid[512], iq2_s_grid[1024], iq1_grid[2048];
/* Four codes of four bits: magnitudes 4, 12 .. 52, 62, or for iq3_s_grid 1, 3 .. 15. */
extern const uint16_t iq3_xxs_grid[256], iq3_s_grid[512];

#endif
