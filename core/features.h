#pragma once
/*
 * features.h: running statistics of one scope of a flow. Pure arithmetic, in the operation order that gives NFStream's
 * values to the last bit.
 */
#include "base.h"

/* The scope's first packet. `flags` are its eight TCP flags, 0 or 1 each, as struct nf_packet holds them. */
void nf_statistics_start(struct nf_statistics *s, uint32_t size, const uint8_t *flags);
/* A later one: `packets` counts it too, `gap` is the time since the one before it in the same scope. */
void nf_statistics_add(struct nf_statistics *s, uint64_t packets, uint32_t size, uint64_t gap, const uint8_t *flags);
/* Turns sums of squared deviations into sample standard deviations. */
void nf_statistics_finish(struct nf_statistics *s, uint64_t packets);
