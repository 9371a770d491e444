/*
 * table.c: the flow table. Three parts, kept apart so that each stays in few cache lines:
 *
 *   index   open addressing with linear probing: 32 bits of the hash and a slot number per entry, so that neither a
 *           miss nor a growing table touches a slot; deletion shifts back, so there are no tombstones
 *   slots   one stretch of reserved addresses, given memory step by step: a slot never moves; a freed one is the next
 *           to be reused. Steps are as large as huge pages, which a million new flows would otherwise spend half their
 *           time faulting in one small page after another
 *   order   two doubly linked lists over slot numbers, least recently seen first
 */
#include "table.h"

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define NF_POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define NF_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define NF_POISON(p, n)   ((void)(p), (void)(n))
#define NF_UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum {
  STEP = 2 << 20, /* bytes of slots given memory at a time: a huge page */
  FIRST_INDEX = 1 << 12,
  CACHE_LINE = 64,
  HOT_BYTES = 2048,   /* what an update touches at most: flow, statistics, columns of many plugins */
  WHOLE_BYTES = 4096, /* and what an end does */
};

/* Addresses reserved at most: a slot can be large, and user space has 2^47. */
#define RESERVED_AT_MOST ((uint64_t)1 << 44)

#define NO_SLOT UINT32_MAX

struct entry {
  uint32_t tag;  /* low half of the hash; its low bits say where the entry wants to be */
  uint32_t slot; /* slot number + 1; 0: empty */
};

struct link {
  uint32_t previous, next; /* next also chains free slots */
};

struct nf_table {
  struct entry *index;
  uint32_t mask; /* entries - 1 */
  uint32_t slot_size;
  uint8_t *slots;
  size_t reserved, committed; /* bytes of addresses; of them with memory */
  struct link *order;
  uint32_t order_room, slots_used; /* entries of order; slots handed out at least once */
  uint32_t free;                   /* most recently freed slot */
  struct ends {
    uint32_t oldest, newest;
  } queues[NF_QUEUES];
  uint64_t count, max;
  struct nf_hash_key key;
};

/* Reserves addresses for `slots` slots, or for as many as the system lets us. */
static bool reserve(struct nf_table *t, uint64_t slots) {
  uint64_t most = RESERVED_AT_MOST / t->slot_size;
  if (slots > most) slots = most;
  for (; slots > 0; slots /= 2) {
    size_t bytes = ((size_t)slots * t->slot_size + (size_t)2 * STEP - 1) / STEP * STEP; /* room to align */
    uint8_t *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) continue;
    size_t skip = (STEP - (uintptr_t)at % STEP) % STEP;
    if (skip) munmap(at, skip);
    t->slots = at + skip;
    t->reserved = bytes - skip;
    return true;
  }
  return false;
}

struct nf_table *nf_table_new(uint32_t slot_size, uint64_t max_flows, const struct nf_hash_key *key) {
  nf_require(slot_size >= sizeof(struct nf_flow) && slot_size % 8 == 0);
  struct nf_table *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->slot_size = slot_size;
  t->max = max_flows && max_flows < NO_SLOT / 2 ? max_flows : NO_SLOT / 2;
  t->free = NO_SLOT;
  for (int i = 0; i < NF_QUEUES; i++) t->queues[i] = (struct ends){.oldest = NO_SLOT, .newest = NO_SLOT};
  t->mask = FIRST_INDEX - 1;
  t->key = *key;
  t->index = calloc(FIRST_INDEX, sizeof *t->index);
  if (!t->index || !reserve(t, t->max + 1)) { /* one more: a flow that ended may wait beside a full table */
    nf_table_free(t);
    return NULL;
  }
  return t;
}

void nf_table_free(struct nf_table *t) {
  if (!t) return;
  if (t->slots) {
    NF_UNPOISON(t->slots, t->committed);
    munmap(t->slots, t->reserved);
  }
  free(t->order);
  free(t->index);
  free(t);
}

uint64_t nf_table_hash(const struct nf_table *t, const struct nf_tuple *tuple) { return nf_hash_tuple(&t->key, tuple); }

/* ---- slots ---- */

static inline struct nf_flow *slot_at(const struct nf_table *t, uint32_t slot) {
  return (struct nf_flow *)(void *)(t->slots + (size_t)slot * t->slot_size);
}

static bool grow_order(struct nf_table *t) {
  uint32_t room = t->order_room ? 2 * t->order_room : 1024;
  struct link *order = realloc(t->order, (size_t)room * sizeof *order);
  if (!order) return false;
  t->order = order;
  t->order_room = room;
  return true;
}

/* Gives memory to the addresses up to `end`. */
static bool commit(struct nf_table *t, size_t end) {
  while (t->committed < end) {
    if (t->committed == t->reserved) return false;
    uint8_t *step = t->slots + t->committed;
    if (mprotect(step, STEP, PROT_READ | PROT_WRITE) != 0) return false;
    madvise(step, STEP, MADV_HUGEPAGE); /* a hint: works without */
    NF_POISON(step, STEP);
    t->committed += STEP;
  }
  return true;
}

static uint32_t take_slot(struct nf_table *t) {
  uint32_t slot = t->free;
  if (slot != NO_SLOT) {
    t->free = t->order[slot].next;
  } else {
    if (t->slots_used == t->order_room && !grow_order(t)) return NO_SLOT;
    if (!commit(t, ((size_t)t->slots_used + 1) * t->slot_size)) return NO_SLOT;
    slot = t->slots_used++;
  }
  NF_UNPOISON(slot_at(t, slot), t->slot_size);
  return slot;
}

void nf_table_release(struct nf_table *t, struct nf_flow *flow) {
  uint32_t slot = flow->slot;
  t->order[slot].next = t->free;
  t->free = slot;
  NF_POISON(flow, t->slot_size);
}

/* ---- order ---- */

static void append(struct nf_table *t, const struct nf_flow *flow) {
  struct ends *ends = &t->queues[flow->queue];
  t->order[flow->slot] = (struct link){.previous = ends->newest, .next = NO_SLOT};
  if (ends->newest != NO_SLOT) t->order[ends->newest].next = flow->slot;
  else ends->oldest = flow->slot;
  ends->newest = flow->slot;
}

static void unlink_slot(struct nf_table *t, const struct nf_flow *flow) {
  struct ends *ends = &t->queues[flow->queue];
  struct link l = t->order[flow->slot];
  if (l.previous != NO_SLOT) t->order[l.previous].next = l.next;
  else ends->oldest = l.next;
  if (l.next != NO_SLOT) t->order[l.next].previous = l.previous;
  else ends->newest = l.previous;
}

void nf_table_touch(struct nf_table *t, const struct nf_flow *flow) {
  if (t->queues[flow->queue].newest == flow->slot) return;
  unlink_slot(t, flow);
  append(t, flow);
}

void nf_table_move(struct nf_table *t, struct nf_flow *flow, enum nf_queue queue) {
  unlink_slot(t, flow);
  flow->queue = (uint8_t)queue;
  append(t, flow);
}

struct nf_flow *nf_table_oldest_in(const struct nf_table *t, enum nf_queue queue) {
  uint32_t slot = t->queues[queue].oldest;
  return slot == NO_SLOT ? NULL : slot_at(t, slot);
}

struct nf_flow *nf_table_older(struct nf_flow *open, struct nf_flow *closing) {
  if (!open || !closing) return open ? open : closing;
  return closing->last_packet < open->last_packet ? closing : open;
}

struct nf_flow *nf_table_oldest(const struct nf_table *t) {
  return nf_table_older(nf_table_oldest_in(t, NF_QUEUE_OPEN), nf_table_oldest_in(t, NF_QUEUE_CLOSING));
}

/* ---- index ---- */

void nf_table_prefetch(const struct nf_table *t, uint64_t hash) {
  __builtin_prefetch(&t->index[(uint32_t)hash & t->mask]);
}

void nf_table_prefetch_slot(const struct nf_table *t, uint64_t hash) {
  uint32_t tag = (uint32_t)hash;
  for (uint32_t i = tag & t->mask; t->index[i].slot; i = (i + 1) & t->mask) {
    if (t->index[i].tag != tag) continue;
    const uint8_t *slot = (const uint8_t *)slot_at(t, t->index[i].slot - 1);
    uint32_t hot = t->slot_size < HOT_BYTES ? t->slot_size : HOT_BYTES;
    for (uint32_t line = 0; line < hot; line += CACHE_LINE) __builtin_prefetch(slot + line, 1);
    return;
  }
}

void nf_table_prefetch_next(const struct nf_table *t, const struct nf_flow *flow) {
  uint32_t next = t->order[flow->slot].next;
  if (next == NO_SLOT) return;
  const uint8_t *slot = (const uint8_t *)slot_at(t, next);
  uint32_t hot = t->slot_size < WHOLE_BYTES ? t->slot_size : WHOLE_BYTES;
  for (uint32_t line = 0; line < hot; line += CACHE_LINE) __builtin_prefetch(slot + line, 1);
}

static inline bool same_words(const void *a, const void *b, size_t size) { return memcmp(a, b, size) == 0; }

static inline bool is_forward(const struct nf_tuple *a, const struct nf_tuple *b) {
  return same_words(a, b, sizeof *a);
}

static inline bool is_backward(const struct nf_tuple *a, const struct nf_tuple *b) {
  return a->src_port == b->dst_port && a->dst_port == b->src_port && a->protocol == b->protocol &&
         a->vlan_id == b->vlan_id && a->tunnel_id == b->tunnel_id && same_words(a->src_address, b->dst_address, 16) &&
         same_words(a->dst_address, b->src_address, 16);
}

struct nf_flow *nf_table_find(const struct nf_table *t, const struct nf_tuple *tuple, uint64_t hash,
                              uint8_t *direction) {
  uint32_t tag = (uint32_t)hash;
  for (uint32_t i = tag & t->mask; t->index[i].slot; i = (i + 1) & t->mask) {
    if (t->index[i].tag != tag) continue;
    struct nf_flow *flow = slot_at(t, t->index[i].slot - 1);
    if (is_forward(&flow->tuple, tuple)) {
      *direction = 0;
      return flow;
    }
    if (is_backward(&flow->tuple, tuple)) {
      *direction = 1;
      return flow;
    }
  }
  return NULL;
}

static void place(struct entry *index, uint32_t mask, struct entry e) {
  uint32_t i = e.tag & mask;
  while (index[i].slot) i = (i + 1) & mask;
  index[i] = e;
}

static bool grow(struct nf_table *t) {
  size_t entries = (size_t)t->mask + 1;
  struct entry *index = calloc(2 * entries, sizeof *index);
  if (!index) return false;
  uint32_t mask = (uint32_t)(2 * entries - 1);
  for (size_t i = 0; i < entries; i++)
    if (t->index[i].slot) place(index, mask, t->index[i]);
  free(t->index);
  t->index = index;
  t->mask = mask;
  return true;
}

struct nf_flow *nf_table_insert(struct nf_table *t, const struct nf_tuple *tuple, uint64_t hash) {
  if (t->count >= t->max) return NULL;
  if (t->count >= (uint64_t)t->mask / 4 * 3 && !grow(t)) return NULL;
  uint32_t slot = take_slot(t);
  if (slot == NO_SLOT) return NULL;
  place(t->index, t->mask, (struct entry){.tag = (uint32_t)hash, .slot = slot + 1});
  struct nf_flow *flow = slot_at(t, slot);
  flow->tuple = *tuple;
  flow->slot = slot;
  flow->queue = NF_QUEUE_OPEN;
  append(t, flow);
  t->count++;
  return flow;
}

void nf_table_remove(struct nf_table *t, struct nf_flow *flow) {
  uint32_t wanted = flow->slot + 1;
  uint32_t hole = (uint32_t)nf_table_hash(t, &flow->tuple) & t->mask;
  while (t->index[hole].slot != wanted) {
    nf_require(t->index[hole].slot);
    hole = (hole + 1) & t->mask;
  }
  /* Close the hole with the next entry that may stand there, until the run of entries ends. */
  for (uint32_t i = (hole + 1) & t->mask; t->index[i].slot; i = (i + 1) & t->mask) {
    uint32_t home = t->index[i].tag & t->mask;
    if (((i - home) & t->mask) < ((i - hole) & t->mask)) continue;
    t->index[hole] = t->index[i];
    hole = i;
  }
  t->index[hole].slot = 0;
  unlink_slot(t, flow);
  t->count--;
}

void nf_table_drain(struct nf_table *t, const struct nf_flow *flow) {
  unlink_slot(t, flow);
  t->count--;
}

uint64_t nf_table_count(const struct nf_table *t) { return t->count; }
bool nf_table_is_full(const struct nf_table *t) { return t->count >= t->max; }
