/*
 * intake.c: the first half of a run, which exists once for files however many meters share the work: it owns the
 * source, the run's clock and the account of what reaches no flow. It must not know flows.
 *
 * The clock is that of the packets, and never goes back. Every 10 ms of it a sweep is noted, at which every meter ends
 * its idle flows. On an interface the wall clock notes sweeps as well while no packets come.
 */
#include "intake.h"

#include "clock.h"
#include "counters.h"
#include "decode.h"
#include "source.h"
#include "warnings.h"

enum {
  READ = NF_FRAGMENTS_READ, /* frames asked of the source at a time */
  SWEEP_INTERVAL_MS = 10,
  FILL_MS = 100,            /* that a lasting batch may take to fill up: a pipe's packets may come one by one */
  WALL_SWEEP_MS = 100,      /* between two sweeps by the wall clock, which lag that much ... */
  WALL_LAG_MS = 500,        /* ... behind it: what was captured before may still be on its way */
  BYTES_FIRST = 512 * 1024, /* of a lasting batch's copies of frames, beyond which it takes no more */
};

struct nf_intake {
  struct nf_source *source;
  struct nf_hash_key key;
  uint8_t time_unit;
  bool decode_tunnels;
  bool has_comments; /* packets get what their frames have of them */
  bool defragment;
  bool is_live;
  uint64_t ticks_per_ms, sweep_interval; /* ticks */
  uint64_t tick, last_sweep, last_wall_sweep;
  uint64_t position;
  uint64_t first_ns, last_ns; /* of packets that reach flows */
  uint64_t ignored[NF_IGNORED_COUNT], ignored_bytes;
  bool is_out_of_memory;
  bool has_unknown_link; /* packets came of a link type that nf_decode does not know */
  struct nf_warnings warnings;
  struct nf_fragments *fragments; /* from the first one on */
};

/* ---- batches ---- */

struct nf_batch *nf_batch_new(uint32_t capacity, bool is_lasting, bool has_bytes) {
  struct nf_batch *batch = calloc(1, sizeof *batch);
  if (!batch) return NULL;
  batch->capacity = capacity;
  batch->is_lasting = is_lasting;
  batch->has_bytes = has_bytes;
  batch->bytes_room = is_lasting && has_bytes ? BYTES_FIRST : 0;
  const uint32_t room = capacity + NF_BATCH_SPARE;
  batch->packets = calloc(room, sizeof *batch->packets);
  batch->hashes = calloc(room, sizeof *batch->hashes);
  batch->sweeps = calloc(room + 1, sizeof *batch->sweeps); /* one a packet, and one by the wall clock */
  if (batch->bytes_room) batch->bytes = malloc(batch->bytes_room);
  if (batch->packets && batch->hashes && batch->sweeps && (batch->bytes || !batch->bytes_room)) return batch;
  nf_batch_free(batch);
  return NULL;
}

void nf_batch_free(struct nf_batch *batch) {
  if (!batch) return;
  free(batch->packets);
  free(batch->hashes);
  free(batch->sweeps);
  free(batch->bytes);
  free(batch);
}

/* Makes room for `size` more bytes of frames, which only frames far beyond the usual size need. A packet's comment lies
   behind its frame. */
static bool reserve(struct nf_batch *batch, size_t size) {
  if (size <= batch->bytes_room - batch->bytes_used) return true;
  uint8_t *larger = realloc(batch->bytes, batch->bytes_used + size);
  if (!larger) return false;
  size_t at = 0;
  for (uint32_t i = 0; i < batch->count; i++) {
    struct nf_packet *packet = &batch->packets[i];
    packet->frame = larger + at;
    at += packet->captured_size;
    if (!packet->comment_data) continue;
    packet->comment_data = (const char *)larger + at;
    at += packet->comment_size;
  }
  batch->bytes = larger;
  batch->bytes_room = batch->bytes_used + size;
  return true;
}

/* The frame of the batch's next packet goes where it stays. */
static bool keep_frame(struct nf_batch *batch, struct nf_packet *packet) {
  if (!batch->is_lasting) return true;
  if (!batch->has_bytes) {
    packet->frame = NULL;
    packet->comment_data = NULL;
    return true;
  }
  size_t comment_size = packet->comment_data ? packet->comment_size : 0;
  if (!reserve(batch, packet->captured_size + comment_size)) return false;
  uint8_t *copy = batch->bytes + batch->bytes_used;
  memcpy(copy, packet->frame, packet->captured_size);
  packet->frame = copy;
  batch->bytes_used += packet->captured_size + comment_size;
  if (NF_LIKELY(!packet->comment_data)) return true;
  copy += packet->captured_size;
  memcpy(copy, packet->comment_data, comment_size);
  packet->comment_data = (const char *)copy;
  return true;
}

/* ---- opening ---- */

struct nf_intake *nf_intake_new(const struct nf_options *o, const struct nf_hash_key *key, int32_t *fanout,
                                atomic_uint_least64_t *packets_left, char *error) {
  struct nf_intake *intake = calloc(1, sizeof *intake);
  if (!intake) {
    nf_fail(error, "out of memory");
    return NULL;
  }
  nf_warnings_init(&intake->warnings);
  intake->key = *key;
  intake->first_ns = UINT64_MAX;
  intake->time_unit = o->time_unit;
  intake->decode_tunnels = o->decode_tunnels;
  intake->has_comments = o->comments;
  intake->defragment = o->defragment;
  intake->ticks_per_ms = nf_ticks_per_ms(o->time_unit);
  intake->sweep_interval = SWEEP_INTERVAL_MS * intake->ticks_per_ms;
  intake->is_live = nf_source_is_live(o->sources, o->source_count);
  intake->source = nf_source_open(o, fanout, packets_left, error);
  if (intake->source) return intake;
  nf_intake_free(intake);
  return NULL;
}

void nf_intake_begin(struct nf_intake *intake, uint64_t since_ns) { nf_source_begin(intake->source, since_ns); }

void nf_intake_free(struct nf_intake *intake) {
  if (!intake) return;
  nf_source_close(intake->source);
  nf_warnings_clear(&intake->warnings);
  nf_fragments_free(intake->fragments);
  free(intake);
}

/* ---- reading ---- */

static uint64_t to_ticks(const struct nf_intake *intake, uint64_t ns) {
  switch (intake->time_unit) { /* constants divide faster than a variable */
  case NF_MILLISECONDS: return ns / 1000000;
  case NF_MICROSECONDS: return ns / 1000;
  default: return ns;
  }
}

static void note_sweep(struct nf_batch *batch, uint64_t position, uint64_t tick) {
  batch->sweeps[batch->sweep_count++] = (struct nf_sweep){.position = position, .tick = tick};
}

/* What the clock shows when this packet has come. */
static uint64_t clock_at(const struct nf_intake *intake, const struct nf_packet *packet) {
  uint64_t tick = to_ticks(intake, packet->time_ns);
  return tick > intake->tick ? tick : intake->tick;
}

static void move_clock(struct nf_intake *intake, struct nf_batch *batch, struct nf_packet *packet) {
  packet->tick = intake->tick = clock_at(intake, packet);
  if (packet->time_ns < intake->first_ns) intake->first_ns = packet->time_ns;
  if (packet->time_ns > intake->last_ns) intake->last_ns = packet->time_ns;
  intake->position = packet->position;
  if (intake->tick - intake->last_sweep < intake->sweep_interval) return;
  intake->last_sweep = intake->tick;
  note_sweep(batch, packet->position, intake->tick);
}

static void ignore(struct nf_intake *intake, const struct nf_frame *frame, enum nf_ignored why) {
  intake->ignored[why]++;
  intake->ignored_bytes += frame->size;
  if (why != NF_IGNORED_LINK_TYPE || intake->has_unknown_link) return;
  intake->has_unknown_link = true;
  nf_warnings_add(&intake->warnings, "link type %u is not known: its packets were ignored", frame->link_type);
}

/* Else a batch's packets stay without, as they were made. */
static void take_comment(struct nf_packet *packet, const struct nf_frame *frame) {
  packet->has_comments = true;
  packet->comment_data = frame->comment;
  packet->comment_size = frame->comment_size;
}

/* The batch's next packet is there. */
static bool add_packet(struct nf_intake *intake, struct nf_batch *batch) {
  struct nf_packet *packet = &batch->packets[batch->count];
  if (!keep_frame(batch, packet)) return false;
  batch->hashes[batch->count] = nf_hash_tuple(&intake->key, &packet->tuple);
  move_clock(intake, batch, packet);
  batch->count++;
  return true;
}

/* The packet added last says whose fragments the others of this datagram are. Those that came before it follow it. */
static bool lead_fragments(struct nf_intake *intake, struct nf_batch *batch, const struct nf_tuple *datagram) {
  const struct nf_packet *leader = &batch->packets[batch->count - 1];
  nf_fragments_learn(intake->fragments, datagram, leader, intake->tick);
  for (;;) {
    struct nf_packet *packet = &batch->packets[batch->count];
    if (!nf_fragments_take(intake->fragments, datagram, packet, intake->tick)) return true;
    packet->tuple = leader->tuple;
    packet->ip_version = leader->ip_version;
    packet->position = leader->position;
    if (!add_packet(intake, batch)) return false;
  }
}

/* The batch's next packet, which is decoded, is a fragment. */
static bool take_fragment(struct nf_intake *intake, struct nf_batch *batch, const struct nf_fragmented *fragmented) {
  if (!intake->fragments && !(intake->fragments = nf_fragments_new(&intake->key, intake->ticks_per_ms))) return false;
  struct nf_packet *packet = &batch->packets[batch->count];
  const struct nf_tuple *innermost = &fragmented->datagrams[fragmented->count - 1];
  const uint64_t tick = clock_at(intake, packet);
  if (fragmented->is_later && !nf_fragments_lend(intake->fragments, innermost, packet, tick)) {
    nf_fragments_hold(intake->fragments, innermost, packet, tick);
    return true;
  }
  bool is_kept = add_packet(intake, batch);
  const uint32_t led = fragmented->count - (fragmented->is_later ? 1 : 0);
  for (uint32_t i = 0; i < led && is_kept; i++) is_kept = lead_fragments(intake, batch, &fragmented->datagrams[i]);
  return is_kept;
}

static bool take_frame(struct nf_intake *intake, struct nf_batch *batch, const struct nf_frame *frame) {
  struct nf_packet *packet = &batch->packets[batch->count];
  struct nf_fragmented fragmented;
  enum nf_ignored why = nf_decode(packet, &fragmented, frame, intake->decode_tunnels);
  const bool has_place = why == NF_IGNORED_NONE || (intake->defragment && fragmented.is_later);
  if (!has_place) {
    ignore(intake, frame, why);
    return true;
  }
  if (NF_UNLIKELY(intake->has_comments)) take_comment(packet, frame);
  if (NF_UNLIKELY(fragmented.count > 0 && intake->defragment)) return take_fragment(intake, batch, &fragmented);
  return add_packet(intake, batch);
}

/* Time passes on a silent link, too. Packets keep their own clock: what is late does not become later by this. */
static void sweep_by_wall_clock(struct nf_intake *intake, struct nf_batch *batch) {
  uint64_t tick = to_ticks(intake, (uint64_t)nf_clock_ns(CLOCK_REALTIME) - WALL_LAG_MS * UINT64_C(1000000));
  if (tick <= intake->tick || tick - intake->last_wall_sweep < WALL_SWEEP_MS * intake->ticks_per_ms) return;
  intake->last_wall_sweep = tick;
  note_sweep(batch, intake->position, tick);
}

static int64_t now_ms(void) { return nf_clock_ms(CLOCK_MONOTONIC_COARSE); }

static bool has_room(const struct nf_batch *batch) {
  return batch->count + READ <= batch->capacity && batch->bytes_used < BYTES_FIRST;
}

int nf_intake_read(struct nf_intake *intake, struct nf_batch *batch) {
  struct nf_frame frames[READ];
  int count, answer = 0;
  const int64_t until_ms = batch->is_lasting ? now_ms() + FILL_MS : 0;
  batch->count = batch->sweep_count = 0;
  batch->bytes_used = 0;
  do {
    count = nf_source_read(intake->source, frames, READ);
    if (count > 0) answer = 1;
    for (int i = 0; i < count; i++)
      if (!take_frame(intake, batch, &frames[i])) {
        intake->is_out_of_memory = true;
        return NF_ERR_NOMEM;
      }
  } while (batch->is_lasting && count > 0 && has_room(batch) && now_ms() < until_ms);
  if (count < 0 && intake->fragments) nf_fragments_end(intake->fragments);
  if (count == 0 && intake->is_live) sweep_by_wall_clock(intake, batch);
  batch->position = intake->position;
  return count < 0 && answer == 0 ? count : answer; /* an end is told when asked next */
}

/* ---- account ---- */

void nf_intake_count(struct nf_intake *intake, struct nf_counters *counters) {
  for (int i = 0; i < NF_IGNORED_COUNT; i++) {
    counters->ignored[i] += intake->ignored[i];
    counters->packets += intake->ignored[i];
  }
  counters->bytes += intake->ignored_bytes;
  if (intake->last_ns) nf_counters_see(counters, intake->first_ns, intake->last_ns);
  if (intake->fragments) nf_fragments_count(intake->fragments, counters);
  nf_source_count(intake->source, counters);
}

const char *nf_intake_error(const struct nf_intake *intake) {
  return intake->is_out_of_memory ? "out of memory: cannot keep frames" : nf_source_error(intake->source);
}

const char *nf_intake_warning(struct nf_intake *intake) {
  const char *warning = nf_source_warning(intake->source);
  return warning ? warning : nf_warnings_next(&intake->warnings);
}

bool nf_intake_is_damaged(const struct nf_intake *intake) {
  return intake->has_unknown_link || nf_source_is_damaged(intake->source);
}

bool nf_intake_may_wait(const struct nf_intake *intake) { return nf_source_may_wait(intake->source); }

bool nf_intake_reads(const struct nf_intake *intake, const char *path) { return nf_source_reads(intake->source, path); }

struct nf_input nf_intake_input(const struct nf_intake *intake, uint32_t index) {
  return nf_source_input(intake->source, index);
}
