/*
 * crypto.c: hashes and ciphers by libgcrypt, which nDPI brings along, and the only file that knows it; Base64 by
 * libsodium. A handle keeps what libgcrypt allocates, so that a call does not. Its memory may be swapped out, keys of
 * masks with it; libgcrypt wipes it when it is freed.
 */
#include "crypto.h"

#include <gcrypt.h>
#include <pthread.h>
#include <sodium.h>

struct nf_crypto {
  gcry_md_hd_t pieces;
  gcry_mac_hd_t hmac;
  gcry_cipher_hd_t ecb, gcm;
};

/* Once in a process, by whoever comes first, nDPI or this; without memory that is kept from being swapped out. */
static void initialize(void) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  (void)pthread_mutex_lock(&lock);
  if (!gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) {
    (void)gcry_check_version(NULL);
    (void)gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    (void)gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
  }
  (void)pthread_mutex_unlock(&lock);
}

/* All there is, or libgcrypt's reason. */
static gcry_error_t prepare(struct nf_crypto *c) {
  gcry_error_t failure = gcry_md_open(&c->pieces, GCRY_MD_SHA256, 0);
  if (!failure) failure = gcry_mac_open(&c->hmac, GCRY_MAC_HMAC_SHA256, 0, NULL);
  if (!failure) failure = gcry_cipher_open(&c->ecb, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_ECB, 0);
  if (!failure) failure = gcry_cipher_open(&c->gcm, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_GCM, 0);
  return failure;
}

struct nf_crypto *nf_crypto_new(char *error) {
  struct nf_crypto *crypto = calloc(1, sizeof *crypto);
  if (!crypto) {
    nf_fail(error, "out of memory");
    return NULL;
  }
  initialize();
  gcry_error_t failure = prepare(crypto);
  if (!failure) return crypto;
  nf_fail(error, "libgcrypt: hashes or ciphers cannot be had: %s", gcry_strerror(failure));
  nf_crypto_free(crypto);
  return NULL;
}

void nf_crypto_free(struct nf_crypto *crypto) {
  if (!crypto) return;
  gcry_cipher_close(crypto->gcm);
  gcry_cipher_close(crypto->ecb);
  gcry_mac_close(crypto->hmac);
  gcry_md_close(crypto->pieces);
  free(crypto);
}

/* ---- hashes ---- */

/* What takes whole data needs no handle, but that there is one says that libgcrypt has been initialized. */
void nf_sha1(struct nf_crypto *crypto, const void *data, size_t size, uint8_t *digest) {
  (void)crypto;
  gcry_md_hash_buffer(GCRY_MD_SHA1, digest, data, size);
}

void nf_sha256(struct nf_crypto *crypto, const void *data, size_t size, uint8_t *digest) {
  (void)crypto;
  gcry_md_hash_buffer(GCRY_MD_SHA256, digest, data, size);
}

void nf_sha256_begin(struct nf_crypto *crypto) { gcry_md_reset(crypto->pieces); }

void nf_sha256_add(struct nf_crypto *crypto, const void *data, size_t size) {
  gcry_md_write(crypto->pieces, data, size);
}

void nf_sha256_end(struct nf_crypto *crypto, uint8_t *digest) {
  memcpy(digest, gcry_md_read(crypto->pieces, GCRY_MD_SHA256), NF_SHA256_SIZE);
}

size_t nf_base64(char *out, const uint8_t *data, size_t size) {
  const size_t room = (size + 2) / 3 * 4 + 1;
  (void)sodium_bin2base64(out, room, data, size, sodium_base64_VARIANT_ORIGINAL);
  return room - 1;
}

/* ---- what opens QUIC's first packets ---- */

void nf_hmac_sha256(struct nf_crypto *crypto, struct nf_bytes key, struct nf_bytes data, uint8_t *digest) {
  size_t size = NF_SHA256_SIZE;
  nf_require(!gcry_mac_setkey(crypto->hmac, key.data, key.size) &&
             !gcry_mac_write(crypto->hmac, data.data, data.size) && !gcry_mac_read(crypto->hmac, digest, &size));
}

void nf_aes_key(struct nf_crypto *crypto, const uint8_t *key) {
  nf_require(!gcry_cipher_setkey(crypto->ecb, key, NF_AES_SIZE));
}

void nf_aes_blocks(struct nf_crypto *crypto, uint8_t *blocks, size_t size) {
  nf_require(!gcry_cipher_encrypt(crypto->ecb, blocks, size, NULL, 0));
}

void nf_aes_block(struct nf_crypto *crypto, const uint8_t *key, const uint8_t *block, uint8_t *out) {
  nf_aes_key(crypto, key);
  nf_require(!gcry_cipher_encrypt(crypto->ecb, out, NF_AES_SIZE, block, NF_AES_SIZE));
}

bool nf_gcm_open(struct nf_crypto *crypto, const uint8_t *key, const uint8_t *nonce, const struct nf_bytes *associated,
                 int count, struct nf_bytes sealed, uint8_t *out) {
  if (sealed.size <= NF_GCM_TAG_SIZE) return false;
  const uint32_t plain = sealed.size - NF_GCM_TAG_SIZE;
  nf_require(!gcry_cipher_setkey(crypto->gcm, key, NF_AES_SIZE) &&
             !gcry_cipher_setiv(crypto->gcm, nonce, NF_GCM_NONCE_SIZE));
  for (int i = 0; i < count; i++) {
    nf_require(!gcry_cipher_authenticate(crypto->gcm, associated[i].data, associated[i].size));
  }
  return !gcry_cipher_decrypt(crypto->gcm, out, plain, sealed.data, plain) &&
         !gcry_cipher_checktag(crypto->gcm, sealed.data + plain, NF_GCM_TAG_SIZE);
}

const char *nf_crypto_version(void) {
  initialize();
  return gcry_check_version(NULL);
}
