/*
 * hash.c: multiplications of 64 by 64 bits, folded, as in wyhash.
 */
#include "hash.h"

#include <sys/random.h>
#include <time.h>

void nf_hash_seed(struct nf_hash_key *key) {
  if (getrandom(key, sizeof *key, 0) == (ssize_t)sizeof *key) return;
  /* No entropy source: clock and stack address are still unknown to whoever sends packets. */
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  for (size_t i = 0; i < sizeof key->word / sizeof *key->word; i++)
    key->word[i] = ((uint64_t)now.tv_nsec * 0x9E3779B97F4A7C15u + (uintptr_t)&now) * (2 * i + 1);
}

__extension__ typedef unsigned __int128 wide;

static inline uint64_t mix(uint64_t a, uint64_t b) {
  wide product = (wide)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Address and port go through separate keyed multiplications: folded into one word they could be traded against each
   other without knowing the key. */
static inline uint64_t hash_end(const uint64_t *key, const uint8_t *address, uint16_t port) {
  uint64_t word[2];
  memcpy(word, address, sizeof word);
  return mix(mix(word[0] ^ key[0], word[1] ^ key[1]) ^ port, key[2]);
}

uint64_t nf_hash_tuple(const struct nf_hash_key *key, const struct nf_tuple *p) {
  const uint64_t *k = key->word;
  uint64_t rest = (uint64_t)p->vlan_id << 16 | (uint64_t)p->protocol << 8 | p->tunnel_id;
  uint64_t ends = hash_end(k, p->src_address, p->src_port) + hash_end(k, p->dst_address, p->dst_port);
  return mix(ends ^ k[3], rest ^ k[4]) ^ k[5];
}
