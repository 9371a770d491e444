#pragma once
/* counters.h: sums of what parts of a run have counted. */
#include "base.h"

static inline void nf_counters_add(struct nf_counters *to, const struct nf_counters *from) {
  to->packets += from->packets;
  to->bytes += from->bytes;
  for (int i = 0; i < NF_IGNORED_COUNT; i++) to->ignored[i] += from->ignored[i];
  for (int i = 0; i < NF_END_COUNT; i++) to->ended[i] += from->ended[i];
  to->dropped_kernel += from->dropped_kernel;
  to->dropped_interface += from->dropped_interface;
  to->input_size += from->input_size;
  to->input_read += from->input_read;
}
