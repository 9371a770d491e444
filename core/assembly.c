/*
 * assembly.c: the first bytes of streams, put together from pieces. One block holds all streams' bytes; what has come
 * of a stream is a short list of ranges. Nothing is allocated after the start, and memory of streams that were never
 * used is never touched. Must not know protocols.
 */
#include "base.h"

enum { RANGES = 32 }; /* of a stream; a piece that would need one more is left out */

#define NONE UINT32_MAX

struct range {
  uint32_t begin, end;
};

struct assembled {
  int64_t handle;              /* 0 when not in use */
  uint32_t older, newer;       /* indices of those in use that began before and after it */
  uint32_t count;              /* of ranges */
  uint32_t waited;             /* pieces in a row that have not lengthened the beginning */
  struct range ranges[RANGES]; /* in order, neither overlapping nor touching */
};

struct nf_assembly {
  uint32_t streams, room, patience;
  uint32_t free_count;
  uint32_t oldest, newest; /* of those in use */
  int64_t opened;          /* streams so far */
  uint64_t displaced, gapped;
  uint32_t *free; /* indices of those not in use */
  uint8_t *bytes; /* `room` for each */
  struct assembled list[];
};

struct nf_assembly *nf_assembly_new(uint32_t streams, uint32_t room, uint32_t patience) {
  nf_require(streams && streams <= UINT32_C(1) << 16 && room && room <= UINT32_C(1) << 24);
  struct nf_assembly *assembly = calloc(1, sizeof *assembly + streams * sizeof *assembly->list);
  if (!assembly) return NULL;
  assembly->streams = assembly->free_count = streams;
  assembly->room = room;
  assembly->patience = patience;
  assembly->oldest = assembly->newest = NONE;
  assembly->free = malloc(streams * sizeof *assembly->free);
  assembly->bytes = malloc((size_t)streams * room);
  if (!assembly->free || !assembly->bytes) {
    nf_assembly_free(assembly);
    return NULL;
  }
  for (uint32_t i = 0; i < streams; i++) assembly->free[i] = streams - 1 - i;
  return assembly;
}

void nf_assembly_free(struct nf_assembly *assembly) {
  if (!assembly) return;
  free(assembly->bytes);
  free(assembly->free);
  free(assembly);
}

static uint32_t index_of(const struct nf_assembly *assembly, int64_t handle) {
  return (uint32_t)(handle % assembly->streams);
}

static bool is_open(const struct nf_assembly *assembly, int64_t handle) {
  return handle > 0 && assembly->list[index_of(assembly, handle)].handle == handle;
}

static size_t place_of(const struct nf_assembly *assembly, int64_t handle) {
  return (size_t)index_of(assembly, handle) * assembly->room;
}

static void end(struct nf_assembly *assembly, struct assembled *stream) {
  if (stream->older == NONE) assembly->oldest = stream->newer;
  else assembly->list[stream->older].newer = stream->newer;
  if (stream->newer == NONE) assembly->newest = stream->older;
  else assembly->list[stream->newer].older = stream->older;
  assembly->free[assembly->free_count++] = index_of(assembly, stream->handle);
  stream->handle = 0;
}

int64_t nf_assembly_open(struct nf_assembly *assembly) {
  if (!assembly->free_count) {
    end(assembly, &assembly->list[assembly->oldest]);
    assembly->displaced++;
  }
  const uint32_t index = assembly->free[--assembly->free_count];
  struct assembled *stream = &assembly->list[index];
  stream->handle = ++assembly->opened * assembly->streams + index;
  stream->count = stream->waited = 0;
  stream->older = assembly->newest;
  stream->newer = NONE;
  if (stream->older == NONE) assembly->oldest = index;
  else assembly->list[stream->older].newer = index;
  assembly->newest = index;
  return stream->handle;
}

/* Copies those bytes of [begin, end) that have not come yet. `data` is what stands at `begin`. */
static void copy_new(const struct assembled *stream, uint8_t *bytes, uint32_t begin, uint32_t finish,
                     const uint8_t *data) {
  uint32_t at = begin;
  for (uint32_t i = 0; i < stream->count && at < finish; i++) {
    const struct range *range = &stream->ranges[i];
    if (range->end <= at) continue;
    if (range->begin > at) {
      const uint32_t stop = range->begin < finish ? range->begin : finish;
      memcpy(bytes + at, data + (at - begin), stop - at);
    }
    at = range->end;
  }
  if (at < finish) memcpy(bytes + at, data + (at - begin), finish - at);
}

/* Adds [begin, end) to the ranges, joined with those it touches; `first` to `last` - 1 are these. */
static void join(struct assembled *stream, uint32_t first, uint32_t last, uint32_t begin, uint32_t finish) {
  if (last > first) {
    if (stream->ranges[first].begin < begin) begin = stream->ranges[first].begin;
    if (stream->ranges[last - 1].end > finish) finish = stream->ranges[last - 1].end;
  }
  memmove(&stream->ranges[first + 1], &stream->ranges[last], (stream->count - last) * sizeof *stream->ranges);
  stream->ranges[first] = (struct range){begin, finish};
  stream->count = stream->count + 1 - (last - first);
}

static uint32_t beginning_of(const struct assembled *stream) {
  return stream->count && stream->ranges[0].begin == 0 ? stream->ranges[0].end : 0;
}

static void put(struct assembled *stream, uint8_t *bytes, uint32_t begin, uint32_t finish, const uint8_t *data) {
  uint32_t first = 0;
  while (first < stream->count && stream->ranges[first].end < begin) first++;
  uint32_t last = first;
  while (last < stream->count && stream->ranges[last].begin <= finish) last++;
  if (last == first && stream->count == RANGES) return;
  copy_new(stream, bytes, begin, finish, data);
  join(stream, first, last, begin, finish);
}

int64_t nf_assembly_add(struct nf_assembly *assembly, int64_t handle, int64_t offset, const uint8_t *data,
                        uint32_t size) {
  if (!is_open(assembly, handle)) return NF_END;
  struct assembled *stream = &assembly->list[index_of(assembly, handle)];
  const uint32_t before = beginning_of(stream);
  if (!size) return before;
  if (offset < assembly->room && offset > -(int64_t)size) {
    const int64_t begin = offset > 0 ? offset : 0;
    const int64_t finish = offset + size < assembly->room ? offset + size : assembly->room;
    put(stream, assembly->bytes + place_of(assembly, handle), (uint32_t)begin, (uint32_t)finish,
        data + (begin - offset));
  }
  const uint32_t beginning = beginning_of(stream);
  stream->waited = beginning > before ? 0 : stream->waited + 1;
  if (stream->waited < assembly->patience) return beginning;
  end(assembly, stream);
  assembly->gapped++;
  return NF_END;
}

int64_t nf_assembly_skip(struct nf_assembly *assembly, int64_t handle, uint64_t count) {
  if (!is_open(assembly, handle)) return NF_END;
  struct assembled *stream = &assembly->list[index_of(assembly, handle)];
  const uint32_t gone = count < assembly->room ? (uint32_t)count : assembly->room;
  uint32_t first = 0, kept = 0;
  while (first < stream->count && stream->ranges[first].end <= gone) first++;
  stream->count -= first;
  memmove(stream->ranges, stream->ranges + first, stream->count * sizeof *stream->ranges);
  for (uint32_t i = 0; i < stream->count; i++) {
    struct range *range = &stream->ranges[i];
    range->begin = range->begin > gone ? range->begin - gone : 0;
    range->end -= gone;
    kept += range->end - range->begin;
  }
  uint8_t *bytes = assembly->bytes + place_of(assembly, handle);
  if (kept) memmove(bytes, bytes + gone, stream->ranges[stream->count - 1].end);
  stream->waited = 0;
  return kept;
}

const uint8_t *nf_assembly_bytes(const struct nf_assembly *assembly, int64_t handle, uint32_t *size) {
  if (!is_open(assembly, handle)) return NULL;
  *size = beginning_of(&assembly->list[index_of(assembly, handle)]);
  return assembly->bytes + place_of(assembly, handle);
}

void nf_assembly_close(struct nf_assembly *assembly, int64_t handle) {
  if (is_open(assembly, handle)) end(assembly, &assembly->list[index_of(assembly, handle)]);
}

uint64_t nf_assembly_displaced(const struct nf_assembly *assembly) { return assembly->displaced; }
uint64_t nf_assembly_gapped(const struct nf_assembly *assembly) { return assembly->gapped; }
