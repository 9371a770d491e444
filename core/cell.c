/*
 * cell.c: the parts of a cell's text that do not depend on the output's syntax.
 */
#include "cell.h"

#include <math.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "nf_put_text takes the lowest byte for the first");

uint32_t nf_number_size(int type) {
  switch (type) {
  case NF_TYPE_BOOL:
  case NF_TYPE_INT8:
  case NF_TYPE_UINT8: return 1;
  case NF_TYPE_INT16:
  case NF_TYPE_UINT16: return 2;
  case NF_TYPE_INT32:
  case NF_TYPE_UINT32:
  case NF_TYPE_FLOAT: return 4;
  case NF_TYPE_INT64:
  case NF_TYPE_UINT64:
  case NF_TYPE_DOUBLE: return 8;
  default: return 0;
  }
}

static bool check_column(const struct nf_column *column, char *error) {
  if (column->type < NF_TYPE_BOOL || column->type > NF_TYPE_END_REASON) {
    nf_fail(error, "column \"%.100s\": unknown type %d, expected one of enum nf_type", column->name, column->type);
  } else if (column->is_array && !nf_number_size(column->type)) {
    nf_fail(error, "column \"%.100s\": an array of type %d, expected numbers", column->name, column->type);
  } else {
    return true;
  }
  return false;
}

bool nf_columns_check(const struct nf_column *columns, uint32_t count, char *error) {
  if (count == 0) nf_fail(error, "an output without columns, expected at least one");
  for (uint32_t i = 0; i < count; i++) {
    if (!check_column(&columns[i], error)) return false;
  }
  return count > 0;
}

size_t nf_cell_size(const struct nf_column *column) {
  switch (column->type) {
  case NF_TYPE_IP: return 16;
  case NF_TYPE_MAC:
  case NF_TYPE_OUI: return 6;
  case NF_TYPE_TEXT: return column->length;
  case NF_TYPE_END_REASON: return 1;
  default: return (size_t)nf_number_size(column->type) * column->length;
  }
}

size_t nf_cell_bound(const struct nf_column *column) {
  enum { NUMBER = 34, WORD = 48, ESCAPED = 6, AROUND = 4 };
  if (column->type == NF_TYPE_TEXT) return (size_t)column->length * ESCAPED + AROUND;
  return column->is_array ? (size_t)column->length * NUMBER + AROUND : WORD;
}

/* Most of a flow's numbers have one digit: these cost no call. */
static char *put_unsigned(char *out, uint64_t value) {
  if (value >= 10) return nf_put_uint(out, value);
  *out = (char)('0' + value);
  return out + 1;
}

static char *put_signed(char *out, int64_t value) {
  return value < 0 ? nf_put_int(out, value) : put_unsigned(out, (uint64_t)value);
}

/* Reads a number of the given type from where it may lie unaligned. */
#define VALUE(type) (*(const struct { type value; } __attribute__((packed, may_alias)) *)value).value

char *nf_put_number(char *out, int type, const char *value) {
  switch (type) {
  case NF_TYPE_BOOL: {
    bool is_true = *value != 0;
    memcpy(out, is_true ? "True" : "False", 5);
    return out + (is_true ? 4 : 5);
  }
  case NF_TYPE_INT8: return put_signed(out, VALUE(int8_t));
  case NF_TYPE_INT16: return put_signed(out, VALUE(int16_t));
  case NF_TYPE_INT32: return put_signed(out, VALUE(int32_t));
  case NF_TYPE_INT64: return put_signed(out, VALUE(int64_t));
  case NF_TYPE_UINT8: return put_unsigned(out, VALUE(uint8_t));
  case NF_TYPE_UINT16: return put_unsigned(out, VALUE(uint16_t));
  case NF_TYPE_UINT32: return put_unsigned(out, VALUE(uint32_t));
  case NF_TYPE_UINT64: return put_unsigned(out, VALUE(uint64_t));
  case NF_TYPE_FLOAT: return nf_put_float(out, VALUE(float));
  default: return nf_put_double(out, VALUE(double));
  }
}

static char *put_null_or(char *out, int type, const char *value, bool is_finite) {
  if (is_finite) return nf_put_number(out, type, value);
  memcpy(out, "null", 4);
  return out + 4;
}

char *nf_put_json_number(char *out, int type, const char *value) {
  switch (type) {
  case NF_TYPE_BOOL: return stpcpy(out, *value ? "true" : "false");
  case NF_TYPE_FLOAT: return put_null_or(out, type, value, isfinite(VALUE(float)));
  case NF_TYPE_DOUBLE: return put_null_or(out, type, value, isfinite(VALUE(double)));
  default: return nf_put_number(out, type, value);
  }
}

int64_t nf_cell_integer(int type, const char *value) {
  uint64_t bits = 0;
  const uint32_t size = nf_number_size(type);
  memcpy(&bits, value, size);
  const uint32_t shift = 64 - 8 * size;
  return nf_is_signed(type) ? (int64_t)(bits << shift) >> shift : (int64_t)bits;
}

char *nf_put_word(char *out, const struct nf_column *column, const struct nf_flow *record) {
  const char *value = nf_cell_value(column, record);
  switch (column->type) {
  case NF_TYPE_IP: return nf_put_ip(out, (const uint8_t *)value, record->ip_version);
  case NF_TYPE_MAC: return nf_put_hex_bytes(out, (const uint8_t *)value, 6, ':');
  case NF_TYPE_OUI: return nf_put_hex_bytes(out, (const uint8_t *)value, 3, ':');
  default: return stpcpy(out, nf_end_name(*(const uint8_t *)value));
  }
}

static char *put_as_is(char *out, char character) {
  *out = character;
  return out + 1;
}

char *nf_put_plain(char *out, const struct nf_column *column, const struct nf_flow *record) {
  const char *value = nf_cell_value(column, record);
  if (column->type == NF_TYPE_TEXT) return nf_put_text(out, value, column->length, put_as_is);
  if (column->is_array) return nf_put_array(out, column, value, true, nf_put_number);
  if (nf_number_size(column->type)) return nf_put_number(out, column->type, value);
  return nf_put_word(out, column, record);
}
