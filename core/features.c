/*
 * features.c: count, minimum, maximum, mean and deviation in one pass (Welford 1962). The order of the operations is
 * part of the contract: results are compared bit for bit with NFStream's, so no algebra here, and no fused
 * multiply-add.
 */
#include "features.h"

#include <math.h>

static inline void welford(double *mean, double *spread, double x, double n) {
  double before = *mean;
  *mean = before + (x - before) / n;
  *spread += (x - before) * (x - *mean);
}

/* Saturates: a wrapped count would look like a quiet flow. */
static inline void count_flags(uint32_t *restrict counts, const uint8_t *restrict flags) {
  for (int i = 0; i < 8; i++) counts[i] += flags[i] & (counts[i] != UINT32_MAX);
}

void nf_statistics_start(struct nf_statistics *s, uint32_t size, const uint8_t *flags) {
  *s = (struct nf_statistics){.ps = {.min = size, .max = size, .mean = size}};
  count_flags(s->flags, flags);
}

void nf_statistics_add(struct nf_statistics *s, uint64_t packets, uint32_t size, uint64_t gap, const uint8_t *flags) {
  if (size < s->ps.min) s->ps.min = size;
  if (size > s->ps.max) s->ps.max = size;
  welford(&s->ps.mean, &s->ps.spread, (double)size, (double)packets);
  if (packets == 2) {
    s->piat = (struct nf_time_series){.min = gap, .max = gap, .mean = (double)gap};
  } else {
    if (gap < s->piat.min) s->piat.min = gap;
    if (gap > s->piat.max) s->piat.max = gap;
    welford(&s->piat.mean, &s->piat.spread, (double)gap, (double)(packets - 1));
  }
  count_flags(s->flags, flags);
}

void nf_statistics_finish(struct nf_statistics *s, uint64_t packets) {
  s->ps.spread = packets > 1 ? sqrt(s->ps.spread / (double)(packets - 1)) : 0.0;
  s->piat.spread = packets > 2 ? sqrt(s->piat.spread / (double)(packets - 2)) : 0.0;
}
