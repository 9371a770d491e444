#pragma once
/*
 * cell.h: one column's value out of a record, as text. What CSV and JSON have in common: numbers, addresses, walking
 * through a text. Values are written without bounds checks; nf_cell_bound says beforehand how much room they
 * take. As in format.h, functions write at `out` and return the first byte behind what they wrote.
 */
#include "format.h"

/* Whether columns can be written. False with a one-line reason in `error`. */
bool nf_columns_check(const struct nf_column *columns, uint32_t count, char *error);

static inline const char *nf_cell_value(const struct nf_column *column, const struct nf_flow *record) {
  return (const char *)record + column->offset;
}

/* Bytes of a number of this type in a record; 0 for a type that is no number. */
uint32_t nf_number_size(int type);

static inline bool nf_is_signed(int type) { return type >= NF_TYPE_INT8 && type <= NF_TYPE_INT64; }

/* Bytes of a record that hold a value of the column. */
size_t nf_cell_size(const struct nf_column *column);

/* Most bytes that any output takes for a value of the column. */
size_t nf_cell_bound(const struct nf_column *column);

/* A value of a number type, as Python prints it; at most 32 bytes. */
char *nf_put_number(char *out, int type, const char *value);

/* The same as JSON has it: true and false, and null for nan and inf, of which JSON has no numbers. */
char *nf_put_json_number(char *out, int type, const char *value);

/* The integer that a value of an integer type, or of bool, is; the bits of a uint64. */
int64_t nf_cell_integer(int type, const char *value);

/* Whether a value may stand for none, and whether one does: an empty text, or the column's `none`. */
static inline bool nf_cell_may_be_none(const struct nf_column *column) {
  return column->type == NF_TYPE_TEXT || (column->has_none && !column->is_array);
}
static inline bool nf_cell_is_none(const struct nf_column *column, const char *value) {
  return column->type == NF_TYPE_TEXT ? *value == '\0' : nf_cell_integer(column->type, value) == column->none;
}

/* An address, a MAC or a name, without quotes; at most 48 bytes. */
char *nf_put_word(char *out, const struct nf_column *column, const struct nf_flow *record);

/* The value as bare text, without quotes or escapes. */
char *nf_put_plain(char *out, const struct nf_column *column, const struct nf_flow *record);

/*
 * Sets the 0x80 bit of each of eight bytes that some output cannot take as it is: control characters (NUL among them),
 * quotes, backslashes, all but ASCII. Right up to the lowest such byte; above it some more may be set.
 */
static inline uint64_t nf_find_special(uint64_t bytes) {
  const uint64_t ones = 0x0101010101010101, quote = bytes ^ ones * '"', backslash = bytes ^ ones * '\\';
  const uint64_t ascii = ((bytes - ones * 0x20) | (quote - ones) | (backslash - ones)) & ~bytes;
  return (ascii | bytes) & ones * 0x80;
}

/*
 * Copies the text of a char[length] field, up to its NUL if there is one, as valid UTF-8. `escape` writes one ASCII
 * character; plain ones come to it only at the field's very end.
 */
static inline char *nf_put_text(char *out, const char *at, uint32_t length,
                                char *(*escape)(char *out, char character)) {
  const char *end = at + length;
  while (at < end) {
    if (end - at >= 8) {
      uint64_t bytes;
      memcpy(&bytes, at, 8);
      memcpy(out, &bytes, 8); /* what is copied too much is overwritten: there is room for it, see nf_cell_bound */
      uint64_t special = nf_find_special(bytes);
      int plain = special ? __builtin_ctzll(special) / 8 : 8;
      at += plain;
      out += plain;
      if (!special) continue;
    }
    if (*at == 0) break;
    out = (uint8_t)*at < 0x80 ? escape(out, *at++) : nf_put_utf8(out, &at, end);
  }
  return out;
}

/* An array's numbers between brackets. `number` writes one of them. */
static inline char *nf_put_array(char *out, const struct nf_column *column, const char *value, bool is_spaced,
                                 char *(*number)(char *out, int type, const char *value)) {
  uint32_t size = nf_number_size(column->type);
  *out++ = '[';
  for (uint32_t i = 0; i < column->length; i++, value += size) {
    if (i) {
      memcpy(out, ", ", 2);
      out += is_spaced ? 2 : 1;
    }
    out = number(out, column->type, value);
  }
  *out++ = ']';
  return out;
}
