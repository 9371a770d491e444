#pragma once
/*
 * decode_parts.h: what the files of the decoder share, and nobody else sees: the walk through one frame, from header to
 * header. Every reader moves walk->at behind what it read, or says why it cannot.
 *
 * The rule all readers keep: a header that the frame's own lengths promise but the capture lacks is "truncated"; a
 * header that those lengths leave no room for is a bad one. So a longer capture of the same frame never changes an
 * answer other than "truncated".
 */
#include "bytes.h"
#include "decode.h"

/* What a link layer says lies behind it. The values of the two IP versions are their version numbers. */
enum nf_network { NF_NETWORK_BY_VERSION = 0, NF_NETWORK_IPV4 = 4, NF_NETWORK_IPV6 = 6 };

enum nf_protocol {
  NF_PROTOCOL_ICMP = 1,
  NF_PROTOCOL_IPV4 = 4,
  NF_PROTOCOL_TCP = 6,
  NF_PROTOCOL_UDP = 17,
  NF_PROTOCOL_IPV6 = 41,
  NF_PROTOCOL_ICMPV6 = 58
};

enum { NF_LINK_ETHERNET = 1, NF_UDP_HEADER = 8 };

struct nf_walk {
  struct nf_bytes frame;
  uint32_t wire;           /* bytes on the wire, never less than were captured */
  uint32_t at;             /* next header; may lie a little behind the captured bytes */
  uint32_t ip_at;          /* innermost IP header read so far */
  uint32_t ip_size;        /* by its own lengths */
  uint32_t transport_size; /* bytes of its payload, which begins at `at` */
  const uint8_t *src_mac;  /* in the frame, or six zeros */
  const uint8_t *dst_mac;
  uint16_t vlan_id;
  uint8_t network; /* enum nf_network */
  uint8_t ip_version;
  uint8_t protocol;
  uint8_t tunnel_id;
  bool is_later;                    /* the innermost IP packet is a later fragment */
  uint8_t datagrams;                /* noted so far in ... */
  struct nf_fragmented *fragmented; /* ... what the caller gets; what a walk that is given up has noted there is lost */
};

/* Where a wireless frame comes from decides how far it follows the standard's layout. */
enum nf_wlan_form {
  NF_WLAN_PLAIN,
  NF_WLAN_PADDED, /* header padded to four bytes, as some adapters deliver it */
  NF_WLAN_CAPWAP  /* bytes of 16-bit fields may be swapped, as some controllers send them */
};

/* Reads the link layer down to the network header: sets network, vlan_id and the MACs. */
enum nf_ignored nf_link_read(struct nf_walk *walk, uint32_t link_type);
/* The same for an IEEE 802.11 frame. */
enum nf_ignored nf_wlan_read(struct nf_walk *walk, enum nf_wlan_form form);

/* Reads an IP header with what extends it, and with `nested` any IP packets inside it, down to the transport header. */
enum nf_ignored nf_ip_read(struct nf_walk *walk, bool nested);

/* The tuple of the innermost IP packet read so far, with this protocol and these ports. Tuples are compared as bytes,
   so what lies behind an IPv4 address is zero. */
static inline void nf_ip_write_tuple(struct nf_tuple *tuple, const struct nf_walk *walk, uint8_t protocol,
                                     uint16_t src_port, uint16_t dst_port) {
  memset(tuple, 0, sizeof *tuple);
  const uint8_t *ip = walk->frame.data + walk->ip_at;
  if (NF_LIKELY(walk->ip_version == 4)) {
    memcpy(tuple->src_address, ip + 12, 4);
    memcpy(tuple->dst_address, ip + 16, 4);
  } else {
    memcpy(tuple->src_address, ip + 8, 16);
    memcpy(tuple->dst_address, ip + 24, 16);
  }
  tuple->src_port = src_port;
  tuple->dst_port = dst_port;
  tuple->vlan_id = walk->vlan_id;
  tuple->protocol = protocol;
  tuple->tunnel_id = walk->tunnel_id;
}

/* Behind nf_ip_read, for UDP: enters the tunnels inside, as deep as they go. Where there is none, or none that holds an
   IP packet, the walk stays where it was. */
enum nf_ignored nf_tunnel_read(struct nf_walk *walk);
