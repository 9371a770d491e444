/*
 * floor.c: the least that any flow meter has to do with a capture, by which `make bench` measures everything else: every
 * frame is read with the core's own reader, and the bytes where Ethernet, IPv4 and TCP headers lie are looked at.
 * Prints how many frames and how many bytes of them there were.
 */
#include "files.h"

#include <inttypes.h>

enum { HEADERS = 54, FRAMES = 64 };

/* Eight bytes at a time: a floor has to be low. */
static uint64_t look_at(const struct nf_frame *frame) {
  uint64_t words[(HEADERS + 7) / 8] = {0}, all = 0;
  memcpy(words, frame->data, frame->captured < HEADERS ? frame->captured : HEADERS);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    all ^= words[i];
  }
  return all;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: floor CAPTURE\n");
    return 2;
  }
  char error[NF_ERROR_SIZE];
  struct nf_files *files = nf_files_open((const char *const *)&argv[1], 1, NULL, error);
  if (files == NULL) {
    fprintf(stderr, "floor: %s\n", error);
    return 1;
  }

  struct nf_frame frames[FRAMES];
  uint64_t seen = 0, bytes = 0;
  int count;
  while ((count = nf_files_read(files, frames, FRAMES)) >= 0) {
    for (int i = 0; i < count; i++) {
      seen ^= look_at(&frames[i]);
      bytes += frames[i].size;
    }
  }
  bool is_whole = count == NF_END && !nf_files_is_damaged(files);
  /* What was looked at has to matter, or the compiler would leave the looking out. */
  printf("%" PRIu64 " packets, %" PRIu64 " bytes, %016" PRIx64 "\n", nf_files_counters(files)->packets, bytes, seen);
  if (!is_whole) {
    fprintf(stderr, "floor: %s cannot be read to its end\n", argv[1]);
  }
  nf_files_close(files);
  return is_whole ? 0 : 1;
}
