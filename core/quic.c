/*
 * quic.c: opens the Initial packets of QUIC clients and servers. Their keys come from what stands in the client's first
 * packet, so that whoever sees that can read both hellos (RFC 9001, section 5.2). Pure: what comes out depends on what
 * goes in alone. Must not know flows, nor what CRYPTO frames carry.
 */
#include "crypto.h"

enum {
  ID_MAX = 20,      /* bytes of a connection ID (RFC 9000, section 17.2) */
  FIRST_ID_MIN = 8, /* of the one that a client begins with (section 7.2) */
  LONG_HEADER = 0x80,
  FIXED_BIT = 0x40,
  SALT_SIZE = 20,
  NUMBER_MAX = 4,      /* bytes of a packet number */
  CRYPTO_END = 1 << 30 /* where nobody's client hello gets to */
};

enum packet_type { INITIAL, ZERO_RTT, HANDSHAKE, RETRY };

enum frame_type { PADDING = 0, PING = 1, ACK = 2, ACK_ECN = 3, CRYPTO = 6, CONNECTION_CLOSE = 0x1c };

struct nf_quic {
  struct nf_crypto *crypto;
};

/* What one version has that others have not. */
struct version {
  uint32_t first, last; /* numbers */
  const uint8_t *salt;
  const char *key, *iv, *hp; /* labels */
  uint8_t types;             /* added to a packet type when it is written */
};

static const uint8_t salt_1[SALT_SIZE] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                                          0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
static const uint8_t salt_2[SALT_SIZE] = {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
                                          0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9};
static const uint8_t salt_draft_29[SALT_SIZE] = {0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97,
                                                 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8, 0x99};
static const uint8_t salt_draft_23[SALT_SIZE] = {0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7,
                                                 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe, 0xf9, 0xf5, 0x02};

static const struct version versions[] = {
    {1, 1, salt_1, "quic key", "quic iv", "quic hp", 0},
    {0x6b3343cf, 0x6b3343cf, salt_2, "quicv2 key", "quicv2 iv", "quicv2 hp", 1},  /* 2 */
    {0xff000021, 0xff000022, salt_1, "quic key", "quic iv", "quic hp", 0},        /* drafts 33, 34 */
    {0xff00001d, 0xff000020, salt_draft_29, "quic key", "quic iv", "quic hp", 0}, /* drafts 29 to 32 */
    {0xff000017, 0xff00001c, salt_draft_23, "quic key", "quic iv", "quic hp", 0}, /* drafts 23 to 28 */
};

struct keys {
  uint8_t key[NF_AES_SIZE], iv[NF_GCM_NONCE_SIZE], hp[NF_AES_SIZE];
};

/* One packet with a long header. Places count from the datagram's first byte. */
struct packet {
  const struct version *version;
  enum packet_type type;
  struct nf_quic_id id; /* of its destination */
  uint32_t begin, number, end;
};

struct nf_quic *nf_quic_new(char *error) {
  struct nf_quic *quic = calloc(1, sizeof *quic);
  if (!quic) {
    nf_fail(error, "out of memory");
    return NULL;
  }
  quic->crypto = nf_crypto_new(error);
  if (quic->crypto) return quic;
  free(quic);
  return NULL;
}

void nf_quic_free(struct nf_quic *quic) {
  if (!quic) return;
  nf_crypto_free(quic->crypto);
  free(quic);
}

/* ---- reading ---- */

/* A variable-length integer (RFC 9000, section 16), behind which *at goes; false where it is not all there. */
static bool read_integer(struct nf_bytes bytes, uint32_t *at, uint64_t *value) {
  if (!nf_has(bytes, *at, 1)) return false;
  const uint8_t first = bytes.data[*at];
  const uint32_t size = 1u << (first >> 6);
  if (!nf_has(bytes, *at, size)) return false;
  *value = first & 0x3f;
  for (uint32_t i = 1; i < size; i++) *value = *value << 8 | bytes.data[*at + i];
  *at += size;
  return true;
}

/* Goes beyond so many bytes; false where they are not all there. */
static bool skip(struct nf_bytes bytes, uint32_t *at, uint64_t count) {
  if (count > UINT32_MAX || !nf_has(bytes, *at, (uint32_t)count)) return false;
  *at += (uint32_t)count;
  return true;
}

static bool read_id(struct nf_bytes bytes, uint32_t *at, struct nf_quic_id *id) {
  id->size = nf_u8(bytes, *at);
  const uint8_t *start = id->size <= ID_MAX ? nf_at(bytes, *at + 1, id->size) : NULL;
  if (!nf_has(bytes, *at, 1) || !start) return false;
  memcpy(id->bytes, start, id->size);
  *at += 1u + id->size;
  return true;
}

static const struct version *find_version(uint32_t number) {
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
    if (number >= versions[i].first && number <= versions[i].last) return &versions[i];
  }
  return NULL;
}

/*
 * What long headers of known versions begin with (RFC 9000, section 17.2), behind which *at goes; false for others. The
 * first byte has to have these bits: servers may leave out the fixed one (RFC 9287).
 */
static bool read_header(struct nf_bytes datagram, uint8_t bits, uint32_t *at, struct packet *packet,
                        struct nf_quic_id *source) {
  const uint8_t *header = nf_at(datagram, *at, 5);
  if (!header || (header[0] & bits) != bits) return false;
  packet->version = find_version(nf_be32(header + 1));
  if (!packet->version) return false;
  packet->type = ((header[0] >> 4) - packet->version->types) & 3u;
  packet->begin = *at;
  *at += 5;
  return read_id(datagram, at, &packet->id) && read_id(datagram, at, source);
}

/* A packet with a long header and a length; false for anything else. */
static bool read_packet(struct nf_bytes datagram, uint8_t bits, uint32_t at, struct packet *packet) {
  struct nf_quic_id source;
  uint64_t size;
  if (!read_header(datagram, bits, &at, packet, &source) || packet->type == RETRY) return false;
  if (packet->type == INITIAL && !(read_integer(datagram, &at, &size) && skip(datagram, &at, size))) return false;
  if (!read_integer(datagram, &at, &size)) return false;
  packet->number = at;
  if (!skip(datagram, &at, size)) return false;
  packet->end = at;
  return true;
}

/* ---- keys ---- */

/* HKDF-Expand-Label (RFC 8446, section 7.1) without a context, for what fits into one hash. */
static void expand(struct nf_crypto *crypto, const uint8_t *secret, const char *label, uint8_t *out, uint8_t size) {
  static const char prefix[] = "tls13 ";
  const uint8_t length = (uint8_t)strlen(label), prefixed = (uint8_t)(length + sizeof prefix - 1);
  uint8_t info[32] = {0, size, prefixed}, digest[NF_SHA256_SIZE];
  memcpy(info + 3, prefix, sizeof prefix - 1);
  memcpy(info + 3 + sizeof prefix - 1, label, length);
  info[3 + prefixed] = 0;     /* length of the context */
  info[3 + prefixed + 1] = 1; /* counter of the first block: RFC 5869, section 2.3 */
  nf_hmac_sha256(crypto, (struct nf_bytes){secret, NF_SHA256_SIZE}, (struct nf_bytes){info, 3u + prefixed + 2u},
                 digest);
  memcpy(out, digest, size);
}

static void derive(struct nf_crypto *crypto, const struct version *version, const struct nf_quic_id *id,
                   const char *sender, struct keys *keys) {
  uint8_t initial_secret[NF_SHA256_SIZE], sender_secret[NF_SHA256_SIZE];
  nf_hmac_sha256(crypto, (struct nf_bytes){version->salt, SALT_SIZE}, (struct nf_bytes){id->bytes, id->size},
                 initial_secret);
  expand(crypto, initial_secret, sender, sender_secret, sizeof sender_secret);
  expand(crypto, sender_secret, version->key, keys->key, sizeof keys->key);
  expand(crypto, sender_secret, version->iv, keys->iv, sizeof keys->iv);
  expand(crypto, sender_secret, version->hp, keys->hp, sizeof keys->hp);
}

/* ---- opening ---- */

static const char client[] = "client in", server[] = "server in";

/* Opens a packet by the keys of an ID and its sender. Returns the size of its frames, 0 when it does not open. */
static uint32_t open_by(struct nf_quic *quic, struct nf_bytes datagram, const struct packet *packet,
                        const struct nf_quic_id *id, const char *sender, uint8_t *frames, uint32_t room) {
  const uint8_t *sample = nf_at(datagram, packet->number + NUMBER_MAX, NF_AES_SIZE);
  if (!sample || packet->end < packet->number + NUMBER_MAX + NF_AES_SIZE) return 0;
  struct keys keys;
  derive(quic->crypto, packet->version, id, sender, &keys);
  uint8_t mask[NF_AES_SIZE], first = datagram.data[packet->begin], number[NUMBER_MAX], nonce[NF_GCM_NONCE_SIZE];
  nf_aes_block(quic->crypto, keys.hp, sample, mask);
  first ^= mask[0] & 0x0f;
  const uint32_t length = (first & 3u) + 1;
  memcpy(nonce, keys.iv, sizeof nonce);
  for (uint32_t i = 0; i < length; i++) {
    number[i] = datagram.data[packet->number + i] ^ mask[1 + i];
    nonce[sizeof nonce - length + i] ^= number[i];
  }
  const uint32_t payload = packet->number + length, size = packet->end - payload;
  if (size - NF_GCM_TAG_SIZE > room) return 0;
  const struct nf_bytes header[] = {
      {&first, 1},
      {datagram.data + packet->begin + 1, packet->number - packet->begin - 1},
      {number, length},
  };
  const struct nf_bytes sealed = {datagram.data + payload, size};
  if (!nf_gcm_open(quic->crypto, keys.key, nonce, header, 3, sealed, frames)) return 0;
  return size - NF_GCM_TAG_SIZE;
}

/*
 * A client keeps the keys of its first packet when the server has told it another ID to write, but takes new ones when
 * it begins anew by the server's Retry (RFC 9001, section 5.2).
 */
static uint32_t open_packet(struct nf_quic *quic, struct nf_bytes datagram, const struct packet *packet,
                            struct nf_quic_id *first, uint8_t *frames, uint32_t room) {
  if (first->size) {
    const uint32_t size = open_by(quic, datagram, packet, first, client, frames, room);
    if (size) return size;
  }
  if (packet->id.size < FIRST_ID_MIN) return 0;
  const uint32_t size = open_by(quic, datagram, packet, &packet->id, client, frames, room);
  if (size) *first = packet->id;
  return size;
}

uint32_t nf_quic_client_initial(struct nf_quic *quic, const uint8_t *datagram, uint32_t size, struct nf_quic_id *first,
                                uint8_t *frames, uint32_t room) {
  const struct nf_bytes bytes = {datagram, size};
  struct packet packet;
  uint32_t written = 0;
  if (first->size > ID_MAX) first->size = 0;
  for (uint32_t at = 0; read_packet(bytes, LONG_HEADER | FIXED_BIT, at, &packet); at = packet.end) {
    if (packet.type != INITIAL) continue;
    written += open_packet(quic, bytes, &packet, first, frames + written, room - written);
  }
  return written;
}

/* A server's Retry makes the client begin anew, with keys from the ID that stands there as its source. */
static bool takes_retry(struct nf_bytes datagram, struct nf_quic_id *first) {
  struct packet packet;
  struct nf_quic_id source;
  uint32_t at = 0;
  if (!read_header(datagram, LONG_HEADER, &at, &packet, &source) || packet.type != RETRY || !source.size) return false;
  *first = source;
  return true;
}

uint32_t nf_quic_server_initial(struct nf_quic *quic, const uint8_t *datagram, uint32_t size, struct nf_quic_id *first,
                                uint8_t *frames, uint32_t room) {
  const struct nf_bytes bytes = {datagram, size};
  struct packet packet;
  uint32_t written = 0;
  if (first->size > ID_MAX) first->size = 0;
  if (!first->size || takes_retry(bytes, first)) return 0;
  for (uint32_t at = 0; read_packet(bytes, LONG_HEADER, at, &packet); at = packet.end) {
    if (packet.type != INITIAL) continue;
    written += open_by(quic, bytes, &packet, first, server, frames + written, room - written);
  }
  return written;
}

/* ---- frames ---- */

/* Goes beyond so many integers; false where they are not all there. */
static bool skip_integers(struct nf_bytes frames, uint32_t *at, uint64_t count) {
  for (uint64_t value; count > 0; count--) {
    if (!read_integer(frames, at, &value)) return false;
  }
  return true;
}

/* Goes beyond an ACK frame (RFC 9000, section 19.3). */
static bool skip_ack(struct nf_bytes frames, uint32_t *at, bool has_counts) {
  uint64_t ranges;
  return skip_integers(frames, at, 2) && read_integer(frames, at, &ranges) &&
         skip_integers(frames, at, 1 + 2 * ranges + (has_counts ? 3 : 0));
}

static bool skip_close(struct nf_bytes frames, uint32_t *at) {
  uint64_t size;
  return skip_integers(frames, at, 2) && read_integer(frames, at, &size) && skip(frames, at, size);
}

static bool read_crypto(struct nf_bytes frames, uint32_t *at, struct nf_quic_crypto *crypto) {
  uint64_t offset, size;
  if (!read_integer(frames, at, &offset) || !read_integer(frames, at, &size)) return false;
  const uint32_t start = *at;
  if (offset > CRYPTO_END || !skip(frames, at, size)) return false;
  crypto->data = frames.data + start;
  crypto->size = (uint32_t)size;
  crypto->offset = (uint32_t)offset;
  return true;
}

bool nf_quic_next_crypto(const uint8_t *frames, uint32_t size, struct nf_quic_crypto *crypto) {
  const struct nf_bytes bytes = {frames, size};
  uint32_t at = crypto->next;
  uint64_t type;
  while (read_integer(bytes, &at, &type)) {
    bool is_known = type == PADDING || type == PING;
    if (type == CRYPTO) {
      if (!read_crypto(bytes, &at, crypto)) return false;
      crypto->next = at;
      return true;
    }
    if (type == ACK || type == ACK_ECN) is_known = skip_ack(bytes, &at, type == ACK_ECN);
    if (type == CONNECTION_CLOSE) is_known = skip_close(bytes, &at);
    if (!is_known) return false;
  }
  return false;
}
