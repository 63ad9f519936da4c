/*
** From the model's tensors to those of the target. Types are decided here alone; gguf_file.c and safetensors_file.c
** decide places and headers.
*/
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "../base/checked.h"
#include "../base/memory.h"
#include "../format/names.h"
#include "encode.h"
#include "layout.h"

#define ROWS(table) (sizeof (table) / sizeof *(table))

/* {== Types that can be written ================================================================== */

typedef struct type_row {
  const char *name;
  tensor_type type;
  weight_encoding encoding;
  bool gguf, safetensors;
} type_row;

static const type_row types[] = {
  { "f32", TENSOR_F32, WEIGHT_F32, true, true },
  { "bf16", TENSOR_BF16, WEIGHT_BF16, true, true },
  { "f16", TENSOR_F16, WEIGHT_F16, true, true },
  { "fp8", TENSOR_F8_E4M3, WEIGHT_FP8, false, true },
  { "fp4", TENSOR_I8, WEIGHT_FP4, false, true },
  { "q8_0", TENSOR_Q8_0, WEIGHT_Q8_0, true, false },
  { "q4_k", TENSOR_Q4_K, WEIGHT_Q4_K, true, false },
  { "iq4_nl", TENSOR_IQ4_NL, WEIGHT_IQ4_NL, true, false },
  { "mxfp4", TENSOR_MXFP4, WEIGHT_MXFP4, true, false },
};

weight_encoding plan_encoding (tensor_type type) {
  for (size_t i = 0; i < ROWS(types); i++)
    if (types[i].type == type) return types[i].encoding;
  return WEIGHT_ENCODINGS;
}

static bool fits (const type_row *row, container target) {
  return target == CONTAINER_GGUF ? row->gguf : row->safetensors;
}

static ms_status find_type (const char *option, const char *name, container target, tensor_type *type, ms_error *err) {
  char known[96] = "";
  size_t used = 0;
  for (size_t i = 0; i < ROWS(types); i++) {
    if (!fits(&types[i], target) || !encode_writes(types[i].encoding)) continue;
    if (strcasecmp(types[i].name, name) == 0) {
      *type = types[i].type;
      return MS_OK;
    }
    if (used < sizeof known)
      used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used == 0 ? "" : ", ", types[i].name);
  }
  return fail(err, MS_EINVAL, "%s: '%.40s' is no type that %s files are written with: %s", option, name,
              target == CONTAINER_GGUF ? "GGUF" : "safetensors", known);
}

/* {== Classes ==================================================================================== */

static const char *const attention_matrices[] = {
  "attn.wq_a.weight", "attn.wq_b.weight", "attn.wkv.weight", "attn.wo_a.weight", "attn.wo_b.weight",
  "attn.indexer.wq_b.weight"
};

static const char *const compressor_matrices[] = {
  "attn.compressor.wkv.weight", "attn.compressor.wgate.weight", "attn.indexer.weights_proj.weight",
  "attn.indexer.compressor.wkv.weight", "attn.indexer.compressor.wgate.weight"
};

/* What stands behind "layers.N.", or the whole name. */
static const char *rest_of (const char *official) {
  if (strncmp(official, "layers.", 7) != 0) return official;
  const char *dot = strchr(official + 7, '.');
  return dot == NULL ? official : dot + 1;
}

static tensor_class class_of (const char *official) {
  const char *rest = rest_of(official);
  if (strncmp(rest, "ffn.experts.", 12) == 0) return CLASS_EXPERTS;
  if (strncmp(rest, "ffn.shared_experts.", 19) == 0) return CLASS_SHARED;
  if (strcmp(rest, "head.weight") == 0) return CLASS_HEAD;
  if (strcmp(rest, "embed.weight") == 0) return CLASS_EMBEDDING;
  for (size_t i = 0; i < ROWS(attention_matrices); i++)
    if (strcmp(rest, attention_matrices[i]) == 0) return CLASS_ATTENTION;
  for (size_t i = 0; i < ROWS(compressor_matrices); i++)
    if (strcmp(rest, compressor_matrices[i]) == 0) return CLASS_COMPRESSORS;
  return CLASS_REST;
}

/* {== The type of one tensor ===================================================================== */

typedef struct planner {
  model *m;
  plan *p;
  bool chosen[CLASS_REST];
  tensor_type types[CLASS_REST];     /* of the chosen classes */
  ms_error *err;
} planner;

static const char *const class_names[CLASS_REST] = {
  "experts", "attention", "compressors", "shared", "head", "embedding"
};

static bool is_ids (tensor_type type) {
  return type == TENSOR_I64 || type == TENSOR_I32;
}

/* Vectors and what adds to float32 in llama.cpp: small, and float32 in the files it writes. */
static bool is_plain_in_gguf (const stored_tensor *t) {
  const char *rest = rest_of(t->name);
  return t->rank == 1 || strncmp(rest, "hc_", 3) == 0 || strcmp(rest + strlen(rest) - 4, ".ape") == 0;
}

/* The type that holds the same numbers in the target's container. */
static tensor_type same_numbers (const planner *pl, const stored_tensor *t) {
  if (pl->p->container == CONTAINER_GGUF) {
    if (is_ids(t->type)) return TENSOR_I32;
    if (t->type == TENSOR_F8_E4M3) return TENSOR_BF16;
    if (t->type == TENSOR_I8) return TENSOR_MXFP4;
    return checkpoint_metadata(pl->m->files) == NULL && is_plain_in_gguf(t) ? TENSOR_F32 : t->type;
  }
  if (is_ids(t->type)) return TENSOR_I64;
  if (t->type == TENSOR_MXFP4) return TENSOR_I8;
  return (int)t->type >= TENSOR_SAFETENSORS_COUNT ? TENSOR_F32 : t->type;
}

static ms_status fail_blocks (const planner *pl, const stored_tensor *t, size_t columns, size_t block,
                              tensor_class class, ms_error *err) {
  return fail(err, MS_EINVAL, "%s: tensor %s has rows of %zu values, no whole number of blocks of %zu: give '%s' "
              "another type, such as %s", t->file, t->name, columns, block, class_names[class],
              block > 32 && columns % 32 == 0 && pl->p->container == CONTAINER_GGUF ? "q8_0 or iq4_nl" : "bf16");
}

/* `columns` are values, whatever the source stores. Blocks that nobody chose are the source's, or hold one value. */
static ms_status choose_type (const planner *pl, const stored_tensor *t, tensor_class class, size_t columns,
                              tensor_type *type) {
  const bool is_chosen = class != CLASS_REST && pl->chosen[class];
  *type = is_chosen ? pl->types[class] : same_numbers(pl, t);
  if (!is_chosen) return MS_OK;
  const size_t block = *type == TENSOR_I8 ? 32 : tensor_types[*type].block_values;
  return columns % block == 0 ? MS_OK : fail_blocks(pl, t, columns, block, class, pl->err);
}

/* {== Outputs ==================================================================================== */

static ms_status add_output (planner *pl, const char *name, const output *made) {
  plan *p = pl->p;
  const stored_tensor named = { .name = name }, *present;
  if (p->count == p->capacity) {
    size_t capacity = p->capacity == 0 ? 256 : 2 * p->capacity;
    output *outputs = memory_resize(p->outputs, capacity, sizeof *outputs);
    if (outputs == NULL) return fail_memory(pl->err, capacity * sizeof *outputs, "the list of tensors");
    p->outputs = outputs;
    p->capacity = capacity;
  }
  TRY(tensor_table_add(&p->names, &named, &present, pl->err));
  output *o = &p->outputs[p->count];
  *o = *made;
  o->name = p->names.tensors[p->names.names.count - 1].name;
  o->order = p->count++;
  size_t bytes;
  if (!tensor_type_bytes(o->type, o->rank, o->shape, &bytes))
    return fail(pl->err, MS_EUNSUPPORTED, "tensor %s: has more values than memory can number", name);
  o->bytes = bytes;
  p->bytes += bytes;
  return MS_OK;
}

/* The scales of FP8 and FP4 codes, as a tensor of its own behind them. */
static ms_status add_scales (planner *pl, const char *weight_name, const output *codes, const stored_tensor *source,
                             size_t columns) {
  char name[NAME_LIMIT];
  const size_t rows = codes->shape[0], *block = pl->p->form.block;
  output scales = { .type = TENSOR_F8_E8M0, .rank = 2, .count = 1, .work = WORK_SCALES };
  snprintf(name, sizeof name, "%.*sscale", (int)(strlen(weight_name) - strlen("weight")), weight_name);
  scales.shape[0] = codes->type == TENSOR_I8 ? rows : blocks_of(rows, block[0]);
  scales.shape[1] = codes->type == TENSOR_I8 ? columns / 32 : blocks_of(columns, block[1]);
  scales.sources = memory_new(1, sizeof *scales.sources);
  if (scales.sources == NULL) return fail_memory(pl->err, sizeof *scales.sources, "the list of tensors");
  scales.sources[0] = source;
  if (codes->work == WORK_COPY) {                    /* those of the source */
    scales.sources[0] = checkpoint_find(pl->m->files, name);
    scales.work = WORK_COPY;
  }
  ms_status status = add_output(pl, name, &scales);
  if (status != MS_OK) memory_free(scales.sources);
  return status;
}

static work work_of (const stored_tensor *t, tensor_type type) {
  if (t->type == type) return WORK_COPY;
  return is_ids(type) ? WORK_IDS : WORK_VALUES;
}

/* [rows, columns] of a matrix; of a vector [columns]. */
static void shape_of (const stored_tensor *t, size_t *rows, size_t *columns) {
  *rows = 1;
  for (size_t i = 0; i + 1 < t->rank; i++) *rows *= t->shape[i];
  *columns = (t->rank == 0 ? 1 : t->shape[t->rank - 1]) * (t->type == TENSOR_I8 ? 2 : 1);
}

/* A layer's experts have one type together. That of the first may change the others' numbers: somebody has to ask. */
static ms_status check_mixture (const planner *pl, const stored_tensor *first, const stored_tensor *other,
                                tensor_class class, work *how) {
  *how = WORK_VALUES;
  if (pl->chosen[class]) return MS_OK;
  return fail(pl->err, MS_EUNSUPPORTED, "%s: tensor %s is %s, %s is %s, but in the target they have one type: give one "
              "for '%s'", other->file, other->name, tensor_types[other->type].name, first->name,
              tensor_types[first->type].name, class_names[class]);
}

/* New FP8 codes have tiles of 128 x 128; a model states one size for all. */
static ms_status check_tiles (const planner *pl, const stored_tensor *t) {
  const size_t *block = pl->p->form.block;
  if (block[0] == 128 && block[1] == 128) return MS_OK;
  return fail(pl->err, MS_EUNSUPPORTED, "%s: tensor %s: fp8 is written with a scale for 128 x 128 values, the model "
              "has %zu x %zu: choose another type", t->file, t->name, block[0], block[1]);
}

/* The `count` matrices sources[] as one tensor; takes the list over. */
static ms_status add_tensor (planner *pl, const char *name, const char *official, const stored_tensor **sources,
                             size_t count) {
  const stored_tensor *t = sources[0];
  const tensor_class class = class_of(official);
  size_t rows, columns;
  output o = { .sources = sources, .count = count };
  shape_of(t, &rows, &columns);
  ms_status status = choose_type(pl, t, class, columns, &o.type);
  o.work = work_of(t, o.type);
  const size_t stored_columns = o.type == TENSOR_I8 ? columns / 2 : columns;
  o.rank = pl->p->container == CONTAINER_GGUF && class == CLASS_EXPERTS ? 3 : t->rank == 1 ? 1 : 2;
  if (o.rank == 3) memcpy(o.shape, (const size_t[]){ count, rows, stored_columns }, sizeof o.shape);
  else if (o.rank == 2) memcpy(o.shape, (const size_t[]){ rows, stored_columns }, 2 * sizeof *o.shape);
  else o.shape[0] = stored_columns;
  for (size_t i = 1; i < count && status == MS_OK; i++)
    if (sources[i]->type != t->type) status = check_mixture(pl, t, sources[i], class, &o.work);
  if (status == MS_OK && o.type == TENSOR_F8_E4M3 && o.work == WORK_VALUES) status = check_tiles(pl, t);
  if (status == MS_OK) status = add_output(pl, name, &o);
  if (status != MS_OK) {
    memory_free(sources);
    return status;
  }
  pl->p->form.fp8 = pl->p->form.fp8 || o.type == TENSOR_F8_E4M3;
  pl->p->form.fp4 = pl->p->form.fp4 || o.type == TENSOR_I8;
  return type_has_scales(o.type) ? add_scales(pl, name, &o, t, columns) : MS_OK;
}

/* {== The model's tensors ======================================================================== */

/* The matrices of one part of all experts of the layer that `first`, of expert 0, belongs to. */
static ms_status add_experts (planner *pl, const char *name, const stored_tensor *first) {
  const size_t count = pl->m->config.experts;
  const char *number = strstr(first->name, ".experts.0.");
  const stored_tensor **sources = memory_new(count, sizeof *sources);
  if (sources == NULL) return fail_memory(pl->err, count * sizeof *sources, "the list of experts");
  for (size_t i = 0; i < count; i++) {
    char official[NAME_LIMIT];
    snprintf(official, sizeof official, "%.*s.experts.%zu.%s", (int)(number - first->name), first->name, i,
             number + strlen(".experts.0."));
    sources[i] = checkpoint_find(pl->m->files, official);      /* the model has found them all */
  }
  return add_tensor(pl, name, first->name, sources, count);
}

static ms_status add_single (planner *pl, const char *name, const char *official, const stored_tensor *t) {
  const stored_tensor **sources = memory_new(1, sizeof *sources);
  if (sources == NULL) return fail_memory(pl->err, sizeof *sources, "the list of tensors");
  sources[0] = t;
  return add_tensor(pl, name, official, sources, 1);
}

static ms_status add_for_gguf (planner *pl, const stored_tensor *t) {
  char name[NAME_LIMIT];
  const bool is_expert = class_of(t->name) == CLASS_EXPERTS;
  if (is_expert && strstr(t->name, ".experts.0.") == NULL) return MS_OK;
  if (!name_for_gguf(t->name, name))
    return fail(pl->err, MS_EUNSUPPORTED, "%s: tensor %s has no name in GGUF files", t->file, t->name);
  return is_expert ? add_experts(pl, name, t) : add_single(pl, name, t->name, t);
}

/* Number of the layer; -1 of what is none. */
static long layer_of (const stored_tensor *t) {
  return strncmp(t->name, "layers.", 7) == 0 ? strtol(t->name + 7, NULL, 10) : -1;
}

typedef struct placed { const stored_tensor *tensor; long layer; } placed;

/* By layers; within one as the source has them. */
static int compare_layers (const void *left, const void *right) {
  const placed *a = left, *b = right;
  if (a->layer != b->layer) return a->layer < b->layer ? -1 : 1;
  return (a->tensor > b->tensor) - (a->tensor < b->tensor);
}

static ms_status add_all (planner *pl, const placed *list, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const stored_tensor *t = list[i].tensor;
    if (pl->p->container == CONTAINER_GGUF) TRY(add_for_gguf(pl, t));
    else TRY(add_single(pl, t->name, t->name, t));
  }
  const stored_tensor *embedding = checkpoint_find(pl->m->files, "embed.weight");
  if (!pl->m->config.tied_head || pl->p->container != CONTAINER_GGUF) return MS_OK;
  return add_single(pl, "output.weight", "head.weight", embedding);
}

/* Every tensor in use, less scales, which follow their weights. */
static ms_status add_used (planner *pl) {
  const checkpoint *files = pl->m->files;
  size_t count = 0;
  placed *list = memory_new(checkpoint_count(files), sizeof *list);
  if (list == NULL) return fail_memory(pl->err, checkpoint_count(files) * sizeof *list, "the list of tensors");
  for (size_t i = 0; i < checkpoint_count(files); i++) {
    const stored_tensor *t = checkpoint_at(files, i);
    if (pl->m->used[i] && t->type != TENSOR_F8_E8M0) list[count++] = (placed){ t, layer_of(t) };
  }
  qsort(list, count, sizeof *list, compare_layers);
  ms_status status = add_all(pl, list, count);
  memory_free(list);
  return status;
}

static ms_status read_choices (planner *pl, const ms_convert_options *options) {
  const char *const given[CLASS_REST] = { options->experts, options->attention, options->compressors,
                                          options->shared, options->head, options->embedding };
  for (size_t i = 0; i < CLASS_REST; i++) {
    pl->chosen[i] = given[i] != NULL;
    if (pl->chosen[i]) TRY(find_type(class_names[i], given[i], pl->p->container, &pl->types[i], pl->err));
  }
  return MS_OK;
}

/* {== The whole ================================================================================== */

static void hash_plan (plan *p, const checkpoint *files) {
  const uint64_t head[] = { p->container, p->count, checkpoint_identity(files) };
  p->hash = XXH64(head, sizeof head, XXH64(ms_version(), strlen(ms_version()), 0));
  for (size_t i = 0; i < p->count; i++) {
    const output *o = &p->outputs[i];
    const uint64_t place[] = { o->work, o->type, o->file, o->offset, o->bytes };
    p->hash = XXH64(o->name, strlen(o->name), p->hash);
    p->hash = XXH64(place, sizeof place, p->hash);
  }
  for (size_t i = 0; i < p->file_count; i++) p->hash = XXH64(p->files[i].header, p->files[i].header_bytes, p->hash);
  for (size_t i = 0; i < p->side_count; i++) p->hash = XXH64(p->sides[i].data, p->sides[i].bytes, p->hash);
}

ms_status plan_make (model *m, container target, const ms_convert_options *options, plan *out, ms_error *err) {
  planner pl = { .m = m, .p = out, .err = err };
  const size_t *block = m->config.weight_block;
  *out = (plan){ .container = target };
  out->form.block[0] = block[0] == 0 ? 128 : block[0];
  out->form.block[1] = block[1] == 0 ? 128 : block[1];
  TRY(read_choices(&pl, options));
  TRY(add_used(&pl));
  TRY(target == CONTAINER_GGUF ? layout_gguf(m, out, err) : layout_safetensors(m, options->shard_bytes, out, err));
  hash_plan(out, m->files);
  return MS_OK;
}

void plan_clear (plan *p) {
  for (size_t i = 0; i < p->count; i++) memory_free(p->outputs[i].sources);
  for (size_t i = 0; i < p->file_count; i++) {
    memory_free(p->files[i].name);
    memory_free(p->files[i].header);
  }
  for (size_t i = 0; i < p->side_count; i++) {
    memory_free(p->sides[i].name);
    memory_free(p->sides[i].data);
  }
  memory_free(p->outputs);
  memory_free(p->files);
  tensor_table_clear(&p->names);
  *p = (plan){ 0 };
}
