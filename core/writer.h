#pragma once
/*
 * writer.h: what an output format gives to writer.c. A format turns records into bytes and knows neither files nor
 * column names beyond the ones it is handed.
 */
#include "cell.h"

enum { NF_LEAD_BLOCK = 32 };

/* A column ready for writing: what stands before its value in each row is prepared once. */
struct nf_cell {
  struct nf_column column;
  const char *lead; /* padded to whole blocks */
  uint32_t lead_size;
};

/* The columns of an output. */
struct nf_row {
  struct nf_cell *cells;
  uint32_t count;
  uint8_t key[NF_KEY_SIZE]; /* for anonymised columns */
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

extern const struct nf_syntax nf_csv, nf_jsonl;

/* Copies by the block, as most leads are one; up to a block is written too much. */
static inline char *nf_put_lead(char *out, const struct nf_cell *cell) {
  uint32_t done = 0;
  do memcpy(out + done, cell->lead + done, NF_LEAD_BLOCK);
  while ((done += NF_LEAD_BLOCK) < cell->lead_size);
  return out + cell->lead_size;
}
