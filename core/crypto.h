#pragma once
/*
 * crypto.h: what opens QUIC's first packets and masks addresses, beside the hashes of nf_abi.h. crypto.c is the only
 * file that knows libgcrypt.
 */
#include "bytes.h"

enum {
  NF_SHA1_SIZE = 20,
  NF_SHA256_SIZE = 32,
  NF_AES_SIZE = 16, /* of AES-128's key and of a block */
  NF_GCM_NONCE_SIZE = 12,
  NF_GCM_TAG_SIZE = 16
};

/* HMAC-SHA-256 (RFC 2104) of `data`: NF_SHA256_SIZE bytes. */
void nf_hmac_sha256(struct nf_crypto *crypto, struct nf_bytes key, struct nf_bytes data, uint8_t *digest);

/* One block, enciphered by AES-128. */
void nf_aes_block(struct nf_crypto *crypto, const uint8_t *key, const uint8_t *block, uint8_t *out);

/* Sets the key of the next calls of nf_aes_blocks, up to one of nf_aes_block. */
void nf_aes_key(struct nf_crypto *crypto, const uint8_t *key);
/* Enciphers blocks, `size` bytes in all, where they are. */
void nf_aes_blocks(struct nf_crypto *crypto, uint8_t *blocks, size_t size);

/*
 * Opens what AES-128-GCM has sealed: the bytes in `sealed`, of which the last NF_GCM_TAG_SIZE are the tag, with the
 * `count` parts of `associated` as additional data. Writes as many bytes as there are without the tag. Returns false,
 * with `out` of no meaning, where the tag does not fit.
 */
bool nf_gcm_open(struct nf_crypto *crypto, const uint8_t *key, const uint8_t *nonce, const struct nf_bytes *associated,
                 int count, struct nf_bytes sealed, uint8_t *out);
