#pragma once
/*
 * blob.h: bytes that grow, on their way to an output. Memory that cannot be had is told once, by `has_failed`: what is
 * appended from then on is lost, until the blob is cleared.
 */
#include "base.h"

struct nf_blob {
  uint8_t *at;
  size_t size, room;
  bool has_failed;
};

/* Room for so many bytes behind those that there are, which do not count until `size` says so. NULL where there is no
   memory. */
uint8_t *nf_blob_reserve(struct nf_blob *blob, size_t size);

/* Appends a bit for each of so many bytes, set where the byte is not 0; the lowest bit of a byte is the first. */
void nf_blob_append_bits(struct nf_blob *blob, const uint8_t *bytes, size_t count);

static inline void nf_blob_append(struct nf_blob *blob, const void *bytes, size_t size) {
  uint8_t *at = nf_blob_reserve(blob, size);
  if (!at) return;
  if (size) memcpy(at, bytes, size);
  blob->size += size;
}

static inline void nf_blob_append_byte(struct nf_blob *blob, uint8_t byte) { nf_blob_append(blob, &byte, 1); }

static inline void nf_blob_append_u32(struct nf_blob *blob, uint32_t value) {
  nf_blob_append(blob, &value, sizeof value);
}

/* Empties it, and keeps its memory. */
static inline void nf_blob_clear(struct nf_blob *blob) {
  blob->size = 0;
  blob->has_failed = false;
}

static inline void nf_blob_free(struct nf_blob *blob) { free(blob->at); }
