/*
** What the two sources of a configuration have in common: tables that say where a key's value goes, which are read here
** and written by convert/, the limits of values, and the checks that involve two of them. The limits are no model's:
** they keep a hostile file's products far from 2^64.
*/
#ifndef model_config_source_h
#define model_config_source_h

#include "config.h"

enum {
  LAYER_LIMIT = 4096, WIDTH_LIMIT = 1 << 20, COUNT_LIMIT = 65536, STREAM_LIMIT = 64,
  VOCABULARY_LIMIT = 1 << 24,
  CONTEXT_LIMIT = 1 << 24        /* positions are float32 integers in the rotary angle: exact up to here */
};

typedef struct size_row { const char *key; size_t offset, low, high; } size_row;
typedef struct number_row { const char *key; size_t offset; double low, high; } number_row;
/* Of variants the forward pass computes one. */
typedef struct fixed_size { const char *key; size_t only; } fixed_size;
typedef struct fixed_switch { const char *key; bool only; } fixed_switch;
typedef struct fixed_text { const char *key, *only; } fixed_text;

typedef struct size_table { const size_row *rows; size_t count; } size_table;
typedef struct number_table { const number_row *rows; size_t count; } number_table;

#define GGUF_KEY(name) "deepseek4." name
#define SIZE(key, field, low, high) { key, offsetof(model_config, field), low, high }
#define NUMBER(key, field, low, high) { key, offsetof(model_config, field), low, high }
#define ROWS(rows) (sizeof (rows) / sizeof *(rows))
#define TABLE(rows) { rows, ROWS(rows) }

/* config.json, or a GGUF file's key/values. What one of them states in a way of its own stands in no table. */
typedef struct config_source {
  config_keys keys;
  size_table sizes, index_sizes;                     /* index_sizes: when a layer of ratio 4 has an indexer */
  number_table numbers, compress_numbers, yarn;      /* the last two: when a layer compresses */
  struct { const fixed_size *rows; size_t count; } fixed_sizes;
  struct { const fixed_switch *rows; size_t count; } fixed_switches;
  struct { const fixed_text *rows; size_t count; } fixed_texts;
} config_source;

extern const config_source config_in_json, config_in_gguf;

size_t model_config_size (const model_config *config, const size_row *row);
double model_config_number (const model_config *config, const number_row *row);

/* An empty configuration of the source that spells its keys so; what a source need not state is neutral. */
void model_config_begin (model_config *config, const config_keys *keys);
/* Sets `compresses` and `indexes` from the ratios. */
void model_config_count_ratios (model_config *config);
/* MS_EFORMAT or MS_EUNSUPPORTED: values that contradict each other, by the source's keys. */
ms_status model_config_check (const char *path, const model_config *config, ms_error *err);

/* A GGUF file's key/values; the tensors say whether the last blocks are layers (specs/formats.md 3.3). */
ms_status model_config_read_metadata (const checkpoint *files, model_config *config, ms_error *err);

#endif
