/*
 * target.c: the parts that fuzz targets share: numbers from an input, a file in memory, and repairs of capture files.
 * Knows of captures where their lengths stand, no more, so that what it repairs does not hang on what it tests.
 */
#include "target.h"

#include <sys/mman.h>
#include <unistd.h>

unsigned fuzz_take(struct fuzz_input *input, size_t count) {
  unsigned value = 0;
  for (; count && input->size; count--, input->size--) value = value << 8 | *input->data++;
  return value;
}

const char *fuzz_file(const uint8_t *bytes, size_t size) {
  static int file; /* written anew for every input */
  static char path[32];
  if (!path[0]) {
    file = memfd_create("input", 0);
    nf_require(file >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  }
  nf_require(ftruncate(file, 0) == 0);
  nf_require(pwrite(file, bytes, size, 0) == (ssize_t)size);
  return path;
}

/* ---- captures ---- */

enum { SMALL = 0xff }; /* lengths that do not fit become small ones, which leaves room for what follows */

static uint32_t get(const uint8_t *at, bool is_swapped) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return is_swapped ? __builtin_bswap32(value) : value;
}

static void put(uint8_t *at, uint32_t value, bool is_swapped) {
  if (is_swapped) value = __builtin_bswap32(value);
  memcpy(at, &value, sizeof value);
}

static uint32_t fitting(uint32_t length, size_t room) {
  if (length <= room) return length;
  length &= SMALL;
  return length <= room ? length : (uint32_t)room;
}

static void repair_records(uint8_t *bytes, size_t size, bool is_swapped, uint32_t header) {
  enum { FILE_HEADER = 24, CAPTURED_AT = 8 };
  for (size_t at = FILE_HEADER; at + header <= size;) {
    uint32_t captured = fitting(get(bytes + at + CAPTURED_AT, is_swapped), size - at - header);
    put(bytes + at + CAPTURED_AT, captured, is_swapped);
    at += header + captured;
  }
}

static void repair_packet(uint8_t *block, uint32_t length, bool is_swapped) {
  enum { ENHANCED = 6, FRAME_AND_FIXED = 32, INTERFACE_AT = 8, CAPTURED_AT = 20, INTERFACES = 4 };
  if (get(block, is_swapped) != ENHANCED || length < FRAME_AND_FIXED) return;
  put(block + INTERFACE_AT, get(block + INTERFACE_AT, is_swapped) % INTERFACES, is_swapped);
  put(block + CAPTURED_AT, fitting(get(block + CAPTURED_AT, is_swapped), length - FRAME_AND_FIXED), is_swapped);
}

static void repair_blocks(uint8_t *bytes, size_t size) {
  enum { SECTION = 0x0a0d0d0a, ORDER_MARK = 0x1a2b3c4d, LEAST = 12 };
  bool is_swapped = false;
  for (size_t at = 0; at + LEAST <= size;) {
    uint8_t *block = bytes + at;
    if (get(block, false) == SECTION) is_swapped = get(block + 8, false) != ORDER_MARK;
    uint32_t length = fitting(get(block + 4, is_swapped), size - at) & ~3u;
    if (length < LEAST) length = LEAST;
    put(block + 4, length, is_swapped);
    put(block + length - 4, length, is_swapped);
    repair_packet(block, length, is_swapped);
    at += length;
  }
}

void fuzz_repair_capture(uint8_t *bytes, size_t size) {
  static const uint32_t magics[] = {0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34}, headers[] = {16, 16, 24};
  if (size < 4) return;
  if (get(bytes, false) == 0x0a0d0d0a) repair_blocks(bytes, size);
  for (int i = 0; i < 6; i++) {
    if (get(bytes, i % 2) == magics[i / 2]) repair_records(bytes, size, i % 2, headers[i / 2]);
  }
}
