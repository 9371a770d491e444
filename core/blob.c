/*
 * blob.c: bytes that grow.
 */
#include "blob.h"

uint8_t *nf_blob_reserve(struct nf_blob *b, size_t size) {
  if (b->has_failed) return NULL;
  if (b->size + size > b->room) {
    const size_t room = (b->size + size) * 2;
    uint8_t *larger = realloc(b->at, room);
    if (!larger) {
      b->has_failed = true;
      return NULL;
    }
    b->at = larger;
    b->room = room;
  }
  return b->at + b->size;
}

void nf_blob_append_bits(struct nf_blob *b, const uint8_t *bytes, size_t count) {
  const size_t size = (count + 7) / 8;
  uint8_t *out = nf_blob_reserve(b, size);
  if (!out) return;
  memset(out, 0, size);
  for (size_t i = 0; i < count; i++) out[i / 8] |= (uint8_t)((bytes[i] != 0) << i % 8);
  b->size += size;
}
