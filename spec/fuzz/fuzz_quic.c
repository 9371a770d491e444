/*
 * fuzz_quic.c: libFuzzer target for core/quic.c. The first byte chooses what the rest is: a datagram, whose packets would
 * have to be sealed to open, or frames as they come out of one. Everything read or written lies in a heap block of
 * exactly its size.
 */
#include "target.h"

enum { IS_FRAMES = 1, HAS_FIRST = 2, IS_SERVERS = 4 };

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

static void try_frames(const uint8_t *data, uint32_t size) {
  uint8_t *frames = copy_of(data, size);
  struct nf_quic_crypto crypto = {0};
  uint32_t before = 0;
  while (nf_quic_next_crypto(frames, size, &crypto)) {
    nf_require(crypto.next > before && crypto.next <= size);
    nf_require(crypto.data >= frames && crypto.size <= (size_t)(frames + size - crypto.data));
    before = crypto.next;
  }
  free(frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct nf_quic *quic;
  if (!quic) quic = nf_quic_new(NULL);
  nf_require(quic);
  if (!size || size > 65536) return 0;
  if (*data & IS_FRAMES) {
    try_frames(data + 1, (uint32_t)size - 1);
  } else {
    try_datagram(quic, data + 1, (uint32_t)size - 1, *data & HAS_FIRST, *data & IS_SERVERS);
  }
  return 0;
}
