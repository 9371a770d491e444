/*
 * flow.c: what a packet does to its flow's counters and sections. It knows neither the table nor where packets come
 * from.
 */
#include "flow.h"

#include "features.h"

/* ---- first packets: direction, size and gap of each, -1 where there is none ---- */

static void splt_record(struct nf_flow *flow, const struct nf_layout *layout, const struct nf_packet *packet) {
  uint32_t n = layout->splt_length, i = flow->splt_count;
  if (i >= n) return;
  int64_t *piat = nf_section(flow, layout->splt);
  int32_t *ps = (int32_t *)(piat + n);
  int8_t *direction = (int8_t *)(ps + n);
  piat[i] = packet->delta > INT64_MAX ? INT64_MAX : (int64_t)packet->delta;
  ps[i] = packet->accounted_size > INT32_MAX ? INT32_MAX : (int32_t)packet->accounted_size;
  direction[i] = (int8_t)packet->direction;
  flow->splt_count = (uint16_t)(i + 1);
}

static void splt_start(struct nf_flow *flow, const struct nf_layout *layout, const struct nf_packet *packet) {
  memset(nf_section(flow, layout->splt), 0xff, (size_t)layout->splt_length * NF_SPLT_ENTRY);
  splt_record(flow, layout, packet);
}

/* ---- counters ---- */

static inline void scope_start(struct nf_scope *s, const struct nf_packet *p) {
  *s = (struct nf_scope){.first_seen = p->tick, .last_seen = p->tick, .packets = 1, .bytes = p->accounted_size};
}

/* Returns the time since the scope's packet before this one. */
static inline uint64_t scope_add(struct nf_scope *s, const struct nf_packet *p) {
  uint64_t gap = p->tick - s->last_seen;
  s->last_seen = p->tick;
  s->duration = p->tick - s->first_seen;
  s->packets++;
  s->bytes += p->accounted_size;
  return gap;
}

void nf_flow_start(struct nf_flow *flow, const struct nf_layout *layout, struct nf_packet *packet) {
  packet->direction = 0;
  packet->delta = 0;
  packet->flow = flow;
  flow->record_id = 0;
  flow->last_packet = packet->position;
  flow->ended_at = 0;
  flow->expiration_id = 0;
  flow->ip_version = packet->ip_version;
  flow->end_reason = NF_END_LIVE;
  flow->splt_count = 0;
  flow->is_closing = flow->is_frozen = false;
  memcpy(flow->src_mac_address, packet->src_mac_address, 6);
  memcpy(flow->dst_mac_address, packet->dst_mac_address, 6);
  scope_start(&flow->scope[NF_BIDIRECTIONAL], packet);
  scope_start(&flow->scope[NF_SRC2DST], packet);
  flow->scope[NF_DST2SRC] = (struct nf_scope){0};

  struct nf_statistics *statistics = nf_section(flow, layout->statistics);
  if (statistics) {
    nf_statistics_start(&statistics[NF_BIDIRECTIONAL], packet->accounted_size, &packet->fin);
    statistics[NF_SRC2DST] = statistics[NF_BIDIRECTIONAL];
    memset(&statistics[NF_DST2SRC], 0, sizeof *statistics);
  }
  if (layout->splt) splt_start(flow, layout, packet);
  if (layout->udps) memset(nf_section(flow, layout->udps), 0, layout->size - layout->udps);
}

/* One scope's share of a later packet, which may be the first in its direction. Returns the gap before it. */
static inline uint64_t add_to(struct nf_scope *scope, struct nf_statistics *statistics,
                              const struct nf_packet *packet) {
  if (scope->packets == 0) {
    scope_start(scope, packet);
    if (statistics) nf_statistics_start(statistics, packet->accounted_size, &packet->fin);
    return 0;
  }
  uint64_t gap = scope_add(scope, packet);
  if (statistics) nf_statistics_add(statistics, scope->packets, packet->accounted_size, gap, &packet->fin);
  return gap;
}

void nf_flow_add(struct nf_flow *flow, const struct nf_layout *layout, struct nf_packet *packet) {
  unsigned way = packet->direction ? NF_DST2SRC : NF_SRC2DST;
  struct nf_statistics *statistics = nf_section(flow, layout->statistics);
  packet->flow = flow;
  flow->last_packet = packet->position;
  packet->delta = add_to(&flow->scope[NF_BIDIRECTIONAL], statistics, packet);
  add_to(&flow->scope[way], statistics ? &statistics[way] : NULL, packet);
  if (layout->splt) splt_record(flow, layout, packet);
}

void nf_flow_absorb(struct nf_flow *flow, const struct nf_packet *packet) {
  flow->last_packet = packet->position;
  flow->absorbed_at = packet->tick;
}

void nf_flow_finish(struct nf_flow *flow, const struct nf_layout *layout, enum nf_end reason) {
  flow->end_reason = (uint8_t)reason;
  flow->record_id = 0;
  struct nf_statistics *statistics = nf_section(flow, layout->statistics);
  if (!statistics) return;
  for (int i = 0; i < NF_SCOPES; i++) nf_statistics_finish(&statistics[i], flow->scope[i].packets);
}
