/*
 * mask.c: records whose values are no longer true. A mask copies each record into memory of its own and changes the
 * copy, step by step; what is hashed is hashed as it was, whatever other steps do. What was masked before is
 * remembered, as addresses and names come again, and each takes longer than a row of CSV.
 *
 * Addresses: Xu, Fan, Ammar, Moon: Prefix-Preserving IP Address Anonymization, ICNP 2002. MAC addresses: a Feistel
 * network (Luby, Rackoff 1988) over the bits that change, with as many rounds as FF1 (NIST SP 800-38G).
 */
#include "cell.h"
#include "crypto.h"
#include "key.h"

#include <sodium.h>

enum {
  ADDRESS_BITS = 128,
  ADDRESS_KEY_SIZE = 2 * NF_AES_SIZE, /* AES's key, and what the padding is made of */
  MAC_SIZE = 6,
  MAC_ROUNDS = 10,
  FIRST_CHOSEN_PORT = 32768, /* Linux begins here; IANA's range (RFC 6335) begins above it */
  MEMOS = 1 << 10,
  LONGEST_MEMO = 46 /* bytes: any address as text, most names */
};

/* A value that was masked. */
struct memo {
  uint8_t masking; /* enum nf_masking; 0 for none */
  uint8_t size;
  uint8_t value[LONGEST_MEMO];
  uint8_t masked[crypto_generichash_BYTES_MAX]; /* as many bytes, or a hash */
};

struct nf_mask {
  struct nf_mask_step *steps;
  uint32_t count, record_size, hash_size;
  int64_t shift;
  struct nf_key key;
  struct nf_crypto *addresses, *macs; /* each with its AES key */
  uint8_t padding[NF_AES_SIZE];
  struct memo *memos;                      /* each value has its place; the last one is for what is not remembered */
  uint8_t seed[crypto_shorthash_KEYBYTES]; /* of places */
  char *scratch;                           /* for the text of one value */
  struct nf_flow *record;
};

/* ---- making one ---- */

static bool check_step(const struct nf_mask_step *step, const struct nf_mask_options *options, char *error) {
  const struct nf_column *column = &step->column;
  const bool is_mac = column->type == NF_TYPE_MAC || column->type == NF_TYPE_OUI;
  bool fits;
  switch (step->masking) {
  case NF_MASK_HASH:
  case NF_MASK_NAME:
    fits = step->to >= options->record_size && step->to + 2 * options->hash_size + 1 <= options->size;
    break;
  case NF_MASK_ADDRESS: fits = column->type == NF_TYPE_IP; break;
  case NF_MASK_MAC:
  case NF_MASK_DEVICE: fits = is_mac; break;
  case NF_MASK_MOMENT: fits = column->type == NF_TYPE_UINT64 && !column->is_array; break;
  case NF_MASK_PORT: fits = column->type == NF_TYPE_UINT16 && !column->is_array; break;
  case NF_MASK_NOTHING: fits = true; break;
  default: fits = false;
  }
  if (!fits) nf_fail(error, "column \"%.100s\": cannot be masked by way %d", column->name, step->masking);
  return fits;
}

static bool check(const struct nf_mask_options *options, char *error) {
  const uint32_t hash = options->hash_size, key = options->key.size;
  if (hash < crypto_generichash_BYTES_MIN || hash > crypto_generichash_BYTES_MAX) {
    nf_fail(error, "a hash of %u bytes, expected %u to %u", hash, crypto_generichash_BYTES_MIN,
            crypto_generichash_BYTES_MAX);
    return false;
  }
  if (key < ADDRESS_KEY_SIZE || key > sizeof options->key.bytes) {
    nf_fail(error, "a key of %u bytes, expected %d to %zu", key, ADDRESS_KEY_SIZE, sizeof options->key.bytes);
    return false;
  }
  for (uint32_t i = 0; i < options->count; i++) {
    if (!check_step(&options->steps[i], options, error)) return false;
  }
  return true;
}

/* A key of 32 bytes is Crypto-PAn's, as others have it; of longer ones 32 are derived. */
static void set_address_key(struct nf_mask *m) {
  uint8_t key[ADDRESS_KEY_SIZE];
  if (m->key.size == ADDRESS_KEY_SIZE) memcpy(key, m->key.bytes, ADDRESS_KEY_SIZE);
  else nf_key_derive(&m->key, "addresses", key, sizeof key);
  nf_aes_key(m->addresses, key);
  memcpy(m->padding, key + NF_AES_SIZE, NF_AES_SIZE);
  nf_aes_blocks(m->addresses, m->padding, NF_AES_SIZE);
  sodium_memzero(key, sizeof key);
}

static void set_mac_key(struct nf_mask *m) {
  uint8_t key[NF_AES_SIZE];
  nf_key_derive(&m->key, "macs", key, sizeof key);
  nf_aes_key(m->macs, key);
  sodium_memzero(key, sizeof key);
}

/* Room for all there is, with libgcrypt's ciphers. False with a reason. */
static bool make_room(struct nf_mask *m, const struct nf_mask_options *options, char *error) {
  size_t bound = 1;
  for (uint32_t i = 0; i < options->count; i++) {
    const size_t each = nf_cell_bound(&options->steps[i].column);
    if (each > bound) bound = each;
  }
  m->steps = calloc(options->count + 1, sizeof *m->steps);
  m->scratch = malloc(bound);
  m->memos = calloc(MEMOS + 1, sizeof *m->memos);
  m->record = calloc(1, options->size);
  if (!m->steps || !m->scratch || !m->memos || !m->record) {
    nf_fail(error, "out of memory for a mask");
    return false;
  }
  return (m->addresses = nf_crypto_new(error)) && (m->macs = nf_crypto_new(error));
}

struct nf_mask *nf_mask_new(const struct nf_mask_options *options, char *error) {
  if (!check(options, error)) return NULL;
  struct nf_mask *m = calloc(1, sizeof *m);
  if (!m) {
    nf_fail(error, "out of memory for a mask");
    return NULL;
  }
  if (!make_room(m, options, error)) {
    nf_mask_free(m);
    return NULL;
  }
  nf_start_sodium();
  if (options->count) memcpy(m->steps, options->steps, options->count * sizeof *m->steps);
  m->count = options->count;
  m->record_size = options->record_size;
  m->hash_size = options->hash_size;
  m->shift = options->shift;
  m->key = options->key;
  randombytes_buf(m->seed, sizeof m->seed);
  set_address_key(m);
  set_mac_key(m);
  return m;
}

void nf_mask_free(struct nf_mask *m) {
  if (!m) return;
  nf_crypto_free(m->addresses);
  nf_crypto_free(m->macs);
  if (m->memos) sodium_memzero(m->memos, (MEMOS + 1) * sizeof *m->memos);
  free(m->memos);
  free(m->steps);
  free(m->scratch);
  free(m->record);
  sodium_memzero(m, sizeof *m);
  free(m);
}

/* ---- addresses ---- */

/*
 * Each bit is flipped or not, as the first bit of a block says that begins with the bits before it and goes on with the
 * padding. What they were is known from the start, so all blocks are enciphered at once.
 */
static void mask_address(struct nf_mask *m, uint8_t *address, uint32_t bits) {
  uint8_t blocks[ADDRESS_BITS][NF_AES_SIZE], block[NF_AES_SIZE];
  memcpy(block, m->padding, sizeof block);
  for (uint32_t i = 0; i < bits; i++) {
    const uint8_t bit = (uint8_t)(0x80 >> i % 8);
    memcpy(blocks[i], block, sizeof block);
    block[i / 8] = (uint8_t)((block[i / 8] & ~bit) | (address[i / 8] & bit));
  }
  nf_aes_blocks(m->addresses, blocks[0], (size_t)bits * NF_AES_SIZE);
  for (uint32_t i = 0; i < bits; i++) address[i / 8] ^= (uint8_t)((blocks[i][0] & 0x80) >> i % 8);
}

/* ---- MAC addresses ---- */

/* One of the permutations of numbers of so many bits, an even number up to 48; another one for each tweak. */
static uint64_t permute(struct nf_mask *m, uint64_t value, uint32_t bits, uint32_t tweak) {
  const uint32_t half = bits / 2;
  const uint64_t low = (1ull << half) - 1;
  uint64_t left = value >> half, right = value & low;
  for (uint32_t round = 0; round < MAC_ROUNDS; round++) {
    uint64_t block[2] = {right, (uint64_t)tweak << 16 | (uint64_t)bits << 8 | round};
    nf_aes_blocks(m->macs, (uint8_t *)block, sizeof block);
    const uint64_t mixed = left ^ (block[0] & low);
    left = right;
    right = mixed;
  }
  return left << half | right;
}

/* Whether a group is meant and whether the address is local, the last bits of the first byte, stay as they are. */
static uint64_t permute_mac(struct nf_mask *m, uint64_t mac) {
  const uint64_t below = (1ull << 40) - 1, flags = 3ull << 40;
  const uint64_t permuted = permute(m, mac >> 42 << 40 | (mac & below), 46, 0);
  return permuted >> 40 << 42 | (mac & flags) | (permuted & below);
}

static void mask_mac(struct nf_mask *m, uint8_t *address, bool keeps_vendor) {
  enum { DEVICE_BITS = 24 };
  const uint64_t device = (1ull << DEVICE_BITS) - 1, broadcast = (1ull << 48) - 1;
  uint64_t mac = 0;
  for (int i = 0; i < MAC_SIZE; i++) mac = mac << 8 | address[i];
  if (mac == 0 || mac == broadcast) return;
  const uint64_t vendor = mac >> DEVICE_BITS;
  if (keeps_vendor) mac = vendor << DEVICE_BITS | permute(m, mac & device, DEVICE_BITS, (uint32_t)vendor);
  else mac = permute_mac(m, mac);
  for (int i = MAC_SIZE - 1; i >= 0; i--, mac >>= 8) address[i] = (uint8_t)mac;
}

/* ---- what comes again ---- */

static void mask_bytes(struct nf_mask *m, int masking, const uint8_t *value, size_t size, uint8_t *out) {
  if (masking == NF_MASK_HASH) {
    (void)crypto_generichash(out, m->hash_size, value, size, m->key.bytes, m->key.size);
    return;
  }
  memcpy(out, value, size);
  if (masking == NF_MASK_ADDRESS) mask_address(m, out, (uint32_t)size * 8);
  else mask_mac(m, out, masking == NF_MASK_DEVICE);
}

/* A value masked, by HASH or one of those for addresses: valid until the next one. */
static const uint8_t *masked(struct nf_mask *m, uint8_t masking, const uint8_t *value, size_t size) {
  uint64_t place;
  if (size > LONGEST_MEMO) {
    mask_bytes(m, masking, value, size, m->memos[MEMOS].masked);
    return m->memos[MEMOS].masked;
  }
  (void)crypto_shorthash((uint8_t *)&place, value, size, m->seed);
  struct memo *memo = &m->memos[(place ^ masking) % MEMOS];
  if (memo->masking != masking || memo->size != size || memcmp(memo->value, value, size) != 0) {
    mask_bytes(m, masking, value, size, memo->masked);
    memcpy(memo->value, value, size);
    memo->masking = masking;
    memo->size = (uint8_t)size;
  }
  return memo->masked;
}

/* ---- values ---- */

static void put_hash(struct nf_mask *m, const struct nf_mask_step *step, const struct nf_flow *record) {
  char *out = (char *)m->record + step->to;
  const size_t size = (size_t)(nf_put_plain(m->scratch, &step->column, record) - m->scratch);
  if (size > 0 || step->masking == NF_MASK_HASH) {
    const uint8_t *digest = masked(m, NF_MASK_HASH, (const uint8_t *)m->scratch, size);
    out = nf_put_hex_bytes(out, digest, (int)m->hash_size, 0);
  }
  *out = '\0';
}

static void replace(struct nf_mask *m, uint8_t masking, uint8_t *value, size_t size) {
  memcpy(value, masked(m, masking, value, size), size);
}

static void mask_moment(const struct nf_mask *m, const struct nf_column *column, uint8_t *value) {
  uint64_t moment;
  memcpy(&moment, value, sizeof moment);
  if (column->has_none && moment == (uint64_t)column->none) return;
  const uint64_t back = 0 - (uint64_t)m->shift;
  if (m->shift >= 0) moment += (uint64_t)m->shift;
  else moment = moment > back ? moment - back : 0;
  memcpy(value, &moment, sizeof moment);
}

static void mask_port(uint8_t *value) {
  uint16_t port;
  memcpy(&port, value, sizeof port);
  if (port >= FIRST_CHOSEN_PORT) memset(value, 0, sizeof port);
}

/* ---- records ---- */

static void apply_step(struct nf_mask *m, const struct nf_mask_step *step, const struct nf_flow *record) {
  uint8_t *value = (uint8_t *)m->record + step->column.offset;
  switch (step->masking) {
  case NF_MASK_ADDRESS: replace(m, step->masking, value, record->ip_version == 6 ? 16 : 4); break;
  case NF_MASK_MAC:
  case NF_MASK_DEVICE: replace(m, step->masking, value, MAC_SIZE); break;
  case NF_MASK_MOMENT: mask_moment(m, &step->column, value); break;
  case NF_MASK_PORT: mask_port(value); break;
  case NF_MASK_NOTHING: memset(value, 0, nf_cell_size(&step->column)); break;
  default: put_hash(m, step, record);
  }
}

const struct nf_flow *nf_mask_record(const struct nf_mask *m) { return m->record; }

void nf_mask_apply(struct nf_mask *m, const struct nf_flow *record) {
  memcpy(m->record, record, m->record_size);
  for (uint32_t i = 0; i < m->count; i++) apply_step(m, &m->steps[i], record);
}
