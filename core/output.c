/*
 * output.c: a file or descriptor that bytes go to, by way of zlib or libzstd where they are to be compressed; or a
 * collector. What is put is put whole and at once: after each call, what has come so far can be read, unpacked too.
 *
 * A file that is complete only in the end is written beside its place, as PATH.part, and gets its name when it is
 * closed. So nothing of that name ever is half of a file, however the program ends.
 */
#include "output.h"

#include "collector.h"
#include "interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

enum {
  PATIENCE_MS = 1000,
  PACKED_SIZE = 1 << 16,
  GZIP_LEVEL = 2, /* three times as fast as zlib's own choice, for a fifth more bytes */
  ZSTD_LEVEL = 3,
  NAME_SIZE = 400 /* of the output in error texts, which leaves room for the reason */
};

struct nf_output {
  int descriptor;
  bool is_own;       /* to be closed here */
  char *path, *part; /* where it will be; and where it is until then, NULL for the same; both NULL: another's */
  uint64_t size;
  int failure;
  enum nf_packing packing;
  z_stream gzip;
  ZSTD_CCtx *zstd;
  uint8_t *packed;
  struct nf_collector *collector; /* where bytes are sent, if there is no descriptor */
  char name[NAME_SIZE];
};

static const char *reason_of(int failure) { return failure == EINTR ? "interrupted" : strerror(failure); }

void nf_output_tell(const struct nf_output *o, int failure, char *error) {
  nf_fail(error, "cannot write %s: %s", o->name, reason_of(failure));
}

static void free_output(struct nf_output *o) {
  if (o->is_own && o->descriptor >= 0) (void)close(o->descriptor);
  nf_collector_free(o->collector);
  if (o->packing == NF_PACKING_GZIP) (void)deflateEnd(&o->gzip);
  ZSTD_freeCCtx(o->zstd);
  free(o->packed);
  free(o->path);
  free(o->part);
  free(o);
}

/* ---- opening ---- */

static bool start_packing(struct nf_output *o, enum nf_packing packing) {
  if (packing == NF_PACKING_NONE) return true;
  if (!(o->packed = malloc(PACKED_SIZE))) return false;
  if (packing == NF_PACKING_GZIP) { /* 16: gzip's header, not zlib's */
    if (deflateInit2(&o->gzip, GZIP_LEVEL, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) return false;
  } else {
    if (!(o->zstd = ZSTD_createCCtx())) return false;
    (void)ZSTD_CCtx_setParameter(o->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    (void)ZSTD_CCtx_setParameter(o->zstd, ZSTD_c_checksumFlag, 1);
  }
  o->packing = packing;
  return true;
}

/*
 * Chooses where to write: beside a regular file, or one yet to be made, that is to be complete in the end; what a link
 * leads to is meant then, not the link. What may not be written over is not replaced either. 0 or errno.
 */
static int choose_place(struct nf_output *o, bool is_beside) {
  struct stat file;
  if (!is_beside || !o->path[0] || (stat(o->path, &file) == 0 && !S_ISREG(file.st_mode))) return 0;
  if (access(o->path, F_OK) == 0) {
    if (access(o->path, W_OK) != 0) return errno;
    char *real = realpath(o->path, NULL);
    if (!real) return errno;
    free(o->path);
    o->path = real;
  }
  return asprintf(&o->part, "%s.part", o->path) < 0 ? ENOMEM : 0;
}

static bool is_fifo(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISFIFO(status.st_mode);
}

/* Opens a path to write. A pipe that nobody reads yet is waited for, until the run is to stop. -1 with errno, EINTR
   then. */
static int open_place(const char *path, int flags) {
  for (;;) {
    const int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | flags, 0666);
    if (descriptor >= 0) {
      (void)fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK);
      return descriptor;
    }
    if (errno != ENXIO || !is_fifo(path)) break;
    if (nf_interrupted()) {
      errno = EINTR;
      break;
    }
    (void)poll(NULL, 0, NF_LOOK_MS);
  }
  return -1;
}

/* Whether the path names the file that is open. */
static bool is_at(const struct nf_output *o, const char *path) {
  struct stat here, there;
  return fstat(o->descriptor, &here) == 0 && stat(path, &there) == 0 && here.st_dev == there.st_dev &&
         here.st_ino == there.st_ino;
}

/* False where another run has the file. One that was killed has it until it is gone, which may take a moment. Some file
   systems have no locks. */
static bool lock(int descriptor) {
  for (int tries = 1; flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; tries++) {
    if (tries * NF_LOOK_MS > PATIENCE_MS || nf_interrupted()) return false;
    (void)poll(NULL, 0, NF_LOOK_MS);
  }
  return true;
}

/*
 * Opens the file beside. What an earlier run has left is written over; what another run is writing is not, as both
 * would write into one file and one of them say that it is right. Of that name may be anything: no link is followed,
 * no pipe waited for. 0 or errno, of which EBUSY stands for another run.
 */
static int open_part(struct nf_output *o) {
  o->descriptor = open(o->part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  if (o->descriptor < 0) return errno;
  if (!lock(o->descriptor)) return EBUSY;
  if (!is_at(o, o->part)) return EBUSY; /* it has got its name just now */
  return ftruncate(o->descriptor, 0) != 0 ? errno : 0;
}

/* Takes what the destination has open, or opens it. 0 or errno. */
static int open_descriptor(struct nf_output *o, const struct nf_destination *to) {
  if (!to->path) {
    o->descriptor = to->descriptor;
    return 0;
  }
  if (!(o->path = strdup(to->path))) return ENOMEM;
  o->is_own = true;
  if (to->descriptor >= 0) {
    /* Pipes and devices have nothing that could be cut off. */
    if (ftruncate(to->descriptor, 0) != 0 && errno != EINVAL) return errno;
    o->descriptor = to->descriptor;
  } else {
    int problem = choose_place(o, to->is_beside);
    if (problem) return problem;
    if (o->part) return open_part(o);
    o->descriptor = open_place(o->path, O_TRUNC);
    if (o->descriptor < 0) return errno;
  }
  return 0;
}

static void set_name(struct nf_output *o, const struct nf_destination *to) {
  if (to->collector) snprintf(o->name, sizeof o->name, "\"%.*s\"", NAME_SIZE - 3, to->collector);
  else if (to->path) snprintf(o->name, sizeof o->name, "\"%.*s\"", NAME_SIZE - 3, to->path);
  else if (to->descriptor == STDOUT_FILENO) snprintf(o->name, sizeof o->name, "standard output");
  else snprintf(o->name, sizeof o->name, "descriptor %d", to->descriptor);
}

struct nf_output *nf_output_open(const struct nf_destination *to, char *error) {
  struct nf_output *o = calloc(1, sizeof *o);
  if (!o) {
    nf_fail(error, "out of memory for an output");
    return NULL;
  }
  o->descriptor = -1;
  set_name(o, to);
  if (to->collector) {
    if ((o->collector = nf_collector_open(to->collector, to->patience_s, to->rate, error))) return o;
    free_output(o);
    return NULL;
  }
  int problem = start_packing(o, to->packing) ? open_descriptor(o, to) : ENOMEM;
  if (!problem) return o;
  if (o->part && problem == EBUSY) nf_fail(error, "cannot write %s: another run is writing it", o->name);
  else nf_output_tell(o, problem, error);
  free_output(o);
  return NULL;
}

int nf_writer_reserve(const char *path, char *error) {
  int descriptor = open_place(path, 0);
  if (descriptor < 0) nf_fail(error, "cannot write \"%.*s\": %s", NAME_SIZE - 3, path, reason_of(errno));
  return descriptor;
}

/* ---- writing ---- */

/* Whether a write that failed can go on: at once, or, where the descriptor does not block, once there is room. */
static bool may_retry(const struct nf_output *o) {
  if (errno == EAGAIN) {
    struct pollfd wait = {.fd = o->descriptor, .events = POLLOUT};
    return poll(&wait, 1, -1) > 0 || errno == EINTR;
  }
  return errno == EINTR;
}

/* Writes bytes as they are; returns how many got out. */
static size_t put_plain(struct nf_output *o, const uint8_t *bytes, size_t size) {
  size_t written = 0;
  while (!o->failure && written < size) {
    ssize_t n = write(o->descriptor, bytes + written, size - written);
    if (n >= 0) written += (size_t)n;
    else if (!may_retry(o)) o->failure = errno;
  }
  o->size += written;
  return written;
}

/* One step of a compressor: what it gives for the bytes so far, or for the end of them. False when there is no more. */
static bool step_gzip(struct nf_output *o, bool is_end, size_t *packed) {
  o->gzip.next_out = o->packed;
  o->gzip.avail_out = PACKED_SIZE;
  int result = deflate(&o->gzip, is_end ? Z_FINISH : Z_SYNC_FLUSH);
  *packed = PACKED_SIZE - o->gzip.avail_out;
  return result == Z_OK && o->gzip.avail_out == 0;
}

static bool step_zstd(struct nf_output *o, bool is_end, ZSTD_inBuffer *in, size_t *packed) {
  ZSTD_outBuffer out = {o->packed, PACKED_SIZE, 0};
  size_t left = ZSTD_compressStream2(o->zstd, &out, in, is_end ? ZSTD_e_end : ZSTD_e_flush);
  if (ZSTD_isError(left)) o->failure = ENOMEM; /* nothing else can go wrong */
  *packed = out.pos;
  return !o->failure && left > 0;
}

/* Compresses bytes and writes what comes of them, all that there is. */
static void put_packed(struct nf_output *o, const void *bytes, size_t size, bool is_end) {
  ZSTD_inBuffer in = {bytes, size, 0};
  size_t packed;
  bool has_more;
  o->gzip.next_in = (uint8_t *)bytes;
  o->gzip.avail_in = (uint32_t)size;
  do {
    has_more = o->packing == NF_PACKING_GZIP ? step_gzip(o, is_end, &packed) : step_zstd(o, is_end, &in, &packed);
    if (!o->failure) (void)put_plain(o, o->packed, packed);
  } while (has_more && !o->failure);
}

static size_t put_message(struct nf_output *o, const void *bytes, size_t size) {
  if (nf_collector_send(o->collector, bytes, size)) {
    o->size += size;
    return size;
  }
  o->failure = nf_collector_failure(o->collector);
  return 0;
}

size_t nf_output_put(struct nf_output *o, const void *bytes, size_t size) {
  if (o->failure || size == 0) return 0;
  if (o->collector) return put_message(o, bytes, size);
  if (o->packing == NF_PACKING_NONE) return put_plain(o, bytes, size);
  const uint64_t before = o->size;
  put_packed(o, bytes, size, false);
  if (!o->failure) return size;
  nf_output_take_back(o, o->size - before);
  return 0;
}

bool nf_output_put_whole(struct nf_output *o, const void *bytes, size_t size) {
  const uint64_t before = o->size;
  if (nf_output_put(o, bytes, size) == size) return true;
  nf_output_take_back(o, o->size - before);
  return false;
}

bool nf_output_put_end(struct nf_output *o, const void *bytes, size_t size) {
  const int before = o->failure;
  o->failure = 0;
  const bool is_out = nf_output_put_whole(o, bytes, size);
  if (before) o->failure = before;
  return is_out;
}

void nf_output_fail(struct nf_output *o) {
  if (!o->failure) o->failure = ENOMEM;
}

void nf_output_take_back(struct nf_output *o, uint64_t size) {
  off_t end = lseek(o->descriptor, 0, SEEK_CUR), partial = (off_t)size;
  struct stat file;
  if (partial == 0 || end < partial || fstat(o->descriptor, &file) < 0) return;
  if (!S_ISREG(file.st_mode) || file.st_size != end) return;
  if (ftruncate(o->descriptor, end - partial) != 0) return;
  (void)lseek(o->descriptor, end - partial, SEEK_SET);
  o->size -= size;
}

uint64_t nf_output_size(const struct nf_output *o) { return o->size; }
int nf_output_failure(const struct nf_output *o) { return o->failure; }

uint32_t nf_output_session(const struct nf_output *o) { return o->collector ? nf_collector_session(o->collector) : 0; }

uint64_t nf_output_refused(const struct nf_output *o) { return o->collector ? nf_collector_refused(o->collector) : 0; }

uint64_t nf_output_pending(const struct nf_output *o) { return o->collector ? nf_collector_pending(o->collector) : 0; }

bool nf_output_is_called_off(const struct nf_output *o) { return o->collector && o->failure && nf_interrupted(); }

bool nf_output_warning(const struct nf_output *o, char *text) {
  return o->collector && nf_collector_warning(o->collector, text);
}

/* ---- going on elsewhere, ending ---- */

static void end_packing(struct nf_output *o) {
  if (o->packing == NF_PACKING_NONE || o->failure) return;
  put_packed(o, NULL, 0, true);
  if (o->packing == NF_PACKING_GZIP) (void)deflateReset(&o->gzip);
}

/* Interrupted or not, the descriptor is gone. Some file systems tell only now that there was no room. */
static int close_descriptor(struct nf_output *o) {
  int closed = close(o->descriptor) < 0 && errno != EINTR ? errno : 0;
  o->descriptor = -1;
  return closed;
}

/*
 * Opens what the path names now and puts it in the old file's place. That may be another program's file as well: what
 * is in it stays, and bytes go to its end, wherever that is by then.
 */
static int replace_file(struct nf_output *o, bool *is_empty, char *error) {
  struct stat file;
  int descriptor = open(o->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0 || fstat(descriptor, &file) < 0) {
    nf_output_tell(o, errno, error);
    if (descriptor >= 0) close(descriptor);
    return NF_ERR_OUTPUT;
  }
  end_packing(o);
  int problem = o->failure;
  int closed = close_descriptor(o);
  o->descriptor = descriptor;
  *is_empty = file.st_size == 0;
  if (!problem) problem = closed;
  if (!problem) return NF_OK;
  nf_output_tell(o, problem, error);
  return NF_ERR_OUTPUT;
}

int nf_output_reopen(struct nf_output *o, bool *is_empty, char *error) {
  *is_empty = false;
  if (o->failure) {
    nf_output_tell(o, o->failure, error);
    return NF_ERR_OUTPUT;
  }
  return !o->path || o->part || is_at(o, o->path) ? NF_OK : replace_file(o, is_empty, error);
}

void nf_output_finish(struct nf_output *o) {
  if (o->collector && !o->failure) o->failure = nf_collector_finish(o->collector);
}

int nf_output_close(struct nf_output *o, char *error) {
  end_packing(o);
  if (o->is_own) {
    int closed = close_descriptor(o);
    if (!o->failure) o->failure = closed;
  }
  if (o->part && rename(o->part, o->path) != 0 && !o->failure) o->failure = errno;
  int status = o->failure ? NF_ERR_OUTPUT : NF_OK;
  if (o->failure) nf_output_tell(o, o->failure, error);
  free_output(o);
  return status;
}

uint32_t nf_crc32(uint32_t before, const void *data, size_t size) { return (uint32_t)crc32_z(before, data, size); }

const char *nf_zlib_version(void) { return zlibVersion(); }
const char *nf_zstd_version(void) { return ZSTD_versionString(); }
