/*
 * write_json.c: records as JSON lines (RFC 8259), one object each, keys in the order of the columns, names with dots
 * in them staying one key. Integers are exact to 64 bits.
 */
#include "rows.h"

/* RFC 8259, 7. */
static char *escape(char *out, char character) {
  static const char shorthands[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
  uint8_t byte = (uint8_t)character;
  if (byte < 0x20 && !shorthands[byte]) {
    memcpy(out, "\\u00", 4);
    return nf_put_hex_bytes(out + 4, &byte, 1, 0);
  }
  if (byte < 0x20 || character == '"' || character == '\\') *out++ = '\\';
  *out++ = (char)(byte < 0x20 ? shorthands[byte] : byte);
  return out;
}

static char *put_string(char *out, const char *text, uint32_t length) {
  *out++ = '"';
  out = nf_put_text(out, text, length, escape);
  *out++ = '"';
  return out;
}

static char *put_lead(char *out, const char *name, uint32_t index) {
  *out++ = index ? ',' : '{';
  out = put_string(out, name, (uint32_t)strlen(name));
  *out++ = ':';
  return out;
}

static char *put_header(char *out, const struct nf_row *row) {
  (void)row;
  return out;
}

static char *put_quoted(char *out, const struct nf_column *column, const struct nf_flow *record) {
  *out++ = '"';
  out = nf_put_word(out, column, record);
  *out++ = '"';
  return out;
}

static char *put_value(char *out, const struct nf_column *column, const struct nf_flow *record) {
  const char *value = nf_cell_value(column, record);
  if (column->is_array) return nf_put_array(out, column, value, false, nf_put_json_number);
  if (column->type <= NF_TYPE_DOUBLE) return nf_put_json_number(out, column->type, value);
  if (column->type == NF_TYPE_TEXT) return put_string(out, value, column->length);
  return put_quoted(out, column, record);
}

static char *put_row(char *out, const struct nf_row *row, const struct nf_flow *record) {
  for (uint32_t i = 0; i < row->count; i++) {
    out = nf_put_lead(out, &row->cells[i]);
    out = put_value(out, &row->cells[i].column, record);
  }
  memcpy(out, "}\n", 2);
  return out + 2;
}

/* Strings hold no line ends, so each one ends a row. */
static size_t measure_rows(const char *bytes, size_t size, uint64_t *rows) {
  size_t whole = 0;
  for (const char *end; (end = memchr(bytes + whole, '\n', size - whole)); ++*rows) whole = (size_t)(end - bytes) + 1;
  return whole;
}

const struct nf_syntax nf_json_syntax = {put_lead, put_header, put_row, measure_rows};

static bool start(struct nf_writer *writer, char *error) { return nf_rows_start(writer, &nf_json_syntax, error); }

const struct nf_encoding nf_jsonl = NF_ROWS_ENCODING(start);
