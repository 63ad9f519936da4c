/*
** The seam between the model and the hardware: the stages of the architecture (specs/architecture.md 2)
** as functions of a backend. A stage is big enough to be one fused operator and small enough to be compared
** with the oracle alone. `model/` calls them in order and owns no kernel and no thread; a backend knows no
** layer and no session.
**
** Activations are float32, row-major, one row a token of the step. Rounding of inputs and results is the
** stage's, chosen by the backend's numerics at open (docs/numerics.md); in `fast` and `reference` a row's
** result depends on that row alone, never on its company or on the number of threads.
** All stages run on the thread that called `start`.
*/
#ifndef compute_backend_h
#define compute_backend_h

#include <stdint.h>
#include <string.h>

#include "../base/status.h"

/* {== Operands =================================================================================== */

/* [rows, columns] float32 in the backend's memory: only the backend follows `data`. */
typedef struct tensor { float *data; size_t rows, columns; } tensor;

/* [rows, columns] int32 in the backend's memory. */
typedef struct id_tensor { int32_t *data; size_t rows, columns; } id_tensor;

/* How a file stores the numbers of a matrix. */
typedef enum weight_encoding {
  WEIGHT_F32, WEIGHT_BF16, WEIGHT_F16,
  WEIGHT_FP8,        /* E4M3 codes, an E8M0 scale a tile of scale_rows x scale_columns */
  WEIGHT_FP4,        /* E2M1 codes, two a byte, low nibble first; an E8M0 scale a tile of 1 x 32 */
  /* GGML's blocks (cpu/blocks.h): codes and scales of 32 or 256 values together, whole blocks a row. */
  WEIGHT_Q4_0, WEIGHT_Q4_1, WEIGHT_Q5_0, WEIGHT_Q5_1, WEIGHT_Q8_0,
  WEIGHT_Q2_K, WEIGHT_Q3_K, WEIGHT_Q4_K, WEIGHT_Q5_K, WEIGHT_Q6_K,
  WEIGHT_IQ1_S, WEIGHT_IQ1_M, WEIGHT_IQ2_XXS, WEIGHT_IQ2_XS, WEIGHT_IQ2_S, WEIGHT_IQ3_XXS, WEIGHT_IQ3_S,
  WEIGHT_IQ4_NL, WEIGHT_IQ4_XS, WEIGHT_MXFP4,
  WEIGHT_ENCODINGS
} weight_encoding;

/*
** A matrix [rows, columns] of the model (y = W x), mapped from its file and stored as there; a vector has
** one row. `data` has no alignment. Tiles at the right and lower edge may be partial.
*/
typedef struct weight {
  weight_encoding encoding;
  const uint8_t *data, *scales;      /* scales: NULL when the encoding has none */
  size_t rows, columns;
  size_t scale_rows, scale_columns;  /* values that share a scale; [ceil(rows/..), ceil(columns/..)] codes */
  const char *name;                  /* of the tensor, for messages */
} weight;

/*
** Rows of a session's memory, addressed by absolute number whatever was dropped: the table has the pages from page
** `first_page` on. Pages are buffers of the backend.
*/
typedef struct row_view { uint8_t *const *pages; size_t first_page, rows_per_page, row_bytes; } row_view;

/* The page in which a row within reach lies. */
static inline uint8_t *row_view_page (const row_view *view, size_t row) {
  return view->pages[row / view->rows_per_page - view->first_page];
}

/*
** A run of consecutive tokens of one session within a step, as one layer sees it. New rows are written
** behind what the session holds; they count only once the whole step is committed.
*/
typedef struct segment {
  size_t first, count;               /* its rows within the step */
  size_t position;                   /* of its first token in the session */
  row_view window;                   /* key/value row of token t at row t */
  row_view pooled, raw;              /* compressed row j; raw [kv, gate] of token t at row t */
  row_view index_rows, index_raw;    /* the indexer's, alike */
  size_t raw_from, index_raw_from;   /* raw rows of the step are stored from here on: no later token reaches others */
} segment;

typedef struct segment_list { const segment *items; size_t count; } segment_list;

/* {== Weights of a stage ========================================================================= */

typedef struct hyper_connection {    /* 2.3; head: streams rows instead of (2 + streams) * streams */
  weight fn, base, scale;
  size_t streams, rounds;            /* rounds: Sinkhorn's column normalisations */
  float eps, norm_eps;
} hyper_connection;

typedef struct rope_table { const float *frequencies; size_t pairs; } rope_table;   /* radians a position */

typedef struct compressor {          /* 2.5 */
  weight wkv, wgate, ape, norm;      /* wkv, wgate [lanes * width, model width]; ape [ratio, lanes * width] */
  size_t ratio, width, lanes;        /* lanes 2: overlapping, the first lane feeds the next row */
  float norm_eps;
  rope_table rope;
} compressor;

typedef struct indexer {             /* 2.6 */
  weight wq_b, weights_proj;
  compressor keys;
  size_t heads, width, top_k;
} indexer;

typedef struct attention_shape {     /* 2.4 */
  size_t heads, head, window;
  size_t ratio;                      /* 0: window only; else pooled row j is visible from token (j+1)*ratio-1 */
  weight sink;                       /* [heads] */
} attention_shape;

/* [vocabulary, top_k] experts by token id, as stored: no more than 2^31 - 1, unaligned. */
typedef struct expert_table {
  const uint8_t *ids;                /* NULL: there is none */
  size_t id_bytes;                   /* 8 or 4, signed */
} expert_table;

static inline int64_t expert_table_id (const expert_table *table, size_t index) {
  int64_t wide;
  int32_t narrow;
  if (table->id_bytes == sizeof wide) {
    memcpy(&wide, table->ids + index * sizeof wide, sizeof wide);
    return wide;
  }
  memcpy(&narrow, table->ids + index * sizeof narrow, sizeof narrow);
  return narrow;
}

typedef struct router {              /* 2.7 */
  weight gate, bias;                 /* bias.data NULL: none */
  expert_table table;                /* without one the router scores */
  size_t experts, top_k;
  float route_scale;
} router;

/* How a row's experts are chosen, in place of the router's own way; a table is followed all the same. */
typedef struct route_policy {
  size_t top_k;                      /* at most the router's */
  const float *bias;                 /* [experts], added to the score that chooses; -INFINITY: never; NULL: none */
} route_policy;

typedef struct expert { weight w1, w2, w3; } expert;   /* gate, down, up */

typedef struct expert_set {
  const expert *routed;              /* [count] */
  expert shared;
  size_t count;
  float limit;                       /* of the clamped SwiGLU; 0: none */
} expert_set;

/* {== The backend ================================================================================ */

typedef struct backend_options {
  const char *kernels;               /* "auto" or a level by name */
  ms_numerics numerics;
  size_t threads;                    /* 0: one a physical core */
} backend_options;

typedef struct backend backend;
typedef struct backend_profile backend_profile;

struct backend {
  const char *name, *kernels;        /* "cpu"; the level chosen, "avx512" */
  ms_numerics numerics;
  backend_profile *profile;          /* profile.h */

  void (*close) (backend *be);       /* stops its threads; NULL members of a half-built one are allowed */
  /* Starts what computing needs (threads, OpenBLAS) unless it runs in this process already. */
  ms_status (*start) (backend *be, ms_error *err);
  ms_status (*set_threads) (backend *be, size_t threads, ms_error *err);   /* 0: one a physical core */
  size_t (*threads) (const backend *be);
  void (*use_threads) (backend *be, size_t threads);   /* of these, by the stages that follow; the others sleep */
  size_t (*scratch_bytes) (const backend *be);

  void *(*allocate) (backend *be, size_t bytes);                           /* zeroed; NULL: no memory */
  void (*release) (backend *be, void *buffer);                             /* NULL is allowed */
  ms_status (*upload) (backend *be, void *to, const void *from, size_t bytes, ms_error *err);
  ms_status (*download) (backend *be, void *to, const void *from, size_t bytes, ms_error *err);
  ms_status (*copy) (backend *be, void *to, const void *from, size_t bytes, ms_error *err);   /* both its own */

  /*
  ** Bytes of a stored row, or 0 when the numerics cannot store such a row. Indexer rows may lie side by side:
  ** a page of them holds a multiple of 16, and is copied and saved whole.
  */
  size_t (*kv_row_bytes) (const backend *be, size_t head, size_t rotated);
  size_t (*index_row_bytes) (const backend *be, size_t width);

  /* streams [rows, streams * width]: the token's embedding row, once a stream. */
  ms_status (*embed) (backend *be, const weight *embedding, const int32_t *tokens, size_t streams,
                      tensor *out, ms_error *err);

  /* mixed [rows, width], post [rows, streams], comb [rows, streams * streams] of the streams. */
  ms_status (*hc_pre) (backend *be, const hyper_connection *hc, const tensor *streams, tensor *mixed,
                       tensor *post, tensor *comb, ms_error *err);
  /* streams become post x result + comb^T x streams, in place. */
  ms_status (*hc_post) (backend *be, const tensor *result, const tensor *post, const tensor *comb,
                        tensor *streams, ms_error *err);
  ms_status (*hc_head) (backend *be, const hyper_connection *hc, const tensor *streams, tensor *mixed,
                        ms_error *err);

  /* out may be x. */
  ms_status (*rms_norm) (backend *be, const weight *gain, float eps, const tensor *x, tensor *out,
                         ms_error *err);
  /* Every head of `head` values normed by itself, without gain, in place. */
  ms_status (*head_norm) (backend *be, size_t head, float eps, tensor *x, ms_error *err);

  /* out = x W^T; in `reference` x is rounded to FP8 first and out to bf16. */
  ms_status (*linear) (backend *be, const weight *w, const tensor *x, tensor *out, ms_error *err);
  /* Group g of x [rows, groups * w->columns] by rows g * w->rows / groups .. of w; x is not rounded. */
  ms_status (*grouped_linear) (backend *be, const weight *w, size_t groups, const tensor *x, tensor *out,
                               ms_error *err);

  /* angles [rows, 2 * pairs]: cosines, then sines, of float32(position) * frequency. */
  ms_status (*rope_angles) (backend *be, const rope_table *rope, const int32_t *positions, tensor *angles,
                            ms_error *err);
  /* Rotates the last 2 * pairs values of every head, adjacent pairs, in place; inverse: by the negative. */
  ms_status (*rope) (backend *be, const tensor *angles, size_t head, tensor *x, ms_error *err);
  ms_status (*rope_inverse) (backend *be, const tensor *angles, size_t head, tensor *x, ms_error *err);

  /* Stores the rows of kv [rows, head] as window rows; the last `rotated` values are not quantised. */
  ms_status (*store_window) (backend *be, const segment_list *segments, size_t rotated, const tensor *kv,
                             ms_error *err);
  /* Stores raw rows of u [rows, model width] and every pooled row that the segments complete. */
  ms_status (*compress) (backend *be, const compressor *c, const segment_list *segments, const tensor *u,
                         ms_error *err);
  /*
  ** Stores the indexer's rows and chooses for every row the visible pooled rows of highest score (ties:
  ** lowest first). chosen [rows, top_k]: ascending, -1 behind the last.
  */
  ms_status (*select) (backend *be, const indexer *ix, const segment_list *segments, const tensor *u,
                       const tensor *latent, const tensor *angles, id_tensor *chosen, ms_error *err);
  /*
  ** q, out [rows, heads * head]. Keys and values: the window rows, then the pooled rows chosen (NULL: all
  ** that are visible), each in ascending order; the sink joins the denominator only.
  */
  ms_status (*sparse_attention) (backend *be, const attention_shape *shape, const segment_list *segments,
                                 size_t rotated, const tensor *q, const id_tensor *chosen, tensor *out,
                                 ms_error *err);

  /*
  ** chosen, weights [rows, top_k], by ascending expert id; -1 and 0 behind the last of a row whose policy
  ** takes fewer. policies [rows]: NULL where the router decides alone; NULL itself: for all rows.
  */
  ms_status (*route) (backend *be, const router *r, const int32_t *tokens, const route_policy *const *policies,
                      const tensor *u, id_tensor *chosen, tensor *weights, ms_error *err);
  /* out = shared expert + chosen experts (none where -1) times their weights, added in ascending id. */
  ms_status (*experts) (backend *be, const expert_set *set, const tensor *u, const id_tensor *chosen,
                        const tensor *weights, tensor *out, ms_error *err);

  /* Logits [rows, vocabulary], unrounded. */
  ms_status (*head) (backend *be, const weight *w, const tensor *x, tensor *logits, ms_error *err);
};

/*
** Opens the backend `name`, or with "auto" the first that can run here. MS_ENODEV names why it cannot;
** another never takes its place. Nothing is started.
*/
ms_status backend_open (const char *name, const backend_options *options, backend **out, ms_error *err);

#endif
