/*
 * stream.c: a block of memory that read() fills, directly or through zlib or libzstd. Which of the three is told by
 * the first bytes, never by the name. It owns the descriptor, the block and the decompressor; it must not know what
 * the bytes mean.
 *
 * The block is filled only when what is asked for is not in it: then the unread tail moves to its front and one read
 * tops it up. It grows beyond its usual size only while a larger piece is really arriving.
 */
#include "stream.h"

#include "interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
  BLOCK_SIZE = 256 * 1024, /* as fast as 1 MiB, and leaves more of the caches to the flow table */
  PACKED_SIZE = 64 * 1024,
  MAGIC_SIZE = 4
};
static_assert(PACKED_SIZE <= BLOCK_SIZE, "the block takes the first bytes, packed or not");

enum packing { UNKNOWN, PLAIN, GZIP, ZSTD };

struct nf_stream {
  int descriptor;
  bool may_wait; /* for input to arrive: no regular file */
  enum packing packing;
  bool is_at_end; /* read() has said so */

  uint8_t *block;
  size_t capacity;
  size_t start, end; /* unread bytes of the block */
  uint64_t offset;   /* of the block's first byte in the unpacked input */
  uint64_t input_read;

  uint8_t *packed;
  size_t packed_start, packed_end;
  bool is_unfinished; /* within a gzip member or a zstd frame */
  z_stream gzip;
  ZSTD_DStream *zstd;
  size_t zstd_wants; /* bytes up to the end of the current zstd block */

  char problem[160];
};

static enum nf_stream_status broken(struct nf_stream *stream, const char *what, const char *why) {
  snprintf(stream->problem, sizeof stream->problem, "%s: %s", what, why);
  return NF_STREAM_BROKEN;
}

struct nf_stream *nf_stream_open(const char *path) {
  struct nf_stream *stream = calloc(1, sizeof *stream);
  if (!stream) return NULL;
  /* Non-blocking, so that nobody waits here for the writer of a named pipe. */
  stream->descriptor = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status;
  if (stream->descriptor < 0 || fstat(stream->descriptor, &status) < 0) goto fail;
  stream->may_wait = !S_ISREG(status.st_mode);
  stream->block = malloc(BLOCK_SIZE);
  if (!stream->block) goto fail;
  stream->capacity = BLOCK_SIZE;
  /* Twice the usual read-ahead; pipes refuse, which does not matter. */
  (void)posix_fadvise(stream->descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
  return stream;

fail:;
  int reason = errno;
  nf_stream_close(stream);
  errno = reason;
  return NULL;
}

void nf_stream_close(struct nf_stream *stream) {
  if (!stream) return;
  if (stream->packing == GZIP) inflateEnd(&stream->gzip);
  ZSTD_freeDStream(stream->zstd);
  if (stream->descriptor > STDIN_FILENO) close(stream->descriptor);
  free(stream->packed);
  free(stream->block);
  free(stream);
}

/* Waits a while for input. Never in a loop: whoever reads decides whether the run goes on. */
static bool wait_for_input(const struct nf_stream *stream) {
  struct pollfd wait = {.fd = stream->descriptor, .events = POLLIN};
  return poll(&wait, 1, NF_LOOK_MS) > 0;
}

/* The only read(). */
static enum nf_stream_status read_some(struct nf_stream *stream, uint8_t *to, size_t room, size_t *got) {
  *got = 0;
  if (stream->is_at_end) return NF_STREAM_END;
  if (stream->may_wait && !wait_for_input(stream)) return NF_STREAM_AGAIN;
  ssize_t count = read(stream->descriptor, to, room);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return NF_STREAM_AGAIN;
  if (count < 0) return broken(stream, "cannot be read", strerror(errno));
  if (count == 0) {
    stream->is_at_end = true;
    return NF_STREAM_END;
  }
  *got = (size_t)count;
  stream->input_read += (uint64_t)count;
  return NF_STREAM_READY;
}

static enum nf_stream_status fill_plain(struct nf_stream *stream, size_t limit) {
  size_t got;
  enum nf_stream_status status = read_some(stream, stream->block + stream->end, limit - stream->end, &got);
  stream->end += got;
  return status;
}

static enum nf_stream_status refill_packed(struct nf_stream *stream) {
  size_t got;
  enum nf_stream_status status = read_some(stream, stream->packed, PACKED_SIZE, &got);
  stream->packed_start = 0;
  stream->packed_end = got;
  if (status == NF_STREAM_END && stream->is_unfinished) {
    return broken(stream, stream->packing == GZIP ? "gzip" : "zstd", "the packed data ends early");
  }
  return status;
}

/* Members may follow one another (RFC 1952, 2.2), as `cat a.gz b.gz` makes them. */
static enum nf_stream_status fill_gzip(struct nf_stream *stream, size_t limit) {
  z_stream *gzip = &stream->gzip;
  if (!stream->is_unfinished) {
    if (stream->packed_start == stream->packed_end) return refill_packed(stream);
    if (inflateReset(gzip) != Z_OK) return NF_STREAM_NOMEM;
    stream->is_unfinished = true;
  }
  size_t room = limit - stream->end;
  gzip->next_in = stream->packed + stream->packed_start;
  gzip->avail_in = (uInt)(stream->packed_end - stream->packed_start);
  gzip->next_out = stream->block + stream->end;
  gzip->avail_out = (uInt)room;
  int result = inflate(gzip, Z_NO_FLUSH);
  bool has_grown = gzip->avail_out < room;
  stream->packed_start = stream->packed_end - gzip->avail_in;
  stream->end = limit - gzip->avail_out;
  switch (result) {
  case Z_STREAM_END: stream->is_unfinished = false; return NF_STREAM_READY;
  case Z_BUF_ERROR: return refill_packed(stream); /* there is room, so it wants input */
  case Z_MEM_ERROR: return NF_STREAM_NOMEM;
  case Z_OK: return NF_STREAM_READY;
  default:
    /* Asked again, zlib says the same, so what it gave before the fault is used first. */
    return has_grown ? NF_STREAM_READY : broken(stream, "gzip", gzip->msg ? gzip->msg : "needs a dictionary");
  }
}

/*
 * A failing call of ZSTD_decompressStream gives nothing of what it unpacked before the fault, so no call gets more
 * than the rest of one block (at most 128 KiB): then only the faulty block is lost.
 */
static enum nf_stream_status fill_zstd(struct nf_stream *stream, size_t limit) {
  size_t given = stream->packed_end - stream->packed_start;
  if (given > stream->zstd_wants) given = stream->zstd_wants;
  ZSTD_inBuffer in = {stream->packed + stream->packed_start, given, 0};
  ZSTD_outBuffer out = {stream->block + stream->end, limit - stream->end, 0};
  size_t wants = ZSTD_decompressStream(stream->zstd, &out, &in);
  if (ZSTD_isError(wants)) {
    return ZSTD_getErrorCode(wants) == ZSTD_error_memory_allocation ? NF_STREAM_NOMEM
                                                                    : broken(stream, "zstd", ZSTD_getErrorName(wants));
  }
  if (in.pos == 0 && out.pos == 0) return refill_packed(stream);
  stream->packed_start += in.pos;
  stream->end += out.pos;
  stream->is_unfinished = wants != 0;
  /* 0: the frame is complete, and another may follow (RFC 8878, 3). */
  stream->zstd_wants = wants != 0 ? wants : ZSTD_initDStream(stream->zstd);
  return NF_STREAM_READY;
}

static bool starts_with(const struct nf_stream *stream, const uint8_t *magic, size_t size) {
  return stream->end - stream->start >= size && memcmp(stream->block + stream->start, magic, size) == 0;
}

/* Moves the bytes read so far to where a decompressor takes them from. */
static bool start_unpacking(struct nf_stream *stream, enum packing packing) {
  stream->packed = malloc(PACKED_SIZE);
  if (!stream->packed) return false;
  if (packing == GZIP && inflateInit2(&stream->gzip, 16 + MAX_WBITS) != Z_OK) return false; /* 16: gzip, not zlib */
  if (packing == ZSTD) {
    stream->zstd = ZSTD_createDStream();
    if (!stream->zstd) return false;
    stream->zstd_wants = ZSTD_initDStream(stream->zstd);
  }
  memcpy(stream->packed, stream->block, stream->end);
  stream->packed_end = stream->end;
  stream->end = 0;
  stream->packing = packing;
  return true;
}

static enum nf_stream_status identify(struct nf_stream *stream) {
  static const uint8_t gzip_magic[] = {0x1f, 0x8b, 0x08}, zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};
  /* No more than a decompressor's buffer takes over. */
  while (stream->end < MAGIC_SIZE && !stream->is_at_end) {
    enum nf_stream_status status = fill_plain(stream, PACKED_SIZE);
    if (status != NF_STREAM_READY && status != NF_STREAM_END) return status;
  }
  if (starts_with(stream, gzip_magic, sizeof gzip_magic)) {
    return start_unpacking(stream, GZIP) ? NF_STREAM_READY : NF_STREAM_NOMEM;
  }
  if (starts_with(stream, zstd_magic, sizeof zstd_magic)) {
    return start_unpacking(stream, ZSTD) ? NF_STREAM_READY : NF_STREAM_NOMEM;
  }
  stream->packing = PLAIN;
  return NF_STREAM_READY;
}

/* Room behind the tail: by moving it to the front, else, when one piece fills the whole block, by doubling. */
static bool make_room(struct nf_stream *stream) {
  if (stream->start > 0) {
    memmove(stream->block, stream->block + stream->start, stream->end - stream->start);
    stream->offset += stream->start;
    stream->end -= stream->start;
    stream->start = 0;
  }
  if (stream->end < stream->capacity) return true;
  /* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): never 0, as zlib does not change it */
  uint8_t *larger = realloc(stream->block, stream->capacity * 2);
  if (!larger) return false;
  stream->block = larger;
  stream->capacity *= 2;
  return true;
}

static enum nf_stream_status fill(struct nf_stream *stream, uint32_t count) {
  if (!make_room(stream)) return NF_STREAM_NOMEM;
  /* A block grown for one large piece is filled no further than usual afterwards. */
  size_t limit = count > BLOCK_SIZE ? count : BLOCK_SIZE;
  if (limit > stream->capacity) limit = stream->capacity;
  switch (stream->packing) {
  case PLAIN: return fill_plain(stream, limit);
  case GZIP: return fill_gzip(stream, limit);
  case ZSTD: return fill_zstd(stream, limit);
  default: return identify(stream);
  }
}

enum nf_stream_status nf_stream_need(struct nf_stream *stream, uint32_t count) {
  while (stream->packing == UNKNOWN || stream->end - stream->start < count) {
    enum nf_stream_status status = fill(stream, count);
    if (status != NF_STREAM_READY) return status;
  }
  return NF_STREAM_READY;
}

struct nf_bytes nf_stream_bytes(const struct nf_stream *stream) {
  return (struct nf_bytes){stream->block + stream->start, (uint32_t)(stream->end - stream->start)};
}

void nf_stream_advance(struct nf_stream *stream, uint32_t count) { stream->start += count; }

uint64_t nf_stream_offset(const struct nf_stream *stream) { return stream->offset + stream->start; }

uint64_t nf_stream_input_read(const struct nf_stream *stream) { return stream->input_read; }

bool nf_stream_is_packed(const struct nf_stream *stream) { return stream->packing == GZIP || stream->packing == ZSTD; }

const char *nf_stream_problem(const struct nf_stream *stream) { return stream->problem; }
