/*
 * dpi_text.c: bounded copies of wire text as valid UTF-8 (RFC 3629), and names for TLS versions and nDPI's risks.
 *
 * Pure: no state, no allocation. Knows risk numbers, which only ever grew from nDPI 4.2 on, but nothing else of nDPI;
 * its own risk texts were reworded between versions, so a column of names cannot be made of them.
 */
#include "dpi_text.h"

/* Length of the well-formed UTF-8 sequence at the head of `size` bytes, 0 when there is none. The second byte's range
   shuts out overlong forms, surrogates and what lies above U+10FFFF (RFC 3629, section 4). */
static size_t utf8_length(const uint8_t *s, size_t size) {
  size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
  if (length > size) return 0;
  if (length < 2) return length;
  uint8_t low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
  uint8_t high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
  if (s[1] < low || s[1] > high) return 0;
  for (size_t i = 2; i < length; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

size_t nf_text_copy(char *to, size_t size, const char *from, size_t limit) {
  size_t given = from ? strnlen(from, limit < size - 1 ? limit : size - 1) : 0;
  size_t written = 0;
  for (size_t i = 0; i < given;) {
    size_t length = utf8_length((const uint8_t *)from + i, given - i);
    memcpy(to + written, from + i, length);
    written += length;
    i += length ? length : 1;
  }
  to[written] = '\0';
  return written;
}

void nf_text_tls_version(char *to, uint16_t version) {
  enum { SIZE = 16 };
  static const struct {
    uint16_t version;
    const char *name;
  } names[] = {
      {0x0000, ""},        {0x0002, "SSLv2"},   {0x0300, "SSLv3"},    {0x0301, "TLSv1.0"},  {0x0302, "TLSv1.1"},
      {0x0303, "TLSv1.2"}, {0x0304, "TLSv1.3"}, {0xfeff, "DTLSv1.0"}, {0xfefd, "DTLSv1.2"}, {0xfefc, "DTLSv1.3"},
  };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (names[i].version == version) {
      (void)snprintf(to, SIZE, "%s", names[i].name);
      return;
    }
  }
  /* Drafts of TLS 1.3 went by 0x7f00 + draft number (their section 4.2.1.1), Facebook's Fizz by 0xfb00 + draft. */
  unsigned draft = version & 0xffu;
  if (version >> 8 == 0x7f && draft < 100) {
    (void)snprintf(to, SIZE, "TLSv1.3-draft%u", draft);
  } else if (version >> 8 == 0xfb && draft < 100) {
    (void)snprintf(to, SIZE, "TLSv1.3-fizz%u", draft);
  } else {
    (void)snprintf(to, SIZE, "0x%04x", (unsigned)version);
  }
}

static const char *risk_name(unsigned number) {
  static const char *const names[] = {
      [1] = "url_possible_xss",
      [2] = "url_possible_sql_injection",
      [3] = "url_possible_rce_injection",
      [4] = "binary_application_transfer",
      [5] = "known_protocol_on_non_standard_port",
      [6] = "tls_selfsigned_certificate",
      [7] = "tls_obsolete_version",
      [8] = "tls_weak_cipher",
      [9] = "tls_certificate_expired",
      [10] = "tls_certificate_mismatch",
      [11] = "http_suspicious_user_agent",
      [12] = "numeric_ip_host",
      [13] = "http_suspicious_url",
      [14] = "http_suspicious_header",
      [15] = "tls_not_carrying_https",
      [16] = "suspicious_dga_domain",
      [17] = "malformed_packet",
      [18] = "ssh_obsolete_client",
      [19] = "ssh_obsolete_server",
      [20] = "smb_insecure_version",
      [21] = "tls_suspicious_esni_usage",
      [22] = "unsafe_protocol",
      [23] = "dns_suspicious_traffic",
      [24] = "tls_missing_sni",
      [25] = "http_suspicious_content",
      [26] = "risky_asn",
      [27] = "risky_domain",
      [28] = "malicious_fingerprint",
      [29] = "malicious_certificate",
      [30] = "desktop_or_file_sharing_session",
      [31] = "tls_uncommon_alpn",
      [32] = "tls_certificate_validity_too_long",
      [33] = "tls_suspicious_extension",
      [34] = "tls_fatal_alert",
      [35] = "suspicious_entropy",
      [36] = "clear_text_credentials",
      [37] = "dns_large_packet",
      [38] = "dns_fragmented",
      [39] = "invalid_characters",
      [40] = "possible_exploit",
      [41] = "tls_certificate_about_to_expire",
  };
  return number < sizeof names / sizeof names[0] ? names[number] : NULL;
}

void nf_text_risks(char *to, size_t size, uint64_t risks) {
  size_t used = 0;
  to[0] = '\0';
  for (unsigned number = 0; number < 64; number++) {
    if (!(risks >> number & 1)) continue;
    char text[48];
    const char *name = risk_name(number);
    const char *separator = used ? ", " : "";
    int length = name ? snprintf(text, sizeof text, "%s%s", separator, name)
                      : snprintf(text, sizeof text, "%srisk_%u", separator, number);
    if ((size_t)length >= size - used) return;
    memcpy(to + used, text, (size_t)length + 1);
    used += (size_t)length;
  }
}
