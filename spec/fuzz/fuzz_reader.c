/*
 * fuzz_reader.c: libFuzzer target for the capture readers: core/stream.c, capfile.c and files.c. The first two bytes
 * choose how the rest, a capture file, is handed over and read. Checks that the same frames come whether few or many are
 * asked for at once, whether the file is plain, packed or a pipe, and through core/files.c as well; that numbers and
 * counters agree with each other, and that whatever is wrong is told in one line.
 */
#include "target.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "capfile.h"
#include "files.h"

enum {
  PREFIX = 2,
  /* data[0] */
  AS_GZIP = 1, /* the same packed, in two parts, ... */
  AS_ZSTD = 2,
  AS_PIPE = 3, /* ... or from a pipe */
  WAYS = 3,
  FLAG_COMMENTS = 4,
  FLAG_FILTER = 8,
  FLAG_TWICE = 16, /* the same file as two inputs */
  FLAG_LINK_TYPE_FIRST = 32,
  /* data[1]: frames asked for at once, less one */
  AT_ONCE_MAX = 64,
  FRAME_MAX = 16 * 1024 * 1024,
  PIPE_ROOM = 65536,
  INPUT_MAX = 1 << 18
};

/* What came of a file. */
struct reading {
  uint64_t frames;
  uint64_t digest; /* of the frames */
  int status;
  char problem[256];
};

/* FNV-1a: reads every byte, and tells frames apart. */
static uint64_t digest(uint64_t sum, const void *data, size_t size) {
  const uint8_t *bytes = data;
  /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): readers fill what they give */
  for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
  return sum;
}

static void take_frame(struct reading *reading, const struct nf_frame *frame) {
  const uint64_t numbers[] = {frame->captured, frame->size, frame->time_ns, frame->link_type, frame->comment != NULL};
  nf_require(frame->captured <= FRAME_MAX);
  nf_require(frame->number == ++reading->frames);
  reading->digest = digest(reading->digest, numbers, sizeof numbers);
  reading->digest = digest(reading->digest, frame->data, frame->captured);
  if (frame->comment) reading->digest = digest(reading->digest, frame->comment, frame->comment_size);
}

static void require_line(const char *text) { nf_require(text && text[0] && !strpbrk(text, "\r\n")); }

static void check_link_type(struct nf_capfile *file) {
  uint32_t link_type;
  int known = nf_capfile_link_type(file, &link_type);
  nf_require(known <= 1 && known >= NF_CAPFILE_FOREIGN);
  if (known == 0) nf_require(nf_capfile_read(file, NULL, 0, 1) <= 0);
}

static struct reading read_file(const char *path, int at_once, const uint8_t *data) {
  struct reading reading = {0};
  struct nf_frame frames[AT_ONCE_MAX];
  struct nf_capfile *file = nf_capfile_open(path);
  nf_require(file);
  if (data[0] & FLAG_COMMENTS) nf_capfile_want_comments(file);
  if (data[0] & FLAG_LINK_TYPE_FIRST) check_link_type(file);
  int count;
  while ((count = nf_capfile_read(file, frames, at_once, reading.frames + 1)) >= 0) {
    nf_require(count <= at_once);
    for (int i = 0; i < count; i++) take_frame(&reading, &frames[i]);
  }
  nf_require(count != NF_CAPFILE_NOMEM && nf_capfile_read(file, frames, at_once, 1) == count);
  reading.status = count;
  if (count != NF_CAPFILE_END) {
    require_line(nf_capfile_problem(file));
    snprintf(reading.problem, sizeof reading.problem, "%s", nf_capfile_problem(file));
  }
  nf_capfile_close(file);
  return reading;
}

static void require_same(const struct reading *a, const struct reading *b) {
  nf_require(a->frames == b->frames && a->digest == b->digest && a->status == b->status);
  /* Of what is no capture its packing is told. */
  nf_require(a->status == NF_CAPFILE_FOREIGN || strcmp(a->problem, b->problem) == 0);
}

/* ---- the other ways to hand a file over ---- */

static size_t gzip(uint8_t *out, size_t room, const uint8_t *data, size_t size) {
  static z_stream stream;
  if (!stream.state) nf_require(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  nf_require(deflateReset(&stream) == Z_OK);
  stream.next_in = (Bytef *)data;
  stream.avail_in = (uInt)size;
  stream.next_out = out;
  stream.avail_out = (uInt)room;
  nf_require(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  return room - stream.avail_out;
}

static size_t zstd(uint8_t *out, size_t room, const uint8_t *data, size_t size) {
  static ZSTD_CCtx *context;
  if (!context) context = ZSTD_createCCtx();
  size_t written = ZSTD_compressCCtx(context, out, room, data, size, 1);
  nf_require(!ZSTD_isError(written));
  return written;
}

static const char *packed_file(const uint8_t *bytes, size_t size, int way) {
  static uint8_t packed[2 * INPUT_MAX];
  size_t (*const pack)(uint8_t *, size_t, const uint8_t *, size_t) = way == AS_GZIP ? gzip : zstd;
  size_t first = size / 3;
  size_t written = pack(packed, sizeof packed, bytes, first);
  written += pack(packed + written, sizeof packed - written, bytes + first, size - first);
  return fuzz_file(packed, written);
}

static struct reading read_pipe(const uint8_t *bytes, size_t size, const uint8_t *data) {
  int ends[2];
  char path[32];
  nf_require(pipe2(ends, O_CLOEXEC) == 0 && write(ends[1], bytes, size) == (ssize_t)size);
  close(ends[1]);
  snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
  struct reading reading = read_file(path, AT_ONCE_MAX, data);
  close(ends[0]);
  return reading;
}

static bool starts_with(const uint8_t *bytes, size_t size, const char *magic) {
  return size >= strlen(magic) && memcmp(bytes, magic, strlen(magic)) == 0;
}

/* What is packed already: no reader unpacks twice. */
static bool is_packed(const uint8_t *bytes, size_t size) {
  return starts_with(bytes, size, "\x1f\x8b\x08") || starts_with(bytes, size, "\x28\xb5\x2f\xfd");
}

static void check_another_way(const struct reading *plain, const uint8_t *bytes, size_t size, const uint8_t *data) {
  const int way = data[0] & WAYS;
  struct reading reading;
  if (way == 0 || (way == AS_PIPE && size > PIPE_ROOM) || (way != AS_PIPE && is_packed(bytes, size))) return;
  if (way == AS_PIPE) reading = read_pipe(bytes, size, data);
  else reading = read_file(packed_file(bytes, size, way), AT_ONCE_MAX, data);
  require_same(plain, &reading);
}

/* ---- several files as one capture ---- */

static void check_files(const struct reading *alone, const char *path, size_t size, const uint8_t *data) {
  static const char *const filters[] = {"ip", "tcp or udp port 53", "vlan and ip6", "greater 100"};
  const char *paths[] = {path, path};
  const uint32_t count = data[0] & FLAG_TWICE ? 2 : 1;
  const char *filter = data[0] & FLAG_FILTER ? filters[data[1] % 4] : NULL;
  char error[NF_ERROR_SIZE] = "";
  struct nf_files *files = nf_files_open(paths, count, filter, error);
  if (!files) {
    require_line(error);
    nf_require(filter);
    return;
  }
  if (data[0] & FLAG_COMMENTS) nf_files_want_comments(files);
  struct nf_frame frames[AT_ONCE_MAX];
  uint64_t accepted = 0;
  int got;
  while ((got = nf_files_read(files, frames, 1 + data[1] % AT_ONCE_MAX)) >= 0) accepted += (uint64_t)got;
  nf_require(got == NF_END && nf_files_read(files, frames, 1) == NF_END);

  const struct nf_files_counters *c = nf_files_counters(files);
  nf_require(c->packets == alone->frames * count && c->packets == accepted + c->filtered);
  nf_require(filter || (c->filtered == 0 && c->filtered_bytes == 0));
  nf_require(c->bytes >= c->filtered_bytes);
  nf_require(c->input_size == size * count && c->input_read <= c->input_size);
  for (uint32_t i = 0; i < count; i++) nf_require(nf_files_input(files, i).packets == alone->frames);
  nf_require(nf_files_is_damaged(files) == (alone->status != NF_CAPFILE_END));
  const char *warning = nf_files_warning(files);
  nf_require(warning || alone->status == NF_CAPFILE_END);
  for (; warning; warning = nf_files_warning(files)) require_line(warning);
  nf_files_close(files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < PREFIX || size > INPUT_MAX) return 0;
  const uint8_t *bytes = data + PREFIX;
  size -= PREFIX;
  const char *path = fuzz_file(bytes, size);
  const struct reading one_by_one = read_file(path, 1, data);
  const struct reading many = read_file(path, 1 + data[1] % AT_ONCE_MAX, data);
  require_same(&one_by_one, &many);
  check_files(&many, path, size, data);
  check_another_way(&many, bytes, size, data);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 4 && size > PREFIX) fuzz_repair_capture(data + PREFIX, size - PREFIX);
  return size;
}
