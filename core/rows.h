#pragma once
/*
 * rows.h: records as rows of text: what CSV and JSON lines have in common. For an output, rows are put together in a
 * buffer that always has room for the largest one, and go out many at a time; one of which only a part got out is taken
 * back. A single row can be had in memory, too.
 */
#include "writer.h"

enum { NF_LEAD_BLOCK = 32 };

/* A column ready for writing: what stands before its value in each row is prepared once. */
struct nf_cell {
  struct nf_column column;
  const char *lead; /* padded to whole blocks */
  uint32_t lead_size;
};

/* The columns of a row. */
struct nf_row {
  struct nf_cell *cells;
  uint32_t count;
  char *leads;
  size_t bound; /* most bytes that a row, or the header, takes */
};

struct nf_syntax {
  /* Writes what stands before the value of column `index`, at most 6 bytes for one of the name and 8 more. */
  char *(*put_lead)(char *out, const char *name, uint32_t index);
  /* Writes what comes before the first row, at most that much for each column too. */
  char *(*put_header)(char *out, const struct nf_row *row);
  char *(*put_row)(char *out, const struct nf_row *row, const struct nf_flow *record);
  /* How many of these bytes, the first of which begins a row, are whole rows; adds their number to *rows. */
  size_t (*measure_rows)(const char *bytes, size_t size, uint64_t *rows);
};

extern const struct nf_syntax nf_csv_syntax, nf_json_syntax;

/* Prepares a row with these columns, whose names it refers to. False with a one-line reason; nf_row_free in any
   case. */
bool nf_row_start(struct nf_row *row, const struct nf_syntax *syntax, const struct nf_column *columns, uint32_t count,
                  char *error);
void nf_row_free(struct nf_row *row);

struct nf_rows {
  struct nf_writer writer;
  const struct nf_syntax *syntax;
  struct nf_row row;
  char *buffer;
  size_t used, header; /* bytes in it; and of those the header line's, with which it begins */
  uint64_t buffered;   /* rows in it */
};

/* A format's methods, but for `start`, which begins with nf_rows_start. */
#define NF_ROWS_ENCODING(started)                                                                     \
  {                                                                                                   \
    .size = sizeof(struct nf_rows), .start = (started), .free = nf_rows_free, .write = nf_rows_write, \
    .flush = nf_rows_flush, .finish = nf_rows_flush, .move = nf_rows_move, .waiting = nf_rows_waiting \
  }

bool nf_rows_start(struct nf_writer *writer, const struct nf_syntax *syntax, char *error);
void nf_rows_free(struct nf_writer *writer);
bool nf_rows_write(struct nf_writer *writer, const struct nf_flow *record);
void nf_rows_flush(struct nf_writer *writer);
void nf_rows_move(struct nf_writer *writer, bool is_empty);
size_t nf_rows_waiting(const struct nf_writer *writer);

/* Copies by the block, as most leads are one; up to a block is written too much. */
static inline char *nf_put_lead(char *out, const struct nf_cell *cell) {
  uint32_t done = 0;
  do memcpy(out + done, cell->lead + done, NF_LEAD_BLOCK);
  while ((done += NF_LEAD_BLOCK) < cell->lead_size);
  return out + cell->lead_size;
}
