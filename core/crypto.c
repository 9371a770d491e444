/*
 * crypto.c: hashes and ciphers by libcrypto, and the only file that knows it. A handle keeps what libcrypto looks up
 * and allocates, so that a call does neither. It has a library context of its own: what the system's configuration
 * allows for protecting secrets does not matter here, where nothing is protected. Its keys are public.
 *
 * libcrypto's present functions for hashes (EVP) allocate at every hash, and five times for an HMAC (3.0), where nobody
 * could be told that there is no memory. So hashes are made by its older ones, which do not, and take two thirds of
 * the time.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "crypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>

struct nf_crypto {
  SHA256_CTX pieces;
  OSSL_LIB_CTX *library;
  EVP_CIPHER *ecb, *gcm;
  EVP_CIPHER_CTX *block, *sealed;
};

static bool find(struct nf_crypto *c) {
  return (c->library = OSSL_LIB_CTX_new()) && (c->ecb = EVP_CIPHER_fetch(c->library, "AES-128-ECB", NULL)) &&
         (c->gcm = EVP_CIPHER_fetch(c->library, "AES-128-GCM", NULL));
}

static bool prepare(struct nf_crypto *c) {
  static const uint8_t key[NF_AES_SIZE];
  return (c->block = EVP_CIPHER_CTX_new()) && EVP_EncryptInit_ex2(c->block, c->ecb, key, NULL, NULL) == 1 &&
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
  nf_fail(error, "libcrypto: ciphers cannot be had: %s", reason ? reason : "out of memory");
  return NULL;
}

void nf_crypto_free(struct nf_crypto *crypto) {
  if (!crypto) return;
  EVP_CIPHER_CTX_free(crypto->sealed);
  EVP_CIPHER_CTX_free(crypto->block);
  EVP_CIPHER_free(crypto->gcm);
  EVP_CIPHER_free(crypto->ecb);
  OSSL_LIB_CTX_free(crypto->library);
  free(crypto);
}

void nf_sha1(struct nf_crypto *crypto, const void *data, size_t size, uint8_t *digest) {
  (void)crypto;
  SHA_CTX context;
  nf_require(SHA1_Init(&context) == 1 && SHA1_Update(&context, data, size) == 1 && SHA1_Final(digest, &context) == 1);
}

void nf_sha256(struct nf_crypto *crypto, const void *data, size_t size, uint8_t *digest) {
  (void)crypto;
  SHA256_CTX context;
  nf_require(SHA256_Init(&context) == 1 && SHA256_Update(&context, data, size) == 1 &&
             SHA256_Final(digest, &context) == 1);
}

void nf_sha256_begin(struct nf_crypto *crypto) { nf_require(SHA256_Init(&crypto->pieces) == 1); }

void nf_sha256_add(struct nf_crypto *crypto, const void *data, size_t size) {
  nf_require(SHA256_Update(&crypto->pieces, data, size) == 1);
}

void nf_sha256_end(struct nf_crypto *crypto, uint8_t *digest) {
  nf_require(SHA256_Final(digest, &crypto->pieces) == 1);
}

size_t nf_base64(char *out, const uint8_t *data, size_t size) {
  nf_require(size <= INT32_MAX);
  return (size_t)EVP_EncodeBlock((uint8_t *)out, data, (int)size);
}

/* The hash of a block, of `pad` in each byte but for the key in it, and then of the data. */
static void hash_keyed(const uint8_t *key, uint8_t pad, struct nf_bytes data, uint8_t *digest) {
  uint8_t block[SHA256_CBLOCK];
  SHA256_CTX context;
  for (size_t i = 0; i < sizeof block; i++) block[i] = key[i] ^ pad;
  nf_require(SHA256_Init(&context) == 1 && SHA256_Update(&context, block, sizeof block) == 1 &&
             SHA256_Update(&context, data.data, data.size) == 1 && SHA256_Final(digest, &context) == 1);
}

/* RFC 2104, section 2. */
void nf_hmac_sha256(struct nf_crypto *crypto, struct nf_bytes key, struct nf_bytes data, uint8_t *digest) {
  uint8_t block[SHA256_CBLOCK] = {0}, inner[NF_SHA256_SIZE];
  if (key.size > sizeof block) nf_sha256(crypto, key.data, key.size, block);
  else memcpy(block, key.data, key.size);
  hash_keyed(block, 0x36, data, inner);
  hash_keyed(block, 0x5c, (struct nf_bytes){inner, sizeof inner}, digest);
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
