/*
 * fragments.c: two memories of fixed size, so that a flood of fragments costs no more than a few of them:
 *
 *   known   the tuples of datagrams whose first fragment was seen, in sets of a few that share a hash; in a full set
 *           the oldest gives way
 *   held    later fragments that came before the first, a ring of packets beside a ring of their bytes; the oldest
 *           gives way. One that was taken out keeps its place until the ring's end reaches it
 */
#include "fragments.h"

enum {
  SETS = 1024,
  WAYS = 4,
  KNOWN_MS = 30000,       /* how long Linux waits for the fragments of a datagram */
  HELD_MS = 1000,         /* reordering on the way takes far less */
  HELD_BYTES = 512 << 10, /* of frames: several datagrams of the largest size */
  FRAME_MAX = 68 << 10,   /* the largest IP packet in its frame, with a comment */
  /* Who has taken a frame still reads it while as many more come as NF_FRAGMENTS_READ says. */
  ROOM = HELD_BYTES + (NF_FRAGMENTS_READ + 2) * FRAME_MAX
};

struct known {
  struct nf_tuple datagram, tuple;
  uint64_t tick; /* when it was learnt */
  uint8_t ip_version;
  bool is_used;
};

struct held {
  struct nf_tuple datagram;
  struct nf_packet packet; /* its frame and comment are in bytes, so many of them: */
  uint32_t size;
  uint64_t tick; /* when it came */
  bool is_taken;
};

struct nf_fragments {
  struct nf_hash_key key;
  uint64_t known_for, held_for; /* ticks */
  struct known known[SETS][WAYS];
  struct held ring[NF_FRAGMENTS_HELD];
  uint32_t first, count; /* places of the ring in use */
  uint32_t waiting;      /* of them, not taken */
  uint32_t held_bytes;   /* of all of them */
  uint32_t next_byte;
  uint64_t lost, lost_bytes;
  uint8_t bytes[ROOM];
};

struct nf_fragments *nf_fragments_new(const struct nf_hash_key *key, uint64_t ticks_per_ms) {
  struct nf_fragments *f = calloc(1, sizeof *f);
  if (!f) return NULL;
  f->key = *key;
  f->known_for = KNOWN_MS * ticks_per_ms;
  f->held_for = HELD_MS * ticks_per_ms;
  return f;
}

void nf_fragments_free(struct nf_fragments *f) { free(f); }

/* ---- known datagrams ---- */

static bool same(const struct nf_tuple *a, const struct nf_tuple *b) { return memcmp(a, b, sizeof *a) == 0; }

static struct known *set_of(struct nf_fragments *f, const struct nf_tuple *datagram) {
  return f->known[nf_hash_tuple(&f->key, datagram) % SETS];
}

void nf_fragments_learn(struct nf_fragments *f, const struct nf_tuple *datagram, const struct nf_packet *first,
                        uint64_t tick) {
  struct known *set = set_of(f, datagram), *place = set;
  for (int i = 0; i < WAYS; i++) {
    if (!set[i].is_used || same(&set[i].datagram, datagram)) {
      place = &set[i];
      break;
    }
    if (set[i].tick < place->tick) place = &set[i];
  }
  *place = (struct known){
      .datagram = *datagram,
      .tuple = first->tuple,
      .tick = tick,
      .ip_version = first->ip_version,
      .is_used = true,
  };
}

bool nf_fragments_lend(struct nf_fragments *f, const struct nf_tuple *datagram, struct nf_packet *later,
                       uint64_t tick) {
  const struct known *set = set_of(f, datagram);
  for (int i = 0; i < WAYS && set[i].is_used; i++) {
    if (!same(&set[i].datagram, datagram)) continue;
    if (tick - set[i].tick > f->known_for) return false;
    later->tuple = set[i].tuple;
    later->ip_version = set[i].ip_version;
    return true;
  }
  return false;
}

/* ---- held fragments ---- */

static struct held *oldest(struct nf_fragments *f) { return &f->ring[f->first % NF_FRAGMENTS_HELD]; }

static void lose(struct nf_fragments *f, const struct nf_packet *packet) {
  f->lost++;
  f->lost_bytes += packet->raw_size;
}

static void drop_oldest(struct nf_fragments *f) {
  const struct held *h = oldest(f);
  if (!h->is_taken) {
    lose(f, &h->packet);
    f->waiting--;
  }
  f->held_bytes -= h->size;
  f->first++;
  f->count--;
}

static bool has_expired(const struct nf_fragments *f, const struct held *h, uint64_t tick) {
  return h->tick + f->held_for < tick;
}

/* A stretch of bytes, whose last user is gone. */
static uint8_t *take_bytes(struct nf_fragments *f, uint32_t size) {
  if (f->next_byte + size > ROOM) f->next_byte = 0;
  uint8_t *bytes = f->bytes + f->next_byte;
  f->next_byte += size;
  return bytes;
}

void nf_fragments_hold(struct nf_fragments *f, const struct nf_tuple *datagram, const struct nf_packet *later,
                       uint64_t tick) {
  const uint32_t frame = later->captured_size, comment = later->comment_data ? later->comment_size : 0;
  if (frame > FRAME_MAX || comment > FRAME_MAX - frame) {
    lose(f, later);
    return;
  }
  const uint32_t size = frame + comment;
  while (f->count > 0 && (oldest(f)->is_taken || has_expired(f, oldest(f), tick))) drop_oldest(f);
  while (f->count == NF_FRAGMENTS_HELD || f->held_bytes + size > HELD_BYTES) drop_oldest(f);
  struct held *h = &f->ring[(f->first + f->count) % NF_FRAGMENTS_HELD];
  *h = (struct held){.datagram = *datagram, .packet = *later, .size = size, .tick = tick};
  uint8_t *bytes = take_bytes(f, size);
  memcpy(bytes, later->frame, frame);
  h->packet.frame = bytes;
  if (later->comment_data) {
    memcpy(bytes + frame, later->comment_data, comment);
    h->packet.comment_data = (const char *)bytes + frame;
  }
  f->held_bytes += size;
  f->count++;
  f->waiting++;
}

bool nf_fragments_take(struct nf_fragments *f, const struct nf_tuple *datagram, struct nf_packet *later,
                       uint64_t tick) {
  if (f->waiting == 0) return false;
  for (uint32_t i = 0; i < f->count; i++) {
    struct held *h = &f->ring[(f->first + i) % NF_FRAGMENTS_HELD];
    if (h->is_taken || !same(&h->datagram, datagram) || has_expired(f, h, tick)) continue;
    h->is_taken = true;
    f->waiting--;
    *later = h->packet;
    return true;
  }
  return false;
}

void nf_fragments_end(struct nf_fragments *f) {
  while (f->count > 0) drop_oldest(f);
}

void nf_fragments_count(const struct nf_fragments *f, struct nf_counters *counters) {
  counters->ignored[NF_IGNORED_FRAGMENT] += f->lost;
  counters->packets += f->lost;
  counters->bytes += f->lost_bytes;
}
