/*
 * values.c: a record as values one by one, for libraries that take them so: numbers as they are, everything else as the
 * text that CSV has, but arrays as JSON, which databases can take apart. Knows no library.
 */
#include "cell.h"

struct nf_values {
  struct nf_column *columns;
  uint32_t count;
  struct nf_value *values;
  char *texts; /* of the latest record, one behind the other */
};

/* Whether a column's values are numbers to whoever gets them. */
static bool is_number(const struct nf_column *column) { return !column->is_array && nf_number_size(column->type); }

struct nf_values *nf_values_new(const struct nf_column *columns, uint32_t count, char *error) {
  size_t room = 1;
  if (!nf_columns_check(columns, count, error)) return NULL;
  nf_require(count > 0); /* as checked: for analysers, which do not look there */
  for (uint32_t i = 0; i < count; i++) room += is_number(&columns[i]) ? 0 : nf_cell_bound(&columns[i]);
  struct nf_values *v = calloc(1, sizeof *v);
  if (v) {
    v->count = count;
    v->columns = calloc(count, sizeof *columns);
    v->values = calloc(count, sizeof *v->values);
    v->texts = malloc(room);
  }
  if (!v || !v->columns || !v->values || !v->texts) {
    nf_fail(error, "out of memory for an output's rows");
    nf_values_free(v);
    return NULL;
  }
  memcpy(v->columns, columns, count * sizeof *columns);
  return v;
}

void nf_values_free(struct nf_values *v) {
  if (!v) return;
  free(v->columns);
  free(v->values);
  free(v->texts);
  free(v);
}

static void set_number(struct nf_value *to, const struct nf_column *column, const char *value) {
  if (column->type == NF_TYPE_FLOAT) {
    float single;
    memcpy(&single, value, sizeof single);
    to->real = (double)single;
  } else if (column->type == NF_TYPE_DOUBLE) {
    memcpy(&to->real, value, sizeof to->real);
  } else {
    to->integer = nf_cell_integer(column->type, value);
    to->kind = NF_VALUE_INTEGER;
    return;
  }
  to->kind = NF_VALUE_REAL;
}

/* Lays the text down at `out`, and returns the first byte behind it. */
static char *set_text(struct nf_value *to, const struct nf_column *column, const struct nf_flow *record, char *out) {
  char *end = column->is_array ? nf_put_array(out, column, nf_cell_value(column, record), true, nf_put_json_number)
                               : nf_put_plain(out, column, record);
  to->text = out;
  to->size = (uint32_t)(end - out);
  to->kind = NF_VALUE_TEXT;
  return end;
}

const struct nf_value *nf_values_of(struct nf_values *v, const struct nf_flow *record) {
  char *out = v->texts;
  for (uint32_t i = 0; i < v->count; i++) {
    const struct nf_column *column = &v->columns[i];
    const char *value = nf_cell_value(column, record);
    if (nf_cell_may_be_none(column) && nf_cell_is_none(column, value)) v->values[i].kind = NF_VALUE_NONE;
    else if (is_number(column)) set_number(&v->values[i], column, value);
    else out = set_text(&v->values[i], column, record, out);
  }
  return v->values;
}
