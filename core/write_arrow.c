/*
 * write_arrow.c: records in Apache Arrow's IPC formats (arrow.apache.org/docs/format/Columnar.html), typed: integers of
 * their width and sign, moments as timestamps, arrays as lists of fixed size, what is absent as null. Texts are plain,
 * since dictionaries that change from batch to batch are not for every reader.
 *
 *   stream   schema, batch, batch … end           to be read while it comes: a batch is so many records, or what there
 *                                                 is when the output is flushed
 *   file     "ARROW1\0\0", a stream, footer, size of the footer, "ARROW1"
 *                                                 to be read from any place; only batches that the footer names count
 *
 * Schema and batches are messages: a flatbuffer that describes a body, and the body, in which columns lie as they do in
 * memory. The mark at the end of a stream stands only where all of it got out.
 */
#include "blob.h"
#include "columnar.h"

enum {
  BATCH_ROWS = 1 << 13, /* of some hundred bytes each: a few MB, and few enough descriptions */
  ALIGNMENT = 8         /* of messages, and of buffers in bodies */
};

/* Numbers of Schema.fbs, Message.fbs and File.fbs. */
enum { VERSION_5 = 4 };
enum header { SCHEMA = 1, RECORD_BATCH = 3 };
enum type {
  INT = 2,
  FLOATING_POINT = 3,
  UTF8 = 5,
  BOOL = 6,
  TIMESTAMP = 10,
  FIXED_SIZE_BINARY = 15,
  FIXED_SIZE_LIST = 16
};
enum precision { SINGLE = 1, DOUBLE = 2 };

static void pad(struct nf_blob *b, size_t ahead, size_t alignment) {
  while (!b->has_failed && (b->size + ahead) % alignment) nf_blob_append_byte(b, 0);
}

static void append_zeros(struct nf_blob *b, size_t size) {
  uint8_t *at = nf_blob_reserve(b, size);
  if (!at) return;
  memset(at, 0, size);
  b->size += size;
}

/*
 * ---- flatbuffers (flatbuffers.dev/internals) ----
 *
 * A table has fields by number; a vtable in front of it says where each lies. Strings, vectors and other tables are
 * referred to by how far ahead they lie. So all is laid down in the order of reading, a whole before its parts, and a
 * reference is filled in when its part follows. Places count from the blob's beginning, which is aligned.
 *
 * Debian has a library for this in C++ alone (libflatbuffers-dev), for code generated from Arrow's schemas.
 */

enum { FIELDS_MAX = 7 };

struct table {
  struct nf_blob *out;
  const char *widths;        /* bytes of each field's value as a digit, 0 for one that is absent */
  size_t fields[FIELDS_MAX]; /* where the values lie */
};

static void set_at(struct nf_blob *b, size_t at, uint64_t value, size_t width) {
  if (!b->has_failed) memcpy(b->at + at, &value, width);
}

/* Makes the reference at a place lead to what is appended next. */
static void refer(struct nf_blob *b, size_t reference) { set_at(b, reference, b->size - reference, 4); }

/* A table whose values are 0. It begins 4 bytes off an aligned place: its wide fields, which stand first, are aligned
   then. */
static struct table put_table(struct nf_blob *b, size_t reference, const char *widths) {
  struct table t = {b, widths, {0}};
  uint16_t vtable[2 + FIELDS_MAX] = {0}, size = 4;
  const size_t count = strlen(widths), vtable_size = (2 + count) * sizeof *vtable;
  for (int width = 8; width; width /= 2) {
    for (size_t i = 0; i < count; i++) {
      if (widths[i] - '0' != width) continue;
      vtable[2 + i] = size;
      size = (uint16_t)(size + width);
    }
  }
  vtable[0] = (uint16_t)vtable_size;
  vtable[1] = size;
  pad(b, vtable_size + 4, 8);
  nf_blob_append(b, vtable, vtable_size);
  refer(b, reference);
  for (size_t i = 0; i < count; i++) t.fields[i] = b->size + vtable[2 + i];
  nf_blob_append_u32(b, (uint32_t)vtable_size); /* how far back the vtable is */
  append_zeros(b, size - 4u);
  return t;
}

static void set(const struct table *t, int field, uint64_t value) {
  set_at(t->out, t->fields[field], value, (size_t)(t->widths[field] - '0'));
}

static void put_string(struct nf_blob *b, size_t reference, const char *text) {
  const size_t size = strlen(text);
  pad(b, 0, 4);
  refer(b, reference);
  nf_blob_append_u32(b, (uint32_t)size);
  nf_blob_append(b, text, size + 1);
}

/* A vector of so many elements; returns where the first lies. */
static size_t put_vector(struct nf_blob *b, size_t reference, uint32_t count) {
  pad(b, 4, 8);
  refer(b, reference);
  nf_blob_append_u32(b, count);
  return b->size;
}

/* The same of references, to what follows; returns where the first of them lies. */
static size_t put_references(struct nf_blob *b, size_t reference, uint32_t count) {
  const size_t first = put_vector(b, reference, count);
  append_zeros(b, (size_t)count * 4);
  return first;
}

/* ---- schema ---- */

static void put_pair(struct nf_blob *b, size_t reference, const char *key, const char *value) {
  const struct table pair = put_table(b, reference, "44");
  put_string(b, pair.fields[0], key);
  put_string(b, pair.fields[1], value);
}

static void put_notes(struct nf_blob *b, size_t reference, const struct nf_writer *writer) {
  size_t at = put_references(b, reference, writer->note_count);
  for (uint32_t i = 0; i < writer->note_count; i++, at += 4) {
    put_pair(b, at, writer->notes[i].name, writer->notes[i].text);
  }
}

static enum type type_of(const struct nf_columnar_column *c) {
  if (c->is_text) return UTF8;
  if (c->is_address) return FIXED_SIZE_BINARY;
  if (c->column->moment) return TIMESTAMP;
  switch (c->column->type) {
  case NF_TYPE_BOOL: return BOOL;
  case NF_TYPE_FLOAT:
  case NF_TYPE_DOUBLE: return FLOATING_POINT;
  default: return INT;
  }
}

static void put_type(struct nf_blob *b, size_t reference, const struct nf_columnar_column *c) {
  struct table t;
  switch (type_of(c)) {
  case TIMESTAMP:
    t = put_table(b, reference, "24");
    set(&t, 0, c->column->moment); /* 1: milliseconds, 2: micro, 3: nano, as nf_moment has them */
    put_string(b, t.fields[1], "UTC");
    break;
  case FLOATING_POINT:
    t = put_table(b, reference, "2");
    set(&t, 0, c->column->type == NF_TYPE_DOUBLE ? DOUBLE : SINGLE);
    break;
  case INT:
    t = put_table(b, reference, "41");
    set(&t, 0, (uint64_t)c->width * 8);
    set(&t, 1, nf_is_signed(c->column->type));
    break;
  case FIXED_SIZE_BINARY:
    t = put_table(b, reference, "4");
    set(&t, 0, c->width);
    break;
  default: (void)put_table(b, reference, ""); break;
  }
}

enum {
  FIELD_NAME = 0,
  FIELD_NULLABLE = 1,
  FIELD_TYPE_TYPE = 2,
  FIELD_TYPE = 3,
  FIELD_CHILDREN = 5,
  FIELD_METADATA = 6
};
#define FIELD "411404" /* with what says of the column: FIELD "4" */

static void put_element_field(struct nf_blob *b, size_t reference, const struct nf_columnar_column *c) {
  const struct table field = put_table(b, reference, FIELD);
  set(&field, FIELD_TYPE_TYPE, type_of(c));
  put_string(b, field.fields[FIELD_NAME], "item");
  put_type(b, field.fields[FIELD_TYPE], c);
  (void)put_references(b, field.fields[FIELD_CHILDREN], 0);
}

static void put_field(struct nf_blob *b, size_t reference, const struct nf_columnar_column *c) {
  const char *unit = c->column->unit, *doc = c->column->doc;
  const bool is_list = nf_columnar_is_array(c);
  const struct table field = put_table(b, reference, FIELD "4");
  set(&field, FIELD_NULLABLE, c->may_be_none);
  set(&field, FIELD_TYPE_TYPE, is_list ? FIXED_SIZE_LIST : type_of(c));
  put_string(b, field.fields[FIELD_NAME], c->column->name);
  if (is_list) {
    const struct table list = put_table(b, field.fields[FIELD_TYPE], "4");
    set(&list, 0, c->elements);
    put_element_field(b, put_references(b, field.fields[FIELD_CHILDREN], 1), c);
  } else {
    put_type(b, field.fields[FIELD_TYPE], c);
    (void)put_references(b, field.fields[FIELD_CHILDREN], 0);
  }
  size_t at = put_references(b, field.fields[FIELD_METADATA], (unit != NULL) + (doc != NULL));
  if (unit) put_pair(b, at, "unit", unit);
  if (doc) put_pair(b, at + (unit ? 4 : 0), "doc", doc);
}

static void put_schema(struct nf_blob *b, size_t reference, const struct nf_writer *writer,
                       const struct nf_columnar *rows) {
  const struct table schema = put_table(b, reference, "244"); /* endianness 0: little */
  size_t at = put_references(b, schema.fields[1], rows->count);
  for (uint32_t i = 0; i < rows->count; i++, at += 4) put_field(b, at, &rows->columns[i]);
  put_notes(b, schema.fields[2], writer);
}

/* ---- messages ---- */

struct arrow {
  struct nf_writer writer;
  struct nf_columnar rows;
  struct nf_blob message, body;
  struct nf_blob nodes, buffers; /* of the body: what each column, and each part of one, is */
  struct nf_blob blocks;         /* of a file: where its batches lie */
  uint64_t written;              /* rows in these */
  bool is_file, is_begun, is_finished;
};

static struct arrow *arrow_of(struct nf_writer *writer) { return (struct arrow *)writer; }

/* Begins a message with the body that has been laid down; returns the place for the reference to what it is. */
static size_t begin_message(struct arrow *a, enum header header) {
  struct nf_blob *b = &a->message;
  nf_blob_clear(b);
  nf_blob_append_u32(b, UINT32_MAX); /* that a message comes */
  nf_blob_append_u32(b, 0);          /* its size, once it is known */
  nf_blob_append_u32(b, 0);
  const struct table message = put_table(b, 8, "2148");
  set(&message, 0, VERSION_5);
  set(&message, 1, header);
  set(&message, 3, a->body.size);
  return message.fields[2];
}

/* Ends its description. */
static void end_message(struct arrow *a) {
  pad(&a->message, 0, ALIGNMENT);
  set_at(&a->message, 4, a->message.size - 8, 4);
}

/* Writes the message and its body at once, so that where a write fails nothing of either is in a pipe. */
static bool write_message(struct arrow *a) {
  struct nf_blob *b = &a->message;
  if (a->body.has_failed || a->nodes.has_failed || a->buffers.has_failed) b->has_failed = true;
  nf_blob_append(b, a->body.at, a->body.size);
  if (!b->has_failed && nf_output_put_whole(a->writer.output, b->at, b->size)) return true;
  nf_output_fail(a->writer.output);
  return false;
}

static const char MAGIC[8] = "ARROW1\0";
enum { MAGIC_SIZE = 6 }; /* at a file's end */

/* Writes what stands before the first batch, once. */
static bool begin(struct arrow *a) {
  if (a->is_begun) return true;
  if (a->is_file && !nf_output_put_whole(a->writer.output, MAGIC, sizeof MAGIC)) return false;
  nf_blob_clear(&a->body);
  put_schema(&a->message, begin_message(a, SCHEMA), &a->writer, &a->rows);
  end_message(a);
  return a->is_begun = write_message(a);
}

/* ---- bodies ---- */

static void put_node(struct arrow *a, uint64_t length, uint64_t nulls) {
  nf_blob_append(&a->nodes, (uint64_t[]){length, nulls}, 16);
}

/* Ends a buffer that began at that place of the body. */
static void end_buffer(struct arrow *a, size_t start) {
  nf_blob_append(&a->buffers, (uint64_t[]){start, a->body.size - start}, 16);
  pad(&a->body, 0, ALIGNMENT);
}

/* The bits that say which rows have a value; left empty where all do. */
static void put_presence(struct arrow *a, const struct nf_columnar_column *c, uint32_t nulls) {
  const size_t start = a->body.size;
  if (nulls) nf_blob_append(&a->body, c->present, (a->rows.rows + 7) / 8);
  end_buffer(a, start);
}

static void put_texts(struct arrow *a, const struct nf_columnar_column *c) {
  const uint32_t rows = a->rows.rows, *offsets = c->texts.offsets;
  size_t start = a->body.size;
  nf_blob_append(&a->body, offsets, (rows + 1) * sizeof *offsets);
  end_buffer(a, start);
  start = a->body.size;
  nf_blob_append(&a->body, c->texts.bytes, offsets[rows]);
  end_buffer(a, start);
}

static void put_numbers(struct arrow *a, const struct nf_columnar_column *c) {
  const size_t start = a->body.size, count = (size_t)a->rows.rows * c->elements;
  if (c->column->type == NF_TYPE_BOOL) nf_blob_append_bits(&a->body, c->values, count);
  else nf_blob_append(&a->body, c->values, count * c->width);
  end_buffer(a, start);
}

static void put_column(struct arrow *a, const struct nf_columnar_column *c) {
  const uint32_t rows = a->rows.rows, nulls = rows - nf_columnar_present(&a->rows, c);
  put_node(a, rows, nulls);
  put_presence(a, c, nulls);
  if (nf_columnar_is_array(c)) {
    put_node(a, (uint64_t)rows * c->elements, 0);
    put_presence(a, c, 0);
  }
  if (c->is_text) put_texts(a, c);
  else put_numbers(a, c);
}

/* A vector of structs. */
static void put_structs(struct nf_blob *b, size_t reference, const struct nf_blob *structs, uint32_t width) {
  (void)put_vector(b, reference, (uint32_t)(structs->size / width));
  nf_blob_append(b, structs->at, structs->size);
}

static bool write_batch(struct arrow *a) {
  const uint64_t start = nf_output_size(a->writer.output);
  nf_blob_clear(&a->body);
  nf_blob_clear(&a->nodes);
  nf_blob_clear(&a->buffers);
  for (uint32_t i = 0; i < a->rows.count; i++) put_column(a, &a->rows.columns[i]);
  const struct table batch = put_table(&a->message, begin_message(a, RECORD_BATCH), "844");
  set(&batch, 0, a->rows.rows);
  put_structs(&a->message, batch.fields[1], &a->nodes, 16);
  put_structs(&a->message, batch.fields[2], &a->buffers, 16);
  end_message(a);
  const uint64_t block[] = {start, a->message.size, a->body.size};
  if (a->is_file && !nf_blob_reserve(&a->blocks, sizeof block))
    a->message.has_failed = true; /* nothing could name it */
  if (!write_message(a)) return false;
  if (a->is_file) nf_blob_append(&a->blocks, block, sizeof block);
  return true;
}

/* Writes the rows that there are as a batch, all of it or nothing. */
static void emit_batch(struct nf_writer *writer) {
  struct arrow *a = arrow_of(writer);
  if (begin(a) && a->rows.rows > 0 && write_batch(a)) {
    a->written += a->rows.rows;
    if (!a->is_file) a->writer.rows += a->rows.rows;
  }
  nf_columnar_clear(&a->rows);
}

/* ---- the formats ---- */

static bool start_stream(struct nf_writer *writer, char *error) {
  return nf_columnar_start(&arrow_of(writer)->rows, writer, BATCH_ROWS, false, emit_batch, error);
}

static bool start_file(struct nf_writer *writer, char *error) {
  arrow_of(writer)->is_file = true;
  return start_stream(writer, error);
}

static void free_all(struct nf_writer *writer) {
  struct arrow *a = arrow_of(writer);
  nf_columnar_free(&a->rows);
  nf_blob_free(&a->message);
  nf_blob_free(&a->body);
  nf_blob_free(&a->nodes);
  nf_blob_free(&a->buffers);
  nf_blob_free(&a->blocks);
}

static bool write_record(struct nf_writer *writer, const struct nf_flow *record) {
  return nf_columnar_write(&arrow_of(writer)->rows, record);
}

static void flush_stream(struct nf_writer *writer) { nf_columnar_flush(&arrow_of(writer)->rows); }

/* Nobody can read it before its footer is there. */
static void flush_file(struct nf_writer *writer) { (void)writer; }

/* Appends the mark at a stream's end. */
static void append_end(struct nf_blob *b) {
  nf_blob_append_u32(b, UINT32_MAX);
  nf_blob_append_u32(b, 0);
}

/* Appends what tells where a file's batches are. */
static void append_footer(struct nf_blob *b, const struct arrow *a) {
  struct nf_blob footer = {0};
  nf_blob_append_u32(&footer, 0);
  const struct table t = put_table(&footer, 0, "2444");
  set(&t, 0, VERSION_5);
  put_schema(&footer, t.fields[1], &a->writer, &a->rows);
  (void)put_vector(&footer, t.fields[2], 0); /* dictionaries */
  put_structs(&footer, t.fields[3], &a->blocks, 24);
  if (footer.has_failed) b->has_failed = true;
  nf_blob_append(b, footer.at, footer.size);
  nf_blob_append_u32(b, (uint32_t)footer.size);
  nf_blob_append(b, MAGIC, MAGIC_SIZE);
  nf_blob_free(&footer);
}

static void finish(struct nf_writer *writer) {
  struct arrow *a = arrow_of(writer);
  if (a->is_finished) return;
  a->is_finished = true;
  flush_stream(writer);
  if (!a->is_begun) return;
  struct nf_blob *end = &a->message;
  nf_blob_clear(end);
  append_end(end);
  if (a->is_file) append_footer(end, a);
  if (end->has_failed) nf_output_fail(writer->output);
  else if (!a->is_file) (void)nf_output_put_whole(writer->output, end->at, end->size);
  else if (nf_output_put_end(writer->output, end->at, end->size)) writer->rows = a->written;
}

/* What comes in an empty file is a stream of its own; in another it goes on there, which is why no end is marked where
   it leaves. */
static void move(struct nf_writer *writer, bool is_empty) {
  if (is_empty) arrow_of(writer)->is_begun = false;
}

const struct nf_encoding nf_arrow_stream = {
    .size = sizeof(struct arrow),
    .start = start_stream,
    .free = free_all,
    .write = write_record,
    .flush = flush_stream,
    .finish = finish,
    .move = move,
};

const struct nf_encoding nf_arrow_file = {
    .size = sizeof(struct arrow),
    .start = start_file,
    .free = free_all,
    .write = write_record,
    .flush = flush_file,
    .finish = finish,
    .has_places = true,
};
