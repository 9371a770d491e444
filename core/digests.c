/*
 * digests.c: SHA-256 of whole files, by a thread of its own, while others read the same files. One after another, in
 * the order in which a run reads them, so that what one of both has brought from the disk serves the other too. It
 * looks at regular files alone: whoever reads a pipe takes from it what it holds.
 */
#include "crypto.h"
#include "interrupt.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_SIZE = 1 << 18, WAIT_MS = 100 /* between two looks at whether somebody has lost patience */ };

struct file {
  char *path;
  bool is_whole; /* it could be read to its end */
  uint64_t size;
  uint8_t digest[NF_SHA256_SIZE];
};

struct nf_digests {
  struct file *files;
  uint32_t count;
  struct nf_crypto *crypto;
  uint8_t *block;
  atomic_bool is_called_off;
  pthread_t thread;
  bool is_started;
  pthread_mutex_t lock; /* of what follows */
  pthread_cond_t changed;
  uint32_t done; /* files, which the thread does not touch any more */
};

/* ---- in the thread ---- */

static bool read_file(struct nf_digests *d, struct file *file, int descriptor) {
  nf_sha256_begin(d->crypto);
  while (!atomic_load_explicit(&d->is_called_off, memory_order_relaxed)) {
    ssize_t size = read(descriptor, d->block, BLOCK_SIZE);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return false;
    if (size == 0) {
      nf_sha256_end(d->crypto, file->digest);
      return true;
    }
    nf_sha256_add(d->crypto, d->block, (size_t)size);
    file->size += (uint64_t)size;
  }
  return false;
}

static void digest_file(struct nf_digests *d, struct file *file) {
  struct stat status;
  if (stat(file->path, &status) != 0 || !S_ISREG(status.st_mode)) return;
  int descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  file->is_whole = read_file(d, file, descriptor);
  (void)close(descriptor);
}

static void *work(void *given) {
  struct nf_digests *d = given;
  for (uint32_t i = 0; i < d->count; i++) {
    digest_file(d, &d->files[i]);
    (void)pthread_mutex_lock(&d->lock);
    d->done = i + 1;
    (void)pthread_cond_signal(&d->changed);
    (void)pthread_mutex_unlock(&d->lock);
  }
  return NULL;
}

/* ---- outside ---- */

static bool prepare(struct nf_digests *d, const char *const *paths, uint32_t count) {
  d->block = malloc(BLOCK_SIZE);
  d->files = calloc(count ? count : 1, sizeof *d->files);
  if (!d->block || !d->files) return false;
  for (; d->count < count; d->count++) {
    if (!(d->files[d->count].path = strdup(paths[d->count]))) return false;
  }
  return true;
}

struct nf_digests *nf_digests_start(const char *const *paths, uint32_t count, char *error) {
  struct nf_digests *d = calloc(1, sizeof *d);
  if (!d) {
    nf_fail(error, "out of memory");
    return NULL;
  }
  (void)pthread_mutex_init(&d->lock, NULL);
  (void)pthread_cond_init(&d->changed, NULL);
  d->crypto = nf_crypto_new(error);
  if (!d->crypto) goto fail;
  int problem = prepare(d, paths, count) ? nf_thread_start(&d->thread, work, d) : ENOMEM;
  d->is_started = problem == 0;
  if (d->is_started) return d;
  nf_fail(error, "cannot start a thread for digests: %s", strerror(problem));
fail:
  nf_digests_free(d);
  return NULL;
}

/* Waits until so many files are done. False when the run has been interrupted. */
static bool wait_for(struct nf_digests *d, uint32_t count) {
  (void)pthread_mutex_lock(&d->lock);
  while (d->done < count && !nf_interrupted()) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_cond_timedwait(&d->changed, &d->lock, &until);
  }
  bool is_done = d->done >= count;
  (void)pthread_mutex_unlock(&d->lock);
  return is_done;
}

bool nf_digests_wait(struct nf_digests *d, uint32_t index, uint8_t *digest, uint64_t *size) {
  if (index >= d->count || !wait_for(d, index + 1)) return false;
  const struct file *file = &d->files[index];
  memcpy(digest, file->digest, sizeof file->digest);
  *size = file->size;
  return file->is_whole;
}

void nf_digests_free(struct nf_digests *d) {
  if (!d) return;
  atomic_store(&d->is_called_off, true);
  if (d->is_started) (void)pthread_join(d->thread, NULL);
  for (uint32_t i = 0; i < d->count; i++) free(d->files[i].path);
  free(d->files);
  free(d->block);
  nf_crypto_free(d->crypto);
  (void)pthread_cond_destroy(&d->changed);
  (void)pthread_mutex_destroy(&d->lock);
  free(d);
}
