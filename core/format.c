/*
 * format.c: numbers, addresses and characters into text. Owns the looks of every value, whatever the output. Floating
 * point numbers come out as Python's repr prints them: the shortest digits that read back equal, plain from 0.0001 up
 * to 10^16 and with an exponent elsewhere. It knows no columns and no file formats.
 */
#include "format.h"

#include <math.h>

#include "shortest.h"

static const char digit_pairs[200] =
    "000102030405060708091011121314151617181920212223242526272829303132333435363738394041424344454647484950515253545556"
    "57"
    "585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static const char hex_digits[16] = "0123456789abcdef";

static int count_digits(uint64_t value) {
  static const uint64_t powers[20] = {
      0,
      10,
      100,
      1000,
      10000,
      100000,
      1000000,
      10000000,
      100000000,
      1000000000,
      10000000000,
      100000000000,
      1000000000000,
      10000000000000,
      100000000000000,
      1000000000000000,
      10000000000000000,
      100000000000000000,
      1000000000000000000,
      10000000000000000000u,
  };
  int bits = 64 - __builtin_clzll(value | 1);
  int guess = bits * 1233 >> 12; /* log10(2) is about 1233/4096 */
  return guess + (value >= powers[guess]);
}

/* Writes exactly `count` digits, the last ones of `value`, two at a time from the right. */
static void put_digits(char *out, uint64_t value, int count) {
  for (; count >= 2; value /= 100) memcpy(out + (count -= 2), digit_pairs + value % 100 * 2, 2);
  if (count) out[0] = (char)('0' + value % 10);
}

char *nf_put_uint(char *out, uint64_t value) {
  if (value < 10) {
    *out = (char)('0' + value);
    return out + 1;
  }
  int count = count_digits(value);
  put_digits(out, value, count);
  return out + count;
}

char *nf_put_int(char *out, int64_t value) {
  if (value >= 0) return nf_put_uint(out, (uint64_t)value);
  *out = '-';
  return nf_put_uint(out + 1, 0 - (uint64_t)value);
}

static char *put_string(char *out, const char *text) {
  size_t size = strlen(text);
  memcpy(out, text, size);
  return out + size;
}

/* d.ddde+XX: at least two digits of exponent. `point` is where the decimal point stands among the digits. */
static char *put_scientific(char *out, uint64_t digits, int count, int point) {
  int exponent = point - 1;
  put_digits(out + 1, digits, count);
  out[0] = out[1];
  if (count > 1) {
    out[1] = '.';
    out += count + 1;
  } else {
    out += 1;
  }
  *out++ = 'e';
  *out++ = exponent < 0 ? '-' : '+';
  exponent = abs(exponent);
  if (exponent < 10) *out++ = '0';
  return nf_put_uint(out, (uint64_t)exponent);
}

static char *put_decimal(char *out, struct nf_decimal decimal) {
  int count = count_digits(decimal.digits);
  int point = count + decimal.exponent;
  if (point < -3 || point > 16) return put_scientific(out, decimal.digits, count, point);
  if (point <= 0) { /* 0.000ddd */
    memcpy(out, "0.000", 5);
    put_digits(out + 2 - point, decimal.digits, count);
    return out + 2 - point + count;
  }
  if (point < count) { /* dd.ddd */
    put_digits(out + 1, decimal.digits, count);
    memmove(out, out + 1, (size_t)point);
    out[point] = '.';
    return out + count + 1;
  }
  put_digits(out, decimal.digits, count); /* ddd000.0 */
  memset(out + count, '0', (size_t)(point - count));
  memcpy(out + point, ".0", 2);
  return out + point + 2;
}

/* Means and deviations of packets of one size are whole numbers: those below 2^53 need no search for digits. */
static char *put_whole(char *out, double value) {
  out = nf_put_uint(out, (uint64_t)value);
  memcpy(out, ".0", 2);
  return out + 2;
}

static bool is_whole(double value) { return value < 0x1p53 && (double)(int64_t)value == value; }

char *nf_put_double(char *out, double value) {
  if (isnan(value)) return put_string(out, "nan");
  if (signbit(value)) {
    *out++ = '-';
    value = -value;
  }
  if (is_whole(value)) return put_whole(out, value);
  if (isinf(value)) return put_string(out, "inf");
  return put_decimal(out, nf_shortest_double(value));
}

char *nf_put_float(char *out, float value) {
  if (isnan(value)) return put_string(out, "nan");
  if (signbit(value)) {
    *out++ = '-';
    value = -value;
  }
  if (value < 0x1p24F && is_whole((double)value)) return put_whole(out, (double)value);
  if (isinf(value)) return put_string(out, "inf");
  return put_decimal(out, nf_shortest_float(value));
}

static char *put_ipv4(char *out, const uint8_t *address) {
  for (int i = 0; i < 4; i++) {
    out = nf_put_uint(out, address[i]);
    *out++ = '.';
  }
  return out - 1;
}

static char *put_hex_word(char *out, unsigned word) {
  int shift = word > 0xfff ? 12 : word > 0xff ? 8 : word > 0xf ? 4 : 0;
  for (; shift >= 0; shift -= 4) *out++ = hex_digits[word >> shift & 15];
  return out;
}

/* The words that :: stands for, [first, first + count): the longest run of zeros, of equals the first; one zero alone
   is written out (RFC 5952, 4.2). */
static void find_zeros(const uint16_t *words, int *first, int *count) {
  int run = 0;
  *first = *count = 0;
  for (int i = 0; i < 8; i++) {
    run = words[i] ? 0 : run + 1;
    if (run > *count) {
      *count = run;
      *first = i + 1 - run;
    }
  }
  if (*count < 2) *count = 0;
}

static char *put_ipv6(char *out, const uint8_t *address) {
  uint16_t words[8];
  int first, count;
  for (size_t i = 0; i < 8; i++) words[i] = (uint16_t)(address[2 * i] << 8 | address[2 * i + 1]);
  find_zeros(words, &first, &count);
  /* IPv4 inside: mapped (::ffff:a.b.c.d) or, of old, compatible (::a.b.c.d). */
  bool has_ipv4 = count && first == 0 && (count == 6 || (count == 5 && words[5] == 0xffff));
  int last = has_ipv4 ? 6 : 8;
  for (int i = 0; i < last; i++) {
    if (count && i == first) {
      *out++ = ':';
      i += count - 1;
      if (i == 7) *out++ = ':';
    } else {
      if (i) *out++ = ':';
      out = put_hex_word(out, words[i]);
    }
  }
  if (!has_ipv4) return out;
  *out++ = ':';
  return put_ipv4(out, address + 12);
}

char *nf_put_ip(char *out, const uint8_t *address, int ip_version) {
  return ip_version == 6 ? put_ipv6(out, address) : put_ipv4(out, address);
}

char *nf_put_hex_bytes(char *out, const uint8_t *bytes, int count, char separator) {
  for (int i = 0; i < count; i++) {
    if (i && separator) *out++ = separator;
    *out++ = hex_digits[bytes[i] >> 4];
    *out++ = hex_digits[bytes[i] & 15];
  }
  return out;
}

/*
 * How many bytes from `at` are, or begin, one well-formed character; *is_whole says which. The second byte's range
 * keeps out overlong forms, surrogates and what lies beyond U+10FFFF (RFC 3629, 4).
 */
static int measure_utf8(const uint8_t *at, const uint8_t *end, bool *is_complete) {
  uint8_t lead = at[0];
  int size = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  int found = 1;
  for (; found < size && at + found < end && at[found] >= low && at[found] <= high; found++) {
    low = 0x80;
    high = 0xbf;
  }
  *is_complete = found == size;
  return found;
}

char *nf_put_utf8(char *out, const char **at, const char *end) {
  bool is_complete;
  int size = measure_utf8((const uint8_t *)*at, (const uint8_t *)end, &is_complete);
  const char *from = is_complete ? *at : "\xef\xbf\xbd";
  int written = is_complete ? size : 3;
  memcpy(out, from, (size_t)written);
  *at += size;
  return out + written;
}

/* Ends a text for C's callers. */
static int finish(char *out, char *end) {
  *end = 0;
  return (int)(end - out);
}

int nf_format_ip(char *out, const uint8_t *address, int ip_version) {
  return finish(out, nf_put_ip(out, address, ip_version));
}

int nf_format_mac(char *out, const uint8_t *address) { return finish(out, nf_put_hex_bytes(out, address, 6, ':')); }

int nf_format_double(char *out, double value) { return finish(out, nf_put_double(out, value)); }
