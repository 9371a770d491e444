/*
 * write_parquet.c: records as Apache Parquet (github.com/apache/parquet-format), typed: integers of their width and
 * sign, moments as timestamps, texts as dictionaries, arrays as lists, what is absent as null. Pages are compressed by
 * zstd. A row group is so many records; what describes them stands behind the last, in Thrift's compact protocol, and
 * is all that grows with their number.
 *
 * Compression takes as long as all else, and nobody reads packets while a row group is made: several threads make its
 * columns ready.
 *
 * Of the format's ways to lay out values the plainest are used, which every reader knows: version 1 pages, one a column
 * and row group, values plain or numbers of a dictionary.
 */
#include "blob.h"
#include "columnar.h"
#include "thread.h"

#include <stdatomic.h>
#include <zstd.h>

enum {
  GROUP_ROWS = 1 << 16,
  ZSTD_LEVEL = 1, /* faster ones save little time, and take a tenth to a half more room */
  DEPTH = 8,      /* of structs in structs */
  MAX_PACKERS = 8,
  WORTH_A_PACKER = 1 << 12 /* rows: a thread takes longer to start than it saves with fewer */
};

/* parquet.thrift's numbers. */
enum physical { BOOLEAN = 0, INT32 = 1, INT64 = 2, FLOAT = 4, DOUBLE = 5, BYTE_ARRAY = 6, FIXED_LEN_BYTE_ARRAY = 7 };
enum repetition { REQUIRED = 0, OPTIONAL = 1, REPEATED = 2 };
enum encoding { PLAIN = 0, RLE = 3, RLE_DICTIONARY = 8 };
enum page_type { DATA_PAGE = 0, DICTIONARY_PAGE = 2 };
enum { ZSTD_CODEC = 6, NO_CONVERTED = -1 };

/* ---- Thrift's compact protocol ---- */

static void append_varint(struct nf_blob *b, uint64_t value) {
  for (; value >= 0x80; value >>= 7) nf_blob_append_byte(b, (uint8_t)(value | 0x80));
  nf_blob_append_byte(b, (uint8_t)value);
}

enum thrift_type { T_TRUE = 1, T_FALSE = 2, T_BYTE = 3, T_I32 = 5, T_I64 = 6, T_BINARY = 8, T_LIST = 9, T_STRUCT = 12 };

struct thrift {
  struct nf_blob *out;
  int depth;
  int last[DEPTH]; /* the last field's number, by depth of structs */
};

static struct thrift thrift_to(struct nf_blob *out) { return (struct thrift){.out = out}; }

static void put_zigzag(struct thrift *t, int64_t value) {
  append_varint(t->out, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

static void put_field(struct thrift *t, int number, enum thrift_type type) {
  nf_blob_append_byte(t->out, (uint8_t)((number - t->last[t->depth]) << 4 | (int)type)); /* none is more than 15 away */
  t->last[t->depth] = number;
}

static void put_i32(struct thrift *t, int number, int32_t value) {
  put_field(t, number, T_I32);
  put_zigzag(t, value);
}

static void put_i64(struct thrift *t, int number, int64_t value) {
  put_field(t, number, T_I64);
  put_zigzag(t, value);
}

static void put_byte(struct thrift *t, int number, uint8_t value) {
  put_field(t, number, T_BYTE);
  nf_blob_append_byte(t->out, value);
}

static void put_bool(struct thrift *t, int number, bool value) { put_field(t, number, value ? T_TRUE : T_FALSE); }

static void put_binary(struct thrift *t, const char *bytes, size_t size) {
  append_varint(t->out, size);
  nf_blob_append(t->out, bytes, size);
}

static void put_text(struct thrift *t, int number, const char *text) {
  put_field(t, number, T_BINARY);
  put_binary(t, text, strlen(text));
}

static void put_list_of(struct thrift *t, enum thrift_type type, uint32_t count) {
  if (count < 15) {
    nf_blob_append_byte(t->out, (uint8_t)(count << 4 | type));
  } else {
    nf_blob_append_byte(t->out, (uint8_t)(0xf0 | type));
    append_varint(t->out, count);
  }
}

static void put_list(struct thrift *t, int number, enum thrift_type type, uint32_t count) {
  put_field(t, number, T_LIST);
  put_list_of(t, type, count);
}

/* A struct that is an element of a list. */
static void begin_element(struct thrift *t) {
  nf_require(t->depth + 1 < DEPTH);
  t->last[++t->depth] = 0;
}

static void begin_struct(struct thrift *t, int number) {
  put_field(t, number, T_STRUCT);
  begin_element(t);
}

static void end_struct(struct thrift *t) {
  nf_blob_append_byte(t->out, 0);
  t->depth--;
}

static void put_empty_struct(struct thrift *t, int number) {
  begin_struct(t, number);
  end_struct(t);
}

/* ---- types ---- */

static enum physical physical_of(const struct nf_columnar_column *c) {
  if (c->is_text) return BYTE_ARRAY;
  if (c->is_address) return FIXED_LEN_BYTE_ARRAY;
  switch (c->column->type) {
  case NF_TYPE_BOOL: return BOOLEAN;
  case NF_TYPE_FLOAT: return FLOAT;
  case NF_TYPE_DOUBLE: return DOUBLE;
  case NF_TYPE_INT64:
  case NF_TYPE_UINT64: return INT64;
  default: return INT32;
  }
}

/* What older readers take for the logical type. */
static int converted_of(const struct nf_columnar_column *c) {
  enum { UTF8 = 0, TIMESTAMP_MILLIS = 9, TIMESTAMP_MICROS = 10, UINT_8 = 11, INT_8 = 15 };
  if (c->is_text) return UTF8;
  if (c->column->moment == NF_MOMENT_MS) return TIMESTAMP_MILLIS;
  if (c->column->moment == NF_MOMENT_US) return TIMESTAMP_MICROS;
  if (c->column->moment == NF_MOMENT_NS) return NO_CONVERTED;
  if (c->column->type < NF_TYPE_INT8 || c->column->type > NF_TYPE_UINT64) return NO_CONVERTED;
  return nf_is_signed(c->column->type) ? INT_8 + c->column->type - NF_TYPE_INT8
                                       : UINT_8 + c->column->type - NF_TYPE_UINT8;
}

static void put_logical_type(struct thrift *t, const struct nf_columnar_column *c) {
  enum { LOGICAL = 10, STRING = 1, TIMESTAMP = 8, INTEGER = 10 };
  const int type = c->column->type;
  if (!c->is_text && (type < NF_TYPE_INT8 || type > NF_TYPE_UINT64)) return;
  begin_struct(t, LOGICAL);
  if (c->is_text) {
    put_empty_struct(t, STRING);
  } else if (c->column->moment) {
    begin_struct(t, TIMESTAMP);
    put_bool(t, 1, true); /* in UTC */
    begin_struct(t, 2);
    put_empty_struct(t, c->column->moment); /* 1: milliseconds, 2: micro, 3: nano, as nf_moment has them */
    end_struct(t);
    end_struct(t);
  } else {
    begin_struct(t, INTEGER);
    put_byte(t, 1, (uint8_t)(c->width * 8));
    put_bool(t, 2, nf_is_signed(type));
    end_struct(t);
  }
  end_struct(t);
}

static void put_value_type(struct thrift *t, const struct nf_columnar_column *c, enum repetition repetition,
                           const char *name) {
  begin_element(t);
  put_i32(t, 1, physical_of(c));
  if (c->is_address) put_i32(t, 2, (int32_t)c->width);
  put_i32(t, 3, repetition);
  put_text(t, 4, name);
  if (converted_of(c) != NO_CONVERTED) put_i32(t, 6, converted_of(c));
  put_logical_type(t, c);
  end_struct(t);
}

/* A group of one: what a list is, and what repeats in it. */
static void put_group(struct thrift *t, enum repetition repetition, const char *name, bool is_list) {
  enum { LIST_CONVERTED = 3, LOGICAL = 10, LIST = 3 };
  begin_element(t);
  put_i32(t, 3, repetition);
  put_text(t, 4, name);
  put_i32(t, 5, 1);
  if (is_list) {
    put_i32(t, 6, LIST_CONVERTED);
    begin_struct(t, LOGICAL);
    put_empty_struct(t, LIST);
    end_struct(t);
  }
  end_struct(t);
}

static void put_schema(struct thrift *t, const struct nf_columnar *rows) {
  uint32_t nodes = 1;
  for (uint32_t i = 0; i < rows->count; i++) nodes += nf_columnar_is_array(&rows->columns[i]) ? 3 : 1;
  put_list(t, 2, T_STRUCT, nodes);
  begin_element(t);
  put_text(t, 4, "flows");
  put_i32(t, 5, (int32_t)rows->count);
  end_struct(t);
  for (uint32_t i = 0; i < rows->count; i++) {
    const struct nf_columnar_column *c = &rows->columns[i];
    if (nf_columnar_is_array(c)) {
      put_group(t, REQUIRED, c->column->name, true);
      put_group(t, REPEATED, "list", false);
      put_value_type(t, c, REQUIRED, "element");
    } else {
      put_value_type(t, c, c->may_be_none ? OPTIONAL : REQUIRED, c->column->name);
    }
  }
}

/* ---- pages ---- */

struct sizes {
  uint64_t plain, packed; /* with pages' headers */
};

/* A column's pages in the row group under way. */
struct chunk {
  struct nf_blob bytes; /* as they will be in the file */
  size_t data;          /* where its values begin in these, behind the dictionary */
  struct sizes sizes;
};

/* Who makes pages: one of several threads. */
struct packer {
  struct parquet *parquet;
  ZSTD_CCtx *zstd;
  struct nf_blob page, packed; /* of the page under way */
  pthread_t thread;
  bool is_started;
};

struct parquet {
  struct nf_writer writer;
  struct nf_columnar rows;
  struct chunk *chunks; /* by column */
  struct packer packers[MAX_PACKERS];
  uint32_t packer_count;
  atomic_uint next;             /* column to be packed */
  struct nf_blob group, groups; /* what describes the row group under way, and those that got out */
  uint32_t group_count;
  uint64_t written; /* rows in these */
  bool is_finished;
};

static struct parquet *parquet_of(struct nf_writer *writer) { return (struct parquet *)writer; }

/* Numbers of so many bits one behind the other, lowest bit first, as one run of RLE's hybrid. */
static void append_bits(struct nf_blob *b, const uint32_t *numbers, uint32_t count, uint32_t width) {
  const uint32_t eights = (count + 7) / 8;
  append_varint(b, (uint64_t)eights << 1 | 1);
  uint8_t *out = nf_blob_reserve(b, (size_t)eights * width);
  if (!out) return;
  b->size += (size_t)eights * width;
  memset(out, 0, (size_t)eights * width);
  uint64_t bits = 0;
  uint32_t held = 0;
  for (uint32_t i = 0; i < count; i++) {
    bits |= (uint64_t)numbers[i] << held;
    for (held += width; held >= 8; held -= 8, bits >>= 8) *out++ = (uint8_t)bits;
  }
  if (held) *out = (uint8_t)bits;
}

/* Begins levels, which stand behind the number of bytes that they take; returns where. */
static size_t begin_levels(struct nf_blob *b) {
  nf_blob_append_u32(b, 0);
  return b->size;
}

static void end_levels(struct nf_blob *b, size_t start) {
  const uint32_t size = (uint32_t)(b->size - start);
  if (!b->has_failed) memcpy(b->at + start - sizeof size, &size, sizeof size);
}

/* So many levels of one bit, each a bit of these bytes; returns where the bytes lie, NULL where there is no memory. */
static uint8_t *append_level_bits(struct nf_blob *b, uint32_t count) {
  const size_t bytes = (count + 7) / 8;
  append_varint(b, (uint64_t)bytes << 1 | 1);
  uint8_t *bits = nf_blob_reserve(b, bytes);
  if (bits) b->size += bytes;
  return bits;
}

/* Definition: whether there is a value. */
static void append_presence(struct nf_blob *b, const uint8_t *present, uint32_t count) {
  const size_t start = begin_levels(b);
  uint8_t *bits = append_level_bits(b, count);
  if (bits) memcpy(bits, present, (count + 7) / 8);
  end_levels(b, start);
}

/* Repetition: 0 where a row begins, else 1; definition: always 1, as no list is empty. */
static void append_list_levels(struct nf_blob *b, uint32_t elements, uint32_t count) {
  size_t start = begin_levels(b);
  uint8_t *bits = append_level_bits(b, count);
  if (!bits) return;
  memset(bits, 0xff, (count + 7) / 8);
  for (uint32_t at = 0; at < count; at += elements) bits[at / 8] &= (uint8_t) ~(1u << at % 8);
  end_levels(b, start);
  start = begin_levels(b);
  append_varint(b, (uint64_t)count << 1);
  nf_blob_append_byte(b, 1);
  end_levels(b, start);
}

/* The integer of one or two bytes that is four in a file. */
static int32_t widened(int type, const uint8_t *value) {
  switch (type) {
  case NF_TYPE_INT8: return (value[0] ^ 0x80) - 0x80;
  case NF_TYPE_UINT8: return value[0];
  case NF_TYPE_INT16: return (int16_t)(value[0] | value[1] << 8);
  default: return value[0] | value[1] << 8;
  }
}

static void append_one_by_one(struct nf_blob *b, const struct nf_columnar_column *c, uint32_t count) {
  const bool is_small = c->width < sizeof(int32_t);
  const uint32_t width = is_small ? sizeof(int32_t) : c->width;
  const uint8_t *value = c->values;
  uint8_t *start = nf_blob_reserve(b, (size_t)count * width), *out = start;
  if (!out) return;
  for (uint32_t i = 0; i < count; i++, value += c->width) {
    if (!nf_columnar_has(c, i)) continue;
    const int32_t wide = is_small ? widened(c->column->type, value) : 0;
    memcpy(out, is_small ? (const void *)&wide : value, width);
    out += width;
  }
  b->size += (size_t)(out - start);
}

/* Values that are no texts; `count` with all elements. */
static void append_plain(struct nf_blob *b, const struct nf_columnar_column *c, uint32_t count) {
  if (c->column->type == NF_TYPE_BOOL) nf_blob_append_bits(b, c->values, count);
  else if (c->width >= 4 && !c->may_be_none) nf_blob_append(b, c->values, (size_t)count * c->width);
  else append_one_by_one(b, c, count);
}

static uint32_t bits_for(uint32_t count) {
  uint32_t width = 1;
  while (count > 1u << width) width++;
  return width;
}

/* Numbers of dictionary entries; absent values have none. */
static void append_numbers(struct nf_blob *b, struct nf_columnar_column *c, uint32_t rows) {
  uint32_t *numbers = (uint32_t *)c->values, count = 0;
  for (uint32_t i = 0; i < rows; i++) {
    if (nf_columnar_has(c, i)) numbers[count++] = numbers[i];
  }
  const uint32_t width = bits_for(c->texts.count);
  nf_blob_append_byte(b, (uint8_t)width);
  append_bits(b, numbers, count, width);
}

static void append_texts(struct nf_blob *b, const struct nf_texts *texts) {
  for (uint32_t i = 0; i < texts->count; i++) {
    const uint32_t size = nf_text_size(texts, i);
    nf_blob_append_u32(b, size);
    nf_blob_append(b, texts->bytes + texts->offsets[i], size);
  }
}

static void put_page_header(struct nf_blob *out, const struct packer *packer, enum page_type type, uint32_t values,
                            enum encoding encoding) {
  struct thrift t = thrift_to(out);
  begin_element(&t);
  put_i32(&t, 1, type);
  put_i32(&t, 2, (int32_t)packer->page.size);
  put_i32(&t, 3, (int32_t)packer->packed.size);
  begin_struct(&t, type == DATA_PAGE ? 5 : 7);
  put_i32(&t, 1, (int32_t)values);
  put_i32(&t, 2, encoding);
  if (type == DATA_PAGE) {
    put_i32(&t, 3, RLE);
    put_i32(&t, 4, RLE);
  }
  end_struct(&t);
  end_struct(&t);
}

/* Compresses the page that has been laid down, and appends it to a chunk. */
static void pack_page(struct packer *packer, struct chunk *chunk, enum page_type type, uint32_t values,
                      enum encoding encoding) {
  const struct nf_blob *page = &packer->page;
  nf_blob_clear(&packer->packed);
  const size_t bound = ZSTD_compressBound(page->size);
  uint8_t *packed = page->has_failed || page->size > INT32_MAX ? NULL : nf_blob_reserve(&packer->packed, bound);
  const size_t size = packed ? ZSTD_compress2(packer->zstd, packed, bound, page->at, page->size) : 0;
  if (!packed || ZSTD_isError(size)) {
    chunk->bytes.has_failed = true;
    return;
  }
  packer->packed.size = size;
  const size_t start = chunk->bytes.size;
  put_page_header(&chunk->bytes, packer, type, values, encoding);
  chunk->sizes.plain += chunk->bytes.size - start + page->size;
  nf_blob_append(&chunk->bytes, packed, size);
  chunk->sizes.packed += chunk->bytes.size - start;
}

/* Makes a column's pages. */
static void pack_column(struct packer *packer, struct nf_columnar_column *c, struct chunk *chunk, uint32_t rows) {
  const uint32_t values = rows * c->elements;
  struct nf_blob *page = &packer->page;
  nf_blob_clear(&chunk->bytes);
  chunk->sizes = (struct sizes){0};
  if (c->is_text) {
    nf_blob_clear(page);
    append_texts(page, &c->texts);
    pack_page(packer, chunk, DICTIONARY_PAGE, c->texts.count, PLAIN);
  }
  chunk->data = chunk->bytes.size;
  nf_blob_clear(page);
  if (nf_columnar_is_array(c)) append_list_levels(page, c->elements, values);
  if (c->may_be_none) append_presence(page, c->present, rows);
  if (c->is_text) append_numbers(page, c, rows);
  else append_plain(page, c, values);
  pack_page(packer, chunk, DATA_PAGE, values, c->is_text ? RLE_DICTIONARY : PLAIN);
}

/* Takes one column after another, until there is none left. */
static void *pack_columns(void *given) {
  struct packer *packer = given;
  struct parquet *p = packer->parquet;
  for (uint32_t i; (i = p->next++) < p->rows.count;) {
    pack_column(packer, &p->rows.columns[i], &p->chunks[i], p->rows.rows);
  }
  return NULL;
}

/* Makes the pages of all columns. Where a thread cannot be had, the others do its work. */
static void pack_rows(struct parquet *p) {
  const uint32_t worth = p->rows.rows / WORTH_A_PACKER + 1, count = worth < p->packer_count ? worth : p->packer_count;
  atomic_store(&p->next, 0);
  for (uint32_t i = 1; i < count; i++) {
    struct packer *packer = &p->packers[i];
    packer->is_started = nf_thread_start(&packer->thread, pack_columns, packer) == 0;
  }
  (void)pack_columns(&p->packers[0]);
  for (uint32_t i = 1; i < count; i++) {
    if (p->packers[i].is_started) (void)pthread_join(p->packers[i].thread, NULL);
  }
}

/* ---- row groups ---- */

static void put_column_chunk(struct thrift *t, const struct nf_columnar_column *c, const struct chunk *chunk,
                             uint64_t start, uint32_t values) {
  begin_element(t);
  put_i64(t, 2, 0);
  begin_struct(t, 3);
  put_i32(t, 1, physical_of(c));
  put_list(t, 2, T_I32, 2);
  put_zigzag(t, RLE);
  put_zigzag(t, c->is_text ? RLE_DICTIONARY : PLAIN);
  put_list(t, 3, T_BINARY, nf_columnar_is_array(c) ? 3 : 1);
  put_binary(t, c->column->name, strlen(c->column->name));
  if (nf_columnar_is_array(c)) {
    put_binary(t, "list", 4);
    put_binary(t, "element", 7);
  }
  put_i32(t, 4, ZSTD_CODEC);
  put_i64(t, 5, values);
  put_i64(t, 6, (int64_t)chunk->sizes.plain);
  put_i64(t, 7, (int64_t)chunk->sizes.packed);
  put_i64(t, 9, (int64_t)(start + chunk->data));
  if (c->is_text) put_i64(t, 11, (int64_t)start);
  end_struct(t);
  end_struct(t);
}

static const char MAGIC[4] = {'P', 'A', 'R', '1'};

static bool write_magic(struct parquet *p) {
  return nf_output_size(p->writer.output) > 0 || nf_output_put(p->writer.output, MAGIC, sizeof MAGIC) == sizeof MAGIC;
}

/* False where that fails, for want of memory too. */
static bool write_group(struct parquet *p) {
  struct thrift t = thrift_to(&p->group);
  struct sizes total = {0};
  nf_blob_clear(&p->group);
  if (!write_magic(p)) return false;
  pack_rows(p);
  begin_element(&t);
  put_list(&t, 1, T_STRUCT, p->rows.count);
  for (uint32_t i = 0; i < p->rows.count; i++) {
    const struct nf_columnar_column *c = &p->rows.columns[i];
    const struct chunk *chunk = &p->chunks[i];
    put_column_chunk(&t, c, chunk, nf_output_size(p->writer.output), p->rows.rows * c->elements);
    if (chunk->bytes.has_failed) return false;
    if (!nf_output_put_whole(p->writer.output, chunk->bytes.at, chunk->bytes.size)) return false;
    total.plain += chunk->sizes.plain;
    total.packed += chunk->sizes.packed;
  }
  put_i64(&t, 2, (int64_t)total.plain);
  put_i64(&t, 3, p->rows.rows);
  put_i64(&t, 6, (int64_t)total.packed);
  end_struct(&t);
  nf_blob_append(&p->groups, p->group.at, p->group.size);
  return !p->group.has_failed && !p->groups.has_failed;
}

/* Writes the rows that there are as a row group, all of it or nothing. */
static void emit_group(struct nf_writer *writer) {
  struct parquet *p = parquet_of(writer);
  const uint64_t before = nf_output_size(p->writer.output);
  if (p->rows.rows == 0) return;
  if (write_group(p)) {
    p->group_count++;
    p->written += p->rows.rows;
  } else {
    nf_output_fail(p->writer.output);
    nf_output_take_back(p->writer.output, nf_output_size(p->writer.output) - before);
  }
  nf_columnar_clear(&p->rows);
}

/* ---- the format ---- */

static bool add_packer(struct parquet *p) {
  struct packer *packer = &p->packers[p->packer_count];
  packer->parquet = p;
  packer->zstd = ZSTD_createCCtx();
  if (!packer->zstd) return false;
  (void)ZSTD_CCtx_setParameter(packer->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
  p->packer_count++;
  return true;
}

static bool start(struct nf_writer *writer, char *error) {
  struct parquet *p = parquet_of(writer);
  if (!nf_columnar_start(&p->rows, writer, GROUP_ROWS, true, emit_group, error)) return false;
  p->chunks = calloc(p->rows.count, sizeof *p->chunks);
  for (uint32_t wanted = nf_cpu_count(); p->packer_count < wanted && p->packer_count < MAX_PACKERS;) {
    if (!add_packer(p)) break;
  }
  if (p->chunks && p->packer_count > 0) return true;
  nf_fail(error, "out of memory for an output's compression");
  return false;
}

static void free_all(struct nf_writer *writer) {
  struct parquet *p = parquet_of(writer);
  for (uint32_t i = 0; i < p->packer_count; i++) {
    ZSTD_freeCCtx(p->packers[i].zstd);
    nf_blob_free(&p->packers[i].page);
    nf_blob_free(&p->packers[i].packed);
  }
  for (uint32_t i = 0; p->chunks && i < p->rows.count; i++) nf_blob_free(&p->chunks[i].bytes);
  free(p->chunks);
  nf_columnar_free(&p->rows);
  nf_blob_free(&p->group);
  nf_blob_free(&p->groups);
}

static bool write_record(struct nf_writer *writer, const struct nf_flow *record) {
  return nf_columnar_write(&parquet_of(writer)->rows, record);
}

/* Rows that nothing describes cannot be read. */
static void flush(struct nf_writer *writer) { (void)writer; }

static void put_notes(struct thrift *t, const struct nf_writer *writer) {
  if (writer->note_count == 0) return;
  put_list(t, 5, T_STRUCT, writer->note_count);
  for (uint32_t i = 0; i < writer->note_count; i++) {
    begin_element(t);
    put_text(t, 1, writer->notes[i].name);
    put_text(t, 2, writer->notes[i].text);
    end_struct(t);
  }
}

static void finish(struct nf_writer *writer) {
  struct parquet *p = parquet_of(writer);
  if (p->is_finished) return;
  p->is_finished = true;
  nf_columnar_flush(&p->rows);
  struct nf_blob *footer = &p->packers[0].page;
  struct thrift t = thrift_to(footer);
  nf_blob_clear(footer);
  begin_element(&t);
  put_i32(&t, 1, 1);
  put_schema(&t, &p->rows);
  put_i64(&t, 3, (int64_t)p->written);
  put_list(&t, 4, T_STRUCT, p->group_count);
  nf_blob_append(footer, p->groups.at, p->groups.size);
  put_notes(&t, writer);
  char name[64];
  (void)snprintf(name, sizeof name, "nfengine version %s", nf_version());
  put_text(&t, 6, name);
  end_struct(&t);
  nf_blob_append_u32(footer, (uint32_t)footer->size);
  nf_blob_append(footer, MAGIC, sizeof MAGIC);
  if (footer->has_failed) nf_output_fail(writer->output);
  else if (write_magic(p) && nf_output_put_end(writer->output, footer->at, footer->size)) writer->rows = p->written;
}

const struct nf_encoding nf_parquet = {
    .size = sizeof(struct parquet),
    .start = start,
    .free = free_all,
    .write = write_record,
    .flush = flush,
    .finish = finish,
    .has_places = true,
};
