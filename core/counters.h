#pragma once
/* counters.h: sums of what parts of a run have counted. */
#include "base.h"

/* A moment is or was that of a packet which has reached a flow. */
static inline void nf_counters_see(struct nf_counters *counters, uint64_t first_ns, uint64_t last_ns) {
  if (first_ns && (first_ns < counters->first_ns || !counters->first_ns)) counters->first_ns = first_ns;
  if (last_ns > counters->last_ns) counters->last_ns = last_ns;
}

static inline void nf_counters_add(struct nf_counters *to, const struct nf_counters *from) {
  to->packets += from->packets;
  to->bytes += from->bytes;
  for (int i = 0; i < NF_IGNORED_COUNT; i++) to->ignored[i] += from->ignored[i];
  for (int i = 0; i < NF_END_COUNT; i++) to->ended[i] += from->ended[i];
  to->dropped_kernel += from->dropped_kernel;
  to->dropped_interface += from->dropped_interface;
  to->input_size += from->input_size;
  to->input_read += from->input_read;
  nf_counters_see(to, from->first_ns, from->last_ns);
}
