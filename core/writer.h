#pragma once
/*
 * writer.h: what an output format gives to writer.c. A format turns records into bytes of an output; it knows no column
 * names beyond the ones it is handed.
 */
#include "cell.h"
#include "output.h"

/* What was said of the records, see nf_writer_describe. */
struct nf_note {
  char *name, *text;
};

/* A format's writer begins with this. */
struct nf_writer {
  const struct nf_encoding *encoding;
  struct nf_output *output;
  bool is_packed;
  struct nf_column *columns;
  uint32_t count;
  struct nf_note *notes;
  uint32_t note_count;
  uint64_t given;               /* records */
  uint64_t rows;                /* that the system has got whole */
  const struct nf_ipfix *ipfix; /* of the destination, while it starts */
};

struct nf_encoding {
  size_t size; /* of the format's writer */
  /* Makes it ready, in memory that is zeros behind what it begins with. False with a one-line reason in `error`. */
  bool (*start)(struct nf_writer *writer, char *error);
  void (*free)(struct nf_writer *writer);
  /* Takes a record. False once the output has failed. */
  bool (*write)(struct nf_writer *writer, const struct nf_flow *record);
  /* Hands to the output what can go by itself, and counts the rows that got out. */
  void (*flush)(struct nf_writer *writer);
  /* The same with whatever stands behind the last row, once. */
  void (*finish)(struct nf_writer *writer);
  /* The output goes on in another file, an empty one or not. NULL for a format that cannot. */
  void (*move)(struct nf_writer *writer, bool is_empty);
  /* Bytes that flush would write as they are. NULL for a format that cannot tell. */
  size_t (*waiting)(const struct nf_writer *writer);
  bool has_places; /* it says where in the file things lie, which must be as written then */
};

extern const struct nf_encoding nf_csv, nf_jsonl, nf_parquet, nf_arrow_stream, nf_arrow_file, nf_ipfix;
