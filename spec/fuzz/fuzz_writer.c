/*
 * fuzz_writer.c: libFuzzer target for core/writer.c, core/mask.c and what they write. An input is a list of columns and the bytes of a
 * record, which may hold anything. CSV and JSON lines are read back here, by other means than they were written with:
 * they have to be UTF-8, rows of the right cells, and the record's values; IPFIX has to be messages of as many records
 * as were written, as their templates say. An output that ran out of room has to end with a whole row, or message. Of
 * Parquet and Arrow it is the frame that is looked at: messages and footers where they should be, also where there was
 * no room for all.
 */
#include "target.h"

#include <arpa/inet.h>
#include <math.h>
#include <signal.h>
#include <sodium.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  COLUMNS_MAX = 10,
  NAME_SIZE = 12,
  TEXT_MAX = 300,
  ARRAY_MAX = 20,
  ROWS_MAX = 12,
  CELL_MAX = 4 * TEXT_MAX, /* bytes of a value that was read back */
  KEY_SIZE = 64,
  HASH_SIZE = 64,
  HASH_TEXT = 2 * HASH_SIZE + 1, /* with its NUL */
  ENTERPRISE = 32473,
  MESSAGES_MAX = 64,
  /* a column's flags */
  FLAG_ARRAY = 1,
  FLAG_HASHED = 2,
  FLAG_NONE = 4,
  FLAG_MOMENT = 8
};

struct plan {
  struct nf_column columns[2 * COLUMNS_MAX];
  struct nf_element elements[2 * COLUMNS_MAX];
  bool is_hashed[2 * COLUMNS_MAX];
  struct nf_mask_step steps[COLUMNS_MAX];
  uint32_t hashes; /* steps */
  uint32_t message_size;
  char names[COLUMNS_MAX][NAME_SIZE + 1];
  uint32_t count;
  uint32_t record_size;
  uint32_t rows;
  uint32_t limit; /* of a file without room for all */
  struct nf_key key;
};

struct text {
  char bytes[CELL_MAX];
  size_t size;
};

/* ---- what to write ---- */

static uint32_t element_size(int type) {
  static const uint8_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 1, 16, 6, 6, 1};
  return sizes[type];
}

/* What is hashed is followed by the same value in the clear, to be compared. */
static void plan_column(struct plan *plan, int index, struct fuzz_input *in) {
  const int type = 1 + (int)(fuzz_take(in, 1) % NF_TYPE_END_REASON);
  const unsigned flags = fuzz_take(in, 1), length = fuzz_take(in, 2);
  char *name = plan->names[index];
  for (int i = 0; i < NAME_SIZE && i <= (int)(flags >> 4); i++) name[i] = (char)(1 + fuzz_take(in, 1) % 127);
  struct nf_column column = {.name = name, .offset = plan->record_size, .length = 1, .type = (uint8_t)type};
  if (type == NF_TYPE_TEXT) column.length = 1 + length % TEXT_MAX;
  else if (type <= NF_TYPE_DOUBLE && flags & FLAG_ARRAY) column.is_array = true;
  if (column.is_array) column.length = 1 + length % ARRAY_MAX;
  column.is_binary = type == NF_TYPE_IP && flags & FLAG_ARRAY;
  if (flags & FLAG_MOMENT && type == NF_TYPE_UINT64) column.moment = (uint8_t)(NF_MOMENT_MS + length % 3);
  column.has_none = flags & FLAG_NONE && type < NF_TYPE_FLOAT;
  column.none = (int16_t)length;
  column.unit = length % 2 ? name : NULL;
  column.doc = length % 3 ? name : NULL;
  plan->record_size += column.length * element_size(type);
  const struct nf_element element = {.enterprise = length & 1 << 13 ? 0 : ENTERPRISE,
                                     .number = (uint16_t)(index + 1),
                                     .number_v6 = (uint16_t)(index + 1),
                                     .form = (uint8_t)(length >> 14),
                                     .is_biflow = length & 1 << 12};
  if (flags & FLAG_HASHED) {
    plan->steps[plan->hashes++] = (struct nf_mask_step){.column = column, .masking = NF_MASK_HASH};
    plan->is_hashed[plan->count] = true;
    plan->elements[plan->count] = element;
    plan->columns[plan->count++] = (struct nf_column){.name = name, .length = HASH_TEXT, .type = NF_TYPE_TEXT};
  }
  plan->elements[plan->count] = element;
  plan->columns[plan->count++] = column;
}

static void make_plan(struct plan *plan, struct fuzz_input *in) {
  memset(plan, 0, sizeof *plan);
  plan->record_size = sizeof(struct nf_flow);
  plan->key.size = KEY_SIZE;
  memset(plan->key.bytes, (int)(fuzz_take(in, 1) & 0xff), KEY_SIZE);
  plan->limit = fuzz_take(in, 3);
  plan->rows = 1 + fuzz_take(in, 1) % ROWS_MAX;
  plan->message_size = 512 + plan->limit % 4096;
  const int columns = 1 + (int)(fuzz_take(in, 1) % COLUMNS_MAX);
  for (int i = 0; i < columns; i++) plan_column(plan, i, in);
  for (uint32_t i = 0, hash = 0; i < plan->count; i++) {
    if (!plan->is_hashed[i]) continue;
    plan->columns[i].offset = plan->steps[hash].to = plan->record_size + hash * HASH_TEXT;
    hash++;
  }
}

/* A record in a block of exactly its size. */
static struct nf_flow *make_record(const struct plan *plan, struct fuzz_input *in) {
  struct nf_flow *record = calloc(1, plan->record_size);
  nf_require(record);
  record->ip_version = fuzz_take(in, 1) & 1 ? 6 : 4;
  const size_t room = plan->record_size - sizeof *record, size = in->size < room ? in->size : room;
  if (size) memcpy(record + 1, in->data, size);
  return record;
}

static struct nf_mask *make_mask(const struct plan *plan) {
  char error[NF_ERROR_SIZE];
  const struct nf_mask_options options = {
      .steps = plan->steps,
      .count = plan->hashes,
      .record_size = plan->record_size,
      .size = plan->record_size + plan->hashes * HASH_TEXT,
      .hash_size = HASH_SIZE,
      .key = plan->key,
  };
  struct nf_mask *mask = nf_mask_new(&options, error);
  nf_require(mask);
  return mask;
}

/* ---- writing ---- */

static int write_rows(int file, int format, const struct plan *plan, const struct nf_flow *record, char *error) {
  const struct nf_ipfix ipfix = {plan->elements, ENTERPRISE, 0, plan->message_size, 0, 0, NF_MILLISECONDS};
  const struct nf_destination to = {.descriptor = file, .ipfix = &ipfix};
  struct nf_writer *writer = nf_writer_open(&to, format, plan->columns, plan->count, error);
  nf_require(writer);
  (void)nf_writer_describe(writer, plan->names[0], plan->names[0]);
  for (uint32_t i = 0; i < plan->rows; i++) {
    (void)nf_writer_write(writer, record);
    if (i % 4 == 3) (void)nf_writer_flush(writer);
  }
  return nf_writer_close(writer, error);
}

static int empty_file(void) {
  static int file;
  if (!file) file = memfd_create("output", 0);
  nf_require(file >= 0 && ftruncate(file, 0) == 0 && lseek(file, 0, SEEK_SET) == 0);
  return file;
}

static char *contents(int file, size_t *size) {
  struct stat status;
  nf_require(fstat(file, &status) == 0);
  *size = (size_t)status.st_size;
  char *bytes = malloc(*size + 1);
  nf_require(bytes && pread(file, bytes, *size, 0) == (ssize_t)*size);
  bytes[*size] = '\0';
  return bytes;
}

static char *write_all(int format, const struct plan *plan, const struct nf_flow *record, size_t *size) {
  char error[NF_ERROR_SIZE] = "";
  int file = empty_file();
  nf_require(write_rows(file, format, plan, record, error) == NF_OK && !error[0]);
  return contents(file, size);
}

/* The same where there is room for `limit` bytes; gives what is there. */
static char *write_limited(int format, const struct plan *plan, const struct nf_flow *record, size_t limit,
                           size_t *size) {
  struct rlimit usual, small;
  char error[NF_ERROR_SIZE] = "";
  int file = empty_file();
  (void)signal(SIGXFSZ, SIG_IGN);
  nf_require(getrlimit(RLIMIT_FSIZE, &usual) == 0);
  small = (struct rlimit){limit, usual.rlim_max};
  nf_require(setrlimit(RLIMIT_FSIZE, &small) == 0);
  nf_require(write_rows(file, format, plan, record, error) == NF_ERR_OUTPUT);
  nf_require(setrlimit(RLIMIT_FSIZE, &usual) == 0);
  nf_require(error[0] && !strchr(error, '\n'));
  return contents(file, size);
}

/* Where there is not room for all, there have to be rows of it, `ends` being where rows end. */
static void check_full(int format, const struct plan *plan, const struct nf_flow *record, const char *all, size_t size,
                       const size_t *ends, uint32_t count) {
  const size_t limit = plan->limit % size;
  size_t expected = 0, got;
  for (uint32_t i = 0; i < count; i++) {
    if (ends[i] <= limit) expected = ends[i];
  }
  char *there = write_limited(format, plan, record, limit, &got);
  nf_require(got == expected && memcmp(there, all, got) == 0);
  free(there);
}

/* ---- UTF-8 (Unicode 15, tables 3-7 and 3-8) ---- */

/* Bytes of the character at `at`, or of the longest piece that may begin one; whether it is whole. */
static size_t character(const uint8_t *at, size_t size, bool *is_whole) {
  static const struct {
    uint8_t first, last, low, high, size;
  } rows[] = {{0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
              {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
              {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
  *is_whole = false;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (at[0] < rows[i].first || at[0] > rows[i].last) continue;
    size_t n = 1;
    if (rows[i].size > 1 && n < size && at[1] >= rows[i].low && at[1] <= rows[i].high) n++;
    while (n > 1 && n < rows[i].size && n < size && at[n] >= 0x80 && at[n] <= 0xbf) n++;
    *is_whole = n == rows[i].size;
    return n;
  }
  return 1;
}

static void require_utf8(const char *text, size_t size) {
  for (size_t at = 0; at < size;) {
    bool is_whole;
    at += character((const uint8_t *)text + at, size - at, &is_whole);
    nf_require(is_whole);
  }
}

/* What a text field should become. */
static void clean(struct text *text, const char *field, size_t room) {
  size_t size = strnlen(field, room), at = 0;
  text->size = 0;
  while (at < size) {
    bool is_whole;
    size_t n = character((const uint8_t *)field + at, size - at, &is_whole);
    const char *bytes = is_whole ? field + at : "\xef\xbf\xbd";
    nf_require(text->size + 4 < sizeof text->bytes);
    memcpy(text->bytes + text->size, bytes, is_whole ? n : 3);
    text->size += is_whole ? n : 3;
    at += n;
  }
}

/* ---- reading back ---- */

struct cursor {
  const char *at, *end;
};

static char next(struct cursor *c) {
  nf_require(c->at < c->end);
  return *c->at++;
}

static void expect(struct cursor *c, char character) { nf_require(next(c) == character); }

static void append(struct text *text, char byte) {
  nf_require(text->size + 1 < sizeof text->bytes);
  text->bytes[text->size++] = byte;
  text->bytes[text->size] = '\0';
}

/* A cell as RFC 4180 has it; whether it was in quotes. */
static bool read_csv(struct cursor *c, struct text *text) {
  *text = (struct text){.size = 0};
  if (c->at < c->end && *c->at != '"') {
    while (c->at < c->end && !strchr(",\n", *c->at)) {
      nf_require(*c->at != '"' && *c->at != '\r');
      append(text, next(c));
    }
    return false;
  }
  expect(c, '"');
  for (;;) {
    char byte = next(c);
    if (byte == '"' && (c->at == c->end || *c->at != '"')) return true;
    if (byte == '"') c->at++;
    append(text, byte);
  }
}

/* A string as RFC 8259 has it. Escapes by number are for control characters only. */
static void read_string(struct cursor *c, struct text *text) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  *text = (struct text){.size = 0};
  expect(c, '"');
  for (;;) {
    char byte = next(c);
    if (byte == '"') return;
    nf_require((uint8_t)byte >= 0x20);
    if (byte == '\\') {
      byte = next(c);
      const char *name = strchr(names, byte);
      if (name) {
        byte = values[name - names];
      } else {
        char digits[5] = {0}, *end;
        nf_require(byte == 'u');
        for (int i = 0; i < 4; i++) digits[i] = next(c);
        byte = (char)strtol(digits, &end, 16);
        nf_require(!*end && (uint8_t)byte < 0x20 && memcmp(digits, "00", 2) == 0);
      }
    }
    append(text, byte);
  }
}

/* Whatever JSON value; whether it is a string. */
static bool read_json(struct cursor *c, struct text *text) {
  if (c->at < c->end && *c->at == '"') {
    read_string(c, text);
    return true;
  }
  *text = (struct text){.size = 0};
  bool is_list = false;
  while (c->at < c->end && !strchr(is_list ? "" : ",}", *c->at)) {
    char byte = next(c);
    if (byte == '[') is_list = true;
    if (byte == ']') is_list = false;
    append(text, byte);
  }
  return false;
}

/* ---- whether it is the value ---- */

static int64_t signed_at(int type, const char *value) {
  int8_t v8;
  int16_t v16;
  int32_t v32;
  int64_t v64;
  switch (type) {
  case NF_TYPE_INT8: memcpy(&v8, value, 1); return v8;
  case NF_TYPE_INT16: memcpy(&v16, value, 2); return v16;
  case NF_TYPE_INT32: memcpy(&v32, value, 4); return v32;
  default: memcpy(&v64, value, 8); return v64;
  }
}

static uint64_t unsigned_at(int type, const char *value) {
  uint64_t number = 0; /* little-endian, as the core requires */
  memcpy(&number, value, element_size(type));
  return number;
}

static void check_real(double value, bool is_single, const char *text, int format) {
  char *end;
  if (format == NF_FORMAT_JSONL && !__builtin_isfinite(value)) {
    nf_require(strcmp(text, "null") == 0);
    return;
  }
  double back = is_single ? (double)strtof(text, &end) : strtod(text, &end);
  nf_require(*text && !*end);
  if (__builtin_isnan(value)) nf_require(strcmp(text, "nan") == 0);
  else nf_require(back == value && signbit(back) == signbit(value));
}

static void check_number(int type, const char *value, const char *text, int format) {
  char expected[32] = "";
  float single;
  double number;
  const bool is_csv = format == NF_FORMAT_CSV;
  switch (type) {
  case NF_TYPE_FLOAT:
    memcpy(&single, value, sizeof single);
    check_real((double)single, true, text, format);
    return;
  case NF_TYPE_DOUBLE:
    memcpy(&number, value, sizeof number);
    check_real(number, false, text, format);
    return;
  case NF_TYPE_BOOL:
    (void)snprintf(expected, sizeof expected, "%s", *value ? is_csv ? "True" : "true" : is_csv ? "False" : "false");
    break;
  case NF_TYPE_INT8:
  case NF_TYPE_INT16:
  case NF_TYPE_INT32:
  case NF_TYPE_INT64: sprintf(expected, "%lld", (long long)signed_at(type, value)); break;
  default: sprintf(expected, "%llu", (unsigned long long)unsigned_at(type, value));
  }
  nf_require(strcmp(text, expected) == 0);
}

static void check_array(const struct nf_column *column, const char *value, struct text *text, int format) {
  const char *separator = format == NF_FORMAT_CSV ? ", " : ",";
  char *at = text->bytes + 1;
  nf_require(text->size >= 2 && text->bytes[0] == '[' && text->bytes[text->size - 1] == ']');
  text->bytes[text->size - 1] = '\0';
  for (uint32_t i = 0; i < column->length; i++) {
    char *stop = i + 1 < column->length ? strstr(at, separator) : at + strlen(at);
    nf_require(stop && *at != ' ');
    char *following = *stop ? stop + strlen(separator) : stop;
    *stop = '\0';
    check_number(column->type, value + (size_t)i * element_size(column->type), at, format);
    at = following;
  }
}

static void check_word(const struct nf_column *column, const uint8_t *value, int ip_version, const char *text) {
  char expected[64];
  switch (column->type) {
  case NF_TYPE_IP: inet_ntop(ip_version == 6 ? AF_INET6 : AF_INET, value, expected, sizeof expected); break;
  case NF_TYPE_MAC:
    sprintf(expected, "%02x:%02x:%02x:%02x:%02x:%02x", value[0], value[1], value[2], value[3], value[4], value[5]);
    break;
  case NF_TYPE_OUI: sprintf(expected, "%02x:%02x:%02x", value[0], value[1], value[2]); break;
  default: sprintf(expected, "%s", nf_end_name(value[0]));
  }
  nf_require(strcmp(text, expected) == 0);
}

static void check_value(const struct nf_column *column, const struct nf_flow *record, struct text *text, bool is_quoted,
                        int format) {
  const char *value = (const char *)record + column->offset;
  const bool is_csv = format == NF_FORMAT_CSV;
  if (column->type == NF_TYPE_TEXT) {
    struct text expected;
    clean(&expected, value, column->length);
    nf_require(is_quoted && text->size == expected.size && memcmp(text->bytes, expected.bytes, text->size) == 0);
  } else if (column->is_array) {
    nf_require(is_quoted == is_csv);
    check_array(column, value, text, format);
  } else if (column->type <= NF_TYPE_DOUBLE) {
    nf_require(!is_quoted);
    check_number(column->type, value, text->bytes, format);
  } else {
    nf_require(is_quoted);
    check_word(column, (const uint8_t *)value, record->ip_version, text->bytes);
  }
}

/* Keyed BLAKE2b of the value in the clear, which CSV has as it is hashed. */
static void check_hash(const struct plan *plan, const struct text *hash, const struct text *clear) {
  uint8_t digest[64];
  char hex[2 * sizeof digest + 1];
  (void)crypto_generichash(digest, sizeof digest, (const uint8_t *)clear->bytes, clear->size, plan->key.bytes,
                           KEY_SIZE);
  sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
  nf_require(hash->size == 2 * sizeof digest && memcmp(hash->bytes, hex, hash->size) == 0);
}

/* ---- rows ---- */

static void check_name(const char *name, const struct text *text) {
  nf_require(text->size == strlen(name) && memcmp(text->bytes, name, text->size) == 0);
}

static void check_csv_header(const struct plan *plan, struct cursor *c) {
  for (uint32_t i = 0; i < plan->count; i++) {
    struct text text;
    if (i) expect(c, ',');
    (void)read_csv(c, &text);
    check_name(plan->columns[i].name, &text);
  }
  expect(c, '\n');
}

/* One row; `hashes` come from CSV and are expected in JSON. */
static void check_row(const struct plan *plan, const struct nf_flow *record, struct cursor *c, int format,
                      struct text *hashes) {
  const bool is_csv = format == NF_FORMAT_CSV;
  struct text text;
  if (!is_csv) expect(c, '{');
  for (uint32_t i = 0; i < plan->count; i++) {
    const struct nf_column *column = &plan->columns[i];
    if (i) expect(c, ',');
    if (!is_csv) {
      read_string(c, &text);
      check_name(column->name, &text);
      expect(c, ':');
    }
    bool is_quoted = is_csv ? read_csv(c, &text) : read_json(c, &text);
    if (i && plan->is_hashed[i - 1] && is_csv) check_hash(plan, &hashes[i - 1], &text);
    if (!plan->is_hashed[i]) {
      check_value(column, record, &text, is_quoted, format);
    } else if (is_csv) {
      hashes[i] = text;
    } else {
      nf_require(is_quoted && text.size == hashes[i].size && memcmp(text.bytes, hashes[i].bytes, text.size) == 0);
    }
  }
  if (!is_csv) expect(c, '}');
  expect(c, '\n');
}

static void check_output(int format, const struct plan *plan, const struct nf_flow *record, struct text *hashes) {
  size_t size, ends[ROWS_MAX + 1];
  uint32_t count = 0;
  char *all = write_all(format, plan, record, &size);
  struct cursor c = {all, all + size};
  require_utf8(all, size);
  if (format == NF_FORMAT_CSV) {
    check_csv_header(plan, &c);
    ends[count++] = (size_t)(c.at - all);
  }
  for (uint32_t i = 0; i < plan->rows; i++) {
    check_row(plan, record, &c, format, hashes);
    ends[count++] = (size_t)(c.at - all);
  }
  nf_require(c.at == c.end);
  check_full(format, plan, record, all, size, ends, count);
  free(all);
}

/* ---- IPFIX ---- */

struct ipfix_template {
  uint32_t count;
  uint16_t sizes[2 * COLUMNS_MAX];
};

static uint32_t take(struct cursor *c, int size) {
  uint32_t number = 0;
  while (size-- > 0) number = number << 8 | (uint8_t)next(c);
  return number;
}

static void skip(struct cursor *c, size_t size) {
  nf_require((size_t)(c->end - c->at) >= size);
  c->at += size;
}

/* What takes so many of the bytes to come. */
static struct cursor part(struct cursor *c, size_t size) {
  const char *start = c->at;
  skip(c, size);
  return (struct cursor){start, c->at};
}

static void read_template(struct ipfix_template *templates, struct cursor *c, bool is_option) {
  const uint32_t id = take(c, 2), count = take(c, 2);
  nf_require(id >= 256 && id <= 260 && count > 0 && count <= 2 * COLUMNS_MAX);
  if (is_option) nf_require(take(c, 2) < count);
  templates[id - 256].count = count;
  for (uint32_t i = 0; i < count; i++) {
    const bool has_enterprise = take(c, 2) & 0x8000;
    templates[id - 256].sizes[i] = (uint16_t)take(c, 2);
    if (has_enterprise) skip(c, 4);
  }
}

static void read_record(const struct ipfix_template *template, struct cursor *c) {
  nf_require(template->count);
  for (uint32_t i = 0; i < template->count; i++) {
    uint32_t size = template->sizes[i];
    if (size == UINT16_MAX && (size = take(c, 1)) == UINT8_MAX) size = take(c, 2);
    skip(c, size);
  }
}

/* One message; returns how many flows are in it. `sequence` counts all records. */
static uint32_t read_message(struct ipfix_template *templates, struct cursor *c, uint32_t *sequence) {
  uint32_t flows = 0;
  nf_require(take(c, 2) == 10);
  const uint32_t size = take(c, 2);
  skip(c, 4);
  nf_require(size > 16 && take(c, 4) == *sequence && take(c, 4) == 0);
  for (struct cursor message = part(c, size - 16); message.at < message.end;) {
    const uint32_t id = take(&message, 2);
    struct cursor set = part(&message, take(&message, 2) - 4);
    nf_require(set.at < set.end);
    while (set.at < set.end) {
      if (id < 256) {
        read_template(templates, &set, id == 3);
      } else {
        nf_require(id <= 260);
        read_record(&templates[id - 256], &set);
        flows += id < 260;
        ++*sequence;
      }
    }
  }
  return flows;
}

static void check_ipfix(const struct plan *plan, const struct nf_flow *record) {
  struct ipfix_template templates[5] = {{0}};
  size_t size, ends[MESSAGES_MAX];
  uint32_t count = 0, sequence = 0, flows = 0;
  char *all = write_all(NF_FORMAT_IPFIX, plan, record, &size);
  struct cursor c = {all, all + size};
  while (c.at < c.end) {
    flows += read_message(templates, &c, &sequence);
    nf_require(count < MESSAGES_MAX);
    ends[count++] = (size_t)(c.at - all);
  }
  nf_require(flows == plan->rows);
  check_full(NF_FORMAT_IPFIX, plan, record, all, size, ends, count);
  free(all);
}

/* ---- Parquet and Arrow ---- */

static uint64_t number_at(const char *bytes, size_t size, size_t at, size_t width) {
  uint64_t number = 0;
  nf_require(at + width <= size && at % width == 0);
  memcpy(&number, bytes + at, width);
  return number;
}

/* Where a message behind its first eight bytes says how long its body is. */
static size_t body_size(const char *message, size_t size) {
  enum { BODY_LENGTH = 3 };
  const size_t table = (size_t)number_at(message, size, 0, 4), vtable = table - number_at(message, size, table, 4);
  nf_require(number_at(message, size, vtable, 2) >= 4 + 2 * (BODY_LENGTH + 1));
  const size_t field = (size_t)number_at(message, size, vtable + 4 + (size_t)2 * BODY_LENGTH, 2);
  nf_require(field);
  return (size_t)number_at(message, size, table + field, 8);
}

/* Walks over messages up to the mark at their end, or all bytes. Returns what is behind it, 0 where there is none. */
static size_t walk_messages(const char *bytes, size_t size) {
  size_t at = 0;
  while (at < size) {
    nf_require(number_at(bytes, size, at, 4) == UINT32_MAX);
    const size_t length = (size_t)number_at(bytes, size, at + 4, 4);
    at += 8;
    if (length == 0) return at;
    nf_require(length % 8 == 0 && length <= size - at);
    const size_t body = body_size(bytes + at, length);
    at += length;
    nf_require(body % 8 == 0 && body <= size - at);
    at += body;
  }
  return 0;
}

static bool ends_with(const char *bytes, size_t size, const char *end) {
  const size_t length = strlen(end);
  return size >= length && memcmp(bytes + size - length, end, length) == 0;
}

/* A file that has a footer in front of its last word, behind its first; or none. */
static bool has_footer(const char *bytes, size_t size, const char *magic) {
  const size_t length = strlen(magic);
  uint32_t footer;
  if (!ends_with(bytes, size, magic)) return false;
  nf_require(size > 2 * length + sizeof footer && memcmp(bytes, magic, length) == 0);
  memcpy(&footer, bytes + size - length - sizeof footer, sizeof footer);
  nf_require(footer > 0 && footer <= size - 2 * length - sizeof footer);
  return true;
}

static void check_frame(int format, const char *bytes, size_t size, bool is_whole) {
  if (format == NF_FORMAT_PARQUET) {
    nf_require(has_footer(bytes, size, "PAR1") || !is_whole);
  } else if (format == NF_FORMAT_ARROW_STREAM) {
    nf_require(walk_messages(bytes, size) == (is_whole ? size : 0));
  } else if (has_footer(bytes, size, "ARROW1")) {
    nf_require(walk_messages(bytes + 8, size - 8) > 0);
  } else {
    nf_require(!is_whole);
  }
}

static void check_typed(int format, const struct plan *plan, const struct nf_flow *record) {
  size_t size, got;
  char *all = write_all(format, plan, record, &size);
  check_frame(format, all, size, true);
  char *there = write_limited(format, plan, record, plan->limit % size, &got);
  check_frame(format, there, got, false);
  free(there);
  free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct text hashes[2 * COLUMNS_MAX];
  struct fuzz_input in = {data, size};
  struct plan plan;
  make_plan(&plan, &in);
  struct nf_flow *record = make_record(&plan, &in);
  record->scope[NF_DST2SRC].packets = plan.limit & 1;
  struct nf_mask *mask = make_mask(&plan);
  nf_mask_apply(mask, record);
  const struct nf_flow *masked = nf_mask_record(mask);
  check_output(NF_FORMAT_CSV, &plan, masked, hashes);
  check_output(NF_FORMAT_JSONL, &plan, masked, hashes);
  check_typed(NF_FORMAT_PARQUET + (int)(plan.limit % 3), &plan, masked); /* one of them: each takes much memory */
  check_ipfix(&plan, masked);
  nf_mask_free(mask);
  free(record);
  return 0;
}
