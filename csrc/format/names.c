/*
** Names are translated in two steps, each by tables: segments that V3-style files spell otherwise wherever
** they stand; then the start of what follows the block ("layers.3.") and expert ("ffn.experts.7."). Names of GGUF
** files share no part with these: there whole names, and whole rests of "blk.3.", are rows.
** Sources: specs/formats.md 2.2 (V3 aliases), 2.3 (transformers), 3.2 (GGUF).
*/
#include "names.h"

#include <stdio.h>
#include <string.h>

typedef struct alias { const char *stored, *official; } alias;

/* Whole segments between dots. */
static const alias segments[] = {
  { "self_attn", "attn" },
  { "mlp", "ffn" },
  { "weight_scale_inv", "scale" },
  { "e_score_correction_bias", "bias" },
};

/* One or more leading segments outside of blocks, after the renaming of segments. */
static const alias globals[] = {
  { "embed_tokens", "embed" },
  { "lm_head", "head" },
  { "hc_head.hc_fn", "hc_head_fn" },
  { "hc_head.hc_base", "hc_head_base" },
  { "hc_head.hc_scale", "hc_head_scale" },
};

static const alias of_block[] = {
  { "input_layernorm", "attn_norm" },
  { "post_attention_layernorm", "ffn_norm" },
  { "attn_hc.fn", "hc_attn_fn" },
  { "attn_hc.base", "hc_attn_base" },
  { "attn_hc.scale", "hc_attn_scale" },
  { "ffn_hc.fn", "hc_ffn_fn" },
  { "ffn_hc.base", "hc_ffn_base" },
  { "ffn_hc.scale", "hc_ffn_scale" },
  { "attn.q_a_proj", "attn.wq_a" },
  { "attn.q_a_norm", "attn.q_norm" },
  { "attn.q_b_proj", "attn.wq_b" },
  { "attn.kv_proj", "attn.wkv" },
  { "attn.o_a_proj", "attn.wo_a" },
  { "attn.o_b_proj", "attn.wo_b" },
  { "attn.sinks", "attn.attn_sink" },
  { "attn.compressor.kv_proj", "attn.compressor.wkv" },
  { "attn.compressor.gate_proj", "attn.compressor.wgate" },
  { "attn.compressor.position_bias", "attn.compressor.ape" },
  { "attn.compressor.kv_norm", "attn.compressor.norm" },
  { "attn.compressor.indexer.q_b_proj", "attn.indexer.wq_b" },
  { "attn.compressor.indexer.weights_proj", "attn.indexer.weights_proj" },
  { "attn.compressor.indexer.scorer.weights_proj", "attn.indexer.weights_proj" },
  { "attn.compressor.indexer.kv_proj", "attn.indexer.compressor.wkv" },
  { "attn.compressor.indexer.gate_proj", "attn.indexer.compressor.wgate" },
  { "attn.compressor.indexer.position_bias", "attn.indexer.compressor.ape" },
  { "attn.compressor.indexer.kv_norm", "attn.indexer.compressor.norm" },
  { "ffn.shared_experts.gate_proj", "ffn.shared_experts.w1" },
  { "ffn.shared_experts.up_proj", "ffn.shared_experts.w3" },
  { "ffn.shared_experts.down_proj", "ffn.shared_experts.w2" },
};

static const alias of_expert[] = {
  { "gate_proj", "w1" },
  { "up_proj", "w3" },
  { "down_proj", "w2" },
};

/* transformers keeps experts as bare parameters, so their scales have no dot. Gate rows come first. */
static const fused_tensor fused_tensors[] = {
  { "ffn.experts.gate_up_proj", "weight", 2, { "w1", "w3" } },
  { "ffn.experts.gate_up_proj.weight", "weight", 2, { "w1", "w3" } },
  { "ffn.experts.gate_up_proj_scale_inv", "scale", 2, { "w1", "w3" } },
  { "ffn.experts.gate_up_proj.scale", "scale", 2, { "w1", "w3" } },
  { "ffn.experts.down_proj", "weight", 1, { "w2" } },
  { "ffn.experts.down_proj.weight", "weight", 1, { "w2" } },
  { "ffn.experts.down_proj_scale_inv", "scale", 1, { "w2" } },
  { "ffn.experts.down_proj.scale", "scale", 1, { "w2" } },
};

/* GGUF, less ".weight": most files give it to every tensor, some to those only that have it in the official name. */
static const alias gguf_globals[] = {
  { "token_embd", "embed.weight" },
  { "output", "head.weight" },
  { "output_norm", "norm.weight" },
  { "output_hc_fn", "hc_head_fn" },
  { "output_hc_base", "hc_head_base" },
  { "output_hc_scale", "hc_head_scale" },
  { "hc_head_fn", "hc_head_fn" },
  { "hc_head_base", "hc_head_base" },
  { "hc_head_scale", "hc_head_scale" },
};

/* Below "blk.N.". What follows a blank line are other spellings, which ik_llama.cpp reads too. */
static const alias gguf_of_block[] = {
  { "hc_attn_fn", "hc_attn_fn" },
  { "hc_attn_base", "hc_attn_base" },
  { "hc_attn_scale", "hc_attn_scale" },
  { "hc_ffn_fn", "hc_ffn_fn" },
  { "hc_ffn_base", "hc_ffn_base" },
  { "hc_ffn_scale", "hc_ffn_scale" },
  { "attn_norm", "attn_norm.weight" },
  { "ffn_norm", "ffn_norm.weight" },
  { "attn_q_a", "attn.wq_a.weight" },
  { "attn_q_a_norm", "attn.q_norm.weight" },
  { "attn_q_b", "attn.wq_b.weight" },
  { "attn_kv", "attn.wkv.weight" },
  { "attn_kv_a_norm", "attn.kv_norm.weight" },
  { "attn_output_a", "attn.wo_a.weight" },
  { "attn_output_b", "attn.wo_b.weight" },
  { "attn_sinks", "attn.attn_sink" },
  { "attn_compressor_kv", "attn.compressor.wkv.weight" },
  { "attn_compressor_gate", "attn.compressor.wgate.weight" },
  { "attn_compressor_ape", "attn.compressor.ape" },
  { "attn_compressor_norm", "attn.compressor.norm.weight" },
  { "indexer.attn_q_b", "attn.indexer.wq_b.weight" },
  { "indexer.proj", "attn.indexer.weights_proj.weight" },
  { "indexer_compressor_kv", "attn.indexer.compressor.wkv.weight" },
  { "indexer_compressor_gate", "attn.indexer.compressor.wgate.weight" },
  { "indexer_compressor_ape", "attn.indexer.compressor.ape" },
  { "indexer_compressor_norm", "attn.indexer.compressor.norm.weight" },
  { "ffn_gate_inp", "ffn.gate.weight" },
  { "exp_probs_b.bias", "ffn.gate.bias" },
  { "ffn_gate_tid2eid", "ffn.gate.tid2eid" },
  { "ffn_gate_shexp", "ffn.shared_experts.w1.weight" },
  { "ffn_up_shexp", "ffn.shared_experts.w3.weight" },
  { "ffn_down_shexp", "ffn.shared_experts.w2.weight" },

  { "attn_kv_latent", "attn.wkv.weight" },
  { "attn_compress_kv", "attn.compressor.wkv.weight" },
  { "attn_compress_gate", "attn.compressor.wgate.weight" },
  { "attn_compress_ape", "attn.compressor.ape" },
  { "attn_compress_norm", "attn.compressor.norm.weight" },
  { "indexer.compress_kv", "attn.indexer.compressor.wkv.weight" },
  { "indexer.compress_gate", "attn.indexer.compressor.wgate.weight" },
  { "indexer.compress_ape", "attn.indexer.compressor.ape" },
  { "indexer.compress_norm", "attn.indexer.compressor.norm.weight" },
  { "exp_probs_b", "ffn.gate.bias" },
};

static const fused_tensor gguf_fused[] = {
  { "ffn_gate_exps", "weight", 1, { "w1" } },
  { "ffn_up_exps", "weight", 1, { "w3" } },
  { "ffn_down_exps", "weight", 1, { "w2" } },
};

#define ROWS(table) (sizeof (table) / sizeof *(table))

static ms_status fail_long (const char *stored, ms_error *err) {
  return fail(err, MS_EFORMAT, "tensor '%.100s...': its official name is longer than %d bytes", stored,
              NAME_LIMIT - 1);
}

/* `from` is the start of `name` and ends where a segment ends. */
static bool starts_with (const char *name, const char *from) {
  size_t length = strlen(from);
  return strncmp(name, from, length) == 0 && (name[length] == '.' || name[length] == '\0');
}

static const alias *alias_of (const char *name, const alias *table, size_t rows) {
  for (size_t i = 0; i < rows; i++)
    if (starts_with(name, table[i].stored)) return &table[i];
  return NULL;
}

/* Appends to a name under construction; false when it does not fit. */
static bool append (char *out, size_t *used, const char *text, size_t bytes) {
  if (bytes >= NAME_LIMIT - *used) return false;
  memcpy(out + *used, text, bytes);
  *used += bytes;
  out[*used] = '\0';
  return true;
}

/* Drops "model." and renames single segments. */
static bool rename_segments (const char *stored, char *out) {
  size_t used = 0;
  out[0] = '\0';
  if (strncmp(stored, "model.", 6) == 0) stored += 6;
  for (;;) {
    size_t length = strcspn(stored, ".");
    const alias *row = alias_of(stored, segments, ROWS(segments));
    const char *text = row == NULL ? stored : row->official;
    if (!append(out, &used, text, row == NULL ? length : strlen(text))) return false;
    stored += length;
    if (*stored == '\0') return true;
    if (!append(out, &used, ".", 1)) return false;
    stored++;
  }
}

/* The bytes of "WORD.DIGITS." at the start of name, 0 if it does not start so. */
static size_t numbered (const char *name, const char *word) {
  if (!starts_with(name, word)) return 0;
  size_t length = strlen(word) + (name[strlen(word)] == '.');
  size_t digits = strspn(name + length, "0123456789");
  return digits != 0 && name[length + digits] == '.' ? length + digits + 1 : 0;
}

/* Bytes of `name` before a ".weight" at its end. */
static size_t stem_of (const char *name) {
  size_t length = strlen(name), tail = strlen(".weight");
  return length > tail && strcmp(name + length - tail, ".weight") == 0 ? length - tail : length;
}

static bool is_stem (const char *name, const char *stem) {
  return strlen(stem) == stem_of(name) && strncmp(name, stem, strlen(stem)) == 0;
}

static const char *official_of_stem (const char *name, const alias *table, size_t rows) {
  for (size_t i = 0; i < rows; i++)
    if (is_stem(name, table[i].stored)) return table[i].official;
  return NULL;
}

/* False, and *out is left alone, when the name is none of a GGUF file. */
static bool translate_gguf (const char *stored, tensor_name *out) {
  size_t block = numbered(stored, "blk"), used = 0;
  const char *rest = stored + block, *official = NULL;
  const fused_tensor *fused = NULL;
  for (size_t i = 0; block != 0 && i < ROWS(gguf_fused); i++)
    if (is_stem(rest, gguf_fused[i].stored)) fused = &gguf_fused[i];
  if (block != 0) official = official_of_stem(rest, gguf_of_block, ROWS(gguf_of_block));
  else official = official_of_stem(rest, gguf_globals, ROWS(gguf_globals));
  if (official == NULL && fused == NULL && block == 0) return false;

  char name[NAME_LIMIT];
  bool fits = block == 0 || (append(name, &used, "layers.", 7) && append(name, &used, stored + 4, block - 4));
  if (fused == NULL) {
    if (official == NULL) official = rest;             /* as in "blk.43.nextn.enorm.weight" */
    fits = fits && append(name, &used, official, strlen(official));
  }
  if (!fits) return false;
  memcpy(out->official, name, used + 1);
  out->fused = fused;
  return true;
}

ms_status name_translate (const char *stored, tensor_name *out, ms_error *err) {
  char name[NAME_LIMIT];
  size_t used = 0;
  out->fused = NULL;
  out->official[0] = '\0';
  if (translate_gguf(stored, out)) return MS_OK;
  if (!rename_segments(stored, name)) return fail_long(stored, err);

  size_t block = numbered(name, "layers");
  if (block == 0) block = numbered(name, "mtp");
  for (size_t i = 0; block != 0 && i < ROWS(fused_tensors); i++)
    if (strcmp(name + block, fused_tensors[i].stored) == 0) {
      out->fused = &fused_tensors[i];
      append(out->official, &used, name, block);
      return MS_OK;
    }
  size_t expert = block == 0 ? 0 : numbered(name + block, "ffn.experts");
  const char *rest = name + block + expert;
  const alias *row = expert != 0 ? alias_of(rest, of_expert, ROWS(of_expert))
                   : block != 0 ? alias_of(rest, of_block, ROWS(of_block))
                   : alias_of(rest, globals, ROWS(globals));
  bool fits = append(out->official, &used, name, block + expert);
  if (row != NULL) {
    fits = fits && append(out->official, &used, row->official, strlen(row->official));
    rest += strlen(row->stored);
  }
  if (!fits || !append(out->official, &used, rest, strlen(rest))) return fail_long(stored, err);
  return MS_OK;
}

ms_status name_of_part (const tensor_name *fused, size_t part, size_t expert, char out[NAME_LIMIT],
                        ms_error *err) {
  int length = snprintf(out, NAME_LIMIT, "%sffn.experts.%zu.%s.%s", fused->official, expert,
                        fused->fused->parts[part], fused->fused->leaf);
  return length < 0 || length >= NAME_LIMIT ? fail_long(fused->official, err) : MS_OK;
}

/* {== Names of GGUF files ======================================================================== */

/* The first row is the usual spelling. */
static const char *stem_of_official (const char *official, const alias *table, size_t rows) {
  for (size_t i = 0; i < rows; i++)
    if (strcmp(official, table[i].official) == 0) return table[i].stored;
  return NULL;
}

/* `rest`: "w1.weight", below the expert's number. */
static const char *stem_of_fused (const char *rest) {
  for (size_t i = 0; i < ROWS(gguf_fused); i++)
    if (starts_with(rest, gguf_fused[i].parts[0]) && strcmp(rest + strlen(gguf_fused[i].parts[0]), ".weight") == 0)
      return gguf_fused[i].stored;
  return NULL;
}

bool name_for_gguf (const char *official, char out[NAME_LIMIT]) {
  const size_t block = numbered(official, "layers");
  const char *rest = official + block, *stem;
  const size_t expert = block == 0 ? 0 : numbered(rest, "ffn.experts");
  if (expert != 0) stem = stem_of_fused(rest + expert);
  else if (block != 0) stem = stem_of_official(rest, gguf_of_block, ROWS(gguf_of_block));
  else stem = stem_of_official(rest, gguf_globals, ROWS(gguf_globals));
  if (stem == NULL) return false;
  const char *leaf = strchr(stem, '.') != NULL && strcmp(strrchr(stem, '.'), ".bias") == 0 ? "" : ".weight";
  int length = block == 0 ? snprintf(out, NAME_LIMIT, "%s%s", stem, leaf)
                          : snprintf(out, NAME_LIMIT, "blk.%.*s%s%s", (int)(block - 7), official + 7, stem, leaf);
  return length > 0 && length < NAME_LIMIT;
}
