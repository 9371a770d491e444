/*
 * merge.c: a ring of records for each lane. Both sides work on their own idea of how far the other is and meet under
 * the lock only now and then: a meter at the end of each batch of packets, or when its ring is full; the taking side
 * when it has used up what it knows of.
 *
 * A record may be taken when every other lane either has one that comes later, or has said that all to come does.
 * There is no deadlock: the lane that is waited for is empty, so its meter does not wait for room, and the packets that
 * it needs to get past that record have been handed to all meters already.
 */
#include "merge.h"

#include <pthread.h>

#include "clock.h"
#include "counters.h"

enum {
  RING_BYTES = 1 << 20, /* of records a lane, ... */
  RING_MIN = 16,        /* ... but at least so many, ... */
  RING_MAX = 4096,      /* ... and at most */
  MANY_NEWS = 8         /* of each lane */
};

/* How far a lane is, as one side knows it. */
struct progress {
  uint64_t put, taken; /* records */
  uint64_t reached;    /* least order of what is to come behind them */
  bool is_finished;
};

struct lane {
  uint8_t *records;
  struct nf_place *places;
  struct progress meter, taker; /* each side's view; a side writes its own numbers ahead of the shared ones */
  struct progress shared;       /* under the lock */
  struct nf_counters counters;  /* likewise */
  struct nf_place failed_at;    /* once it is finished */
  const char *failure;
  char failure_text[NF_ERROR_SIZE];
  pthread_cond_t has_room;
};

struct nf_merge {
  uint32_t count, record_size, room; /* room is a power of two */
  bool is_ordered;
  struct lane *lanes;
  struct lane *given; /* the lane of the record given last */
  uint32_t turn;      /* where an unordered search begins */
  const char *failure;
  pthread_mutex_t lock;
  pthread_cond_t has_news;
  uint64_t news, seen; /* under the lock: changes made by meters; those the taker has looked at */
  bool is_closed;
};

struct nf_merge *nf_merge_new(uint32_t count, uint32_t record_size, bool is_ordered) {
  struct nf_merge *merge = calloc(1, sizeof *merge);
  struct lane *lanes = calloc(count, sizeof *lanes);
  if (!merge || !lanes) {
    free(lanes);
    free(merge);
    return NULL;
  }
  merge->record_size = record_size;
  merge->is_ordered = is_ordered;
  merge->room = RING_MIN;
  while (merge->room < RING_MAX && (size_t)merge->room * 2 * record_size <= RING_BYTES) merge->room *= 2;
  pthread_condattr_t monotonic;
  (void)pthread_condattr_init(&monotonic);
  (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  (void)pthread_mutex_init(&merge->lock, NULL);
  (void)pthread_cond_init(&merge->has_news, &monotonic);
  (void)pthread_condattr_destroy(&monotonic);
  merge->lanes = lanes;
  bool is_made = true;
  for (; is_made && merge->count < count; merge->count++) {
    struct lane *lane = &lanes[merge->count];
    (void)pthread_cond_init(&lane->has_room, NULL);
    lane->records = calloc(merge->room, record_size);
    lane->places = calloc(merge->room, sizeof *lane->places);
    is_made = lane->records && lane->places;
  }
  if (is_made) return merge;
  nf_merge_free(merge);
  return NULL;
}

void nf_merge_free(struct nf_merge *merge) {
  if (!merge) return;
  for (uint32_t i = 0; i < merge->count; i++) {
    (void)pthread_cond_destroy(&merge->lanes[i].has_room);
    free(merge->lanes[i].records);
    free(merge->lanes[i].places);
  }
  (void)pthread_mutex_destroy(&merge->lock);
  (void)pthread_cond_destroy(&merge->has_news);
  free(merge->lanes);
  free(merge);
}

static inline uint32_t place_of(const struct nf_merge *merge, uint64_t number) {
  return (uint32_t)number & (merge->room - 1);
}

static inline uint8_t *record_at(const struct nf_merge *merge, const struct lane *lane, uint64_t number) {
  return lane->records + (size_t)place_of(merge, number) * merge->record_size;
}

/* ---- a meter's side ---- */

/* Under the lock: shows what was put. Who waits for it is woken for a good many at a time; it looks by itself, too. */
static void show(struct nf_merge *merge, struct lane *lane) {
  lane->shared.put = lane->meter.put;
  lane->meter.taken = lane->shared.taken;
  merge->news++;
  bool is_much = lane->shared.put - lane->shared.taken >= merge->room / 4;
  if (is_much || lane->shared.is_finished || merge->news - merge->seen >= (uint64_t)MANY_NEWS * merge->count)
    (void)pthread_cond_signal(&merge->has_news);
}

static bool wait_for_room(struct nf_merge *merge, struct lane *lane) {
  (void)pthread_mutex_lock(&merge->lock);
  show(merge, lane);
  while (!merge->is_closed && lane->meter.put - lane->shared.taken == merge->room)
    (void)pthread_cond_wait(&lane->has_room, &merge->lock);
  lane->meter.taken = lane->shared.taken;
  bool is_open = !merge->is_closed;
  (void)pthread_mutex_unlock(&merge->lock);
  return is_open;
}

bool nf_merge_put(struct nf_merge *merge, uint32_t index, const struct nf_flow *record, struct nf_place place) {
  struct lane *lane = &merge->lanes[index];
  struct progress *mine = &lane->meter;
  if (NF_UNLIKELY(mine->put - mine->taken == merge->room) && !wait_for_room(merge, lane)) return false;
  memcpy(record_at(merge, lane, mine->put), record, merge->record_size);
  lane->places[place_of(merge, mine->put)] = place;
  mine->put++;
  return true;
}

bool nf_merge_reach(struct nf_merge *merge, uint32_t index, uint64_t order, const struct nf_counters *counters) {
  struct lane *lane = &merge->lanes[index];
  (void)pthread_mutex_lock(&merge->lock);
  lane->shared.reached = order;
  lane->counters = *counters;
  show(merge, lane);
  bool is_open = !merge->is_closed;
  (void)pthread_mutex_unlock(&merge->lock);
  return is_open;
}

void nf_merge_finish(struct nf_merge *merge, uint32_t index, const char *failure, struct nf_place place) {
  struct lane *lane = &merge->lanes[index];
  (void)pthread_mutex_lock(&merge->lock);
  if (failure) {
    (void)snprintf(lane->failure_text, sizeof lane->failure_text, "%s", failure);
    lane->failure = lane->failure_text;
    lane->failed_at = place;
  }
  lane->shared.is_finished = true;
  show(merge, lane);
  (void)pthread_mutex_unlock(&merge->lock);
}

/* ---- the taking side ---- */

static bool comes_before(struct nf_place a, struct nf_place b) {
  return a.order < b.order || (a.order == b.order && a.last_packet < b.last_packet);
}

static bool is_empty(const struct lane *lane) { return lane->taker.taken == lane->taker.put; }

/* Learns what meters have shown and tells them what was taken; waits while there is nothing new. */
static void look(struct nf_merge *merge, int wait_ms) {
  int64_t until_ns = nf_clock_ns(CLOCK_MONOTONIC) + wait_ms * INT64_C(1000000);
  struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
  (void)pthread_mutex_lock(&merge->lock);
  for (uint32_t i = 0; i < merge->count; i++) {
    struct lane *lane = &merge->lanes[i];
    if (lane->shared.taken == lane->taker.taken) continue;
    lane->shared.taken = lane->taker.taken;
    (void)pthread_cond_signal(&lane->has_room);
  }
  while (merge->news == merge->seen)
    if (pthread_cond_timedwait(&merge->has_news, &merge->lock, &until) != 0) break;
  merge->seen = merge->news;
  for (uint32_t i = 0; i < merge->count; i++) {
    struct lane *lane = &merge->lanes[i];
    lane->taker.put = lane->shared.put;
    lane->taker.reached = lane->shared.reached;
    lane->taker.is_finished = lane->shared.is_finished;
  }
  (void)pthread_mutex_unlock(&merge->lock);
}

/* The next record's lane, or NULL with *answer: 0 where a lane has to be waited for, NF_END, NF_ERR_METER. */
static struct lane *choose_by_order(struct nf_merge *merge, int *answer) {
  struct lane *first = NULL, *failed = NULL;
  struct nf_place least = {UINT64_MAX, UINT64_MAX};
  uint64_t reached = UINT64_MAX;
  bool is_waiting = false;
  for (uint32_t i = 0; i < merge->count; i++) {
    struct lane *lane = &merge->lanes[i];
    bool is_record = !is_empty(lane);
    if (!is_record && !lane->taker.is_finished) {
      is_waiting = true;
      if (lane->taker.reached < reached) reached = lane->taker.reached;
    } else if (is_record || lane->failure) {
      struct nf_place place = is_record ? lane->places[place_of(merge, lane->taker.taken)] : lane->failed_at;
      if ((first || failed) && !comes_before(place, least)) continue;
      least = place;
      first = is_record ? lane : NULL;
      failed = is_record ? NULL : lane;
    }
  }
  *answer = 0;
  if (is_waiting && least.order >= reached) return NULL;
  if (first) return first;
  *answer = failed ? NF_ERR_METER : NF_END;
  if (failed) merge->failure = failed->failure;
  return NULL;
}

/* The same for records in any order. */
static struct lane *choose_any(struct nf_merge *merge, int *answer) {
  *answer = NF_END;
  for (uint32_t i = 0; i < merge->count; i++) {
    merge->turn = (merge->turn + 1) % merge->count;
    struct lane *lane = &merge->lanes[merge->turn];
    if (!is_empty(lane)) return lane;
    if (!lane->taker.is_finished) {
      *answer = *answer == NF_END ? 0 : *answer;
    } else if (lane->failure) {
      merge->failure = lane->failure;
      *answer = NF_ERR_METER;
    }
  }
  return NULL;
}

int nf_merge_next(struct nf_merge *merge, struct nf_flow **record, int wait_ms) {
  struct lane *before = merge->given;
  merge->given = NULL;
  /* shared.taken is written by this side alone. A meter should not have to wait until its ring is all empty. */
  if (before && ++before->taker.taken - before->shared.taken >= merge->room / 2) look(merge, 0);
  /* Meters without records have news as well, many of them all the time: the caller has other things to do. */
  for (bool has_looked = false;; has_looked = true) {
    int answer;
    struct lane *lane = merge->is_ordered ? choose_by_order(merge, &answer) : choose_any(merge, &answer);
    if (lane) {
      merge->given = lane;
      *record = (struct nf_flow *)(void *)record_at(merge, lane, lane->taker.taken);
      return 1;
    }
    if (answer < 0 || has_looked) return answer;
    look(merge, wait_ms);
  }
}

const char *nf_merge_failure(const struct nf_merge *merge) { return merge->failure; }

void nf_merge_close(struct nf_merge *merge) {
  (void)pthread_mutex_lock(&merge->lock);
  merge->is_closed = true;
  for (uint32_t i = 0; i < merge->count; i++) (void)pthread_cond_signal(&merge->lanes[i].has_room);
  (void)pthread_mutex_unlock(&merge->lock);
}

void nf_merge_count(struct nf_merge *merge, uint32_t index, struct nf_counters *counters) {
  (void)pthread_mutex_lock(&merge->lock);
  nf_counters_add(counters, &merge->lanes[index].counters);
  (void)pthread_mutex_unlock(&merge->lock);
}
