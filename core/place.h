#pragma once
/*
 * place.h: where the end of a flow stands among all of them: in the order in which a single meter tells them, however
 * many share the traffic.
 */
#include "base.h"

/* Ends come by the packet at which they do, those that it causes itself before those of the sweep behind it. The
   latter, and ends at the end of the input, are in the order of the flows' last packets. */
struct nf_place {
  uint64_t order, last_packet;
};

#define NF_ORDER_BY_PACKET(position) (2 * (position))
#define NF_ORDER_BY_SWEEP(position)  (2 * (position) + 1)
#define NF_ORDER_AT_END              UINT64_MAX
