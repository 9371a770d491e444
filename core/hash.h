#pragma once
/*
 * hash.h: a keyed hash of tuples, the same for both directions of a flow. The table finds flows by its low half, a crew
 * shares them out by its high half, so that each is computed once a packet.
 */
#include "base.h"

struct nf_hash_key {
  uint64_t word[6];
};

/* A key nobody outside can know, so that nobody can choose tuples that collide. */
void nf_hash_seed(struct nf_hash_key *key);

uint64_t nf_hash_tuple(const struct nf_hash_key *key, const struct nf_tuple *tuple);
