#pragma once
/*
 * format.h: values into text, fast. Writers and Lua share it, so every output prints a value the same way. Every
 * function writes at `out`, adds no NUL, and returns the first byte behind what it wrote.
 */
#include "base.h"

char *nf_put_uint(char *out, uint64_t value); /* at most 20 bytes */
char *nf_put_int(char *out, int64_t value);   /* at most 20 bytes */
char *nf_put_double(char *out, double value); /* at most 32 bytes; as Python's repr */
char *nf_put_float(char *out, float value);   /* at most 32 bytes; the shortest for a float, in the same form */

/* At most 45 bytes; as inet_ntop prints IPv6 for version 6, else IPv4. */
char *nf_put_ip(char *out, const uint8_t *address, int ip_version);

/* Two lower-case digits for each byte; 0 for no separator. */
char *nf_put_hex_bytes(char *out, const uint8_t *bytes, int count, char separator);

/*
 * Copies one UTF-8 character from *at, which lies before `end`, and moves *at behind it. Bytes that are none become
 * U+FFFD, one for each longest piece that could have begun a character (Unicode, "maximal subpart"). At most 3 bytes
 * for each byte read.
 */
char *nf_put_utf8(char *out, const char **at, const char *end);
