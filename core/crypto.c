/*
 * crypto.c: hashes and ciphers by libcrypto, and the only file that knows it. A handle keeps what libcrypto looks up
 * and allocates, so that a call does neither. It has a library context of its own: what the system's configuration
 * allows for protecting secrets does not matter here, where nothing is protected. Its keys are public.
 */
#include "crypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>

struct nf_crypto {
  OSSL_LIB_CTX *library;
  EVP_MD *sha1, *sha256;
  EVP_MD_CTX *hash1, *hash256, *pieces;
  EVP_MAC *hmac;
  EVP_MAC_CTX *mac;
  EVP_CIPHER *ecb, *gcm;
  EVP_CIPHER_CTX *block, *sealed;
};

static bool find(struct nf_crypto *c) {
  return (c->library = OSSL_LIB_CTX_new()) && (c->sha1 = EVP_MD_fetch(c->library, "SHA1", NULL)) &&
         (c->sha256 = EVP_MD_fetch(c->library, "SHA256", NULL)) &&
         (c->hmac = EVP_MAC_fetch(c->library, "HMAC", NULL)) &&
         (c->ecb = EVP_CIPHER_fetch(c->library, "AES-128-ECB", NULL)) &&
         (c->gcm = EVP_CIPHER_fetch(c->library, "AES-128-GCM", NULL));
}

static bool prepare(struct nf_crypto *c) {
  static const uint8_t key[NF_AES_SIZE];
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0), OSSL_PARAM_END};
  return (c->hash1 = EVP_MD_CTX_new()) && EVP_DigestInit_ex2(c->hash1, c->sha1, NULL) == 1 &&
         (c->hash256 = EVP_MD_CTX_new()) && EVP_DigestInit_ex2(c->hash256, c->sha256, NULL) == 1 &&
         (c->pieces = EVP_MD_CTX_new()) && EVP_DigestInit_ex2(c->pieces, c->sha256, NULL) == 1 &&
         (c->mac = EVP_MAC_CTX_new(c->hmac)) && EVP_MAC_init(c->mac, key, sizeof key, parameters) == 1 &&
         (c->block = EVP_CIPHER_CTX_new()) && EVP_EncryptInit_ex2(c->block, c->ecb, key, NULL, NULL) == 1 &&
         EVP_CIPHER_CTX_set_padding(c->block, 0) == 1 && (c->sealed = EVP_CIPHER_CTX_new()) &&
         EVP_DecryptInit_ex2(c->sealed, c->gcm, key, key, NULL) == 1;
}

/* One thread at a time: where several did this at once, libcrypto 3.0 was seen to fail, once in thousands of runs. */
static struct nf_crypto *make(void) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  struct nf_crypto *crypto = calloc(1, sizeof *crypto);
  if (!crypto) return NULL;
  pthread_mutex_lock(&lock);
  bool made = find(crypto) && prepare(crypto);
  pthread_mutex_unlock(&lock);
  if (made) return crypto;
  nf_crypto_free(crypto);
  return NULL;
}

struct nf_crypto *nf_crypto_new(char *error) {
  ERR_clear_error();
  struct nf_crypto *crypto = make();
  if (crypto) return crypto;
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());
  nf_fail(error, "libcrypto: hashes or ciphers cannot be had: %s", reason ? reason : "out of memory");
  return NULL;
}

void nf_crypto_free(struct nf_crypto *crypto) {
  if (!crypto) return;
  EVP_CIPHER_CTX_free(crypto->sealed);
  EVP_CIPHER_CTX_free(crypto->block);
  EVP_CIPHER_free(crypto->gcm);
  EVP_CIPHER_free(crypto->ecb);
  EVP_MAC_CTX_free(crypto->mac);
  EVP_MAC_free(crypto->hmac);
  EVP_MD_CTX_free(crypto->pieces);
  EVP_MD_CTX_free(crypto->hash256);
  EVP_MD_CTX_free(crypto->hash1);
  EVP_MD_free(crypto->sha256);
  EVP_MD_free(crypto->sha1);
  OSSL_LIB_CTX_free(crypto->library);
  free(crypto);
}

/* Contexts have been used with the same algorithm before, so nothing is left that could fail. */
static void hash(EVP_MD_CTX *context, const EVP_MD *algorithm, const void *data, size_t size, uint8_t *digest) {
  nf_require(EVP_DigestInit_ex2(context, algorithm, NULL) == 1 && EVP_DigestUpdate(context, data, size) == 1 &&
             EVP_DigestFinal_ex(context, digest, NULL) == 1);
}

void nf_sha1(struct nf_crypto *crypto, const void *data, size_t size, uint8_t *digest) {
  hash(crypto->hash1, crypto->sha1, data, size, digest);
}

void nf_sha256(struct nf_crypto *crypto, const void *data, size_t size, uint8_t *digest) {
  hash(crypto->hash256, crypto->sha256, data, size, digest);
}

void nf_sha256_begin(struct nf_crypto *crypto) {
  nf_require(EVP_DigestInit_ex2(crypto->pieces, crypto->sha256, NULL) == 1);
}

void nf_sha256_add(struct nf_crypto *crypto, const void *data, size_t size) {
  nf_require(EVP_DigestUpdate(crypto->pieces, data, size) == 1);
}

void nf_sha256_end(struct nf_crypto *crypto, uint8_t *digest) {
  nf_require(EVP_DigestFinal_ex(crypto->pieces, digest, NULL) == 1);
}

size_t nf_base64(char *out, const uint8_t *data, size_t size) {
  nf_require(size <= INT32_MAX);
  return (size_t)EVP_EncodeBlock((uint8_t *)out, data, (int)size);
}

void nf_hmac_sha256(struct nf_crypto *crypto, struct nf_bytes key, struct nf_bytes data, uint8_t *digest) {
  size_t size;
  nf_require(EVP_MAC_init(crypto->mac, key.data, key.size, NULL) == 1 &&
             EVP_MAC_update(crypto->mac, data.data, data.size) == 1 &&
             EVP_MAC_final(crypto->mac, digest, &size, NF_SHA256_SIZE) == 1);
}

void nf_aes_block(struct nf_crypto *crypto, const uint8_t *key, const uint8_t *block, uint8_t *out) {
  int size;
  nf_require(EVP_EncryptInit_ex2(crypto->block, NULL, key, NULL, NULL) == 1 &&
             EVP_EncryptUpdate(crypto->block, out, &size, block, NF_AES_SIZE) == 1 && size == NF_AES_SIZE);
}

bool nf_gcm_open(struct nf_crypto *crypto, const uint8_t *key, const uint8_t *nonce, const struct nf_bytes *associated,
                 int count, struct nf_bytes sealed, uint8_t *out) {
  if (sealed.size <= NF_GCM_TAG_SIZE || sealed.size > INT32_MAX) return false;
  const int plain = (int)sealed.size - NF_GCM_TAG_SIZE;
  uint8_t tag[NF_GCM_TAG_SIZE];
  int size;
  memcpy(tag, sealed.data + plain, sizeof tag);
  nf_require(EVP_DecryptInit_ex2(crypto->sealed, NULL, key, nonce, NULL) == 1);
  for (int i = 0; i < count; i++) {
    nf_require(EVP_DecryptUpdate(crypto->sealed, NULL, &size, associated[i].data, (int)associated[i].size) == 1);
  }
  return EVP_DecryptUpdate(crypto->sealed, out, &size, sealed.data, plain) == 1 && size == plain &&
         EVP_CIPHER_CTX_ctrl(crypto->sealed, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1 &&
         EVP_DecryptFinal_ex(crypto->sealed, out + plain, &size) == 1;
}

const char *nf_crypto_version(void) { return OpenSSL_version(OPENSSL_VERSION); }
