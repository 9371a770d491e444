#pragma once
/*
 * shortest.h: floating point numbers as the shortest decimals that read back as the same number.
 */
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* digits × 10^exponent; digits does not end in 0. */
struct nf_decimal {
  uint64_t digits;
  int32_t exponent;
};

/* The shortest decimal, and of several the nearest. `value` is finite and greater than zero. */
struct nf_decimal nf_shortest_double(double value);
struct nf_decimal nf_shortest_float(float value);

#ifdef __cplusplus
}
#endif
