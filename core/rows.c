/*
 * rows.c: a buffer of rows on their way to an output. Knows no syntax.
 */
#include "rows.h"

enum {
  CHUNK = 1 << 16,    /* bytes that are written together */
  ROW_LIMIT = 1 << 30 /* no row may need more */
};

static struct nf_rows *rows_of(struct nf_writer *writer) { return (struct nf_rows *)writer; }

/* Room for what stands before a value, in whole blocks. */
static size_t lead_bound(const struct nf_column *column) {
  return (strlen(column->name) * 6 + 8) / NF_LEAD_BLOCK * NF_LEAD_BLOCK + NF_LEAD_BLOCK;
}

/* Sets the most bytes that a row or the header may take, and that all leads do. */
static bool measure(const struct nf_writer *writer, size_t *row_bound, size_t *leads_size, char *error) {
  *row_bound = (size_t)2 * NF_LEAD_BLOCK;
  *leads_size = 0;
  for (uint32_t i = 0; i < writer->count; i++) {
    const struct nf_column *column = &writer->columns[i];
    *leads_size += lead_bound(column);
    *row_bound += lead_bound(column) + nf_cell_bound(column);
    if (*row_bound > ROW_LIMIT) {
      nf_fail(error, "column \"%.100s\": rows would need more than %d bytes", column->name, ROW_LIMIT);
      return false;
    }
  }
  return true;
}

static void prepare(struct nf_rows *r) {
  char *lead = r->leads;
  for (uint32_t i = 0; i < r->row.count; i++) {
    const struct nf_column *column = &r->writer.columns[i];
    uint32_t size = (uint32_t)(r->syntax->put_lead(lead, column->name, i) - lead);
    r->row.cells[i] = (struct nf_cell){.column = *column, .lead = lead, .lead_size = size};
    lead += lead_bound(column);
  }
}

static void begin_with_header(struct nf_rows *r) {
  r->header = r->used = (size_t)(r->syntax->put_header(r->buffer, &r->row) - r->buffer);
}

bool nf_rows_start(struct nf_writer *writer, const struct nf_syntax *syntax, char *error) {
  struct nf_rows *r = rows_of(writer);
  size_t row_bound, leads_size;
  r->syntax = syntax;
  if (!measure(writer, &row_bound, &leads_size, error)) return false;
  r->row = (struct nf_row){calloc(writer->count, sizeof *r->row.cells), writer->count, writer->key};
  r->leads = calloc(1, leads_size);
  r->buffer = malloc(CHUNK + row_bound);
  if (!r->row.cells || !r->leads || !r->buffer) {
    nf_fail(error, "out of memory for an output's buffer");
    return false;
  }
  prepare(r);
  begin_with_header(r);
  return true;
}

void nf_rows_free(struct nf_writer *writer) {
  struct nf_rows *r = rows_of(writer);
  free(r->row.cells);
  free(r->leads);
  free(r->buffer);
}

/* Half a row at the end of a file would be taken for a whole one with other values. */
static void keep_whole_rows(struct nf_rows *r, size_t written) {
  size_t whole = 0;
  if (written >= r->header) {
    whole = r->header + r->syntax->measure_rows(r->buffer + r->header, written - r->header, &r->writer.rows);
  }
  nf_output_take_back(r->writer.output, written - whole);
}

void nf_rows_flush(struct nf_writer *writer) {
  struct nf_rows *r = rows_of(writer);
  size_t written = nf_output_put(writer->output, r->buffer, r->used);
  if (written == r->used) writer->rows += r->buffered;
  else keep_whole_rows(r, written);
  r->used = r->header = 0;
  r->buffered = 0;
}

bool nf_rows_write(struct nf_writer *writer, const struct nf_flow *record) {
  struct nf_rows *r = rows_of(writer);
  if (NF_UNLIKELY(nf_output_failure(writer->output))) return false;
  r->used = (size_t)(r->syntax->put_row(r->buffer + r->used, &r->row, record) - r->buffer);
  r->buffered++;
  if (r->used < CHUNK) return true;
  nf_rows_flush(writer);
  return !nf_output_failure(writer->output);
}

void nf_rows_move(struct nf_writer *writer, bool is_empty) {
  if (is_empty) begin_with_header(rows_of(writer));
}

size_t nf_rows_waiting(const struct nf_writer *writer) { return ((const struct nf_rows *)writer)->used; }
