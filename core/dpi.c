/*
 * dpi.c: application identification by nDPI 4.2 to 4.10. Owns the nDPI module of one thread and, through
 * nf_l7.dissection, nDPI's state of every flow that has no verdict yet. The only file that knows nDPI, but for what it
 * remembers across flows, which is dpi_cache.c's.
 *
 * nDPI 4.2 was not hardened against hostile packets, so it sees none as captured: each is copied out of the capture
 * with zeros behind it (dissectors look a few bytes past the end), without link-layer padding, and what is known to
 * crash it is kept from it, and later fragments, which it would take for whole packets. Which packets are shown and
 * what is read from the state afterwards follows NFStream, so that the columns agree with its.
 */
#include "dpi.h"

#include <netinet/in.h>
#include <pthread.h>

#include "bytes.h"
#include "dpi_cache.h"
#include "dpi_text.h"
#include "ndpi_api.h"

/* ---- what differs between nDPI's versions ---- */

#define NDPI_FROM(minor) (NDPI_MINOR >= (minor))

static_assert(NDPI_MAJOR == 4 && NDPI_MINOR >= 2 && NDPI_MINOR <= 10, "nDPI 4.2 to 4.10 is needed");

static struct ndpi_detection_module_struct *module_start(void) {
#if NDPI_FROM(10)
  return ndpi_init_detection_module(NULL);
#else
  return ndpi_init_detection_module(ndpi_no_prefs);
#endif
}

static ndpi_protocol process_packet(struct ndpi_detection_module_struct *module, struct ndpi_flow_struct *flow,
                                    const uint8_t *data, uint16_t size, uint64_t time_ms) {
#if NDPI_FROM(6)
  return ndpi_detection_process_packet(module, flow, data, size, time_ms, NULL);
#else
  return ndpi_detection_process_packet(module, flow, data, size, time_ms);
#endif
}

static ndpi_protocol give_up(struct ndpi_detection_module_struct *module, struct ndpi_flow_struct *flow,
                             uint8_t *guessed) {
#if NDPI_FROM(10)
  return ndpi_detection_giveup(module, flow, guessed);
#else
  return ndpi_detection_giveup(module, flow, 1, guessed);
#endif
}

static const char *client_alpn(const struct ndpi_flow_struct *flow) {
#if NDPI_FROM(6)
  return flow->protos.tls_quic.advertised_alpns;
#else
  return flow->protos.tls_quic.alpn;
#endif
}

/* On nDPI 4.2's scale, which nf_l7 uses; later versions renumbered it and split its steps. */
static uint8_t confidence(const struct ndpi_flow_struct *flow) {
  enum { UNKNOWN, BY_PORT, BY_ADDRESS, BY_CACHE, BY_CONTENT };
  switch (flow->confidence) {
  case NDPI_CONFIDENCE_MATCH_BY_PORT: return BY_PORT;
#if !NDPI_FROM(6) || NDPI_FROM(8)
  case NDPI_CONFIDENCE_MATCH_BY_IP: return BY_ADDRESS;
#endif
#if NDPI_FROM(6)
  case NDPI_CONFIDENCE_NBPF: return BY_ADDRESS;
#endif
  case NDPI_CONFIDENCE_DPI_CACHE: return BY_CACHE;
  case NDPI_CONFIDENCE_DPI: return BY_CONTENT;
#if NDPI_FROM(4)
  case NDPI_CONFIDENCE_DPI_PARTIAL_CACHE: return BY_CACHE;
  case NDPI_CONFIDENCE_DPI_PARTIAL: return BY_CONTENT;
#endif
#if NDPI_FROM(8)
  case NDPI_CONFIDENCE_DPI_AGGRESSIVE: return BY_CONTENT;
#endif
  default: return UNKNOWN;
  }
}

/* ---- the module ---- */

enum {
  PACKET_MAX = UINT16_MAX, /* nDPI counts a packet's bytes in 16 bits */
  PADDING = 64,
  SPARE_MAX = 64,
  SYN_MAX = 128 /* with IPv6 and all options; what is longer does not wait */
};

/* nDPI's state of a flow without a verdict. */
struct nf_dissection {
  struct ndpi_flow_struct flow;
  ndpi_protocol verdict; /* what nDPI says so far */
  struct nf_dissection *next_spare;
  uint8_t guessed;
  uint8_t ip_version; /* of the first packet that nDPI could parse, with its transport protocol; 0 before it */
  uint8_t protocol;
  bool is_answered; /* a DNS response was seen */
};

/*
 * A flow that has only asked for a connection, and so has told nDPI no more than its tuple does, has no state yet: its
 * SYN waits where the user agent will stand. A flood of SYNs takes half the memory then, and less time.
 */
struct waiting_syn {
  char end_of_text; /* so that the user agent is empty */
  uint8_t ip_version;
  uint16_t size;
  uint64_t time_ms;
  uint8_t packet[SYN_MAX];
};
static_assert(sizeof(struct waiting_syn) <= sizeof((struct nf_l7 *)NULL)->user_agent, "a SYN takes too much");

static struct nf_dissection of_waiting_syn; /* only its address means something */

/* What nDPI calls a pair of protocols: it prints names together each time anew. */
struct pair_name {
  uint16_t app, master;
  char text[sizeof((struct nf_l7 *)NULL)->application_name]; /* empty: not yet asked */
};

struct nf_dpi {
  struct ndpi_detection_module_struct *module;
  struct nf_dissection brief;  /* of a flow that ends while its SYN waits */
  struct nf_dissection *spare; /* flow states to use again */
  uint32_t spares;
  uint32_t limit;
  bool extra;
  bool publish;
  bool cache;
  struct pair_name names[64];
  uint32_t used;                        /* bytes of `packet` that are not zero */
  uint8_t packet[PACKET_MAX + PADDING]; /* the packet as nDPI sees it, with nothing but zeros behind it */
};

/* nDPI's modules share tables that starting and ending one writes to. */
static pthread_mutex_t module_lock = PTHREAD_MUTEX_INITIALIZER;

static struct ndpi_detection_module_struct *module_new(bool cache, char *error) {
  (void)pthread_mutex_lock(&module_lock);
  struct ndpi_detection_module_struct *module = module_start();
  if (!module) {
    nf_fail(error, "out of memory: cannot start nDPI");
  } else if (!cache && !nf_dpi_cache_disable(module)) {
    nf_fail(error, "nDPI %s does not fit: its memory across flows cannot be switched off, expected dpi_cache = true",
            ndpi_revision());
    ndpi_exit_detection_module(module);
    module = NULL;
  } else {
    NDPI_PROTOCOL_BITMASK all;
    NDPI_BITMASK_SET_ALL(all);
    (void)ndpi_set_protocol_detection_bitmask2(module, &all);
    (void)ndpi_finalize_initialization(module);
  }
  (void)pthread_mutex_unlock(&module_lock);
  return module;
}

static void module_free(struct ndpi_detection_module_struct *module) {
  if (!module) return;
  (void)pthread_mutex_lock(&module_lock);
  ndpi_exit_detection_module(module);
  (void)pthread_mutex_unlock(&module_lock);
}

struct nf_dpi *nf_dpi_new(uint32_t limit, bool extra, bool cache, char *error) {
  if (ndpi_get_api_version() != NDPI_API_VERSION ||
      ndpi_detection_get_sizeof_ndpi_flow_struct() != sizeof(struct ndpi_flow_struct)) {
    nf_fail(error, "nDPI %s does not fit: its flow state has %u bytes, this program was built with nDPI %d.%d's %zu",
            ndpi_revision(), (unsigned)ndpi_detection_get_sizeof_ndpi_flow_struct(), NDPI_MAJOR, NDPI_MINOR,
            sizeof(struct ndpi_flow_struct));
    return NULL;
  }
  struct nf_dpi *dpi = calloc(1, sizeof *dpi);
  if (!dpi) {
    nf_fail(error, "out of memory: cannot start nDPI");
    return NULL;
  }
  dpi->limit = limit;
  dpi->extra = extra;
  dpi->cache = cache;
  dpi->module = module_new(cache, error);
  if (dpi->module) return dpi;
  free(dpi);
  return NULL;
}

void nf_dpi_free(struct nf_dpi *dpi) {
  if (!dpi) return;
  while (dpi->spare) {
    struct nf_dissection *next = dpi->spare->next_spare;
    free(dpi->spare);
    dpi->spare = next;
  }
  module_free(dpi->module);
  free(dpi);
}

void nf_dpi_publish(struct nf_dpi *dpi, bool publish) { dpi->publish = publish; }

const char *nf_dpi_version(void) {
  static char text[64];
  (void)pthread_mutex_lock(&module_lock);
  if (!text[0]) (void)snprintf(text, sizeof text, "nDPI %s", ndpi_revision());
  (void)pthread_mutex_unlock(&module_lock);
  return text;
}

bool nf_l7_has(const char *column) {
  static const char *const columns[] = {
      "tls_version",  "tls_alpn",         "ja3_client",        "ja3_server", "hassh_client",
      "hassh_server", "dhcp_fingerprint", "http_url",          "risk_names", "risk_mask",
      "risk_score",   "dns_query_type",   "dns_response_code",
  };
  for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
    if (strcmp(columns[i], column) == 0) return true;
  }
  return false;
}

/* ---- a flow's state ---- */

static struct nf_dissection *dissection_new(struct nf_dpi *dpi) {
  struct nf_dissection *dissection = dpi->spare;
  if (!dissection) return calloc(1, sizeof *dissection);
  dpi->spare = dissection->next_spare;
  dpi->spares--;
  memset(dissection, 0, sizeof *dissection);
  return dissection;
}

static void dissection_free(struct nf_dpi *dpi, struct nf_dissection *dissection) {
  ndpi_free_flow_data(&dissection->flow);
  if (dissection == &dpi->brief) return;
  if (dpi->spares >= SPARE_MAX) {
    free(dissection);
    return;
  }
  dissection->next_spare = dpi->spare;
  dpi->spare = dissection;
  dpi->spares++;
}

/* ---- results ---- */

#define COPY_ARRAY(to, from)  (void)nf_text_copy((to), sizeof(to), (from), sizeof(from))
#define COPY_STRING(to, from) (void)nf_text_copy((to), sizeof(to), (from), SIZE_MAX)

static bool stack_has(const struct ndpi_flow_struct *flow, uint16_t protocol) {
  return flow->detected_protocol_stack[0] == protocol || flow->detected_protocol_stack[1] == protocol;
}

/* Whether the union flow->protos holds tls_quic, pointers included: the test by which nDPI itself frees them. */
static bool holds_tls(const struct ndpi_flow_struct *flow) {
  return stack_has(flow, NDPI_PROTOCOL_TLS) || stack_has(flow, NDPI_PROTOCOL_QUIC) ||
         stack_has(flow, NDPI_PROTOCOL_DTLS) || stack_has(flow, NDPI_PROTOCOL_MAIL_SMTPS) ||
         stack_has(flow, NDPI_PROTOCOL_MAIL_POPS) || stack_has(flow, NDPI_PROTOCOL_MAIL_IMAPS);
}

static bool holds_dns(const struct ndpi_flow_struct *flow) {
  return stack_has(flow, NDPI_PROTOCOL_DNS) || stack_has(flow, NDPI_PROTOCOL_MDNS) ||
         stack_has(flow, NDPI_PROTOCOL_LLMNR);
}

/* What a protocol says of its two sides: NFStream's columns, its first match. */
static void fill_sides(struct nf_l7 *l7, const struct ndpi_flow_struct *flow) {
  if (stack_has(flow, NDPI_PROTOCOL_DHCP)) {
    COPY_ARRAY(l7->client_fingerprint, flow->protos.dhcp.fingerprint);
  } else if (stack_has(flow, NDPI_PROTOCOL_HTTP)) {
    COPY_STRING(l7->content_type, flow->http.content_type);
    COPY_STRING(l7->user_agent, flow->http.user_agent);
  } else if (stack_has(flow, NDPI_PROTOCOL_SSH)) {
    COPY_ARRAY(l7->client_fingerprint, flow->protos.ssh.hassh_client);
    COPY_ARRAY(l7->server_fingerprint, flow->protos.ssh.hassh_server);
  } else if (holds_tls(flow)) {
    COPY_STRING(l7->user_agent, flow->http.user_agent);
    COPY_ARRAY(l7->client_fingerprint, flow->protos.tls_quic.ja3_client);
    COPY_ARRAY(l7->server_fingerprint, flow->protos.tls_quic.ja3_server);
  }
}

static void fill_extra(struct nf_l7_extra *extra, const struct nf_dissection *dissection) {
  const struct ndpi_flow_struct *flow = &dissection->flow;
  *extra = (struct nf_l7_extra){.dns_response_code = -1};
  if (stack_has(flow, NDPI_PROTOCOL_DHCP)) {
    COPY_ARRAY(extra->dhcp_fingerprint, flow->protos.dhcp.fingerprint);
  } else if (stack_has(flow, NDPI_PROTOCOL_SSH)) {
    COPY_ARRAY(extra->hassh_client, flow->protos.ssh.hassh_client);
    COPY_ARRAY(extra->hassh_server, flow->protos.ssh.hassh_server);
  } else if (holds_tls(flow)) {
    nf_text_tls_version(extra->tls_version, flow->protos.tls_quic.ssl_version);
    COPY_STRING(extra->tls_alpn, client_alpn(flow));
    COPY_ARRAY(extra->ja3_client, flow->protos.tls_quic.ja3_client);
    COPY_ARRAY(extra->ja3_server, flow->protos.tls_quic.ja3_server);
  } else if (holds_dns(flow)) {
    extra->dns_query_type = flow->protos.dns.query_type;
    if (dissection->is_answered) extra->dns_response_code = flow->protos.dns.reply_code;
  }
  COPY_STRING(extra->http_url, flow->http.url);
  uint16_t client_score, server_score;
  extra->risk_mask = flow->risk;
  extra->risk_score = ndpi_risk2score(flow->risk, &client_score, &server_score);
  nf_text_risks(extra->risk_names, sizeof extra->risk_names, flow->risk);
}

static const char *name_of(struct nf_dpi *dpi, ndpi_protocol verdict) {
  const uint16_t app = verdict.app_protocol, master = verdict.master_protocol;
  struct pair_name *known = &dpi->names[(app + 31u * master) % (sizeof dpi->names / sizeof *dpi->names)];
  if (known->text[0] && known->app == app && known->master == master) return known->text;
  char name[sizeof known->text];
  known->app = app;
  known->master = master;
  (void)ndpi_protocol2name(dpi->module, verdict, name, sizeof name);
  COPY_ARRAY(known->text, name);
  return known->text;
}

/* Fills the flow's sections with what is known now. */
static void fill(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra) {
  struct nf_dissection *dissection = l7->dissection;
  const struct ndpi_flow_struct *flow = &dissection->flow;
  *l7 = (struct nf_l7){.dissection = dissection, .is_guessed = dissection->guessed, .confidence = confidence(flow)};
  memcpy(l7->application_name, name_of(dpi, dissection->verdict), sizeof l7->application_name);
  COPY_STRING(l7->application_category_name, ndpi_category_get_name(dpi->module, dissection->verdict.category));
  COPY_ARRAY(l7->requested_server_name, flow->host_server_name);
  fill_sides(l7, flow);
  if (dpi->extra) fill_extra(extra, dissection);
}

/* A flow of which nDPI has seen nothing. */
static void fill_unknown(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra) {
  COPY_STRING(l7->application_name, "Unknown");
  COPY_STRING(l7->application_category_name, "Unspecified");
  if (dpi->extra) extra->dns_response_code = -1;
}

/* The verdict: what nDPI found or else guesses. */
static void conclude(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra) {
  struct nf_dissection *dissection = l7->dissection;
  if (dissection->verdict.app_protocol == NDPI_PROTOCOL_UNKNOWN) {
    dissection->verdict = give_up(dpi->module, &dissection->flow, &dissection->guessed);
    if (!dpi->cache) nf_dpi_cache_clear(dpi->module);
  }
  fill(dpi, l7, extra);
  nf_dpi_drop(dpi, l7);
}

/* ---- packets ---- */

/* Lays bytes where nDPI may read, and zeros behind them. */
static void lay_down(struct nf_dpi *dpi, const uint8_t *bytes, uint32_t size) {
  memcpy(dpi->packet, bytes, size);
  if (dpi->used > size) memset(dpi->packet + size, 0, dpi->used - size);
  dpi->used = size;
}

/* Lays down the IP packet, as much of it as was captured; returns its size. */
static uint16_t copy_packet(struct nf_dpi *dpi, const struct nf_packet *packet) {
  if (packet->ip_offset >= packet->captured_size) return 0;
  uint32_t size = packet->captured_size - packet->ip_offset;
  if (size > packet->ip_size) size = packet->ip_size;
  if (size > PACKET_MAX) size = PACKET_MAX;
  lay_down(dpi, packet->frame + packet->ip_offset, size);
  /* Segmentation offload leaves IPv4's total length 0 in a capture, for which nDPI would not look at the packet. */
  if (packet->ip_version == 4 && size >= 20 && !dpi->packet[2] && !dpi->packet[3]) {
    dpi->packet[2] = (uint8_t)(size >> 8);
    dpi->packet[3] = (uint8_t)size;
  }
  return (uint16_t)size;
}

/*
 * Below 4.4, nDPI reads the TCP header while it looks into a certificate, also into one that came over UDP. So DTLS
 * certificates get a message type it passes over; the rest of the datagram stays as it is. Records are walked as
 * nDPI walks them (RFC 6347, sections 4.1 and 4.2.2: type, version, epoch, number, length, then the message type).
 */
static void hide_dtls_certificates(uint8_t *payload, uint32_t size) {
  enum { RECORD_HEADER = 13, HANDSHAKE = 22, CERTIFICATE = 11, NO_MESSAGE = 255 };
  struct nf_bytes bytes = {payload, size};
  uint32_t at = 0;
  while (nf_has(bytes, at, RECORD_HEADER + 1) && payload[at] == HANDSHAKE && payload[at + 1] == 0xfe) {
    if (payload[at + RECORD_HEADER] == CERTIFICATE) payload[at + RECORD_HEADER] = NO_MESSAGE;
    at += RECORD_HEADER + nf_u16(bytes, at + 11);
  }
}

/* Whether the transport header is there and, in UDP, something behind it. */
static bool has_payload(uint8_t protocol, struct nf_bytes transport) {
  if (protocol == IPPROTO_UDP) return transport.size > 8;
  if (protocol == IPPROTO_TCP) return transport.size >= 20 && (nf_u8(transport, 12) >> 4) * 4u <= transport.size;
  return true;
}

/*
 * Makes the packet in the scratch copy safe for nDPI; false when nDPI must not see it. nDPI keeps what it learns in
 * unions by transport protocol and IP version; the key of a flow has no IP version, and nDPI walks IPv6 extension
 * headers its own way, so one flow could make it take the one for the other. Once it knows a protocol, its dissectors
 * take a payload for granted.
 */
static bool make_safe(struct nf_dpi *dpi, struct nf_dissection *dissection, uint8_t ip_version, uint16_t size) {
  const uint8_t *start;
  uint16_t length;
  uint8_t protocol;
  if (ndpi_detection_get_l4(dpi->packet, size, &start, &length, &protocol, 0) != 0) return true; /* nor can it */
  if (!dissection->ip_version) {
    dissection->ip_version = ip_version;
    dissection->protocol = protocol;
  }
  if (ip_version != dissection->ip_version || protocol != dissection->protocol) return false;
  if (!has_payload(protocol, (struct nf_bytes){start, length})) {
    const struct ndpi_flow_struct *flow = &dissection->flow;
    return flow->detected_protocol_stack[0] == NDPI_PROTOCOL_UNKNOWN && !flow->extra_packets_func;
  }
  if (protocol == IPPROTO_UDP && !NDPI_FROM(4)) {
    hide_dtls_certificates(dpi->packet + (start - dpi->packet) + 8, length - 8u);
  }
  return true;
}

/* Shows nDPI the packet that was laid down. */
static void dissect(struct nf_dpi *dpi, struct nf_dissection *dissection, uint8_t ip_version, uint16_t size,
                    uint64_t time_ms) {
  if (!make_safe(dpi, dissection, ip_version, size)) return;
  struct ndpi_flow_struct *flow = &dissection->flow;
  dissection->verdict = process_packet(dpi->module, flow, dpi->packet, size, time_ms);
  if (!dpi->cache) nf_dpi_cache_clear(dpi->module);
  if (holds_dns(flow) && !flow->protos.dns.is_query) dissection->is_answered = true;
}

static bool is_finished(struct nf_dpi *dpi, struct nf_dissection *dissection) {
  return dissection->verdict.app_protocol != NDPI_PROTOCOL_UNKNOWN &&
         !ndpi_extra_dissection_possible(dpi->module, &dissection->flow);
}

static void settle(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra, bool is_last) {
  if (is_last || is_finished(dpi, l7->dissection)) {
    conclude(dpi, l7, extra);
  } else if (dpi->publish) {
    fill(dpi, l7, extra);
  }
}

/* ---- a SYN that waits ---- */

static bool is_waiting(const struct nf_l7 *l7) { return l7->dissection == &of_waiting_syn; }

/* Whether a flow's first packet may wait for the second, or the end: what nDPI says of it, hooks may want at once. */
static bool may_wait(const struct nf_dpi *dpi, const struct nf_packet *packet) {
  return packet->tcp_flags == NF_SYN && packet->payload_size == 0 && packet->ip_size <= SYN_MAX && dpi->limit > 1 &&
         !dpi->publish;
}

static void let_wait(struct nf_dpi *dpi, struct nf_l7 *l7, const struct nf_packet *packet, uint64_t time_ms) {
  struct waiting_syn syn = {.time_ms = time_ms, .size = copy_packet(dpi, packet), .ip_version = packet->ip_version};
  memcpy(syn.packet, dpi->packet, syn.size);
  memcpy(l7->user_agent, &syn, sizeof syn);
  l7->dissection = &of_waiting_syn;
}

/* Shows nDPI the SYN with the flow's state that it gets now. */
static void wake(struct nf_dpi *dpi, const struct nf_l7 *l7, struct nf_dissection *dissection) {
  struct waiting_syn syn;
  memcpy(&syn, l7->user_agent, sizeof syn);
  lay_down(dpi, syn.packet, syn.size);
  dissect(dpi, dissection, syn.ip_version, syn.size, syn.time_ms);
}

/* ---- a flow's life ---- */

/* A flow gets its state, with its first packet or after its SYN has waited. False when there is no memory for it. */
static bool start(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra) {
  const bool has_waited = is_waiting(l7);
  struct nf_dissection *dissection = dissection_new(dpi);
  l7->dissection = dissection;
  if (!dissection) return false;
  if (!has_waited) return true;
  wake(dpi, l7, dissection);
  settle(dpi, l7, extra, false);
  return true;
}

bool nf_dpi_packet(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra, const struct nf_packet *packet,
                   uint64_t count, uint64_t ticks_per_ms) {
  const uint64_t time_ms = packet->tick / ticks_per_ms;
  if (count == 1 && may_wait(dpi, packet)) {
    let_wait(dpi, l7, packet, time_ms);
    return true;
  }
  if ((count == 1 || is_waiting(l7)) && !start(dpi, l7, extra)) return false;
  if (!l7->dissection) return true;
  if (!packet->is_fragment) dissect(dpi, l7->dissection, packet->ip_version, copy_packet(dpi, packet), time_ms);
  settle(dpi, l7, extra, count >= dpi->limit);
  return true;
}

void nf_dpi_finish(struct nf_dpi *dpi, struct nf_l7 *l7, struct nf_l7_extra *extra) {
  if (is_waiting(l7)) {
    memset(&dpi->brief, 0, sizeof dpi->brief);
    l7->dissection = &dpi->brief;
    wake(dpi, l7, l7->dissection);
  }
  if (l7->dissection) conclude(dpi, l7, extra);
  if (!l7->application_name[0]) fill_unknown(dpi, l7, extra);
}

void nf_dpi_drop(struct nf_dpi *dpi, struct nf_l7 *l7) {
  if (l7->dissection && !is_waiting(l7)) dissection_free(dpi, l7->dissection);
  l7->dissection = NULL;
}
