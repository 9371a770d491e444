/*
 * fuzz_quic.c: libFuzzer target for core/quic.c and core/assembly.c. The first byte chooses what the rest is: a datagram,
 * whose packets would have to be sealed to open, or frames as they come out of one, whose CRYPTO frames then go into a
 * stream and into a plain list of bytes, to be compared. Everything read or written lies in a heap block of exactly its
 * size.
 */
#include "target.h"

enum { STREAMS = 2, ROOM = 300, PATIENCE = 20, IS_FRAMES = 1, HAS_FIRST = 2, IS_SERVERS = 4 };

static uint8_t *copy_of(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size ? size : 1);
  nf_require(copy);
  memcpy(copy, data, size);
  return copy;
}

static void try_datagram(struct nf_quic *quic, const uint8_t *data, uint32_t size, bool has_first, bool is_servers) {
  uint8_t *datagram = copy_of(data, size), *frames = malloc(size ? size : 1);
  nf_require(frames);
  struct nf_quic_id first = {0};
  if (has_first && size) memcpy(&first, data, size < sizeof first ? size : sizeof first);
  uint32_t (*const open)(struct nf_quic *, const uint8_t *, uint32_t, struct nf_quic_id *, uint8_t *,
                         uint32_t) = is_servers ? nf_quic_server_initial : nf_quic_client_initial;
  nf_require(open(quic, datagram, size, &first, frames, size) <= size);
  nf_require(first.size <= sizeof first.bytes);
  free(frames);
  free(datagram);
}

/* What an assembly does, byte by byte. */
struct model {
  uint8_t bytes[ROOM];
  bool is_there[ROOM];
};

static uint32_t model_add(struct model *model, const struct nf_quic_crypto *crypto) {
  for (uint32_t i = 0; i < crypto->size && crypto->offset + i < ROOM; i++) {
    const uint32_t at = crypto->offset + i;
    if (!model->is_there[at]) model->bytes[at] = crypto->data[i];
    model->is_there[at] = true;
  }
  uint32_t beginning = 0;
  while (beginning < ROOM && model->is_there[beginning]) beginning++;
  return beginning;
}

static void try_frames(struct nf_assembly *assembly, const uint8_t *data, uint32_t size) {
  uint8_t *frames = copy_of(data, size);
  struct model model = {0};
  struct nf_quic_crypto crypto = {0};
  const int64_t stream = nf_assembly_open(assembly);
  uint32_t before = 0, count = 0;
  /* As many islands as a stream keeps track of: with more the model would know more. */
  while (count++ < 32 && nf_quic_next_crypto(frames, size, &crypto)) {
    nf_require(crypto.next > before && crypto.next <= size);
    nf_require(crypto.data >= frames && crypto.size <= (size_t)(frames + size - crypto.data));
    before = crypto.next;
    const uint32_t expected = model_add(&model, &crypto);
    const int64_t beginning = nf_assembly_add(assembly, stream, crypto.offset, crypto.data, crypto.size);
    if (beginning == NF_END) break;
    uint32_t there;
    const uint8_t *bytes = nf_assembly_bytes(assembly, stream, &there);
    nf_require(bytes && there == beginning && there == expected && memcmp(bytes, model.bytes, there) == 0);
  }
  if (count & 1) nf_assembly_close(assembly, stream);
  free(frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct nf_quic *quic;
  static struct nf_assembly *assembly;
  if (!quic) quic = nf_quic_new(NULL);
  if (!assembly) assembly = nf_assembly_new(STREAMS, ROOM, PATIENCE);
  nf_require(quic && assembly);
  if (!size || size > 65536) return 0;
  if (*data & IS_FRAMES) {
    try_frames(assembly, data + 1, (uint32_t)size - 1);
  } else {
    try_datagram(quic, data + 1, (uint32_t)size - 1, *data & HAS_FIRST, *data & IS_SERVERS);
  }
  return 0;
}
