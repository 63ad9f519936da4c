/*
** What the two readers of a configuration share: the limits of its values, the rows that name where a value goes, and
** the checks that involve two of them. The limits are no model's: they keep a hostile file's products far from 2^64.
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

#define SIZE(key, field, low, high) { key, offsetof(model_config, field), low, high }
#define NUMBER(key, type, field, low, high) { key, offsetof(type, field), low, high }
#define ROWS(table) (sizeof (table) / sizeof *(table))

/* An empty configuration of the source that spells its keys so; what a source need not state is neutral. */
void model_config_begin (model_config *config, const config_keys *keys);
/* Sets `compresses` and `indexes` from the ratios. */
void model_config_count_ratios (model_config *config);
/* MS_EFORMAT or MS_EUNSUPPORTED: values that contradict each other, by the source's keys. */
ms_status model_config_check (const char *path, const model_config *config, ms_error *err);

/* A GGUF file's key/values; the tensors say whether the last blocks are layers (specs/formats.md 3.3). */
ms_status model_config_read_metadata (const checkpoint *files, model_config *config, ms_error *err);

#endif
