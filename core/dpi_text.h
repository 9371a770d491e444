#pragma once
/*
 * dpi_text.h: the words of application identification: text from the wire made presentable, and our own stable names
 * for numbers whose names nDPI changes from version to version.
 */
#include "base.h"

/*
 * Copies text that may hold any bytes: reads `from` (NULL counts as "") up to its NUL, `limit` or size - 1 bytes,
 * whichever comes first, and leaves out what is not well-formed UTF-8, a character cut by that bound included. `to`
 * has `size` bytes (at least 1) and always ends in NUL. Returns the length written.
 */
size_t nf_text_copy(char *to, size_t size, const char *from, size_t limit);

/* The name of a TLS or DTLS version number, "TLSv1.2" say; "" for 0, the number in hex when unknown. `to` has
   16 bytes. */
void nf_text_tls_version(char *to, uint16_t version);

/* The names of the risks whose bits are set, by nDPI's risk number, joined with ", ". A name that no longer fits in
   whole is left out, and so are those behind it. */
void nf_text_risks(char *to, size_t size, uint64_t risks);
