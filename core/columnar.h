#pragma once
/*
 * columnar.h: records turned into columns, some thousands at a time: what Parquet and Arrow have in common. Numbers lie
 * one behind the other as they are in records. So do texts, addresses and names, or they are numbers of a dictionary
 * that has each text once. Knows no file format.
 */
#include "writer.h"

/* The texts of a column in the order in which they came: each once, or one a row. */
struct nf_texts {
  char *bytes;       /* one behind the other, without an end */
  uint32_t *offsets; /* count + 1 of them */
  uint32_t count;
  uint32_t *slots; /* hash table: number + 1, 0 for none */
  uint32_t slots_mask;
  size_t bytes_room;
};

static inline uint32_t nf_text_size(const struct nf_texts *texts, uint32_t number) {
  return texts->offsets[number + 1] - texts->offsets[number];
}

struct nf_columnar_column {
  const struct nf_column *column;
  bool is_text;      /* `values` are 32-bit numbers of `texts`, which has each once; or it has a text for each row */
  bool may_be_none;  /* values may be absent */
  bool is_address;   /* `values` are addresses of 16 bytes */
  uint32_t width;    /* bytes of a value or of an array's element */
  uint32_t elements; /* values a row: an array's, else 1 */
  uint8_t *values;   /* rows * elements * width bytes, those of absent values 0 */
  uint8_t *present;  /* a bit a row, lowest first; NULL where no value may be absent */
  struct nf_texts texts; /* one a row: absent ones are empty */
};

struct nf_columnar {
  struct nf_writer *writer;
  void (*emit)(struct nf_writer *writer);
  struct nf_columnar_column *columns;
  uint32_t count;
  uint32_t rows, capacity;
  size_t text_size; /* bytes of all texts, as often as they come */
  bool has_dictionaries;
  uint8_t seed[16]; /* of the dictionaries' hashes */
  uint8_t *staged;  /* copies of the records that are no rows yet */
  uint32_t staged_count;
  size_t record_size; /* of what the columns use of one */
  size_t stride;      /* from one copy to the next, which are aligned */
  char *texts;        /* of one column of the staged records */
};

/* Whether a column's rows are arrays. */
static inline bool nf_columnar_is_array(const struct nf_columnar_column *c) {
  return !c->is_text && c->column->is_array;
}

static inline bool nf_columnar_has(const struct nf_columnar_column *c, uint32_t row) {
  return !c->may_be_none || (c->present[row / 8] >> row % 8 & 1);
}

/*
 * Prepares a batch for a writer's columns, which it refers to; of at most so many rows, fewer where they are large;
 * with each text once or for each row. `emit` writes out the rows that there are, none perhaps, and clears the batch.
 * False with a one-line reason; nf_columnar_free in any case.
 */
bool nf_columnar_start(struct nf_columnar *batch, struct nf_writer *writer, uint32_t rows, bool has_dictionaries,
                       void (*emit)(struct nf_writer *writer), char *error);
void nf_columnar_free(struct nf_columnar *batch);

/* Takes a record, and emits the batch when it is full. Records become rows some at a time, column by column. False once
   the output has failed, for want of memory too. */
bool nf_columnar_write(struct nf_columnar *batch, const struct nf_flow *record);
/* Makes rows of all records that were taken, and emits them. */
void nf_columnar_flush(struct nf_columnar *batch);
/* How many rows have a value in a column. */
uint32_t nf_columnar_present(const struct nf_columnar *batch, const struct nf_columnar_column *column);
/* Begins anew, with empty dictionaries; records that are no rows yet stay. */
void nf_columnar_clear(struct nf_columnar *batch);
