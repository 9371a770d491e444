/*
 * crew.c: a run: how many meters there are and where each gets its packets from.
 *
 *   one meter             its own intake, all in the caller's thread
 *   several, files        one intake; handout.c shares its packets out, merge.c puts the records in order
 *   several, interfaces   an intake each, in one fan-out group of the kernel's; records come as they may
 *
 * It owns all of these, the threads and the run's wall clock (progress, reports, requests of signals).
 */
#include "crew.h"

#include <sched.h>

#include "clock.h"
#include "counters.h"
#include "handout.h"
#include "interrupt.h"
#include "limits.h"
#include "merge.h"
#include "source.h"
#include "thread.h"

enum {
  AHEAD = 32,             /* packets that an only meter decodes ahead, ... */
  AHEAD_LIVE = 64,        /* ... and one of several on an interface */
  PROGRESS_MS = 1000,     /* between two events of progress, which show the rows written so far on pipes ... */
  PROGRESS_LIVE_MS = 250, /* ... and on interfaces */
  WAIT_MS = 50,           /* for records, between two such looks */
  METERS_MAX = 1024,
  WORTH_A_METER = 32 << 20 /* bytes of input for which a further thread is of use */
};

struct member {
  struct nf_crew *crew;
  uint32_t index;
  struct nf_meter *meter;
  struct nf_intake *intake;    /* its own, or NULL */
  struct nf_batch *batch;      /* of its own intake */
  uint64_t position;           /* everything up to it has been dealt with */
  struct nf_counters counters; /* given out last */
  pthread_t thread;
  bool is_running;
  char *state; /* what its thread left behind */
  size_t state_size;
};

struct nf_crew {
  struct nf_options options;
  struct nf_hash_key key;
  uint32_t size;
  bool is_live;
  bool may_wait; /* for packets, so that others may wait for records */
  struct member *members;
  uint16_t all_of_them[AHEAD_LIVE + NF_BATCH_SPARE]; /* 0, 1, 2 ...: of a batch that is shared with nobody */
  struct nf_intake *intake;                          /* of files shared by several meters */
  atomic_uint_least64_t packets_left;                /* that all intakes together may give */
  struct nf_handout *handout;
  struct nf_merge *merge;
  struct nf_sockets *sockets; /* once started, if wanted */
  struct nf_event event;      /* of several meters */

  uint32_t pending;               /* bits of PROGRESS, STATUS, REOPEN and REPORT to be told */
  int64_t progress_ms, report_ms; /* when they are due */
  bool is_stopped;
  struct nf_counters counters;
  char error[NF_ERROR_SIZE];

  pthread_mutex_t lock; /* of what follows: the start */
  pthread_cond_t changed;
  uint32_t ready;
  bool is_going, is_called_off;
  char start_error[NF_ERROR_SIZE];

  nf_crew_work *work;
  void *context;
};

/* ---- the wall clock ---- */

static int64_t now_ms(void) { return nf_clock_ms(CLOCK_MONOTONIC_COARSE); }

static int64_t report_interval_ms(const struct nf_crew *crew) {
  return (int64_t)crew->options.performance_report_s * 1000;
}

/* Notes what has to be told by now. */
static void look_at_clock(struct nf_crew *crew) {
  nf_watch_go_on();
  int asked = nf_interrupt_take();
  if (asked & NF_REQUEST_STATUS) crew->pending |= NF_EVENT_STATUS;
  if (asked & NF_REQUEST_REOPEN) crew->pending |= NF_EVENT_REOPEN;
  bool wants_progress = crew->may_wait || crew->options.events & NF_EVENT_PROGRESS;
  if (!wants_progress && !crew->options.performance_report_s) return;
  int64_t now = now_ms();
  if (wants_progress && now >= crew->progress_ms) {
    crew->pending |= NF_EVENT_PROGRESS;
    crew->progress_ms = now + (crew->is_live ? PROGRESS_LIVE_MS : PROGRESS_MS);
  }
  if (crew->options.performance_report_s && now >= crew->report_ms) {
    crew->pending |= NF_EVENT_REPORT;
    int64_t every = report_interval_ms(crew);
    crew->report_ms += ((now - crew->report_ms) / every + 1) * every;
  }
}

/* The next of the pending events, or 0. */
static int tell_pending(struct nf_crew *crew) {
  uint32_t lowest = crew->pending & -crew->pending;
  crew->pending &= ~lowest;
  return (int)lowest;
}

/* ---- where meters get their packets ---- */

static int read_own(struct member *member, struct nf_share *share) {
  struct nf_batch *batch = member->batch;
  int status = nf_intake_read(member->intake, batch);
  if (status < 0) return status;
  *share = (struct nf_share){
      .packets = batch->packets,
      .hashes = batch->hashes,
      .mine = member->crew->all_of_them,
      .count = batch->count,
      .sweeps = batch->sweeps,
      .sweep_count = batch->sweep_count,
      .position = batch->position,
  };
  return status > 0 || batch->sweep_count > 0;
}

/* An only meter's. What the clock brings is told before more is read. */
static int supply_one(void *given, struct nf_share *share) {
  struct member *member = given;
  look_at_clock(member->crew);
  return member->crew->pending ? 0 : read_own(member, share);
}

/* Shows the merging side how far the meter is. False once nobody wants to know. */
static bool publish(struct member *member, uint64_t order) {
  struct nf_counters counters = {0};
  nf_meter_count(member->meter, &counters);
  if (member->intake) nf_intake_count(member->intake, &counters);
  return nf_merge_reach(member->crew->merge, member->index, order, &counters);
}

static int supply_live(void *given, struct nf_share *share) {
  return publish(given, 0) ? read_own(given, share) : NF_END;
}

static int supply_shared(void *given, struct nf_share *share) {
  struct member *member = given;
  if (!publish(member, NF_ORDER_BY_PACKET(member->position + 1))) return NF_END;
  int status = nf_handout_next(member->crew->handout, member->index, share);
  if (status > 0) member->position = share->position;
  return status;
}

/* ---- opening ---- */

/* As many meters as there are CPUs, leaving one on interfaces to whoever takes the records; fewer where files are so
   small that further threads would take longer to start than they save. */
static uint32_t choose_size(const struct nf_crew *crew) {
  uint32_t count = nf_cpu_count();
  if (crew->is_live) return count > 1 ? count - 1 : 1;
  struct nf_counters input = {0};
  nf_intake_count(crew->intake, &input);
  uint64_t worth = input.input_size / WORTH_A_METER + 1;
  return input.input_size > 0 && worth < count ? (uint32_t)worth : count;
}

/* A meter's part of max_flows, where 0 means no limit: none goes without room for one flow. */
static uint64_t share_of(uint64_t max_flows, uint32_t size, uint32_t index) {
  uint64_t share = max_flows / size + (index < max_flows % size);
  return max_flows && !share ? 1 : share;
}

static bool make_member(struct nf_crew *crew, uint32_t index, const struct nf_options *options, int32_t *fanout,
                        char *error) {
  struct member *member = &crew->members[index];
  member->crew = crew;
  member->index = index;
  if (crew->size == 1) {
    member->intake = crew->intake;
    crew->intake = NULL;
  }
  if (!member->intake && crew->is_live) {
    member->intake = nf_intake_new(options, &crew->key, fanout, &crew->packets_left, error);
    if (!member->intake) return false;
  }
  if (member->intake && !(member->batch = nf_batch_new(crew->is_live ? AHEAD_LIVE : AHEAD, false, true))) {
    nf_fail(error, "out of memory");
    return false;
  }
  nf_supply *supply = crew->size == 1 ? supply_one : crew->is_live ? supply_live : supply_shared;
  struct nf_options own = *options;
  own.max_flows = share_of(options->max_flows, crew->size, index);
  member->meter = nf_meter_new(&own, &crew->key, supply, member, error);
  return member->meter != NULL;
}

static bool make_exchange(struct nf_crew *crew, char *error) {
  const struct nf_options *o = &crew->options;
  if (crew->size == 1) return true;
  bool has_bytes = o->n_dissections > 0 || o->events & (NF_EVENT_INIT | NF_EVENT_UPDATE);
  crew->merge = nf_merge_new(crew->size, nf_layout_of(o).size, !crew->is_live);
  if (!crew->is_live) crew->handout = nf_handout_new(crew->intake, crew->size, has_bytes);
  if (crew->merge && (crew->is_live || crew->handout)) return true;
  nf_fail(error, "out of memory");
  return false;
}

/* The kernel deals a flow's frames to one meter only once all of them are there. */
static void begin_together(struct nf_crew *crew) {
  uint64_t since_ns = (uint64_t)nf_clock_ns(CLOCK_REALTIME);
  for (uint32_t i = 0; i < crew->size; i++) nf_intake_begin(crew->members[i].intake, since_ns);
}

static bool make_members(struct nf_crew *crew, const struct nf_options *options, char *error) {
  crew->members = calloc(crew->size, sizeof *crew->members);
  bool is_dealt_out = crew->size > 1 && crew->is_live;
  int32_t *fanout = is_dealt_out ? malloc(options->source_count * sizeof *fanout) : NULL;
  for (uint32_t i = 0; fanout && i < options->source_count; i++) fanout[i] = -1;
  bool is_made = crew->members && (fanout || !is_dealt_out);
  if (!is_made) nf_fail(error, "out of memory");
  for (uint32_t i = 0; is_made && i < crew->size; i++) is_made = make_member(crew, i, options, fanout, error);
  if (is_made && fanout) begin_together(crew);
  free(fanout);
  return is_made;
}

static bool open_run(struct nf_crew *crew, const struct nf_options *options, char *error) {
  if (!crew->is_live) {
    crew->intake = nf_intake_new(options, &crew->key, NULL, &crew->packets_left, error);
    if (!crew->intake) return false;
  }
  crew->may_wait = crew->is_live || nf_intake_may_wait(crew->intake);
  crew->size = options->n_meters ? options->n_meters : choose_size(crew);
  if (crew->size > METERS_MAX) {
    nf_fail(error, "n_meters %u: expected at most %d", crew->size, METERS_MAX);
    return false;
  }
  return make_exchange(crew, error) && make_members(crew, options, error);
}

struct nf_crew *nf_crew_new(const struct nf_options *options, char *error) {
  if (!nf_meter_accepts(options, error)) return NULL;
  struct nf_crew *crew = calloc(1, sizeof *crew);
  if (!crew) {
    nf_fail(error, "out of memory");
    return NULL;
  }
  crew->options = *options;
  crew->options.sources = NULL; /* the caller's, read only here */
  crew->options.bpf_filter = NULL;
  crew->is_live = nf_source_is_live(options->sources, options->source_count);
  atomic_init(&crew->packets_left, options->max_packets ? options->max_packets : UINT64_MAX);
  crew->progress_ms = now_ms() + PROGRESS_LIVE_MS;
  crew->report_ms = now_ms() + report_interval_ms(crew);
  for (int i = 0; i < AHEAD_LIVE + NF_BATCH_SPARE; i++) crew->all_of_them[i] = (uint16_t)i;
  nf_hash_seed(&crew->key);
  (void)pthread_mutex_init(&crew->lock, NULL);
  (void)pthread_cond_init(&crew->changed, NULL);
  if (open_run(crew, options, error)) return crew;
  nf_crew_free(crew);
  return NULL;
}

void nf_crew_free(struct nf_crew *crew) {
  if (!crew) return;
  nf_crew_stop(crew);
  for (uint32_t i = 0; crew->members && i < crew->size; i++) {
    struct member *member = &crew->members[i];
    nf_meter_free(member->meter);
    nf_batch_free(member->batch);
    nf_intake_free(member->intake);
    free(member->state);
  }
  free(crew->members);
  nf_handout_free(crew->handout);
  nf_merge_free(crew->merge);
  nf_intake_free(crew->intake);
  nf_sockets_free(crew->sockets);
  (void)pthread_mutex_destroy(&crew->lock);
  (void)pthread_cond_destroy(&crew->changed);
  free(crew);
}

uint32_t nf_crew_size(const struct nf_crew *crew) { return crew->size; }
struct nf_meter *nf_crew_meter(const struct nf_crew *crew, uint32_t index) {
  return crew->members[index].meter;
}
bool nf_crew_is_live(const struct nf_crew *crew) { return crew->is_live; }
bool nf_crew_may_wait(const struct nf_crew *crew) { return crew->may_wait; }

/* ---- threads ---- */

static void *run_member(void *given) {
  struct member *member = given;
  member->crew->work(member->crew, member->index, member->crew->context);
  nf_meter_free(member->meter); /* here, while the others' records are still being taken */
  member->meter = NULL;
  return NULL;
}

static void join_members(struct nf_crew *crew) {
  for (uint32_t i = 0; i < crew->size; i++) {
    if (crew->members[i].is_running) (void)pthread_join(crew->members[i].thread, NULL);
    crew->members[i].is_running = false;
  }
}

/* Ready or not, the threads that wait in nf_crew_ready go on. */
static void release_members(struct nf_crew *crew, bool is_going) {
  (void)pthread_mutex_lock(&crew->lock);
  crew->is_going = is_going;
  crew->is_called_off = !is_going;
  (void)pthread_cond_broadcast(&crew->changed);
  (void)pthread_mutex_unlock(&crew->lock);
}

/* Returns 0, or the number of the error for which there is no thread. */
static int start_members(struct nf_crew *crew) {
  int problem = 0;
  for (uint32_t i = 0; problem == 0 && i < crew->size; i++) {
    struct member *member = &crew->members[i];
    problem = nf_thread_start(&member->thread, run_member, member);
    member->is_running = problem == 0;
  }
  return problem;
}

/* A socket is remembered as long as its flow may be waiting for its end, and a little longer. */
static bool watch_sockets(struct nf_crew *crew, char *error) {
  enum { LONGER_MS = 5000 };
  const struct nf_options *o = &crew->options;
  if (!o->system_visibility || !crew->is_live) return true;
  uint64_t keep_ms = o->idle_timeout_s < UINT32_MAX ? o->idle_timeout_s * 1000 + LONGER_MS : UINT64_MAX;
  crew->sockets = nf_sockets_new(o->system_visibility_poll_ms, keep_ms, error);
  for (uint32_t i = 0; crew->sockets && i < crew->size; i++) nf_meter_watch(crew->members[i].meter, crew->sockets);
  return crew->sockets != NULL;
}

/* Starts the threads of several meters and waits until all are ready. */
static bool launch(struct nf_crew *crew, char *error) {
  int problem = start_members(crew);
  (void)pthread_mutex_lock(&crew->lock);
  while (problem == 0 && crew->ready < crew->size && !crew->start_error[0])
    (void)pthread_cond_wait(&crew->changed, &crew->lock);
  bool has_failed = crew->start_error[0] != '\0';
  (void)pthread_mutex_unlock(&crew->lock);
  if (problem == 0 && !has_failed && crew->handout) problem = nf_handout_start(crew->handout);
  release_members(crew, problem == 0 && !has_failed);
  if (problem == 0 && !has_failed) return true;
  join_members(crew);
  if (has_failed) nf_fail(error, "%s", crew->start_error);
  else nf_fail(error, "cannot start threads for %u meters: %s, expected fewer", crew->size, strerror(problem));
  return false;
}

int nf_crew_launch(struct nf_crew *crew, nf_crew_work *work, void *context, char *error) {
  nf_require(!crew->work);
  crew->work = work;
  crew->context = context;
  if (!watch_sockets(crew, error)) return NF_ERR_SYSTEM;
  return crew->size == 1 || launch(crew, error) ? NF_OK : NF_ERR_METER;
}

bool nf_crew_ready(struct nf_crew *crew, const char *failure) {
  (void)pthread_mutex_lock(&crew->lock);
  if (failure && !crew->start_error[0]) nf_fail(crew->start_error, "%s", failure);
  crew->ready++;
  (void)pthread_cond_broadcast(&crew->changed);
  while (!crew->is_going && !crew->is_called_off) (void)pthread_cond_wait(&crew->changed, &crew->lock);
  bool is_going = crew->is_going;
  (void)pthread_mutex_unlock(&crew->lock);
  return is_going;
}

bool nf_crew_give(struct nf_crew *crew, uint32_t index) {
  const struct nf_meter *meter = crew->members[index].meter;
  return nf_merge_put(crew->merge, index, nf_meter_event(meter)->flow, nf_meter_place(meter));
}

void nf_crew_leave(struct nf_crew *crew, uint32_t index, const char *failure, const char *state, size_t state_size) {
  struct member *member = &crew->members[index];
  if (state_size > 0 && (member->state = malloc(state_size))) {
    memcpy(member->state, state, state_size);
    member->state_size = state_size;
  }
  if (state_size > member->state_size && !failure) failure = "out of memory: cannot keep what plugins gathered";
  struct nf_place place = nf_meter_place(member->meter);
  if (crew->handout) nf_handout_leave(crew->handout, index);
  publish(member, place.order);
  nf_merge_finish(crew->merge, index, failure, place);
}

const char *nf_crew_state(struct nf_crew *crew, uint32_t index, size_t *size) {
  *size = crew->members[index].state_size;
  return crew->members[index].state;
}

void nf_crew_drive(struct nf_crew *crew, uint32_t index, void *context) {
  (void)context;
  if (!nf_crew_ready(crew, NULL)) return;
  struct nf_meter *meter = crew->members[index].meter;
  int status = 0;
  while (status >= 0) {
    status = nf_meter_next(meter);
    if (status == NF_EVENT_EXPIRE && !nf_crew_give(crew, index)) break;
  }
  nf_crew_leave(crew, index, status < 0 && status != NF_END ? nf_meter_error(meter) : NULL, NULL, 0);
}

/* ---- going on ---- */

/* The meters have ended: how the input did. */
static int end_of_input(struct nf_crew *crew) {
  join_members(crew);
  int status = crew->handout ? nf_handout_status(crew->handout) : NF_END;
  if (status != NF_END) nf_fail(crew->error, "%s", nf_intake_error(crew->intake));
  return status;
}

static int next_of_several(struct nf_crew *crew) {
  if (crew->is_stopped) return NF_END;
  struct nf_flow *record;
  int status = nf_merge_next(crew->merge, &record, WAIT_MS);
  if (status == 1) {
    crew->event.flow = record;
    return NF_EVENT_EXPIRE;
  }
  if (status == NF_END) return end_of_input(crew);
  if (status == NF_ERR_METER) nf_fail(crew->error, "%s", nf_merge_failure(crew->merge));
  return status;
}

int nf_crew_next(struct nf_crew *crew) {
  nf_watch_go_on();
  if (crew->size == 1) {
    int kind = nf_meter_next(crew->members[0].meter);
    if (kind < 0 && kind != NF_END) {
      const char *problem = nf_meter_error(crew->members[0].meter);
      nf_fail(crew->error, "%s", *problem ? problem : nf_intake_error(crew->members[0].intake));
    }
    return kind ? kind : tell_pending(crew);
  }
  look_at_clock(crew);
  if (crew->pending) return tell_pending(crew);
  return next_of_several(crew);
}

const struct nf_event *nf_crew_event(const struct nf_crew *crew) {
  return crew->size == 1 ? nf_meter_event(crew->members[0].meter) : &crew->event;
}

void nf_crew_stop(struct nf_crew *crew) {
  if (!crew->members) return;
  crew->is_stopped = true;
  if (crew->size == 1) {
    if (crew->members[0].meter) nf_meter_stop(crew->members[0].meter);
    return;
  }
  if (crew->merge) nf_merge_close(crew->merge);
  if (crew->handout) nf_handout_stop(crew->handout);
  join_members(crew);
}

/* ---- account ---- */

static void count_member(struct nf_crew *crew, uint32_t index, struct nf_counters *counters) {
  struct member *member = &crew->members[index];
  if (crew->merge) {
    nf_merge_count(crew->merge, index, counters);
    return;
  }
  nf_meter_count(member->meter, counters);
  nf_intake_count(member->intake, counters);
}

const struct nf_counters *nf_crew_counters(struct nf_crew *crew) {
  crew->counters = (struct nf_counters){0};
  for (uint32_t i = 0; i < crew->size; i++) count_member(crew, i, &crew->counters);
  if (crew->handout) nf_handout_count(crew->handout, &crew->counters);
  return &crew->counters;
}

const struct nf_counters *nf_crew_counters_of(struct nf_crew *crew, uint32_t index) {
  struct member *member = &crew->members[index];
  member->counters = (struct nf_counters){0};
  count_member(crew, index, &member->counters);
  return &member->counters;
}

const char *nf_crew_error(const struct nf_crew *crew) { return crew->error; }

/* What is asked of every intake, the shared one first. */
static struct nf_intake *intake_at(const struct nf_crew *crew, uint32_t index) {
  return crew->intake ? (index == 0 ? crew->intake : NULL) : index < crew->size ? crew->members[index].intake : NULL;
}

bool nf_crew_reads(const struct nf_crew *crew, const char *path) {
  const struct nf_intake *intake = intake_at(crew, 0);
  return intake && nf_intake_reads(intake, path);
}

struct nf_input nf_crew_input(const struct nf_crew *crew, uint32_t index) {
  const struct nf_intake *intake = intake_at(crew, 0);
  return intake ? nf_intake_input(intake, index) : (struct nf_input){0};
}

const char *nf_crew_warning(struct nf_crew *crew) {
  struct nf_intake *intake;
  for (uint32_t i = 0; (intake = intake_at(crew, i)); i++) {
    const char *warning = nf_intake_warning(intake);
    if (warning) return warning;
  }
  return crew->sockets ? nf_sockets_warning(crew->sockets) : NULL;
}

bool nf_crew_is_damaged(const struct nf_crew *crew) {
  const struct nf_intake *intake;
  for (uint32_t i = 0; (intake = intake_at(crew, i)); i++)
    if (nf_intake_is_damaged(intake)) return true;
  return false;
}
