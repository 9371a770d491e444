/*
 * decode_link.c: from a frame's first byte to its network header, for every link type that can carry IP. Link types
 * are the LINKTYPE_ values of capture files (tcpdump.org/linktypes.html), with the DLT_ values that some systems write
 * instead. Knows link layers, VLANs, MPLS, PPP and LLC; what lies behind them is told by ether type, protocol number
 * or address family, never guessed from the content, except behind MPLS labels, which do not say.
 */
#include "decode_parts.h"

enum link_type {
  LINK_NULL = 0,
  LINK_PPP = 9,
  LINK_RAW_LINUX = 12,
  LINK_RAW_OPENBSD = 14,
  LINK_PPP_SERIAL = 50,
  LINK_PPPOE = 51,
  LINK_RAW = 101,
  LINK_CISCO_HDLC = 104,
  LINK_WLAN = 105,
  LINK_FRAME_RELAY = 107,
  LINK_LOOP = 108,
  LINK_ENC = 109,
  LINK_LINUX_SLL = 113,
  LINK_PFLOG = 117,
  LINK_PRISM = 119,
  LINK_RADIOTAP = 127,
  LINK_PPI = 192,
  LINK_IPV4 = 228,
  LINK_IPV6 = 229,
  LINK_LINUX_SLL2 = 276
};

enum ether_type {
  ETHER_LENGTH_MAX = 1500, /* up to here the field is an 802.3 length */
  ETHER_IPV4 = 0x0800,
  ETHER_VLAN = 0x8100, /* 802.1Q */
  ETHER_IPV6 = 0x86DD,
  ETHER_MPLS = 0x8847,
  ETHER_MPLS_MULTICAST = 0x8848,
  ETHER_PPPOE = 0x8864,   /* session stage; discovery carries no packets */
  ETHER_SERVICE = 0x88A8, /* 802.1ad */
  ETHER_QINQ = 0x9100     /* stacked VLANs before 802.1ad */
};

static enum nf_ignored read_llc(struct nf_walk *walk);

static bool has(const struct nf_walk *walk, uint32_t count) { return nf_has(walk->frame, walk->at, count); }
static uint8_t u8(const struct nf_walk *walk, uint32_t offset) { return nf_u8(walk->frame, walk->at + offset); }
static uint16_t u16(const struct nf_walk *walk, uint32_t offset) { return nf_u16(walk->frame, walk->at + offset); }

static enum nf_ignored found(struct nf_walk *walk, enum nf_network network) {
  walk->network = (uint8_t)network;
  return NF_IGNORED_NONE;
}

/*
 * RFC 3032: labels up to the one marked as the bottom of the stack. Nothing says what lies behind them. It is taken for
 * IP by its version number, and because the addresses of an Ethernet pseudo-wire can begin like one, by a length that
 * fits into the frame.
 */
static enum nf_ignored read_mpls(struct nf_walk *walk) {
  bool is_bottom = false;
  while (!is_bottom) {
    if (!has(walk, 4)) return NF_IGNORED_TRUNCATED;
    is_bottom = u8(walk, 2) & 1;
    walk->at += 4;
  }
  if (!has(walk, 6)) return NF_IGNORED_TRUNCATED;
  const uint8_t version = u8(walk, 0) >> 4;
  const uint32_t size = version == 6 ? 40u + u16(walk, 4) : u16(walk, 2);
  return size <= walk->wire - walk->at ? found(walk, NF_NETWORK_BY_VERSION) : NF_IGNORED_NOT_IP;
}

/* RFC 1661, with the address and control bytes of RFC 1662 or without, and the protocol in one byte or two. */
static enum nf_ignored read_ppp(struct nf_walk *walk) {
  if (!has(walk, 2)) return NF_IGNORED_TRUNCATED;
  if (u16(walk, 0) == 0xFF03) walk->at += 2;
  const uint32_t size = u8(walk, 0) & 1 ? 1 : 2;
  if (!has(walk, size)) return NF_IGNORED_TRUNCATED;
  const uint16_t protocol = size == 1 ? u8(walk, 0) : u16(walk, 0);
  walk->at += size;
  switch (protocol) {
  case 0x0021: return found(walk, NF_NETWORK_IPV4);
  case 0x0057: return found(walk, NF_NETWORK_IPV6);
  case 0x0281:
  case 0x0283: return read_mpls(walk);
  default: return NF_IGNORED_NOT_IP;
  }
}

/* RFC 2516: version and type, code (0 in a session), session, length. */
static enum nf_ignored read_pppoe(struct nf_walk *walk) {
  if (!has(walk, 6)) return NF_IGNORED_TRUNCATED;
  if (u8(walk, 1) != 0) return NF_IGNORED_NOT_IP;
  walk->at += 6;
  return read_ppp(walk);
}

/* What an ether type announces at walk->at, through any stack of VLAN tags: the innermost names the VLAN. */
static enum nf_ignored read_ether_type(struct nf_walk *walk, uint16_t type) {
  for (;;) {
    switch (type) {
    case ETHER_IPV4: return found(walk, NF_NETWORK_IPV4);
    case ETHER_IPV6: return found(walk, NF_NETWORK_IPV6);
    case ETHER_MPLS:
    case ETHER_MPLS_MULTICAST: return read_mpls(walk);
    case ETHER_PPPOE: return read_pppoe(walk);
    case ETHER_VLAN:
    case ETHER_SERVICE:
    case ETHER_QINQ: break;
    default: return type <= ETHER_LENGTH_MAX ? read_llc(walk) : NF_IGNORED_NOT_IP;
    }
    if (!has(walk, 4)) return NF_IGNORED_TRUNCATED;
    walk->vlan_id = u16(walk, 0) & 0x0FFF;
    type = u16(walk, 2);
    walk->at += 4;
  }
}

/* A SNAP header: organisation, type. The two organisations whose types are ether types are those of RFC 1042 and of
   802.1H bridges. */
static enum nf_ignored read_snap(struct nf_walk *walk) {
  if (!has(walk, 5)) return NF_IGNORED_TRUNCATED;
  const uint32_t organisation = (uint32_t)u16(walk, 0) << 8 | u8(walk, 2);
  const uint16_t type = u16(walk, 3);
  if ((organisation != 0 && organisation != 0x0000F8) || type <= ETHER_LENGTH_MAX) return NF_IGNORED_NOT_IP;
  walk->at += 5;
  return read_ether_type(walk, type);
}

/* IEEE 802.2: only SNAP carries IP; everything else is a control protocol or a network of the past. */
static enum nf_ignored read_llc(struct nf_walk *walk) {
  if (!has(walk, 3)) return NF_IGNORED_TRUNCATED;
  if (u16(walk, 0) != 0xAAAA || u8(walk, 2) != 0x03) return NF_IGNORED_NOT_IP;
  walk->at += 3;
  return read_snap(walk);
}

static enum nf_ignored read_ethernet(struct nf_walk *walk) {
  const uint8_t *header = nf_at(walk->frame, walk->at, 14);
  if (NF_UNLIKELY(!header)) return NF_IGNORED_TRUNCATED;
  walk->dst_mac = header;
  walk->src_mac = header + 6;
  walk->at += 14;
  return read_ether_type(walk, nf_be16(header + 12));
}

/* Cisco HDLC: address, control, ether type. */
static enum nf_ignored read_cisco_hdlc(struct nf_walk *walk) {
  if (!has(walk, 4)) return NF_IGNORED_TRUNCATED;
  const uint16_t type = u16(walk, 2);
  walk->at += 4;
  return type <= ETHER_LENGTH_MAX ? NF_IGNORED_NOT_IP : read_ether_type(walk, type);
}

/* A serial line: the first byte tells Cisco's framing (unicast 0F, broadcast 8F) from PPP. */
static enum nf_ignored read_serial(struct nf_walk *walk) {
  const uint8_t address = u8(walk, 0);
  return address == 0x0F || address == 0x8F ? read_cisco_hdlc(walk) : read_ppp(walk);
}

/* Linux's cooked captures: `type_at` of a header of `size` bytes. Their one address is not taken: it has no partner. */
static enum nf_ignored read_cooked(struct nf_walk *walk, uint32_t type_at, uint32_t size) {
  enum { COOKED_LLC = 4 };
  if (!has(walk, size)) return NF_IGNORED_TRUNCATED;
  const uint16_t type = u16(walk, type_at);
  walk->at += size;
  if (type == COOKED_LLC) return read_llc(walk);
  return type <= ETHER_LENGTH_MAX ? NF_IGNORED_NOT_IP : read_ether_type(walk, type);
}

/* A BSD address family, whose number for IPv6 each system chose anew. */
static enum nf_ignored read_family(struct nf_walk *walk, uint32_t family, uint32_t size) {
  if (!has(walk, size)) return NF_IGNORED_TRUNCATED;
  walk->at += size;
  switch (family) {
  case 2: return found(walk, NF_NETWORK_IPV4);
  case 10: /* Linux */
  case 23: /* Windows */
  case 24: /* NetBSD, OpenBSD */
  case 28: /* FreeBSD */
  case 30: /* macOS */ return found(walk, NF_NETWORK_IPV6);
  default: return NF_IGNORED_NOT_IP;
  }
}

/* Four bytes of address family in network order, or in the order of the host that captured, in a header of `size`. */
static enum nf_ignored read_loopback(struct nf_walk *walk, uint32_t size) {
  const uint32_t family = nf_u32(walk->frame, walk->at);
  return read_family(walk, family > 0xFFFF ? __builtin_bswap32(family) : family, size);
}

/* OpenBSD's packet filter log: length without padding to four bytes, address family, then what the filter decided. */
static enum nf_ignored read_pflog(struct nf_walk *walk) {
  if (!has(walk, 2)) return NF_IGNORED_TRUNCATED;
  return read_family(walk, u8(walk, 1), (u8(walk, 0) + 3u) & ~3u);
}

/* RFC 2427: Q.922 address (its last byte has the low bit set), then UI, padding and an NLPID; or, as Cisco does
   without UI, an ether type. */
static enum nf_ignored read_frame_relay(struct nf_walk *walk) {
  enum { UI = 0x03, NLPID_SNAP = 0x80, NLPID_IPV6 = 0x8E, NLPID_IPV4 = 0xCC };
  bool is_last = false;
  for (int i = 0; i < 4 && !is_last; i++) {
    if (!has(walk, 1)) return NF_IGNORED_TRUNCATED;
    is_last = u8(walk, 0) & 1;
    walk->at++;
  }
  if (!is_last) return NF_IGNORED_BAD_HEADER;
  if (!has(walk, 2)) return NF_IGNORED_TRUNCATED;
  if (u8(walk, 0) != UI) {
    const uint16_t type = u16(walk, 0);
    walk->at += 2;
    return type <= ETHER_LENGTH_MAX ? NF_IGNORED_NOT_IP : read_ether_type(walk, type);
  }
  walk->at += u8(walk, 1) == 0 ? 2 : 1;
  if (!has(walk, 1)) return NF_IGNORED_TRUNCATED;
  const uint8_t nlpid = u8(walk, 0);
  walk->at++;
  switch (nlpid) {
  case NLPID_IPV4: return found(walk, NF_NETWORK_IPV4);
  case NLPID_IPV6: return found(walk, NF_NETWORK_IPV6);
  case NLPID_SNAP: return read_snap(walk);
  default: return NF_IGNORED_NOT_IP;
  }
}

/*
 * Source and destination of a wireless data frame. Between station and access point NFStream takes address 2 and
 * address 3 whichever way the frame goes, and so do we; from the access point down, the standard's own would be
 * address 3 and address 1.
 */
static void take_wlan_macs(struct nf_walk *walk, bool to_ds, bool from_ds) {
  const uint8_t *frame = walk->frame.data + walk->at;
  const uint8_t *address1 = frame + 4, *address2 = frame + 10, *address3 = frame + 16, *address4 = frame + 24;
  walk->src_mac = to_ds && from_ds ? address4 : address2;
  walk->dst_mac = to_ds || from_ds ? address3 : address1;
}

/* IEEE 802.11-2020, 9.2 and 9.3.2: only data frames with a body in the clear carry packets. */
enum nf_ignored nf_wlan_read(struct nf_walk *walk, enum nf_wlan_form form) {
  enum { TO_DS = 0x01, FROM_DS = 0x02, PROTECTED = 0x40, HAS_HT_CONTROL = 0x80 }; /* second byte of frame control */
  enum { VERSION_AND_TYPE = 0x0F, DATA = 0x08, WITHOUT_BODY = 0x40, QOS = 0x80 }; /* first byte */
  enum { FRAGMENT_NUMBER = 0x0F };                                                /* first byte of sequence control */
  if (!has(walk, 2)) return NF_IGNORED_TRUNCATED;
  /* Swapping goes for all of the header's 16-bit fields. */
  const uint32_t swap = form == NF_WLAN_CAPWAP && (u8(walk, 0) & VERSION_AND_TYPE) != DATA;
  const uint8_t kind = u8(walk, swap), flags = u8(walk, 1 - swap);
  if ((kind & VERSION_AND_TYPE) != DATA || kind & WITHOUT_BODY || flags & PROTECTED) return NF_IGNORED_NOT_IP;

  const bool to_ds = flags & TO_DS, from_ds = flags & FROM_DS;
  uint32_t size = 24;
  if (to_ds && from_ds) size += 6;
  if (kind & QOS) size += flags & HAS_HT_CONTROL ? 2 + 4 : 2;
  if (form == NF_WLAN_PADDED) size = (size + 3) & ~3u;
  if (!has(walk, size)) return NF_IGNORED_TRUNCATED;
  if (u8(walk, 22 + swap) & FRAGMENT_NUMBER) return NF_IGNORED_FRAGMENT;
  take_wlan_macs(walk, to_ds, from_ds);
  walk->at += size;
  return read_llc(walk);
}

/* radiotap.org: one or more words of which fields follow, then the fields in order, each aligned to its own size. The
   flags stand behind the timestamp at most. */
static enum nf_ignored read_radiotap(struct nf_walk *walk) {
  enum { HAS_TIMESTAMP = 0x01, HAS_FLAGS = 0x02, ANOTHER_WORD = 0x80, PADDED = 0x20, BAD_FCS = 0x40 };
  if (!has(walk, 8)) return NF_IGNORED_TRUNCATED;
  const uint16_t size = nf_u16_le(walk->frame, walk->at + 2);
  if (u8(walk, 0) != 0 || size < 8) return NF_IGNORED_BAD_HEADER;
  if (!has(walk, size)) return NF_IGNORED_TRUNCATED;

  const struct nf_bytes header = {walk->frame.data + walk->at, size};
  const uint8_t present = nf_u8(header, 4);
  uint32_t field = 4;
  while (nf_u8(header, field + 3) & ANOTHER_WORD) field += 4;
  field += 4;
  if (present & HAS_TIMESTAMP) field = ((field + 7) & ~7u) + 8;
  const uint8_t flags = present & HAS_FLAGS ? nf_u8(header, field) : 0;
  walk->at += size;
  if (flags & BAD_FCS) return NF_IGNORED_BAD_HEADER; /* the adapter says that bits of the frame are wrong */
  return nf_wlan_read(walk, flags & PADDED ? NF_WLAN_PADDED : NF_WLAN_PLAIN);
}

/* Prism monitors put a header of fixed size in front of a wireless frame. */
static enum nf_ignored read_prism(struct nf_walk *walk) {
  enum { PRISM_HEADER = 144 };
  if (!has(walk, PRISM_HEADER)) return NF_IGNORED_TRUNCATED;
  walk->at += PRISM_HEADER;
  return nf_wlan_read(walk, NF_WLAN_PLAIN);
}

/* Per-Packet Information: version, flags, header length, link type of the frame behind; all little-endian. */
static enum nf_ignored read_ppi(struct nf_walk *walk) {
  if (!has(walk, 8)) return NF_IGNORED_TRUNCATED;
  const uint16_t size = nf_u16_le(walk->frame, walk->at + 2);
  const uint32_t link_type = nf_u16_le(walk->frame, walk->at + 4);
  if (size < 8 || link_type == LINK_PPI) return NF_IGNORED_BAD_HEADER;
  if (!has(walk, size)) return NF_IGNORED_TRUNCATED;
  walk->at += size;
  return nf_link_read(walk, link_type);
}

enum nf_ignored nf_link_read(struct nf_walk *walk, uint32_t link_type) {
  switch (link_type) {
  case NF_LINK_ETHERNET: return read_ethernet(walk);
  case LINK_NULL:
  case LINK_LOOP: return read_loopback(walk, 4);
  case LINK_ENC: return read_loopback(walk, 12);
  case LINK_PPP:
  case LINK_PPP_SERIAL: return read_serial(walk);
  case LINK_PPPOE: return read_pppoe(walk);
  case LINK_CISCO_HDLC: return read_cisco_hdlc(walk);
  case LINK_FRAME_RELAY: return read_frame_relay(walk);
  case LINK_RAW:
  case LINK_RAW_LINUX:
  case LINK_RAW_OPENBSD: return found(walk, NF_NETWORK_BY_VERSION);
  case LINK_IPV4: return found(walk, NF_NETWORK_IPV4);
  case LINK_IPV6: return found(walk, NF_NETWORK_IPV6);
  case LINK_LINUX_SLL: return read_cooked(walk, 14, 16);
  case LINK_LINUX_SLL2: return read_cooked(walk, 0, 20);
  case LINK_PFLOG: return read_pflog(walk);
  case LINK_WLAN: return nf_wlan_read(walk, NF_WLAN_PLAIN);
  case LINK_RADIOTAP: return read_radiotap(walk);
  case LINK_PRISM: return read_prism(walk);
  case LINK_PPI: return read_ppi(walk);
  default: return NF_IGNORED_LINK_TYPE;
  }
}
