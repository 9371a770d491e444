#pragma once
/*
 * decode.h: a frame's bytes into a packet. Pure: no state, no allocation, no clock.
 */
#include "frame.h"

enum { NF_FRAGMENT_LEVELS = 2 /* more levels of fragments in fragments are in no honest network */ };

/*
 * The IP datagrams that a frame is a fragment of, the outermost first. Each goes by its addresses, protocol, VLAN and
 * tunnel, with its identification where a packet's tuple has ports (RFC 791, 2.3; RFC 8200, 4.5, where the protocol
 * is that of the fragment header).
 */
struct nf_fragmented {
  uint32_t count;
  bool is_later; /* of the last of them this is not the first fragment, which has the transport header */
  struct nf_tuple datagrams[NF_FRAGMENT_LEVELS];
};

/*
 * Decodes a frame down to its innermost IP packet and transport header. With `tunnels`, GTP-U, CAPWAP and TZSP are
 * opened as well; IP in IP always is. Returns NF_IGNORED_NONE and fills *packet but for flow, tick, delta,
 * accounted_size, direction and the fields for hooks; or says why the frame has no place in any flow. *packet is
 * undefined then, except that of a later fragment (fragmented->is_later) nothing but the ports is missing.
 */
enum nf_ignored nf_decode(struct nf_packet *packet, struct nf_fragmented *fragmented, const struct nf_frame *frame,
                          bool tunnels);
