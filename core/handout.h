#pragma once
/*
 * handout.h: one thread reads the input and hands its packets out to several meters, each flow's to the same one.
 */
#include "meter.h"

struct nf_handout;

/* Hands out what `intake` reads to `members` meters, with the frames' bytes if `has_bytes`. The intake stays the
   caller's, and is the handout's to read until it has stopped. NULL when out of memory. */
struct nf_handout *nf_handout_new(struct nf_intake *intake, uint32_t members, bool has_bytes);
/* Stops, and frees the handout. */
void nf_handout_free(struct nf_handout *handout);

/* Starts reading. 0, or the number of the error for which there is no thread. */
int nf_handout_start(struct nf_handout *handout);
/* Reads no more; meters that ask get NF_END. Returns once the thread has ended. */
void nf_handout_stop(struct nf_handout *handout);

/* A meter's next share, as nf_supply: what it got before is given back. NF_END at the end of the input, whatever ended
   it. */
int nf_handout_next(struct nf_handout *handout, uint32_t member, struct nf_share *share);
/* A meter wants no more shares, so that nobody waits for it. */
void nf_handout_leave(struct nf_handout *handout, uint32_t member);

/* NF_END, or the error that ended the input; to be asked once the meters have got NF_END. */
int nf_handout_status(const struct nf_handout *handout);
/* What the intake counted, as of the latest batch. */
void nf_handout_count(struct nf_handout *handout, struct nf_counters *counters);
