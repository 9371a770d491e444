/*
 * key.c: keys of masks, from files or fresh, and what is derived from them. Whoever may read a key can undo what was
 * done with it by trying all addresses: a file that everybody may read is no place for one.
 */
#include "key.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALLEST = 32 };

void nf_start_sodium(void) { nf_require(sodium_init() >= 0); }

void nf_random(void *bytes, size_t size) {
  nf_start_sodium();
  randombytes_buf(bytes, size);
}

void nf_key_wipe(struct nf_key *key) { sodium_memzero(key, sizeof *key); }

/* Reads up to `room` bytes, to the end of the file if it is shorter. Returns how many there are, or -1. */
static ssize_t read_up_to(int file, uint8_t *bytes, size_t room) {
  size_t size = 0;
  while (size < room) {
    const ssize_t got = read(file, bytes + size, room - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    size += (size_t)got;
  }
  return (ssize_t)size;
}

static bool read_key(struct nf_key *key, int file, const char *path, char *error) {
  struct stat status;
  uint8_t bytes[sizeof key->bytes + 1]; /* one more tells what is too long; a device may never end */
  if (fstat(file, &status) != 0) {
    nf_fail(error, "cannot read key \"%s\": %s", path, strerror(errno));
    return false;
  }
  if (S_ISREG(status.st_mode) && status.st_mode & S_IROTH) {
    nf_fail(error, "key \"%s\": everybody may read it (mode %04o), expected chmod 600", path, status.st_mode & 07777);
    return false;
  }
  const ssize_t size = read_up_to(file, bytes, sizeof bytes);
  const bool fits = size >= SMALLEST && size <= (ssize_t)sizeof key->bytes;
  if (size < 0) nf_fail(error, "cannot read key \"%s\": %s", path, strerror(errno));
  else if (!fits) nf_fail(error, "key \"%s\": expected a file of %d to 64 bytes", path, SMALLEST);
  if (fits) {
    memcpy(key->bytes, bytes, (size_t)size);
    key->size = (uint32_t)size;
  }
  sodium_memzero(bytes, sizeof bytes);
  return fits;
}

bool nf_key_read(struct nf_key *key, const char *path, char *error) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    nf_fail(error, "cannot open key \"%s\": %s", path, strerror(errno));
    return false;
  }
  const bool is_read = read_key(key, file, path, error);
  (void)close(file);
  return is_read;
}

void nf_key_derive(const struct nf_key *key, const char *purpose, uint8_t *out, size_t size) {
  uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = {0};
  nf_require(strlen(purpose) <= sizeof personal);
  memcpy(personal, purpose, strlen(purpose));
  (void)crypto_generichash_blake2b_salt_personal(out, size, NULL, 0, key->bytes, key->size, NULL, personal);
}

int64_t nf_key_shift_ms(const struct nf_key *key) {
  enum { BITS = 38 };
  uint64_t words[2]; /* the first one counts; libsodium makes no fewer bytes */
  nf_key_derive(key, "time shift", (uint8_t *)words, sizeof words);
  const int64_t shift = (int64_t)(words[0] >> (64 - BITS)) + 1;
  sodium_memzero(words, sizeof words);
  return shift;
}
