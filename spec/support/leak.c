/*
 * leak.c: drives the core without Lua over each file given, with everything switched on, for the leak sanitizer to judge at
 * exit. Half-way through each second file the run is given up, so that what is live then has to be freed too.
 */
#include "base.h"

static void fail(const char *what, const char *why) {
  fprintf(stderr, "leak: %s: %s\n", what, why);
  exit(1);
}

/* What hooks use beside flows, given all there is to see. */
struct tools {
  struct nf_filter *filter;
  struct nf_assembly *assembly;
  struct nf_quic *quic;
  struct nf_crypto *crypto;
};

static struct tools make_tools(void) {
  char error[NF_ERROR_SIZE];
  if (nf_filter_new("no such thing", error)) fail("filter", "compiles what is none");
  struct tools t = {nf_filter_new("udp", error), nf_assembly_new(4, 64, 3), nf_quic_new(error), nf_crypto_new(error)};
  if (!t.filter || !t.assembly || !t.quic || !t.crypto) fail("tools", error);
  return t;
}

static void use_tools(const struct tools *t, const struct nf_packet *packet) {
  static uint8_t frames[1 << 16];
  uint8_t digest[32];
  uint32_t size = packet->captured_size - packet->payload_offset;
  const uint8_t *payload = packet->frame + packet->payload_offset;
  struct nf_quic_id first = {.size = 0};
  if (nf_filter_matches(t->filter, packet))
    nf_quic_client_initial(t->quic, payload, size, &first, frames, sizeof frames);
  nf_assembly_add(t->assembly, nf_assembly_open(t->assembly), 0, payload, size);
  nf_sha256(t->crypto, payload, size, digest);
}

static void free_tools(struct tools t) {
  nf_filter_free(t.filter);
  nf_assembly_free(t.assembly);
  nf_quic_free(t.quic);
  nf_crypto_free(t.crypto);
}

static void meter(const char *path, bool give_up) {
  char error[NF_ERROR_SIZE];
  struct nf_options options = {
      .sources = &path,
      .n_meters = 1,
      .source_count = 1,
      .bpf_filter = "ip or ip6 or vlan or mpls",
      .idle_timeout_s = 1,
      .active_timeout_s = 60,
      .n_dissections = 20,
      .splt_analysis = 10,
      .udps_size = 24,
      .events = NF_EVENT_INIT | NF_EVENT_UPDATE,
      .decode_tunnels = true,
      .defragment = true,
      .statistical_analysis = true,
      .l7_extra = true,
      .comments = true,
  };
  struct nf_column column = {
      .name = "id", .offset = offsetof(struct nf_flow, record_id), .length = 1, .type = NF_TYPE_UINT64};
  struct nf_crew *m = nf_crew_new(&options, error);
  if (!m) fail(path, error);
  struct nf_writer *writer = nf_writer_open("/dev/null", NF_FORMAT_CSV, &column, 1, NULL, error);
  if (!writer) fail("/dev/null", error);
  struct tools tools = make_tools();
  int kind, updates = 0;
  while ((kind = nf_crew_next(m)) >= 0) {
    if (kind == NF_EVENT_EXPIRE) nf_writer_write(writer, nf_crew_event(m)->flow);
    if (kind == NF_EVENT_UPDATE) use_tools(&tools, &nf_crew_event(m)->packet);
    if (kind == NF_EVENT_UPDATE && give_up && ++updates == 20) break;
  }
  while (nf_crew_warning(m)) continue;
  free_tools(tools);
  nf_writer_close(writer, NULL);
  nf_crew_free(m);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) meter(argv[i], i % 2 == 0);
  return 0;
}
