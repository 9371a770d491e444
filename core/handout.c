/*
 * handout.c: a ring of batches. The reader fills one when every meter has given it back; each meter goes through all of
 * them in order and sees of each its own packets and every sweep. So all meters share one clock, files are read and
 * decoded once, and a slow meter holds up the reader instead of filling memory.
 */
#include "handout.h"

#include "counters.h"
#include "thread.h"

enum {
  BATCH = 1024,          /* packets: fewer, and threads would wake each other more than work */
  BATCHES = 16,          /* enough for meters to drift apart a little, ... */
  BATCHES_WITH_BYTES = 4 /* ... but more copies of frames would leave the caches before they are used */
};

struct slot {
  struct nf_batch *batch;
  uint16_t *mine;   /* indices of packets, one meter's behind the other's */
  uint32_t *starts; /* where each meter's begin; one more at the end */
  uint32_t users;   /* meters that have not given it back */
};

struct member {
  uint64_t next;  /* number of the batch it gets next */
  bool has_batch; /* and has not given back the one before */
  bool has_left;
};

struct nf_handout {
  struct nf_intake *intake;
  uint32_t member_count;
  struct member *members;
  struct slot slots[BATCHES];
  uint32_t slot_count;
  uint16_t owners[BATCH + NF_BATCH_SPARE]; /* of the packets of the batch being handed out */
  pthread_t thread;
  bool is_running;
  pthread_mutex_t lock;
  pthread_cond_t has_batch, has_slot;
  /* under the lock, as are slots' users and members */
  uint64_t filled; /* batches */
  bool is_stopping, is_at_end;
  int status;
  struct nf_counters counters;
};

static bool make_slot(struct slot *slot, uint32_t members, bool has_bytes) {
  slot->batch = nf_batch_new(BATCH, true, has_bytes);
  slot->mine = calloc(BATCH + NF_BATCH_SPARE, sizeof *slot->mine);
  slot->starts = calloc(members + 1, sizeof *slot->starts);
  return slot->batch && slot->mine && slot->starts;
}

struct nf_handout *nf_handout_new(struct nf_intake *intake, uint32_t members, bool has_bytes) {
  struct nf_handout *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  h->intake = intake;
  h->member_count = members;
  h->slot_count = has_bytes ? BATCHES_WITH_BYTES : BATCHES;
  h->status = NF_END;
  (void)pthread_mutex_init(&h->lock, NULL);
  (void)pthread_cond_init(&h->has_batch, NULL);
  (void)pthread_cond_init(&h->has_slot, NULL);
  h->members = calloc(members, sizeof *h->members);
  bool is_made = h->members != NULL;
  for (uint32_t i = 0; i < h->slot_count && is_made; i++) is_made = make_slot(&h->slots[i], members, has_bytes);
  if (is_made) return h;
  nf_handout_free(h);
  return NULL;
}

void nf_handout_free(struct nf_handout *h) {
  if (!h) return;
  nf_handout_stop(h);
  for (int i = 0; i < BATCHES; i++) {
    nf_batch_free(h->slots[i].batch);
    free(h->slots[i].mine);
    free(h->slots[i].starts);
  }
  free(h->members);
  (void)pthread_mutex_destroy(&h->lock);
  (void)pthread_cond_destroy(&h->has_batch);
  (void)pthread_cond_destroy(&h->has_slot);
  free(h);
}

/* ---- the reader ---- */

/* Sorts a batch's packets by their owners, in place of copying them. The table takes the other half of the hash. */
static void share_out(struct nf_handout *h, struct slot *slot) {
  const struct nf_batch *batch = slot->batch;
  uint32_t n = h->member_count;
  memset(slot->starts, 0, (n + 1) * sizeof *slot->starts);
  for (uint32_t i = 0; i < batch->count; i++) {
    h->owners[i] = (uint16_t)((batch->hashes[i] >> 32) * n >> 32);
    slot->starts[h->owners[i] + 1]++;
  }
  for (uint32_t m = 0; m < n; m++) slot->starts[m + 1] += slot->starts[m];
  for (uint32_t i = 0; i < batch->count; i++) slot->mine[slot->starts[h->owners[i]]++] = (uint16_t)i;
  for (uint32_t m = n; m > 0; m--) slot->starts[m] = slot->starts[m - 1];
  slot->starts[0] = 0;
}

/* A slot that every meter has given back, or NULL when it is time to stop. */
static struct slot *wait_for_slot(struct nf_handout *h) {
  (void)pthread_mutex_lock(&h->lock);
  struct slot *slot = &h->slots[h->filled % h->slot_count];
  while (slot->users > 0 && !h->is_stopping) (void)pthread_cond_wait(&h->has_slot, &h->lock);
  if (h->is_stopping) slot = NULL;
  (void)pthread_mutex_unlock(&h->lock);
  return slot;
}

static void hand_out(struct nf_handout *h, struct slot *slot) {
  struct nf_counters counters = {0};
  share_out(h, slot);
  nf_intake_count(h->intake, &counters);
  (void)pthread_mutex_lock(&h->lock);
  for (uint32_t i = 0; i < h->member_count; i++) slot->users += !h->members[i].has_left;
  h->filled++;
  h->counters = counters;
  (void)pthread_cond_broadcast(&h->has_batch);
  (void)pthread_mutex_unlock(&h->lock);
}

static void finish(struct nf_handout *h, int status) {
  struct nf_counters counters = {0};
  nf_intake_count(h->intake, &counters);
  (void)pthread_mutex_lock(&h->lock);
  h->status = status;
  h->is_at_end = true;
  h->counters = counters;
  (void)pthread_cond_broadcast(&h->has_batch);
  (void)pthread_mutex_unlock(&h->lock);
}

static void *read_input(void *given) {
  struct nf_handout *h = given;
  struct slot *slot;
  int status = NF_END;
  while ((slot = wait_for_slot(h))) {
    status = nf_intake_read(h->intake, slot->batch);
    if (status < 0) break;
    if (status > 0) hand_out(h, slot);
  }
  finish(h, slot ? status : NF_END);
  return NULL;
}

int nf_handout_start(struct nf_handout *h) {
  int problem = nf_thread_start(&h->thread, read_input, h);
  h->is_running = problem == 0;
  return problem;
}

void nf_handout_stop(struct nf_handout *h) {
  if (!h->is_running) return;
  (void)pthread_mutex_lock(&h->lock);
  h->is_stopping = true;
  (void)pthread_cond_signal(&h->has_slot);
  (void)pthread_cond_broadcast(&h->has_batch);
  (void)pthread_mutex_unlock(&h->lock);
  (void)pthread_join(h->thread, NULL);
  h->is_running = false;
}

/* ---- the meters ---- */

/* Under the lock: one meter less uses this batch. The reader, if it waits, is woken for several batches at a time. */
static void give_back(struct nf_handout *h, uint64_t number) {
  if (--h->slots[number % h->slot_count].users > 0) return;
  const struct slot *later = &h->slots[(h->filled + h->slot_count / 2) % h->slot_count];
  if (later->users == 0) (void)pthread_cond_signal(&h->has_slot);
}

int nf_handout_next(struct nf_handout *h, uint32_t index, struct nf_share *share) {
  struct member *member = &h->members[index];
  (void)pthread_mutex_lock(&h->lock);
  if (member->has_batch) give_back(h, member->next - 1);
  while (member->next == h->filled && !h->is_at_end && !h->is_stopping)
    (void)pthread_cond_wait(&h->has_batch, &h->lock);
  bool is_there = member->next < h->filled && !h->is_stopping;
  struct slot *slot = &h->slots[member->next % h->slot_count];
  member->has_batch = is_there;
  member->next += is_there;
  (void)pthread_mutex_unlock(&h->lock);
  if (!is_there) return NF_END;
  *share = (struct nf_share){
      .packets = slot->batch->packets,
      .hashes = slot->batch->hashes,
      .mine = slot->mine + slot->starts[index],
      .count = slot->starts[index + 1] - slot->starts[index],
      .sweeps = slot->batch->sweeps,
      .sweep_count = slot->batch->sweep_count,
      .position = slot->batch->position,
  };
  return 1;
}

void nf_handout_leave(struct nf_handout *h, uint32_t index) {
  struct member *member = &h->members[index];
  (void)pthread_mutex_lock(&h->lock);
  if (member->has_batch) give_back(h, member->next - 1);
  while (member->next < h->filled) give_back(h, member->next++);
  member->has_batch = false;
  member->has_left = true;
  (void)pthread_mutex_unlock(&h->lock);
}

int nf_handout_status(const struct nf_handout *h) { return h->status; }

void nf_handout_count(struct nf_handout *h, struct nf_counters *counters) {
  (void)pthread_mutex_lock(&h->lock);
  nf_counters_add(counters, &h->counters);
  (void)pthread_mutex_unlock(&h->lock);
}
