#pragma once
/*
 * decode.h: a frame's bytes into a packet. Pure: no state, no allocation, no clock.
 */
#include "frame.h"

/*
 * Decodes a frame down to its innermost IP packet and transport header. With `tunnels`, GTP-U, CAPWAP and TZSP are
 * opened as well; IP in IP always is. Returns NF_IGNORED_NONE and fills *packet but for flow, tick, delta,
 * accounted_size, direction and the fields for hooks; or says why the frame has no place in any flow, *packet then
 * being undefined.
 */
enum nf_ignored nf_decode(struct nf_packet *packet, const struct nf_frame *frame, bool tunnels);
