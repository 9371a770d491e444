/*
 * vector.c: records as rows of numbers, which models take.
 */
#include "cell.h"
#include "features.h"

#include <math.h>

struct nf_vector {
  uint32_t count;      /* of columns */
  uint32_t statistics; /* where that section of a flow begins, 0: there is none */
  struct nf_column columns[];
};

struct nf_vector *nf_vector_new(const struct nf_column *columns, uint32_t count, uint32_t statistics, char *error) {
  if (!nf_columns_check(columns, count, error)) return NULL;
  struct nf_vector *v = calloc(1, sizeof *v + count * sizeof *columns);
  if (!v) {
    nf_fail(error, "out of memory for a row of features");
    return NULL;
  }
  v->statistics = statistics;
  for (; v->count < count; v->count++) {
    const struct nf_column *column = &columns[v->count];
    if (!nf_number_size(column->type)) {
      nf_fail(error, "column \"%.100s\": expected a number", column->name);
      free(v);
      return NULL;
    }
    v->columns[v->count] = *column;
  }
  return v;
}

void nf_vector_free(struct nf_vector *v) { free(v); }

static double number_of(int type, const char *value) {
  double real;
  float single;
  switch (type) {
  case NF_TYPE_DOUBLE: memcpy(&real, value, sizeof real); return real;
  case NF_TYPE_FLOAT: memcpy(&single, value, sizeof single); return (double)single;
  case NF_TYPE_UINT64: return (double)(uint64_t)nf_cell_integer(type, value);
  default: return (double)nf_cell_integer(type, value);
  }
}

/* A live flow's statistics as its end would leave them. */
static void finish_statistics(const struct nf_flow *flow, const void *live, struct nf_statistics *out) {
  memcpy(out, live, NF_SCOPES * sizeof *out);
  for (int i = 0; i < NF_SCOPES; i++) nf_statistics_finish(&out[i], flow->scope[i].packets);
}

void nf_vector_read(const struct nf_vector *v, const struct nf_flow *record, double *row) {
  struct nf_statistics finished[NF_SCOPES];
  const bool is_live = v->statistics && record->end_reason == NF_END_LIVE;
  if (is_live) finish_statistics(record, (const char *)record + v->statistics, finished);
  for (uint32_t i = 0; i < v->count; i++) {
    const struct nf_column *column = &v->columns[i];
    const char *value = nf_cell_value(column, record);
    const uint32_t within = column->offset - v->statistics; /* of the section, or very large */
    if (is_live && within < sizeof finished) value = (const char *)finished + within;
    const uint32_t size = nf_number_size(column->type);
    if (nf_cell_may_be_none(column) && nf_cell_is_none(column, value)) {
      *row++ = (double)NAN;
      continue;
    }
    for (uint32_t left = column->is_array ? column->length : 1; left; left--, value += size) {
      *row++ = number_of(column->type, value);
    }
  }
}
