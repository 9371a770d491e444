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
  KNOWN_MS = 30000, /* how long Linux waits for the fragments of a datagram */
  HELD_MS = 1000,   /* reordering on the way takes far less */
  BYTES = 512 << 10 /* of frames held: what fits into a datagram several times */
};

struct known {
  struct nf_tuple datagram, tuple;
  uint64_t tick; /* when it was learnt */
  uint8_t ip_version;
  bool is_used;
};

struct held {
  struct nf_tuple datagram;
  struct nf_packet packet; /* frame and comment lie in bytes[at .. at + size) */
  uint64_t tick;           /* when it came */
  uint32_t at, size;
  bool is_taken;
};

struct nf_fragments {
  struct nf_hash_key key;
  uint64_t known_for, held_for; /* ticks */
  struct known known[SETS][WAYS];
  struct held ring[NF_FRAGMENTS_HELD];
  uint32_t first, count; /* places of the ring in use */
  uint32_t waiting;      /* of them, not taken */
  uint32_t on_loan;      /* of them, taken since nf_fragments_begin: their bytes are still read */
  uint64_t lost, lost_bytes;
  uint8_t bytes[BYTES];
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

/* The oldest gives way; false when somebody still reads it. */
static bool drop_oldest(struct nf_fragments *f) {
  const struct held *h = oldest(f);
  if (h->is_taken && f->on_loan > 0) return false;
  if (!h->is_taken) {
    lose(f, &h->packet);
    f->waiting--;
  }
  f->first++;
  f->count--;
  return true;
}

static bool overlaps(const struct held *h, uint32_t from, uint32_t to) { return h->at < to && from < h->at + h->size; }

/* Makes room behind the newest: bytes and a place of the ring. Returns where the bytes begin, or BYTES for no room. */
static uint32_t make_room(struct nf_fragments *f, uint32_t size) {
  if (size > BYTES) return BYTES;
  if (f->count == NF_FRAGMENTS_HELD && !drop_oldest(f)) return BYTES;
  if (f->count == 0) return 0;
  const struct held *newest = &f->ring[(f->first + f->count - 1) % NF_FRAGMENTS_HELD];
  uint32_t end = newest->at + newest->size;
  bool is_wrapped = size > BYTES - end;
  while (f->count > 0) {
    const struct held *h = oldest(f);
    bool is_in_the_way = is_wrapped ? h->at >= end || overlaps(h, 0, size) : overlaps(h, end, end + size);
    if (!is_in_the_way) break;
    if (!drop_oldest(f)) return BYTES;
  }
  return is_wrapped ? 0 : end;
}

void nf_fragments_hold(struct nf_fragments *f, const struct nf_tuple *datagram, const struct nf_packet *later,
                       uint64_t tick) {
  uint32_t frame = later->captured_size, comment = later->comment_data ? later->comment_size : 0;
  uint32_t at = frame <= BYTES && comment <= BYTES ? make_room(f, frame + comment) : BYTES;
  if (at == BYTES) {
    lose(f, later);
    return;
  }
  struct held *h = &f->ring[(f->first + f->count) % NF_FRAGMENTS_HELD];
  *h = (struct held){.datagram = *datagram, .packet = *later, .tick = tick, .at = at, .size = frame + comment};
  memcpy(f->bytes + at, later->frame, frame);
  h->packet.frame = f->bytes + at;
  if (later->comment_data) {
    memcpy(f->bytes + at + frame, later->comment_data, comment);
    h->packet.comment_data = (const char *)f->bytes + at + frame;
  }
  f->count++;
  f->waiting++;
}

bool nf_fragments_take(struct nf_fragments *f, const struct nf_tuple *datagram, struct nf_packet *later) {
  if (f->waiting == 0) return false;
  for (uint32_t i = 0; i < f->count; i++) {
    struct held *h = &f->ring[(f->first + i) % NF_FRAGMENTS_HELD];
    if (h->is_taken || !same(&h->datagram, datagram)) continue;
    h->is_taken = true;
    f->waiting--;
    f->on_loan++;
    *later = h->packet;
    return true;
  }
  return false;
}

void nf_fragments_begin(struct nf_fragments *f, uint64_t tick) {
  f->on_loan = 0;
  while (f->count > 0 && (oldest(f)->is_taken || oldest(f)->tick + f->held_for < tick)) (void)drop_oldest(f);
}

void nf_fragments_end(struct nf_fragments *f) {
  f->on_loan = 0;
  while (f->count > 0) (void)drop_oldest(f);
}

void nf_fragments_count(const struct nf_fragments *f, struct nf_counters *counters) {
  counters->ignored[NF_IGNORED_FRAGMENT] += f->lost;
  counters->packets += f->lost;
  counters->bytes += f->lost_bytes;
}
