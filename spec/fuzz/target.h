#pragma once
/*
 * target.h: what fuzz targets share. A target is one file with LLVMFuzzerTestOneInput; libFuzzer or replay.c calls it.
 */
#include "base.h"

/* Tries one input. Returns 0; what is wrong ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Changes an input within data[0 .. max_size) and returns its new size. A target may have it, for inputs that bytes
   changed anywhere would only break. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* libFuzzer's own way to change bytes. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* What is left of an input. */
struct fuzz_input {
  const uint8_t *data;
  size_t size;
};
/* The next `count` bytes as one number, the first the highest; none behind the end. */
unsigned fuzz_take(struct fuzz_input *input, size_t count);

/* The path of a file in memory that holds these bytes, until asked for the next. */
const char *fuzz_file(const uint8_t *bytes, size_t size);

/* Makes the lengths in a pcap or pcapng file fit what is there, so that readers get to what follows. */
void fuzz_repair_capture(uint8_t *bytes, size_t size);
