/*
** Each output by its kind of work. Memory: a wave of bands, as many as there are threads and as fit WAVE_BYTES; what
** has been read of the source is given back, so that pages of the files do not pile up in the process.
*/
#include "stream.h"

#include <string.h>

#include "../base/checked.h"
#include "../base/memory.h"
#include "../compute/cpu/cpu.h"
#include "encode.h"

enum { COPY_BYTES = 8 << 20, WAVE_BYTES = 256 << 20, ID_COUNT = 1 << 16 };

/* One band of rows on its way. Buffers are made for the largest and kept. */
typedef struct band_job {
  weight from;                   /* the source's whole matrix */
  const stored_tensor *stored;
  encoded_band band;
  encoded_size size;
  float *values; size_t values_bytes;
  uint8_t *codes; size_t codes_bytes;              /* data, then scales */
  ms_status status;
  ms_error error;
} band_job;

/* {== Bytes as they are ========================================================================== */

static ms_status copy (stream *s, const output *o, ms_error *err) {
  for (size_t i = 0; i < o->count; i++) {
    const stored_tensor *t = o->sources[i];
    for (size_t at = 0; at < t->bytes;) {
      const size_t count = t->bytes - at < COPY_BYTES ? t->bytes - at : COPY_BYTES;
      TRY(target_write(s->to, 0, t->data + at, count, err));
      checkpoint_forget(s->m->files, t->data + at, count);
      at += count;
    }
  }
  return target_finish(s->to, 1, err);
}

/* {== Ids of experts ============================================================================= */

/* Their range was checked when the model was opened: they fit both widths. */
static ms_status convert_ids (stream *s, const output *o, ms_error *err) {
  const stored_tensor *t = o->sources[0];
  const size_t from = tensor_types[t->type].block_bytes, to = tensor_types[o->type].block_bytes;
  const size_t count = t->bytes / from;
  const expert_table table = { .ids = t->data, .id_bytes = from };
  uint8_t *out = memory_new(ID_COUNT, sizeof(int64_t));
  if (out == NULL) return fail_memory(err, ID_COUNT * sizeof(int64_t), "ids");
  ms_status status = MS_OK;
  for (size_t at = 0; at < count && status == MS_OK;) {
    const size_t some = count - at < ID_COUNT ? count - at : ID_COUNT;
    for (size_t i = 0; i < some; i++) {
      const uint64_t id = (uint64_t)expert_table_id(&table, at + i);
      for (size_t byte = 0; byte < to; byte++) out[i * to + byte] = (uint8_t)(id >> 8 * byte);
    }
    status = target_write(s->to, 0, out, some * to, err);
    at += some;
  }
  memory_free(out);
  return status == MS_OK ? target_finish(s->to, 1, err) : status;
}

/* {== Bands ====================================================================================== */

/* Bytes of a row's codes as the source stores them. */
static size_t row_bytes (const band_job *job) {
  return job->stored->bytes / job->from.rows;
}

static bool is_fp4_and_mxfp4 (weight_encoding a, weight_encoding b) {
  return (a == WEIGHT_FP4 && b == WEIGHT_MXFP4) || (a == WEIGHT_MXFP4 && b == WEIGHT_FP4);
}

/* The band's rows of a source in blocks of 32 or codes with a scale for 32. */
static weight rows_of_band (const band_job *job) {
  weight rows = job->from;
  rows.data += job->band.first_row * row_bytes(job);
  if (rows.scales != NULL) rows.scales += job->band.first_row * (rows.columns / rows.scale_columns);
  rows.rows = job->band.rows;
  return rows;
}

static void encode_band (void *context, size_t i, size_t worker) {
  band_job *job = (band_job *)context + i;
  (void)worker;
  if (is_fp4_and_mxfp4(job->from.encoding, job->band.encoding)) {
    const weight rows = rows_of_band(job);
    job->status = encode_repack(&job->band, &rows, &job->error);
    return;
  }
  for (size_t row = 0; row < job->band.rows; row++)
    cpu_weight_row(&job->from, job->band.first_row + row, job->values + row * job->from.columns);
  job->status = encode_values(&job->band, job->values, &job->error);
}

/* A buffer of at least `bytes`; what it held is lost. */
static ms_status grow (void **buffer, size_t *have, size_t bytes, ms_error *err) {
  if (*have >= bytes) return MS_OK;
  memory_free(*buffer);
  *have = 0;
  *buffer = memory_new(bytes, 1);
  if (*buffer == NULL) return fail_memory(err, bytes, "a band of rows");
  *have = bytes;
  return MS_OK;
}

/* Band `index` of the output's, counted through all of its matrices. */
static ms_status prepare (stream *s, const output *o, size_t index, size_t bands, band_job *job, ms_error *err) {
  size_t values;
  job->stored = o->sources[index / bands];
  job->status = MS_OK;
  TRY(model_weight(s->m, job->stored, &job->from, err));
  TRY(cpu_check_weight(&job->from, err));
  const size_t first = index % bands * ENCODE_BAND_ROWS, left = job->from.rows - first;
  job->band = (encoded_band){ .encoding = plan_encoding(o->type), .name = job->stored->name, .first_row = first,
                              .rows = left < ENCODE_BAND_ROWS ? left : ENCODE_BAND_ROWS,
                              .columns = job->from.columns };
  TRY(encode_size(job->band.encoding, job->band.name, job->band.rows, job->band.columns, &job->size, err));
  if (!checked_mul(job->band.rows * sizeof(float), job->band.columns, &values))
    return fail_memory(err, SIZE_MAX, job->stored->name);
  void *buffer = job->values;
  ms_status status = grow(&buffer, &job->values_bytes, values, err);
  job->values = buffer;
  if (status != MS_OK) return status;
  buffer = job->codes;
  status = grow(&buffer, &job->codes_bytes, job->size.data + job->size.scales, err);
  job->codes = buffer;
  job->band.data = job->codes;
  job->band.scales = job->size.scales == 0 ? NULL : job->codes + job->size.data;
  return status;
}

static ms_status write_band (stream *s, const band_job *job, ms_error *err) {
  if (job->status != MS_OK)
    return fail(err, job->status, "%.200s: %.300s", job->stored->file, job->error.message);
  TRY(target_write(s->to, 0, job->band.data, job->size.data, err));
  if (job->size.scales != 0) TRY(target_write(s->to, 1, job->band.scales, job->size.scales, err));
  checkpoint_forget(s->m->files, job->from.data + job->band.first_row * row_bytes(job),
                    job->band.rows * row_bytes(job));
  return MS_OK;
}

/* As many bands at once as there are threads, and fewer of very long rows. */
static size_t wave_of (const stream *s, const output *o) {
  const size_t columns = o->shape[o->rank - 1] * (o->type == TENSOR_I8 ? 2 : 1);
  const size_t fit = WAVE_BYTES / (ENCODE_BAND_ROWS * 2 * sizeof(float)) / (columns == 0 ? 1 : columns);
  return fit == 0 ? 1 : fit < s->band_count ? fit : s->band_count;
}

static ms_status convert_values (stream *s, const output *o, ms_error *err) {
  const size_t rows = o->rank == 1 ? 1 : o->shape[o->rank - 2], wave = wave_of(s, o);
  const size_t bands = blocks_of(rows, ENCODE_BAND_ROWS), total = o->count * bands;
  for (size_t first = 0; first < total; first += wave) {
    const size_t count = total - first < wave ? total - first : wave;
    for (size_t i = 0; i < count; i++) TRY(prepare(s, o, first + i, bands, &s->bands[i], err));
    cpu_pool_run(s->pool, count, encode_band, s->bands);
    for (size_t i = 0; i < count; i++) TRY(write_band(s, &s->bands[i], err));
  }
  return target_finish(s->to, type_has_scales(o->type) ? 2 : 1, err);
}

/* {== The whole ================================================================================== */

ms_status stream_open (model *m, target *to, size_t threads, stream *s, ms_error *err) {
  *s = (stream){ .m = m, .to = to };
  TRY(cpu_pool_open(threads, &s->pool, err));
  TRY(cpu_pool_start(s->pool, err));
  s->band_count = cpu_pool_threads(s->pool);
  s->bands = memory_new(s->band_count, sizeof *s->bands);
  return s->bands == NULL ? fail_memory(err, s->band_count * sizeof *s->bands, "bands") : MS_OK;
}

ms_status stream_run (stream *s, ms_error *err) {
  const plan *p = s->to->p;
  while (s->to->next < p->count) {
    const output *o = &p->outputs[s->to->next];
    TRY(o->work == WORK_COPY ? copy(s, o, err) : o->work == WORK_IDS ? convert_ids(s, o, err)
                                                                     : convert_values(s, o, err));
  }
  return MS_OK;
}

void stream_close (stream *s) {
  for (size_t i = 0; s->bands != NULL && i < s->band_count; i++) {
    memory_free(s->bands[i].values);
    memory_free(s->bands[i].codes);
  }
  memory_free(s->bands);
  cpu_pool_close(s->pool);
  *s = (stream){ 0 };
}
