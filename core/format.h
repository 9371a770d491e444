#pragma once
/*
 * format.h: values into text, fast. Writers and Lua share it, so every output prints a value the same way. Every function
 * writes at `out`, adds no NUL unless it says so, and returns the first byte behind what it wrote.
 */
#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

char *nf_put_uint(char *out, uint64_t value);  /* at most 20 bytes */
char *nf_put_int(char *out, int64_t value);    /* at most 20 bytes */
char *nf_put_double(char *out, double value);  /* at most 32 bytes: as Python's repr */
char *nf_put_float(char *out, float value);    /* shortest for a float, same form */
char *nf_put_ip(char *out, const uint8_t *address, int ip_version); /* at most 45 bytes: as inet_ntop */
char *nf_put_hex_bytes(char *out, const uint8_t *bytes, int count, char separator); /* 0 for no separator */

#ifdef __cplusplus
}
#endif
