#pragma once
/*
 * key.h: what is made of a mask's key (struct nf_key). key.c reads keys and wipes them.
 */
#include "base.h"

/* Has libsodium ready: to be called before any use of it that draws random bytes. */
void nf_start_sodium(void);

/*
 * So many bytes (16 to 64) that a key makes for one purpose, of at most 16 characters: BLAKE2b (RFC 7693) of nothing,
 * with the key, and the purpose for its personalization. No keyed hash of a text is any of them.
 */
void nf_key_derive(const struct nf_key *key, const char *purpose, uint8_t *out, size_t size);
