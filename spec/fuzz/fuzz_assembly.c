/*
 * fuzz_assembly.c: libFuzzer target for core/assembly.c. An input is a list of operations on a few small streams; each is
 * done to a model as well that keeps what has come byte by byte, and both have to answer the same.
 */
#include "target.h"

enum {
  STREAMS_MAX = 4,
  ROOM_MAX = 200,
  RANGES = 32, /* of a stream that an assembly keeps track of; a piece that would need one more is left out */
  HANDLES_MAX = 64
};

/* A stream as the model has it. */
struct stream {
  int64_t handle; /* 0 when it has ended */
  uint64_t age;
  uint32_t waited;
  uint8_t bytes[ROOM_MAX];
  bool is_there[ROOM_MAX];
};

struct model {
  uint32_t streams, room, patience;
  uint64_t opened, displaced, gapped;
  struct stream list[STREAMS_MAX];
  int64_t handles[HANDLES_MAX]; /* given so far, ended ones too */
  uint32_t given;
};

static struct stream *find(struct model *model, int64_t handle) {
  for (uint32_t i = 0; i < model->streams; i++) {
    if (handle && model->list[i].handle == handle) return &model->list[i];
  }
  return NULL;
}

static uint32_t beginning_of(const struct stream *stream, uint32_t room) {
  uint32_t count = 0;
  while (count < room && stream->is_there[count]) count++;
  return count;
}

static uint32_t ranges_of(const struct stream *stream, uint32_t room) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < room; i++) count += stream->is_there[i] && (i == 0 || !stream->is_there[i - 1]);
  return count;
}

/* A free place, or that of the stream that began first. */
static struct stream *place_for_another(struct model *model) {
  struct stream *oldest = &model->list[0];
  for (uint32_t i = 0; i < model->streams; i++) {
    struct stream *stream = &model->list[i];
    if (!stream->handle) return stream;
    if (stream->age < oldest->age) oldest = stream;
  }
  model->displaced++;
  return oldest;
}

static void model_open(struct model *model, int64_t handle) {
  for (uint32_t i = 0; i < model->given; i++) nf_require(model->handles[i] != handle);
  nf_require(handle > 0);
  struct stream *stream = place_for_another(model);
  for (uint32_t i = 0; i < model->streams; i++) {
    const bool is_other = &model->list[i] != stream && model->list[i].handle;
    nf_require(!is_other || model->list[i].handle % model->streams != handle % model->streams);
  }
  memset(stream, 0, sizeof *stream);
  stream->handle = handle;
  stream->age = ++model->opened;
  if (model->given < HANDLES_MAX) model->handles[model->given++] = handle;
}

static void put(struct stream *stream, uint32_t room, int64_t offset, const uint8_t *data, uint32_t size) {
  const struct stream before = *stream;
  bool is_new_range = true;
  for (int64_t at = offset - 1; at <= offset + size; at++) {
    if (at >= 0 && at < room && before.is_there[at]) is_new_range = false; /* it touches one */
  }
  if (is_new_range && ranges_of(&before, room) == RANGES) return;
  for (uint32_t i = 0; i < size; i++) {
    const int64_t at = offset + i;
    if (at < 0 || at >= room || stream->is_there[at]) continue;
    stream->bytes[at] = data[i];
    stream->is_there[at] = true;
  }
}

static int64_t model_add(struct model *model, int64_t handle, int64_t offset, const uint8_t *data, uint32_t size) {
  struct stream *stream = find(model, handle);
  if (!stream) return NF_END;
  const uint32_t before = beginning_of(stream, model->room);
  if (size == 0) return before;
  if (offset < model->room && offset > -(int64_t)size) put(stream, model->room, offset, data, size);
  const uint32_t beginning = beginning_of(stream, model->room);
  stream->waited = beginning > before ? 0 : stream->waited + 1;
  if (stream->waited < model->patience) return beginning;
  stream->handle = 0;
  model->gapped++;
  return NF_END;
}

static int64_t model_skip(struct model *model, int64_t handle, uint64_t count) {
  struct stream *stream = find(model, handle);
  if (!stream) return NF_END;
  int64_t kept = 0;
  for (uint32_t i = 0; i < model->room; i++) {
    const bool is_there = count < model->room - i && stream->is_there[i + count];
    if (is_there) stream->bytes[i] = stream->bytes[i + count];
    stream->is_there[i] = is_there;
    kept += is_there;
  }
  stream->waited = 0;
  return kept;
}

static void check(const struct nf_assembly *assembly, struct model *model) {
  for (uint32_t i = 0; i < model->given; i++) {
    uint32_t size = 0;
    const uint8_t *bytes = nf_assembly_bytes(assembly, model->handles[i], &size);
    const struct stream *stream = find(model, model->handles[i]);
    nf_require(!bytes == !stream);
    if (!stream) continue;
    nf_require(size == beginning_of(stream, model->room) && memcmp(bytes, stream->bytes, size) == 0);
  }
  nf_require(nf_assembly_displaced(assembly) == model->displaced);
  nf_require(nf_assembly_gapped(assembly) == model->gapped);
}

/* Near the room's ends, and now and then far from them. */
static int64_t take_offset(struct fuzz_input *in) {
  const int64_t offset = (int64_t)fuzz_take(in, 1) - 16;
  const unsigned far = fuzz_take(in, 1);
  return far < 250 ? offset : far & 1 ? INT64_MAX - 300 - offset : INT64_MIN + 300 + offset;
}

static void add(struct nf_assembly *assembly, struct model *model, int64_t handle, struct fuzz_input *in) {
  const int64_t offset = take_offset(in);
  uint32_t size = fuzz_take(in, 1);
  if (size > in->size) size = (uint32_t)in->size;
  uint8_t *piece = malloc(size ? size : 1); /* of exactly its size, for a sanitizer to see what is read behind it */
  nf_require(piece);
  memcpy(piece, in->data, size);
  in->data += size;
  in->size -= size;
  const int64_t expected = model_add(model, handle, offset, piece, size);
  nf_require(nf_assembly_add(assembly, handle, offset, piece, size) == expected);
  free(piece);
}

static void skip(struct nf_assembly *assembly, struct model *model, int64_t handle, struct fuzz_input *in) {
  uint64_t count = fuzz_take(in, 1);
  if (count >= 250) count = UINT64_MAX - count;
  const int64_t expected = model_skip(model, handle, count);
  nf_require(nf_assembly_skip(assembly, handle, count) == expected);
}

static void close_stream(struct nf_assembly *assembly, struct model *model, int64_t handle) {
  struct stream *stream = find(model, handle);
  if (stream) stream->handle = 0;
  nf_assembly_close(assembly, handle);
}

/* One given before, whether or not it has ended, or now and then none. */
static int64_t take_handle(const struct model *model, struct fuzz_input *in) {
  const unsigned which = fuzz_take(in, 1);
  if (which >= 250 || !model->given) return (int64_t)which - 252;
  return model->handles[model->given - 1 - which % model->given];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  enum { OPEN, SKIP, CLOSE, OPERATIONS = 8 }; /* all others add */
  struct fuzz_input in = {data, size};
  struct model model = {0};
  model.streams = 1 + fuzz_take(&in, 1) % STREAMS_MAX;
  model.room = 1 + fuzz_take(&in, 1) % ROOM_MAX;
  model.patience = fuzz_take(&in, 1);
  struct nf_assembly *assembly = nf_assembly_new(model.streams, model.room, model.patience);
  nf_require(assembly);
  while (in.size) {
    const unsigned operation = fuzz_take(&in, 1) % OPERATIONS;
    const int64_t handle = operation == OPEN ? 0 : take_handle(&model, &in);
    if (operation == OPEN) model_open(&model, nf_assembly_open(assembly));
    else if (operation == SKIP) skip(assembly, &model, handle, &in);
    else if (operation == CLOSE) close_stream(assembly, &model, handle);
    else add(assembly, &model, handle, &in);
    check(assembly, &model);
  }
  nf_assembly_free(assembly);
  return 0;
}
