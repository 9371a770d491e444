/*
 * fuzz_decode.c: libFuzzer target for the decoder. The first six bytes choose link type, tunnels, wire size and a
 * second, shorter capture; the rest is the frame, copied into a heap block of exactly its size, so that a sanitizer
 * sees any byte read behind it. Checks what decode.h promises of every packet, and that a shorter capture of the same
 * frame gives the same answer or "truncated".
 */
#include "decode.h"
#include "target.h"

enum { PREFIX = 6 };

static const uint32_t link_types[] = {0,   1,   9,   12,  14,  50,  51,  101, 104, 105, 107,
                                      108, 109, 113, 117, 119, 127, 192, 228, 229, 276, 147};

static enum nf_ignored decode(struct nf_packet *packet, const uint8_t *bytes, uint32_t captured, uint32_t size,
                              uint32_t link_type, bool tunnels) {
  uint8_t *copy = malloc(captured ? captured : 1);
  nf_require(copy);
  memcpy(copy, bytes, captured);
  const struct nf_frame frame = {
      .data = copy, .captured = captured, .size = size, .time_ns = 1234567890, .number = 7, .link_type = link_type};
  struct nf_fragmented fragmented;
  memset(packet, 0xEE, sizeof *packet);
  const enum nf_ignored reason = nf_decode(packet, &fragmented, &frame, tunnels);
  nf_require(fragmented.count <= NF_FRAGMENT_LEVELS);
  nf_require(!fragmented.is_later || (fragmented.count > 0 && reason == NF_IGNORED_FRAGMENT));
  if (reason == NF_IGNORED_NONE) nf_require(packet->frame == copy);
  free(copy);
  return reason;
}

static void check(const struct nf_packet *p, uint32_t captured, uint32_t size, bool tunnels) {
  const uint32_t wire = size > captured ? size : captured;
  nf_require(p->position == 7 && p->time_ns == 1234567890);
  nf_require(p->captured_size == captured && p->raw_size == size);
  nf_require(p->ip_version == 4 || p->ip_version == 6);
  nf_require(p->ip_offset + (p->ip_version == 4 ? 20u : 40u) <= captured);
  nf_require(p->ip_offset <= p->transport_offset && p->transport_offset <= p->payload_offset);
  nf_require(p->payload_offset <= captured);
  nf_require(p->ip_size <= 65535 + 40 || p->ip_size <= wire - p->ip_offset);
  nf_require(p->payload_size <= p->transport_size && p->transport_size < p->ip_size);
  nf_require(p->tuple.vlan_id < 4096 && p->tuple.tunnel_id <= (tunnels ? NF_TUNNEL_TZSP : NF_TUNNEL_NONE));
  const bool has_ports = p->tuple.protocol == 6 || p->tuple.protocol == 17;
  nf_require(has_ports || (p->tuple.src_port == 0 && p->tuple.dst_port == 0));
  nf_require(p->tuple.protocol == 6 || p->tcp_flags == 0);
  static const uint8_t zeros[12];
  nf_require(p->ip_version == 6 ||
             (memcmp(p->tuple.src_address + 4, zeros, 12) == 0 && memcmp(p->tuple.dst_address + 4, zeros, 12) == 0));
}

static void check_cut(const struct nf_packet *cut, const struct nf_packet *whole) {
  nf_require(memcmp(&cut->tuple, &whole->tuple, sizeof cut->tuple) == 0);
  nf_require(memcmp(cut->src_mac_address, whole->src_mac_address, 6) == 0);
  nf_require(memcmp(cut->dst_mac_address, whole->dst_mac_address, 6) == 0);
  nf_require(cut->ip_version == whole->ip_version && cut->ip_offset == whole->ip_offset);
  nf_require(cut->ip_size == whole->ip_size && cut->transport_size == whole->transport_size);
  if (cut->tuple.protocol != 6 || cut->captured_size >= whole->transport_offset + 14) {
    nf_require(cut->payload_size == whole->payload_size && cut->tcp_flags == whole->tcp_flags);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < PREFIX || size > 100000) return 0;
  const uint32_t link_type = link_types[data[0] % (sizeof link_types / sizeof *link_types)];
  const bool tunnels = data[1] & 1;
  const uint8_t *bytes = data + PREFIX;
  const uint32_t captured = (uint32_t)size - PREFIX;
  const uint32_t beyond = (uint32_t)data[2] << (data[1] >> 4) << 8;
  const uint32_t wire = data[1] & 2 ? beyond : captured + beyond; /* some files claim less than they hold */

  struct nf_packet whole, cut;
  const enum nf_ignored reason = decode(&whole, bytes, captured, wire, link_type, tunnels);
  nf_require(reason < NF_IGNORED_FILTERED);
  if (reason == NF_IGNORED_NONE) check(&whole, captured, wire, tunnels);

  if (captured == 0 || wire < captured) return 0;
  const uint32_t shorter = ((uint32_t)data[4] << 8 | data[5]) % captured;
  const enum nf_ignored cut_reason = decode(&cut, bytes, shorter, wire, link_type, tunnels);
  nf_require(cut_reason == reason || cut_reason == NF_IGNORED_TRUNCATED);
  if (cut_reason != NF_IGNORED_NONE) return 0;
  check(&cut, shorter, wire, tunnels);
  check_cut(&cut, &whole);
  return 0;
}
