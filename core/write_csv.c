/*
 * write_csv.c: records as CSV (RFC 4180, with LF at line ends). Values look as NFStream prints them: numbers bare, True
 * and False, all else in double quotes, lists as Python's. Readers get the same values from it, whatever bytes the
 * traffic put into them.
 */
#include "rows.h"

static char *put_lead(char *out, const char *name, uint32_t index) {
  (void)name;
  if (index) *out++ = ',';
  return out;
}

/* RFC 4180, 2.7: a quote inside quotes is doubled. */
static char *escape(char *out, char character) {
  *out++ = character;
  if (character == '"') *out++ = '"';
  return out;
}

static char *put_name(char *out, const char *name) {
  if (!strpbrk(name, ",\"\r\n")) return stpcpy(out, name);
  *out++ = '"';
  out = nf_put_text(out, name, (uint32_t)strlen(name), escape);
  *out++ = '"';
  return out;
}

static char *put_header(char *out, const struct nf_row *row) {
  for (uint32_t i = 0; i < row->count; i++) {
    if (i) *out++ = ',';
    out = put_name(out, row->cells[i].column.name);
  }
  *out++ = '\n';
  return out;
}

static char *put_quoted(char *out, const struct nf_column *column, const struct nf_flow *record) {
  const char *value = nf_cell_value(column, record);
  *out++ = '"';
  if (column->type == NF_TYPE_TEXT) out = nf_put_text(out, value, column->length, escape);
  else if (column->is_array) out = nf_put_array(out, column, value, true, nf_put_number);
  else out = nf_put_word(out, column, record);
  *out++ = '"';
  return out;
}

static char *put_row(char *out, const struct nf_row *row, const struct nf_flow *record) {
  for (uint32_t i = 0; i < row->count; i++) {
    const struct nf_column *column = &row->cells[i].column;
    out = nf_put_lead(out, &row->cells[i]);
    bool is_bare = column->type <= NF_TYPE_DOUBLE && !column->is_array;
    if (is_bare) out = nf_put_number(out, column->type, nf_cell_value(column, record));
    else out = put_quoted(out, column, record);
  }
  *out++ = '\n';
  return out;
}

/* A line end inside quotes ends no row. */
static size_t measure_rows(const char *bytes, size_t size, uint64_t *rows) {
  bool is_quoted = false;
  size_t whole = 0;
  for (size_t i = 0; i < size; i++) {
    is_quoted ^= bytes[i] == '"';
    if (bytes[i] != '\n' || is_quoted) continue;
    whole = i + 1;
    ++*rows;
  }
  return whole;
}

const struct nf_syntax nf_csv_syntax = {put_lead, put_header, put_row, measure_rows};

static bool start(struct nf_writer *writer, char *error) { return nf_rows_start(writer, &nf_csv_syntax, error); }

const struct nf_encoding nf_csv = NF_ROWS_ENCODING(start);
