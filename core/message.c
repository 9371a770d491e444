/*
 * message.c: single records as text in memory, by the syntaxes of the row formats and one of its own, for keys. Knows
 * nothing of where messages go.
 */
#include "rows.h"

struct nf_message {
  const struct nf_syntax *syntax;
  struct nf_row row;
  char *buffer;
};

static char *put_comma(char *out, const char *name, uint32_t index) {
  (void)name;
  if (index) *out++ = ',';
  return out;
}

static char *put_plain_row(char *out, const struct nf_row *row, const struct nf_flow *record) {
  for (uint32_t i = 0; i < row->count; i++) {
    out = nf_put_lead(out, &row->cells[i]);
    out = nf_put_plain(out, &row->cells[i].column, record);
  }
  *out++ = '\n';
  return out;
}

static const struct nf_syntax *syntax_of(int format, char *error) {
  static const struct nf_syntax plain = {.put_lead = put_comma, .put_row = put_plain_row};
  switch (format) {
  case NF_MESSAGE_JSON: return &nf_json_syntax;
  case NF_MESSAGE_CSV: return &nf_csv_syntax;
  case NF_MESSAGE_PLAIN: return &plain;
  default: nf_fail(error, "unknown message format %d, expected one of enum nf_message_format", format); return NULL;
  }
}

struct nf_message *nf_message_new(int format, const struct nf_column *columns, uint32_t count, char *error) {
  const struct nf_syntax *syntax = syntax_of(format, error);
  if (!syntax || !nf_columns_check(columns, count, error)) return NULL;
  struct nf_message *m = calloc(1, sizeof *m);
  if (!m) {
    nf_fail(error, "out of memory for an output");
    return NULL;
  }
  m->syntax = syntax;
  if (nf_row_start(&m->row, syntax, columns, count, error)) {
    if ((m->buffer = malloc(m->row.bound))) return m;
    nf_fail(error, "out of memory for an output's buffer");
  }
  nf_message_free(m);
  return NULL;
}

void nf_message_free(struct nf_message *m) {
  if (!m) return;
  nf_row_free(&m->row);
  free(m->buffer);
  free(m);
}

/* Every syntax ends a row with a line end, of which a message has no need. */
const char *nf_message_encode(struct nf_message *m, const struct nf_flow *record, size_t *size) {
  *size = (size_t)(m->syntax->put_row(m->buffer, &m->row, record) - m->buffer) - 1;
  return m->buffer;
}
