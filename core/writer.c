/*
 * writer.c: an output of records in some format: checks what it is given and hands it to the format's own writer.
 */
#include "writer.h"

#include <errno.h>
#include <unistd.h>

enum { LOSS_SIZE = 120 };

static const struct nf_encoding *encoding_of(int format, char *error) {
  switch (format) {
  case NF_FORMAT_CSV: return &nf_csv;
  case NF_FORMAT_JSONL: return &nf_jsonl;
  case NF_FORMAT_PARQUET: return &nf_parquet;
  case NF_FORMAT_ARROW_STREAM: return &nf_arrow_stream;
  case NF_FORMAT_ARROW_FILE: return &nf_arrow_file;
  case NF_FORMAT_IPFIX: return &nf_ipfix;
  default: nf_fail(error, "unknown output format %d, expected one of enum nf_format", format); return NULL;
  }
}

static bool check_packing(const struct nf_destination *to, const struct nf_encoding *encoding, char *error) {
  if (to->packing == NF_PACKING_NONE || !encoding->has_places) return true;
  nf_fail(error, "cannot write \"%.300s\": this format cannot be compressed as a whole, expected a name without %s",
          to->path ? to->path : "", to->packing == NF_PACKING_GZIP ? ".gz" : ".zst");
  return false;
}

static void free_writer(struct nf_writer *w) {
  w->encoding->free(w);
  for (uint32_t i = 0; i < w->note_count; i++) {
    free(w->notes[i].name);
    free(w->notes[i].text);
  }
  free(w->notes);
  free(w->columns);
  free(w);
}

/* A writer without an output. */
static struct nf_writer *new_writer(const struct nf_encoding *encoding, const struct nf_ipfix *ipfix,
                                    const struct nf_column *columns, uint32_t count, char *error) {
  struct nf_writer *w = calloc(1, encoding->size);
  if (!w || !(w->columns = calloc(count, sizeof *columns))) {
    nf_fail(error, "out of memory for an output");
    free(w);
    return NULL;
  }
  w->encoding = encoding;
  w->ipfix = ipfix;
  w->count = count;
  memcpy(w->columns, columns, count * sizeof *columns);
  if (encoding->start(w, error)) return w;
  free_writer(w);
  return NULL;
}

struct nf_writer *nf_writer_open(const struct nf_destination *to, int format, const struct nf_column *columns,
                                 uint32_t count, char *error) {
  const struct nf_destination standard_output = {.descriptor = STDOUT_FILENO, .packing = to->packing};
  const struct nf_encoding *encoding = encoding_of(format, error);
  if (!encoding || !nf_columns_check(columns, count, error) || !check_packing(to, encoding, error)) return NULL;
  struct nf_writer *w = new_writer(encoding, to->ipfix, columns, count, error);
  if (!w) return NULL;
  w->output = nf_output_open(to->path && strcmp(to->path, "-") == 0 ? &standard_output : to, error);
  w->is_packed = to->packing != NF_PACKING_NONE;
  if (w->output) return w;
  free_writer(w);
  return NULL;
}

static int status_of(const struct nf_writer *w) { return nf_output_failure(w->output) ? NF_ERR_OUTPUT : NF_OK; }

/* The note of that name, a new one without a text where there was none. NULL without memory. */
static struct nf_note *note_named(struct nf_writer *w, const char *name) {
  for (uint32_t i = 0; i < w->note_count; i++) {
    if (strcmp(w->notes[i].name, name) == 0) return &w->notes[i];
  }
  struct nf_note *notes = realloc(w->notes, (w->note_count + 1) * sizeof *notes);
  if (!notes) return NULL;
  w->notes = notes;
  struct nf_note *note = &notes[w->note_count];
  *note = (struct nf_note){.name = strdup(name)};
  if (!note->name) return NULL;
  w->note_count++;
  return note;
}

int nf_writer_describe(struct nf_writer *w, const char *name, const char *text) {
  char *copy = strdup(text);
  struct nf_note *note = copy ? note_named(w, name) : NULL;
  if (note) {
    free(note->text);
    note->text = copy;
  } else {
    free(copy);
    nf_output_fail(w->output);
  }
  return status_of(w);
}

int nf_writer_write(struct nf_writer *w, const struct nf_flow *record) {
  w->given++;
  return w->encoding->write(w, record) || nf_output_is_called_off(w->output) ? NF_OK : NF_ERR_OUTPUT;
}

int nf_writer_flush(struct nf_writer *w) {
  w->encoding->flush(w);
  return status_of(w);
}

int nf_writer_reopen(struct nf_writer *w, char *error) {
  bool is_empty;
  w->encoding->flush(w);
  if (!w->encoding->move) return status_of(w);
  int status = nf_output_reopen(w->output, &is_empty, error);
  w->encoding->move(w, is_empty);
  return status;
}

int nf_writer_finish(struct nf_writer *w) {
  w->encoding->finish(w);
  nf_output_finish(w->output);
  return status_of(w);
}

/* What of the records a collector has not got because there was no time to wait for it; "" where that is not so. */
static void tell_loss(const struct nf_writer *w, char *text) {
  *text = '\0';
  if (!nf_output_is_called_off(w->output)) return;
  const unsigned long long lost = w->given - w->rows, pending = nf_output_pending(w->output);
  (void)snprintf(text, LOSS_SIZE, ": %llu of %llu records were not sent, %llu bytes are on the way", lost,
                 (unsigned long long)w->given, pending);
}

int nf_writer_close(struct nf_writer *w, char *error) {
  if (!w) return NF_OK;
  (void)nf_writer_finish(w);
  char loss[LOSS_SIZE];
  tell_loss(w, loss);
  int status = nf_output_close(w->output, error);
  if (error) (void)strncat(error, loss, NF_ERROR_SIZE - 1 - strlen(error));
  free_writer(w);
  return status;
}

bool nf_writer_warning(const struct nf_writer *w, char *text) { return nf_output_warning(w->output, text); }
bool nf_writer_is_broken_pipe(const struct nf_writer *w) { return nf_output_failure(w->output) == EPIPE; }
uint64_t nf_writer_rows(const struct nf_writer *w) { return w->rows; }

uint64_t nf_writer_size(const struct nf_writer *w) {
  const bool can_tell = w->encoding->waiting && !w->is_packed;
  return nf_output_size(w->output) + (can_tell ? w->encoding->waiting(w) : 0);
}
