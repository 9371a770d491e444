#pragma once
/*
 * dpi.h: application identification by nDPI. Nothing behind it but dpi.c, and dpi_cache.c for what nDPI remembers
 * across flows, knows nDPI and how its versions differ.
 */
#include "base.h"

struct nf_dpi;

/* An nDPI module for one thread. `limit` is n_dissections (1..255); `extra` fills the nf_l7_extra section too;
   `cache` keeps what nDPI learns from one flow for the next. NULL with a reason in `error`. */
struct nf_dpi *nf_dpi_new(uint32_t limit, bool extra, bool cache, char *error);
void nf_dpi_free(struct nf_dpi *dpi);
/* Whether nf_l7 sections are kept current after every dissected packet from now on, for hooks that read them while a
   flow lives; at first they are not. */
void nf_dpi_publish(struct nf_dpi *dpi, bool publish);

/*
 * Shows nDPI a flow's next packet while it still wants any. `l7` and `extra` (NULL when absent) are the flow's
 * sections, zeroed before its first packet. `count` is the packet's position in the flow, from 1. The time given to
 * nDPI is packet->tick turned into milliseconds by `ticks_per_ms`. False when there is no memory for the flow, which
 * stays unknown then.
 */
bool nf_dpi_packet(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra, const struct nf_packet *packet,
                   uint64_t count, uint64_t ticks_per_ms);

/* A flow ends: gives up where there is no verdict yet, fills the sections, frees nDPI's state. */
void nf_dpi_finish(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra);

/* Frees nDPI's state of a flow that is dropped without a record. */
void nf_dpi_drop(struct nf_dpi *dpi, struct nf_l7 *l7);
