/*
 * fuzz_meter.c: libFuzzer target for a whole run: capture file in, events out. The first eight bytes choose the run's
 * options and what its hooks do; the rest is the file, pcap or pcapng, handed over in memory. DPI is off: it has its own
 * target. Checks what nf_abi.h promises of any run: that every flow begins once and ends once, that every packet read is
 * in a flow or counted as ignored, and that flows agree with themselves.
 *
 *   make fuzz
 */
#include "target.h"

enum {
  PREFIX = 8,
  /* data[0] */
  FLAG_STATISTICS = 1,
  FLAG_TUNNELS = 2,
  FLAG_FILTER = 4,
  FLAG_TWICE = 8, /* the same file as two sources */
  FLAG_INIT = 16,
  FLAG_UPDATE = 32,
  FLAG_STOP = 64, /* at the event numbered by data[6] */
  FLAG_COMMENTS = 128
};

static struct nf_options choose(const uint8_t *data, const char *const *sources) {
  static const char *const filters[] = {"ip", "tcp or udp port 53", "vlan 5 and ip6", "greater 100"};
  return (struct nf_options){
      .sources = sources,
      .n_meters = 1,
      .source_count = data[0] & FLAG_TWICE ? 2 : 1,
      .bpf_filter = data[0] & FLAG_FILTER ? filters[data[5] % 4] : NULL,
      .idle_timeout_s = data[1] & 0x80 ? UINT64_MAX - data[1] : data[1],
      .active_timeout_s = data[2] & 0x80 ? UINT64_MAX / 1000 + data[2] : data[2] * UINT64_C(4),
      .max_flows = data[3] & 0x0f,
      .splt_analysis = data[3] >> 4,
      .udps_size = data[4] & 0x1f,
      .watchers = 1,
      .events = (data[0] & FLAG_INIT ? NF_EVENT_INIT : 0u) | (data[0] & FLAG_UPDATE ? NF_EVENT_UPDATE : 0u),
      .time_unit = (data[4] >> 5) % 3,
      .accounting_mode = data[5] >> 6,
      .decode_tunnels = data[0] & FLAG_TUNNELS,
      .statistical_analysis = data[0] & FLAG_STATISTICS,
      .comments = data[0] & FLAG_COMMENTS,
      .defragment = !(data[5] & 0x20),
  };
}

struct tally {
  uint64_t begun, ended, events;
  uint64_t packets; /* in flows that ended */
};

static void check_flow(const struct nf_flow *flow) {
  const struct nf_scope *both = &flow->scope[NF_BIDIRECTIONAL];
  const struct nf_scope *there = &flow->scope[NF_SRC2DST], *back = &flow->scope[NF_DST2SRC];
  nf_require(there->packets > 0 && both->packets == there->packets + back->packets);
  nf_require(both->bytes == there->bytes + back->bytes);
  nf_require(both->first_seen == there->first_seen && both->last_seen >= back->last_seen);
  for (int i = 0; i < NF_SCOPES; i++) {
    const struct nf_scope *s = &flow->scope[i];
    nf_require(s->duration == s->last_seen - s->first_seen && s->last_seen >= s->first_seen);
  }
  nf_require(flow->ip_version == 4 || flow->ip_version == 6);
  nf_require(flow->last_packet > 0);
}

static void check_statistics(const struct nf_flow *flow, const struct nf_layout *layout) {
  const struct nf_statistics *s = (const void *)((const char *)flow + layout->statistics);
  for (int i = 0; i < NF_SCOPES; i++) {
    nf_require(s[i].ps.min <= s[i].ps.max && s[i].piat.min <= s[i].piat.max);
    nf_require(s[i].ps.spread >= 0 && s[i].piat.spread >= 0); /* no NaN */
    nf_require(flow->scope[i].packets > 1 || s[i].piat.max == 0);
    for (int bit = 0; bit < 8; bit++) nf_require(s[i].flags[bit] <= flow->scope[i].packets);
  }
}

static void check_splt(const struct nf_flow *flow, const struct nf_layout *layout) {
  const uint32_t n = layout->splt_length;
  const int64_t *piat = (const void *)((const char *)flow + layout->splt);
  const int32_t *ps = (const int32_t *)(piat + n);
  const int8_t *direction = (const int8_t *)(ps + n);
  const uint64_t packets = flow->scope[NF_BIDIRECTIONAL].packets;
  nf_require(flow->splt_count == (packets < n ? packets : n));
  for (uint32_t i = 0; i < n; i++) nf_require((direction[i] == -1) == (i >= flow->splt_count));
}

static volatile uint8_t looked_at; /* every byte a hook may read, for the sanitizer to see */

/* A packet as its hook sees it; the hook writes into the plugins' section and may end the flow. */
static void on_packet(const struct nf_packet *p, struct nf_flow *flow, const struct nf_layout *layout, uint8_t id) {
  nf_require(p->flow == flow && p->direction <= 1 && p->payload_offset <= p->captured_size);
  nf_require(p->tick == flow->scope[NF_BIDIRECTIONAL].last_seen && p->position == flow->last_packet);
  for (uint32_t i = 0; i < p->captured_size; i++) looked_at = p->frame[i];
  for (uint32_t i = 0; p->comment_data && i < p->comment_size; i++) looked_at = (uint8_t)p->comment_data[i];
  if (layout->udps) memset((char *)flow + layout->udps, 0x55, layout->size - layout->udps);
  if (id && p->position % id == 0) flow->expiration_id = p->position & 1 ? -1 : id;
}

static void on_end(const struct nf_flow *flow, const struct nf_layout *layout, struct tally *tally) {
  tally->ended++;
  tally->packets += flow->scope[NF_BIDIRECTIONAL].packets;
  nf_require(flow->end_reason > NF_END_LIVE && flow->end_reason < NF_END_COUNT);
  nf_require(flow->end_reason != NF_END_FORCED || flow->expiration_id == -1);
  check_flow(flow);
  if (layout->statistics) check_statistics(flow, layout);
  if (layout->splt) check_splt(flow, layout);
}

static void check_counters(const struct nf_counters *c, const struct tally *tally, const struct nf_options *o) {
  uint64_t ignored = 0, ended = 0;
  for (int i = 1; i < NF_IGNORED_COUNT; i++) ignored += c->ignored[i];
  for (int i = 1; i < NF_END_COUNT; i++) ended += c->ended[i];
  nf_require(c->ignored[NF_IGNORED_NONE] == 0 && c->ended[NF_END_LIVE] == 0);
  nf_require(ended == tally->ended);
  nf_require(!(o->events & NF_EVENT_INIT) || tally->begun == tally->ended);
  nf_require(!o->max_flows || c->ended[NF_END_INPUT] <= o->max_flows);
  nf_require(c->packets == tally->packets + ignored);
}

static void run(struct nf_crew *meter, const struct nf_options *o, const uint8_t *data) {
  const struct nf_layout layout = nf_layout_of(o);
  const struct nf_event *event = nf_crew_event(meter);
  struct tally tally = {0};
  int kind;
  while ((kind = nf_crew_next(meter)) >= 0) {
    if (kind == 0) continue;
    nf_require(kind == NF_EVENT_EXPIRE || (o->events & (unsigned)kind));
    if (kind == NF_EVENT_EXPIRE) on_end(event->flow, &layout, &tally);
    else on_packet(&event->packet, event->flow, &layout, data[7]);
    nf_require(!event->packet.comment_data || o->comments);
    tally.begun += kind == NF_EVENT_INIT;
    if (!(data[0] & FLAG_STOP) || tally.events++ != data[6]) continue;
    nf_crew_stop(meter);
  }
  nf_require(kind == NF_END && nf_crew_next(meter) == NF_END);
  check_counters(nf_crew_counters(meter), &tally, o);
  while (nf_crew_warning(meter)) nf_require(nf_crew_is_damaged(meter) || o->bpf_filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < PREFIX) return 0;
  const char *path = fuzz_file(data + PREFIX, size - PREFIX);
  const char *const sources[] = {path, path};
  const struct nf_options options = choose(data, sources);
  char error[NF_ERROR_SIZE] = "";
  struct nf_crew *meter = nf_crew_new(&options, error);
  nf_require(meter || (options.bpf_filter && error[0]));
  if (meter) run(meter, &options, data);
  nf_crew_free(meter);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 4 && size > PREFIX) fuzz_repair_capture(data + PREFIX, size - PREFIX);
  return size;
}
