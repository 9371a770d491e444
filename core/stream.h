#pragma once
/*
 * stream.h: the bytes of a file, a pipe or standard input, in order, unpacked where they are gzip or zstd.
 */
#include "bytes.h"

struct nf_stream;

enum nf_stream_status {
  NF_STREAM_READY,
  NF_STREAM_END,    /* the input ends before that many bytes */
  NF_STREAM_AGAIN,  /* there was no input for a while: decide, then ask again */
  NF_STREAM_BROKEN, /* cannot be read on; nf_stream_problem tells why */
  NF_STREAM_NOMEM
};

/* Opens a path, or standard input for "-". NULL with errno set. What the bytes are is looked at when first needed. */
struct nf_stream *nf_stream_open(const char *path);
void nf_stream_close(struct nf_stream *stream);

/* Makes `count` unread bytes available in one piece, reading on if they are not there yet. Moves the bytes that are
   there, so pointers into earlier views end here. The memory taken follows what really arrives, not `count`. */
enum nf_stream_status nf_stream_need(struct nf_stream *stream, uint32_t count);

/* The unread bytes that are there; valid until the next nf_stream_need. */
struct nf_bytes nf_stream_bytes(const struct nf_stream *stream);
/* Marks the first `count` of them as read. */
void nf_stream_advance(struct nf_stream *stream, uint32_t count);

/* Position of the first unread byte in the unpacked input. */
uint64_t nf_stream_offset(const struct nf_stream *stream);
/* Bytes taken from the file itself, packed as they are. */
uint64_t nf_stream_input_read(const struct nf_stream *stream);
bool nf_stream_is_packed(const struct nf_stream *stream);
/* Why the stream is broken. */
const char *nf_stream_problem(const struct nf_stream *stream);
