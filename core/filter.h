#pragma once
/*
 * filter.h: expressions in libpcap's filter language, compiled for one link type each. What Lua sees of them, filters
 * of packets in hooks, is in nf_abi.h.
 */
#include "base.h"

enum { NF_FILTER_REASON_SIZE = 384 };

/* Compiles an expression for a link type (LINKTYPE_ value) into *filter, which the caller frees with nf_filter_free.
   NF_OK; NF_ERR_SOURCE with a line in `reason` (NF_FILTER_REASON_SIZE bytes) that names the link type, or
   NF_ERR_NOMEM. */
int nf_filter_compile(struct nf_filter **filter, const char *expression, uint32_t link_type, char *reason);

/* Whether a filter accepts a frame of its link type: of `size` bytes on the wire, `captured` of which are at `data`. */
bool nf_filter_accepts(const struct nf_filter *filter, const uint8_t *data, uint32_t size, uint32_t captured);
