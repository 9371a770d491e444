/*
 * replay.c: tries a fuzz target on the files named, without libFuzzer: what a fuzzer found, anywhere.
 */
#include "target.h"

#include <sys/stat.h>

/* NOLINTNEXTLINE(readability-non-const-parameter): libFuzzer's own changes it */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) {
  (void)data;
  return size < max_size ? size : max_size;
}

/* The input lies in a block of exactly its size, so that a sanitizer sees any byte read behind it. */
static bool replay(const char *path) {
  struct stat status;
  FILE *file = fopen(path, "rb");
  if (!file) return false;
  nf_require(fstat(fileno(file), &status) == 0);
  const size_t size = S_ISREG(status.st_mode) ? (size_t)status.st_size : 0;
  uint8_t *bytes = malloc(size ? size : 1);
  nf_require(bytes);
  const bool is_read = S_ISREG(status.st_mode) && fread(bytes, 1, size, file) == size;
  if (is_read) (void)LLVMFuzzerTestOneInput(bytes, size);
  free(bytes);
  (void)fclose(file);
  return is_read;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (replay(argv[i])) continue;
    fprintf(stderr, "replay: cannot read \"%s\", expected a file with a target's input\n", argv[i]);
    return 2;
  }
  return 0;
}
