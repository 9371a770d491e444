#pragma once
/*
 * bytes.h: the only place that turns packet bytes into integers. A view carries the end of what was captured; every
 * getter checks against it, so no reader can leave the captured bytes.
 */
#include "base.h"

/* Captured bytes: data[0 .. size). Borrowed. */
struct nf_bytes {
  const uint8_t *data;
  uint32_t size;
};

/* Whether `count` bytes are there from `offset`; no sum can overflow. */
static inline bool nf_has(struct nf_bytes b, uint32_t offset, uint32_t count) {
  return offset <= b.size && count <= b.size - offset;
}

/* Big-endian readers. The caller has asked nf_has for the same range; asking again here costs one predicted branch and
   makes a forgotten check a zero instead of an over-read. */
static inline uint8_t nf_u8(struct nf_bytes b, uint32_t offset) { return nf_has(b, offset, 1) ? b.data[offset] : 0; }

static inline uint16_t nf_u16(struct nf_bytes b, uint32_t offset) {
  uint16_t v;
  if (!nf_has(b, offset, 2)) return 0;
  memcpy(&v, b.data + offset, 2);
  return __builtin_bswap16(v);
}

static inline uint32_t nf_u32(struct nf_bytes b, uint32_t offset) {
  uint32_t v;
  if (!nf_has(b, offset, 4)) return 0;
  memcpy(&v, b.data + offset, 4);
  return __builtin_bswap32(v);
}

/* Little-endian, for radiotap and PPI. */
static inline uint16_t nf_u16_le(struct nf_bytes b, uint32_t offset) {
  return (uint16_t)(nf_u8(b, offset) | nf_u8(b, offset + 1) << 8);
}

/* Copies `count` bytes out; false and nothing copied when they are not all there. */
static inline bool nf_copy(void *to, struct nf_bytes b, uint32_t offset, uint32_t count) {
  if (!nf_has(b, offset, count)) return false;
  memcpy(to, b.data + offset, count);
  return true;
}
