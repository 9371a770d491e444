#pragma once
/*
 * bytes.h: the only place that turns packet bytes into integers. A view carries the end of what was captured; every
 * getter checks against it, so no reader can leave the captured bytes. Headers of a fixed size are asked for as a whole
 * (nf_at) and then read by constant offsets; everything else goes through the getters.
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

/* The `count` bytes from `offset`, or NULL when they are not all there. */
static inline const uint8_t *nf_at(struct nf_bytes b, uint32_t offset, uint32_t count) {
  return nf_has(b, offset, count) ? b.data + offset : NULL;
}

/* Big-endian integers at a place that nf_at has given. */
static inline uint16_t nf_be16(const uint8_t *at) {
  uint16_t v;
  memcpy(&v, at, 2);
  return __builtin_bswap16(v);
}

static inline uint32_t nf_be32(const uint8_t *at) {
  uint32_t v;
  memcpy(&v, at, 4);
  return __builtin_bswap32(v);
}

/* Big-endian getters. The caller has asked nf_has for the same range; asking again here costs one predicted branch and
   makes a forgotten check a zero instead of an over-read. */
static inline uint8_t nf_u8(struct nf_bytes b, uint32_t offset) { return nf_has(b, offset, 1) ? b.data[offset] : 0; }

static inline uint16_t nf_u16(struct nf_bytes b, uint32_t offset) {
  return nf_has(b, offset, 2) ? nf_be16(b.data + offset) : 0;
}

static inline uint32_t nf_u32(struct nf_bytes b, uint32_t offset) {
  return nf_has(b, offset, 4) ? nf_be32(b.data + offset) : 0;
}

/* Little-endian, for radiotap and PPI. */
static inline uint16_t nf_u16_le(struct nf_bytes b, uint32_t offset) {
  return (uint16_t)(nf_u8(b, offset) | nf_u8(b, offset + 1) << 8);
}
