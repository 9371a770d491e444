/*
 * decode.c: one frame into one struct nf_packet. Drives the walk (link, IP, tunnels), reads the transport header and
 * writes the packet in one go at the end. Pure: the same frame gives the same packet, nothing is allocated or kept.
 * Must not know flows, time or where frames come from.
 */
#include "decode_parts.h"

enum {
  TCP_HEADER = 20,
  ICMP_HEADER = 8,
  PORTS = 4,          /* bytes of TCP and UDP headers that ports take */
  TCP_OFFSET_AT = 12, /* data offset in a TCP header */
  TCP_FLAGS_AT = 13
};

static const uint8_t no_mac[6];

/* What the transport header says. */
struct transport {
  uint16_t src_port, dst_port;
  uint8_t tcp_flags;
  uint32_t header;  /* bytes of it, 0 where it is not known */
  uint32_t payload; /* bytes behind it, by the lengths of the IP packet */
};

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t behind(uint32_t size, uint32_t header) { return size > header ? size - header : 0; }

/*
 * A segment's header length and flags stand behind its ports. Where the capture ends in between, the segment keeps its
 * place in its flow, without flags and with a payload as if it carried no options: whoever cuts that short wants
 * packets and bytes by 5-tuple.
 */
static void read_tcp(struct transport *transport, const struct nf_walk *walk) {
  const uint8_t *tcp = nf_at(walk->frame, walk->at, TCP_FLAGS_AT + 1);
  transport->header = tcp ? (tcp[TCP_OFFSET_AT] >> 4) * 4u : TCP_HEADER;
  transport->tcp_flags = tcp ? tcp[TCP_FLAGS_AT] : 0;
  transport->payload = behind(walk->transport_size, transport->header);
}

/* Ports are read where the IP packet is long enough to hold the whole header: shorter, it has none. */
static enum nf_ignored read_transport(struct transport *transport, const struct nf_walk *walk) {
  const bool is_tcp = walk->protocol == NF_PROTOCOL_TCP;
  if (is_tcp || walk->protocol == NF_PROTOCOL_UDP) {
    if (NF_UNLIKELY(walk->transport_size < (is_tcp ? TCP_HEADER : NF_UDP_HEADER))) return NF_IGNORED_NONE;
    const uint8_t *ports = nf_at(walk->frame, walk->at, PORTS);
    if (NF_UNLIKELY(!ports)) return NF_IGNORED_TRUNCATED;
    transport->src_port = nf_be16(ports);
    transport->dst_port = nf_be16(ports + 2);
    if (is_tcp) {
      read_tcp(transport, walk);
    } else {
      transport->header = NF_UDP_HEADER;
      transport->payload = walk->transport_size - NF_UDP_HEADER;
    }
  } else if (walk->protocol == NF_PROTOCOL_ICMP || walk->protocol == NF_PROTOCOL_ICMPV6) {
    transport->header = ICMP_HEADER;
    transport->payload = behind(walk->transport_size, ICMP_HEADER);
  }
  return NF_IGNORED_NONE;
}

/* Spreads eight bits over eight bytes, lowest first. */
static uint64_t bits_to_bytes(uint8_t bits) {
  const uint64_t each = bits * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
  return (each + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & UINT64_C(0x0101010101010101);
}

static void write_packet(struct nf_packet *packet, const struct nf_frame *frame, const struct nf_walk *walk,
                         const struct transport *transport) {
  const uint32_t captured = frame->captured;
  nf_ip_write_tuple(&packet->tuple, walk, walk->protocol, transport->src_port, transport->dst_port);
  packet->frame = frame->data;
  packet->position = frame->number;
  packet->time_ns = frame->time_ns;
  packet->link_type = frame->link_type;
  packet->captured_size = captured;
  packet->raw_size = frame->size;
  packet->ip_size = walk->ip_size;
  packet->transport_size = walk->transport_size;
  packet->payload_size = transport->payload;
  packet->ip_offset = walk->ip_at;
  packet->transport_offset = min_u32(walk->at, captured);
  packet->payload_offset = min_u32(walk->at + transport->header, captured);
  packet->ip_version = walk->ip_version;
  packet->is_fragment = walk->is_later;
  packet->tcp_flags = transport->tcp_flags;
  const uint64_t flags = bits_to_bytes(transport->tcp_flags);
  memcpy(&packet->fin, &flags, sizeof flags);
  memcpy(packet->src_mac_address, walk->src_mac, 6);
  memcpy(packet->dst_mac_address, walk->dst_mac, 6);
}

static enum nf_ignored walk_to_transport(struct nf_walk *walk, uint32_t link_type, bool tunnels) {
  enum nf_ignored reason = nf_link_read(walk, link_type);
  if (NF_UNLIKELY(reason != NF_IGNORED_NONE)) return reason;
  reason = nf_ip_read(walk, true);
  if (NF_UNLIKELY(reason != NF_IGNORED_NONE)) return reason;
  return tunnels && walk->protocol == NF_PROTOCOL_UDP ? nf_tunnel_read(walk) : NF_IGNORED_NONE;
}

/* It has bytes to count, but no headers to read, nor data that could be read without what stands before it. */
static void write_later_fragment(struct nf_packet *packet, const struct nf_frame *frame, struct nf_walk *walk) {
  const struct transport transport = {.payload = walk->transport_size};
  walk->at = frame->captured;
  write_packet(packet, frame, walk, &transport);
}

enum nf_ignored nf_decode(struct nf_packet *packet, struct nf_fragmented *fragmented, const struct nf_frame *frame,
                          bool tunnels) {
  struct nf_walk walk = {
      .frame = {frame->data, frame->captured},
      .wire = frame->size > frame->captured ? frame->size : frame->captured,
      .src_mac = no_mac,
      .dst_mac = no_mac,
      .fragmented = fragmented,
  };
  struct transport transport = {0};
  enum nf_ignored reason = walk_to_transport(&walk, frame->link_type, tunnels);
  if (NF_LIKELY(reason == NF_IGNORED_NONE)) reason = read_transport(&transport, &walk);
  fragmented->count = walk.datagrams;
  fragmented->is_later = walk.is_later;
  if (NF_LIKELY(reason == NF_IGNORED_NONE)) write_packet(packet, frame, &walk, &transport);
  else if (walk.is_later) write_later_fragment(packet, frame, &walk);
  return reason;
}
