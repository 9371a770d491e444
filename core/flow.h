#pragma once
/*
 * flow.h: one flow's life: its first packet, the later ones, its end.
 */
#include "base.h"

/* Bytes of the SPLT section a packet: gap, size, direction. */
enum { NF_SPLT_ENTRY = 8 + 4 + 1 };

/* The flow's first packet: every section but L7 is set. The tuple and slot are already there. */
void nf_flow_start(struct nf_flow *flow, const struct nf_layout *layout, struct nf_packet *packet);
/* A later packet; packet->direction says which way. Sets packet->delta. */
void nf_flow_add(struct nf_flow *flow, const struct nf_layout *layout, struct nf_packet *packet);
/* A packet of a frozen flow, which leaves no other trace. */
void nf_flow_absorb(struct nf_flow *flow, const struct nf_packet *packet);
/* The flow ends, for `reason`; after this it is a record. */
void nf_flow_finish(struct nf_flow *flow, const struct nf_layout *layout, enum nf_end reason);

/* A slot's sections, NULL where the layout has none. */
static inline void *nf_section(const struct nf_flow *flow, uint32_t offset) {
  return offset ? (char *)flow + offset : NULL;
}
