/*
 * decode_ip.c: IPv4 (RFC 791) and IPv6 (RFC 8200) headers, and IP packets inside IP packets (RFC 2003, 2473, 4213),
 * down to the transport header. Knows lengths, fragments and extension headers; not what stands before or behind.
 *
 * Sizes come from the packet's own length fields, whatever the capture holds, so that a cut packet counts like a whole
 * one. A length field of 0 means that the sending or receiving host's network card cut or joined segments and the
 * capture was taken before that; the frame's length on the wire stands in.
 */
#include "decode_parts.h"

enum {
  IPV4_HEADER = 20,
  MORE_FRAGMENTS = 0x2000,
  FRAGMENT_OFFSET = 0x1FFF,
  IPV6_HEADER = 40,
  /* More levels of IP in IP than this are in no honest network. */
  IP_LEVELS = 16
};

enum ipv6_extension {
  HOP_BY_HOP = 0,
  ROUTING = 43,
  FRAGMENT = 44,
  NO_NEXT_HEADER = 59,
  DESTINATION = 60,
  MOBILITY = 135
};

/*
 * Notes the datagram that the innermost IP packet is a fragment of. Of more levels than are kept, a later fragment's is
 * what must not be missing.
 */
static enum nf_ignored note_fragment(struct nf_walk *walk, uint8_t protocol, uint32_t identification, bool is_later) {
  const bool is_kept = walk->datagrams < NF_FRAGMENT_LEVELS;
  if (is_kept) walk->datagrams++;
  if (is_kept || is_later) {
    struct nf_tuple *datagram = &walk->fragmented->datagrams[walk->datagrams - 1];
    nf_ip_write_tuple(datagram, walk, protocol, (uint16_t)(identification >> 16), (uint16_t)identification);
  }
  walk->is_later = is_later;
  return is_later ? NF_IGNORED_FRAGMENT : NF_IGNORED_NONE;
}

static enum nf_ignored read_ipv4(struct nf_walk *walk) {
  const uint32_t at = walk->at;
  const uint8_t *ip = nf_at(walk->frame, at, IPV4_HEADER);
  if (NF_UNLIKELY(!ip)) return NF_IGNORED_TRUNCATED;
  const uint32_t header = (ip[0] & 0x0Fu) * 4;
  uint32_t size = nf_be16(ip + 2);
  if (NF_UNLIKELY(size == 0)) size = walk->wire - at;
  if (NF_UNLIKELY(header < IPV4_HEADER || size < header)) return NF_IGNORED_BAD_HEADER;

  walk->ip_version = 4;
  walk->ip_at = at;
  walk->ip_size = size;
  walk->transport_size = size - header;
  walk->protocol = ip[9];
  walk->at = at + header;
  const uint16_t fragment = nf_be16(ip + 6);
  if (NF_LIKELY(!(fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET)))) return NF_IGNORED_NONE;
  return note_fragment(walk, ip[9], nf_be16(ip + 4), fragment & FRAGMENT_OFFSET);
}

/*
 * Goes over the extension headers that may stand before a transport header. AH and ESP end the walk: they are the
 * protocol of the flow. Each header takes at least eight bytes off transport_size, so the walk ends.
 */
static enum nf_ignored skip_extensions(struct nf_walk *walk) {
  for (;;) {
    const uint8_t kind = walk->protocol;
    switch (kind) {
    case HOP_BY_HOP:
    case ROUTING:
    case FRAGMENT:
    case DESTINATION:
    case MOBILITY: break;
    default: return NF_IGNORED_NONE;
    }
    const uint32_t at = walk->at;
    if (!nf_has(walk->frame, at, kind == FRAGMENT ? 8 : 4)) return NF_IGNORED_TRUNCATED;
    const uint32_t length = kind == FRAGMENT ? 8 : 8 + nf_u8(walk->frame, at + 1) * 8u;
    if (length > walk->transport_size) return NF_IGNORED_BAD_HEADER;
    walk->protocol = nf_u8(walk->frame, at);
    walk->transport_size -= length;
    walk->at += length;
    if (kind != FRAGMENT) continue;
    const uint16_t place = nf_u16(walk->frame, at + 2); /* offset in 13 bits, two reserved, more fragments */
    const bool is_later = place >> 3, is_alone = !is_later && !(place & 1);
    if (is_alone) continue;
    const enum nf_ignored reason = note_fragment(walk, FRAGMENT, nf_u32(walk->frame, at + 4), is_later);
    if (reason != NF_IGNORED_NONE) return reason;
  }
}

static enum nf_ignored read_ipv6(struct nf_walk *walk) {
  const uint32_t at = walk->at;
  const uint8_t *ip = nf_at(walk->frame, at, IPV6_HEADER);
  if (NF_UNLIKELY(!ip)) return NF_IGNORED_TRUNCATED;
  uint32_t payload = nf_be16(ip + 4);
  walk->protocol = ip[6];
  /* Also what a jumbogram says (RFC 2675). With no next header there is nothing to be long. */
  if (NF_UNLIKELY(payload == 0 && walk->protocol != NO_NEXT_HEADER)) payload = walk->wire - at - IPV6_HEADER;

  walk->ip_version = 6;
  walk->ip_at = at;
  walk->ip_size = IPV6_HEADER + payload;
  walk->transport_size = payload;
  walk->at = at + IPV6_HEADER;
  return skip_extensions(walk);
}

static enum nf_ignored read_packet(struct nf_walk *walk) {
  const uint8_t *ip = nf_at(walk->frame, walk->at, 1);
  if (NF_UNLIKELY(!ip)) return NF_IGNORED_TRUNCATED;
  const uint8_t version = *ip >> 4;
  if (NF_UNLIKELY(walk->network != NF_NETWORK_BY_VERSION && version != walk->network)) return NF_IGNORED_BAD_HEADER;
  switch (version) {
  case 4: return read_ipv4(walk);
  case 6: return read_ipv6(walk);
  default: return NF_IGNORED_NOT_IP;
  }
}

enum nf_ignored nf_ip_read(struct nf_walk *walk, bool nested) {
  for (int level = 0; level < IP_LEVELS; level++) {
    const enum nf_ignored reason = read_packet(walk);
    if (NF_UNLIKELY(reason != NF_IGNORED_NONE)) return reason;
    if (NF_LIKELY(walk->protocol != NF_PROTOCOL_IPV4 && walk->protocol != NF_PROTOCOL_IPV6)) return NF_IGNORED_NONE;
    if (!nested) return NF_IGNORED_NONE;
    walk->network = walk->protocol == NF_PROTOCOL_IPV4 ? NF_NETWORK_IPV4 : NF_NETWORK_IPV6;
  }
  return NF_IGNORED_BAD_HEADER;
}
