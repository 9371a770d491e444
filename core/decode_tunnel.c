/*
 * decode_tunnel.c: the tunnels over UDP that decode_tunnels opens: GTP-U (3GPP TS 29.281), CAPWAP data (RFC 5415) and
 * TZSP. A tunnel is known by its port alone, so what does not read as one all the way down to an IP header is no
 * tunnel but an ordinary datagram. Knows the tunnels' own headers; link and IP readers do the rest.
 */
#include "decode_parts.h"

enum tunnel_port { GTP_U = 2152, CAPWAP_DATA = 5247, TZSP = 37008 };

/* A tunnel inside a tunnel is real (a mirrored mobile core); more levels are not. */
enum { TUNNEL_LEVELS = 4 };

/*
 * Whether `count` bytes can be read at walk->at, where the datagram has `left` bytes by its headers: none when it is
 * too short to be what it seemed, truncated when only the capture is.
 */
static enum nf_ignored look(const struct nf_walk *walk, uint32_t left, uint32_t count) {
  if (count > left) return NF_IGNORED_NOT_IP;
  return nf_has(walk->frame, walk->at, count) ? NF_IGNORED_NONE : NF_IGNORED_TRUNCATED;
}

/* A G-PDU carries a user's IP packet. That packet is final: what it carries in turn is the user's own affair. */
static enum nf_ignored enter_gtp(struct nf_walk *walk, uint32_t left) {
  enum { G_PDU = 255, VERSION_1 = 1, HAS_EXTENSION = 4, HAS_OPTIONAL = 7 };
  enum nf_ignored reason = look(walk, left, 2);
  if (reason != NF_IGNORED_NONE) return reason;
  const uint8_t flags = nf_u8(walk->frame, walk->at);
  if (flags >> 5 != VERSION_1 || nf_u8(walk->frame, walk->at + 1) != G_PDU) return NF_IGNORED_NOT_IP;

  uint32_t size = flags & HAS_OPTIONAL ? 12 : 8;
  if ((reason = look(walk, left, size)) != NF_IGNORED_NONE) return reason;
  uint8_t next = flags & HAS_EXTENSION ? nf_u8(walk->frame, walk->at + 11) : 0;
  while (next != 0) { /* each extension: its length in four-byte units, content, type of the next one */
    if ((reason = look(walk, left, size + 1)) != NF_IGNORED_NONE) return reason;
    const uint32_t length = nf_u8(walk->frame, walk->at + size) * 4u;
    if (length == 0) return NF_IGNORED_NOT_IP;
    size += length;
    if ((reason = look(walk, left, size)) != NF_IGNORED_NONE) return reason;
    next = nf_u8(walk->frame, walk->at + size - 1);
  }
  if ((reason = look(walk, left, size + 1)) != NF_IGNORED_NONE) return reason;
  walk->at += size;
  walk->tunnel_id = NF_TUNNEL_GTP;
  walk->network = NF_NETWORK_BY_VERSION;
  return nf_ip_read(walk, false);
}

/* RFC 5415, 4.3: 8 bits preamble, 5 header length, 5 radio, 5 binding, then T F L W M K and 3 more flags. */
static enum nf_ignored enter_capwap(struct nf_walk *walk, uint32_t left) {
  enum { NATIVE = 0x100, IS_FRAGMENT = 0x80, KEEP_ALIVE = 0x08 };
  enum nf_ignored reason = look(walk, left, 1);
  if (reason != NF_IGNORED_NONE) return reason;
  if (nf_u8(walk->frame, walk->at) & 0x0F) return NF_IGNORED_NOT_IP; /* DTLS inside */
  if ((reason = look(walk, left, 8)) != NF_IGNORED_NONE) return reason;
  const uint32_t word = nf_u32(walk->frame, walk->at);
  const uint32_t size = (word >> 19 & 0x1F) * 4;
  if (size < 8 || word & KEEP_ALIVE) return NF_IGNORED_NOT_IP;
  if (word & IS_FRAGMENT && nf_u16(walk->frame, walk->at + 6) >> 3) return NF_IGNORED_FRAGMENT;
  if ((reason = look(walk, left, size + 1)) != NF_IGNORED_NONE) return reason;
  walk->at += size;
  walk->tunnel_id = NF_TUNNEL_CAPWAP;
  reason = word & NATIVE ? nf_wlan_read(walk, NF_WLAN_CAPWAP) : nf_link_read(walk, NF_LINK_ETHERNET);
  return reason != NF_IGNORED_NONE ? reason : nf_ip_read(walk, true);
}

/* TaZmen Sniffer Protocol: version, type, 16 bits of encapsulated protocol, tagged fields up to an end tag. */
static enum nf_ignored enter_tzsp(struct nf_walk *walk, uint32_t left) {
  enum { VERSION = 1, RECEIVED = 0, ETHERNET = 1, TAG_PADDING = 0, TAG_END = 1 };
  enum nf_ignored reason = look(walk, left, 4);
  if (reason != NF_IGNORED_NONE) return reason;
  if (nf_u8(walk->frame, walk->at) != VERSION || nf_u8(walk->frame, walk->at + 1) != RECEIVED ||
      nf_u16(walk->frame, walk->at + 2) != ETHERNET) {
    return NF_IGNORED_NOT_IP;
  }
  uint32_t size = 4;
  for (uint8_t tag = TAG_PADDING; tag != TAG_END;) {
    if ((reason = look(walk, left, size + 1)) != NF_IGNORED_NONE) return reason;
    tag = nf_u8(walk->frame, walk->at + size++);
    if (tag == TAG_PADDING || tag == TAG_END) continue; /* a lone byte; all others carry a length and so much content */
    if ((reason = look(walk, left, size + 1)) != NF_IGNORED_NONE) return reason;
    size += 1u + nf_u8(walk->frame, walk->at + size);
  }
  if ((reason = look(walk, left, size + 1)) != NF_IGNORED_NONE) return reason;
  walk->at += size;
  walk->tunnel_id = NF_TUNNEL_TZSP;
  reason = nf_link_read(walk, NF_LINK_ETHERNET);
  return reason != NF_IGNORED_NONE ? reason : nf_ip_read(walk, true);
}

static enum nf_ignored enter(struct nf_walk *walk) {
  const uint16_t src = nf_u16(walk->frame, walk->at), dst = nf_u16(walk->frame, walk->at + 2);
  const uint32_t left = walk->transport_size - NF_UDP_HEADER;
  walk->at += NF_UDP_HEADER;
  if (src == GTP_U || dst == GTP_U) return enter_gtp(walk, left);
  if (src == TZSP || dst == TZSP) return enter_tzsp(walk, left);
  if (src == CAPWAP_DATA || dst == CAPWAP_DATA) return enter_capwap(walk, left);
  return NF_IGNORED_NOT_IP;
}

enum nf_ignored nf_tunnel_read(struct nf_walk *walk) {
  for (int level = 0; level < TUNNEL_LEVELS; level++) {
    if (walk->protocol != NF_PROTOCOL_UDP || walk->transport_size < NF_UDP_HEADER) break;
    struct nf_walk inside = *walk;
    const enum nf_ignored reason = enter(&inside);
    if (reason == NF_IGNORED_TRUNCATED) return reason;
    if (reason != NF_IGNORED_NONE && reason != NF_IGNORED_FRAGMENT) break;
    *walk = inside;
    if (reason == NF_IGNORED_FRAGMENT) return reason;
    if (walk->tunnel_id == NF_TUNNEL_GTP) break;
  }
  return NF_IGNORED_NONE;
}
