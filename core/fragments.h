#pragma once
/*
 * fragments.h: what the fragments of one IP datagram lend each other: the tuple that its first one says. Datagrams go
 * by the tuples that nf_decode gives them. Nothing here reads bytes or knows flows.
 */
#include "decode.h"
#include "hash.h"

enum {
  NF_FRAGMENTS_HELD = 128, /* later fragments that wait for the first of their datagram at most */
  NF_FRAGMENTS_READ = 32   /* frames that were taken stay valid while no more than these are held anew */
};

struct nf_fragments;

/* Room for a fixed number of datagrams and waiting fragments. `ticks_per_ms` is the clock's. NULL when out of
   memory. */
struct nf_fragments *nf_fragments_new(const struct nf_hash_key *key, uint64_t ticks_per_ms);
void nf_fragments_free(struct nf_fragments *fragments);

/* Notes the tuple and IP version of a packet for the datagram that it is the first fragment of. The latest one counts:
   identifications come again (RFC 6864). */
void nf_fragments_learn(struct nf_fragments *fragments, const struct nf_tuple *datagram, const struct nf_packet *first,
                        uint64_t tick);
/* Gives a later fragment the tuple and IP version of its datagram; false when none has been noted lately. */
bool nf_fragments_lend(struct nf_fragments *fragments, const struct nf_tuple *datagram, struct nf_packet *later,
                       uint64_t tick);

/* Keeps a copy of a later fragment, frame and comment included, until the first one comes. The longest kept are given
   up for it. What is kept and what is given up depends on nothing but the fragments and their ticks. */
void nf_fragments_hold(struct nf_fragments *fragments, const struct nf_tuple *datagram, const struct nf_packet *later,
                       uint64_t tick);
/* Takes the next fragment held of a datagram, as it was given, in the order in which they came. False when there is no
   more. */
bool nf_fragments_take(struct nf_fragments *fragments, const struct nf_tuple *datagram, struct nf_packet *later,
                       uint64_t tick);

/* Gives up whatever is held. */
void nf_fragments_end(struct nf_fragments *fragments);

/* Adds the fragments given up so far to those that were ignored. */
void nf_fragments_count(const struct nf_fragments *fragments, struct nf_counters *counters);
