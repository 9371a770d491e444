#pragma once
/*
 * merge.h: records of several meters become one sequence. Each meter's thread puts its records into a lane of its own,
 * a bounded queue, in the order of their ends; one thread takes them out, in the order in which a single meter would
 * have given them.
 */
#include "place.h"

struct nf_merge;

/* `lanes` lanes for records of `record_size` bytes. If it `is_ordered`, the sequence is by the places of the
   flows' ends; else as records come. NULL when out of memory. */
struct nf_merge *nf_merge_new(uint32_t lanes, uint32_t record_size, bool is_ordered);
void nf_merge_free(struct nf_merge *merge);

/* ---- a meter's side ---- */

/* Copies a record into the lane. Waits while it is full; false once nothing is taken any more. */
bool nf_merge_put(struct nf_merge *merge, uint32_t lane, const struct nf_flow *record, struct nf_place place);
/* Everything to come has at least this order. Shows the other side what was put, and what the meter has counted. False
   once nothing is taken any more. */
bool nf_merge_reach(struct nf_merge *merge, uint32_t lane, uint64_t order, const struct nf_counters *counters);
/* Nothing more will come. For a meter that failed, with its one-line reason (else NULL) and the place where it did. */
void nf_merge_finish(struct nf_merge *merge, uint32_t lane, const char *failure, struct nf_place place);

/* ---- the taking side ---- */

/* The next record, valid until the next call: 1. 0: none came within `wait_ms`, or meters had other news. NF_END: none
   will. NF_ERR_METER: a meter failed, and all that came before has been given; nf_merge_failure says why. */
int nf_merge_next(struct nf_merge *merge, struct nf_flow **record, int wait_ms);
const char *nf_merge_failure(const struct nf_merge *merge);
/* Takes nothing more: meters do not wait any longer. */
void nf_merge_close(struct nf_merge *merge);
/* Adds what a meter has counted, as of its latest nf_merge_reach. */
void nf_merge_count(struct nf_merge *merge, uint32_t lane, struct nf_counters *counters);
