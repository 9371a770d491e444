/*
 * count.c: how often bytes have each value, and what is said of such counts; bytes as their bits.
 */
#include "base.h"

#include <math.h>

void nf_count_bytes(uint16_t *counts, const uint8_t *data, uint32_t size) {
  for (uint32_t i = 0; i < size; i++) counts[data[i]]++;
}

uint32_t nf_count_sum(const uint16_t *counts, uint32_t count) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < count; i++) sum += counts[i];
  return sum;
}

void nf_count_fold(uint16_t *sums, uint32_t groups, const uint16_t *counts, uint32_t width) {
  for (uint32_t group = 0; group < groups; group++)
    sums[group] = (uint16_t)nf_count_sum(counts + (size_t)group * width, width);
}

/* n log2 n in units so small that nothing is seen of what whole ones lose. Whole, because the processor adds these up
   four times as fast. */
#define UNIT 0x1p-40

static uint64_t weigh(uint32_t n) { return (uint64_t)llround(n * log2(n) / UNIT); }

/* Most counts of a few hundred bytes are small, and logarithms would take most of the time. */
static uint64_t weight_of_small[256];

__attribute__((constructor)) static void weigh_small(void) {
  for (uint32_t n = 1; n < 256; n++) weight_of_small[n] = weigh(n);
}

/* With c of n bytes each: the sum of c/n log2(n/c), which is (n log2 n - sum of c log2 c) / n. */
double nf_count_entropy(const uint16_t *counts, uint32_t count) {
  uint32_t total = 0;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t n = counts[i];
    total += n;
    sum += NF_LIKELY(n < 256) ? weight_of_small[n] : weigh(n);
  }
  return total ? (double)(weigh(total) - sum) * UNIT / total : 0;
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "spread takes the lowest byte for the first");

/* The bits of a byte as eight bytes of 0 and 1, the highest first in memory: each byte takes its bit out of a copy. */
static uint64_t spread(uint8_t byte) {
  const uint64_t ones = 0x0101010101010101, own = byte * ones & 0x0102040810204080;
  return (own + 0x7f * ones) >> 7 & ones;
}

void nf_spread_bits(int8_t *bits, const uint8_t *data, uint32_t size, uint32_t room) {
  enum { BITS = 8 };
  if (size > room) size = room;
  for (uint32_t i = 0; i < size; i++, bits += BITS) {
    const uint64_t eight = spread(data[i]);
    memcpy(bits, &eight, BITS);
  }
  if (room > size) memset(bits, -1, (size_t)(room - size) * BITS);
}
