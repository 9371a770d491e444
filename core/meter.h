#pragma once
/*
 * meter.h: one meter as its crew sees it. What Lua sees of it is in nf_abi.h.
 */
#include "intake.h"
#include "place.h"
#include "sockets.h"

/* A meter's part of a batch. */
struct nf_share {
  struct nf_packet *packets; /* of the batch */
  const uint64_t *hashes;
  const uint16_t *mine; /* indices of those that are this meter's, rising */
  uint32_t count;       /* of them */
  const struct nf_sweep *sweeps;
  uint32_t sweep_count;
  uint64_t position; /* the batch's */
};

/* Where a meter gets its packets: fills *share, which stays valid until the next call, and returns 1; 0 when there is
   nothing at the moment; NF_END, or an error. */
typedef int nf_supply(void *supplier, struct nf_share *share);

/* Whether the options are within their bounds; if not, with a one-line reason in `error`. */
bool nf_meter_accepts(const struct nf_options *options, char *error);

/* A meter with a table of options->max_flows; tuples come hashed with `key`. NULL with a one-line reason in `error`. */
struct nf_meter *nf_meter_new(const struct nf_options *options, const struct nf_hash_key *key, nf_supply *supply,
                              void *supplier, char *error);
void nf_meter_free(struct nf_meter *meter);

/* From now on flows that end are asked of `sockets`, which stays the caller's. */
void nf_meter_watch(struct nf_meter *meter, struct nf_sockets *sockets);

/* Where the event told last stands among the ends of flows. */
struct nf_place nf_meter_place(const struct nf_meter *meter);

/* Takes no more packets: the next calls bring the open flows' ends, then NF_END. */
void nf_meter_stop(struct nf_meter *meter);

/* Adds what the meter has counted. */
void nf_meter_count(const struct nf_meter *meter, struct nf_counters *counters);
