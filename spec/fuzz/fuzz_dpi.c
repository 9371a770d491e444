/*
 * fuzz_dpi.c: libFuzzer target for core/dpi.c and, behind it, the nDPI that is linked.
 *
 * An input is one flow: a flag byte, two ports, then packets, each a kind byte, a 16-bit length and that many payload
 * bytes. Headers are built here, so that every byte the fuzzer spends changes what dissectors look at. The module
 * outlives the runs, since it takes far longer to start than a run takes; with it live nDPI's caches, so a finding may
 * need the runs before it.
 */
#include "dpi.h"
#include "target.h"

enum {
  /* the flag byte */
  FLAG_V6 = 1,
  FLAG_PUBLISH = 2,
  FLAG_PROTOCOL = 12, /* TCP, UDP, ICMP or another, in these two bits */
  FLAG_NO_SYN = 16,   /* TCP that was under way when the capture began */
  /* a packet's kind byte */
  KIND_BACK = 1,      /* from the flow's destination */
  KIND_CUT = 2,       /* captured but for the last byte */
  KIND_OFFLOAD = 4,   /* total length 0 */
  KIND_EXTENSION = 8, /* IPv6 destination options before the transport header */
  KIND_HEADLESS = 16, /* the payload stands where the transport header should */
  KIND_TRAILER = 32,  /* link-layer padding behind the packet */
  KIND_STRANGER = 64, /* the IP header tells of another protocol */
  LINK = 14,
  PAYLOAD_MAX = 9000,
  FRAME_MAX = LINK + 40 + 8 + 20 + PAYLOAD_MAX + 16
};

struct flow {
  uint8_t flags, protocol;
  uint16_t ports[2];
  uint32_t sequence[2];
  uint64_t count;
};

static void put(uint8_t *to, unsigned value, int count) {
  for (int i = count - 1; i >= 0; i--, value >>= 8) to[i] = (uint8_t)value;
}

static void put_ip(uint8_t *ip, const struct flow *flow, unsigned kind, uint32_t size) {
  bool back = kind & KIND_BACK;
  uint8_t protocol = kind & KIND_STRANGER ? flow->protocol ^ 6 ^ 17 : flow->protocol;
  memset(ip, 0, 48);
  if (!(flow->flags & FLAG_V6)) {
    ip[0] = 0x45;
    put(ip + 2, kind & KIND_OFFLOAD ? 0 : 20 + size, 2);
    ip[8] = 64;
    ip[9] = protocol;
    put(ip + 12, back ? 0xc0a80002 : 0x0a000001, 4);
    put(ip + 16, back ? 0x0a000001 : 0xc0a80002, 4);
    return;
  }
  uint32_t header = kind & KIND_EXTENSION ? 48 : 40;
  ip[0] = 0x60;
  put(ip + 4, header - 40 + size, 2);
  ip[6] = kind & KIND_EXTENSION ? 60 : protocol;
  ip[7] = 64;
  ip[8] = ip[24] = 0x20;
  ip[23] = back ? 2 : 1;
  ip[39] = back ? 1 : 2;
  ip[40] = protocol;
}

static uint32_t put_transport(uint8_t *to, struct flow *flow, unsigned kind, uint32_t payload) {
  bool back = kind & KIND_BACK;
  if ((flow->protocol != 6 && flow->protocol != 17) || kind & KIND_HEADLESS) return 0;
  memset(to, 0, 20);
  put(to, flow->ports[back], 2);
  put(to + 2, flow->ports[!back], 2);
  if (flow->protocol == 17) {
    put(to + 4, 8 + payload, 2);
    return 8;
  }
  bool syn = flow->count <= 2 && !(flow->flags & FLAG_NO_SYN);
  put(to + 4, flow->sequence[back], 4);
  put(to + 8, flow->sequence[!back], 4);
  to[12] = 5 << 4;
  to[13] = (uint8_t)((syn ? NF_SYN : NF_PSH) | (flow->count > 1 ? NF_ACK : 0));
  flow->sequence[back] += payload + syn;
  return 20;
}

/* The flow's next packet, in a block of exactly the captured size. */
static uint8_t *next_packet(struct nf_packet *packet, struct flow *flow, struct fuzz_input *in) {
  uint8_t frame[FRAME_MAX] = {0};
  unsigned kind = fuzz_take(in, 1);
  unsigned payload = fuzz_take(in, 2) % PAYLOAD_MAX;
  if (payload > in->size) payload = (unsigned)in->size;
  flow->count++;
  uint32_t header = flow->flags & FLAG_V6 ? kind & KIND_EXTENSION ? 48 : 40 : 20;
  uint32_t transport = put_transport(frame + LINK + header, flow, kind, payload);
  put_ip(frame + LINK, flow, kind, transport + payload);
  memcpy(frame + LINK + header + transport, in->data, payload);
  in->data += payload;
  in->size -= payload;
  uint32_t size = LINK + header + transport + payload;
  *packet = (struct nf_packet){
      .tuple = {.src_port = flow->ports[0], .dst_port = flow->ports[1], .protocol = flow->protocol},
      .tick = 1600000000000 + flow->count * 10,
      .captured_size = size + (kind & KIND_TRAILER ? 16 : 0) - (kind & KIND_CUT ? 1 : 0),
      .raw_size = size,
      .ip_size = size - LINK,
      .transport_size = transport + payload,
      .payload_size = payload,
      .ip_offset = LINK,
      .transport_offset = LINK + header,
      .payload_offset = LINK + header + transport,
      .ip_version = flow->flags & FLAG_V6 ? 6 : 4,
      .direction = kind & KIND_BACK,
      .tcp_flags = transport == 20 ? frame[LINK + header + 13] : 0,
  };
  uint8_t *captured = malloc(packet->captured_size);
  nf_require(captured);
  memcpy(captured, frame, packet->captured_size);
  packet->frame = captured;
  return captured;
}

static void require_text(const char *text, size_t size) { nf_require(memchr(text, '\0', size)); }

static void require_complete(const struct nf_l7 *l7, const struct nf_l7_extra *extra) {
  nf_require(!l7->dissection);
  nf_require(l7->application_name[0] && l7->application_category_name[0]);
  nf_require(l7->confidence <= 4 && l7->is_guessed <= 1);
  require_text(l7->application_name, sizeof l7->application_name);
  require_text(l7->requested_server_name, sizeof l7->requested_server_name);
  require_text(l7->user_agent, sizeof l7->user_agent);
  require_text(extra->http_url, sizeof extra->http_url);
  require_text(extra->risk_names, sizeof extra->risk_names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct nf_dpi *modules[2];
  static const uint8_t protocols[2][4] = {{6, 17, 1, 132}, {6, 17, 58, 132}};
  struct fuzz_input in = {data, size};
  struct flow flow = {.flags = (uint8_t)fuzz_take(&in, 1), .sequence = {1000, 5000}};
  flow.protocol = protocols[flow.flags & FLAG_V6][(flow.flags & FLAG_PROTOCOL) >> 2];
  flow.ports[0] = (uint16_t)fuzz_take(&in, 2);
  flow.ports[1] = (uint16_t)fuzz_take(&in, 2);
  bool publish = flow.flags & FLAG_PUBLISH;
  if (!modules[publish]) modules[publish] = nf_dpi_new(32, true, !publish, NULL);
  nf_require(modules[publish]);
  nf_dpi_publish(modules[publish], publish);

  struct nf_l7 l7 = {0};
  struct nf_l7_extra extra = {0};
  while (in.size && flow.count < 40) {
    struct nf_packet packet;
    uint8_t *captured = next_packet(&packet, &flow, &in);
    nf_dpi_packet(modules[publish], &l7, &extra, &packet, flow.count, 1);
    free(captured);
  }
  nf_dpi_finish(modules[publish], &l7, &extra);
  require_complete(&l7, &extra);
  return 0;
}
