/*
 * meter.c: wires source, decoder, table, features and DPI into one share of the traffic, and tells what happened as
 * events. It owns the run's clock. It calls nobody back: whoever drives it asks for the next event.
 *
 * Frames are decoded a small batch ahead, so that table entries and slots can be fetched into the cache before they are
 * needed. What one packet does, in order:
 *
 *   1. the clock moves on, never back
 *   2. a flow of the same tuple that was idle, or has lasted, too long ends (EXPIRE)
 *   3. the packet begins a flow (INIT) or is added to one (UPDATE); counters, statistics, SPLT and DPI are done by then
 *   4. if a hook set expiration_id to -1, the flow ends (EXPIRE)
 *   5. every 10 ms of the clock, flows idle too long end, least recently seen first (EXPIRE)
 */
#include "decode.h"
#include "dpi.h"
#include "flow.h"
#include "interrupt.h"
#include "source.h"
#include "table.h"

#include <time.h>

enum {
  AHEAD = 32, /* packets decoded ahead */
  NEAR = 8,   /* of those, how far ahead slots are fetched */
  QUEUE = 4,  /* events that one step can bring */
  SCAN_INTERVAL_MS = 10,
  LOOKS_PER_CLOCK = 64, /* source reads between two looks at the wall clock */
};

enum state { READING, DRAINING, DONE };

struct nf_meter {
  struct nf_options options;
  struct nf_layout layout;
  struct nf_source *source;
  struct nf_table *table;
  struct nf_dpi *dpi;

  enum state state;
  int failure; /* what to return once every flow has ended: NF_END or an error */
  uint64_t ticks_per_ms;
  uint64_t idle_timeout, active_timeout, scan_interval; /* ticks */
  uint64_t tick, last_scan;
  uint64_t position; /* of the packet handled last */
  bool is_scanning;

  int next, ahead; /* position in and length of what was decoded ahead */
  int looks;
  time_t told;           /* second of the last PROGRESS event */
  int told_kind;         /* what nf_meter_next returned last */
  struct nf_event event; /* the rest of it */
  int queue_next, queue_count;
  struct told {
    enum nf_event_kind kind;
    struct nf_flow *flow;
  } queue[QUEUE]; /* to be told next */
  struct nf_counters counters;
  struct nf_packet packets[AHEAD];
  uint64_t hashes[AHEAD];
  bool has_unknown_link; /* packets came of a link type that nf_decode does not know: the first such */
  bool has_told_link;
  uint32_t unknown_link;
  char error[NF_ERROR_SIZE], warning[NF_ERROR_SIZE];
};

/* ---- set-up ---- */

static uint32_t take(uint32_t *end, size_t size, bool wanted) {
  uint32_t at = *end;
  if (!wanted || !size) return 0;
  *end += (uint32_t)((size + 7) & ~(size_t)7);
  return at;
}

struct nf_layout nf_layout_of(const struct nf_options *o) {
  uint32_t end = sizeof(struct nf_flow);
  struct nf_layout l = {.splt_length = o->splt_analysis};
  l.statistics = take(&end, NF_SCOPES * sizeof(struct nf_statistics), o->statistical_analysis);
  l.splt = take(&end, o->splt_analysis * NF_SPLT_ENTRY, o->splt_analysis > 0);
  l.l7 = take(&end, sizeof(struct nf_l7), o->n_dissections > 0);
  l.l7_extra = take(&end, sizeof(struct nf_l7_extra), o->n_dissections > 0 && o->l7_extra);
  l.udps = take(&end, o->udps_size, o->udps_size > 0);
  l.size = end;
  return l;
}

static uint64_t times(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static void set_clock(struct nf_meter *m) {
  static const uint64_t ticks_per_ms[] = {[NF_MILLISECONDS] = 1, [NF_MICROSECONDS] = 1000, [NF_NANOSECONDS] = 1000000};
  m->ticks_per_ms = ticks_per_ms[m->options.time_unit];
  m->idle_timeout = times(m->options.idle_timeout_s, 1000 * m->ticks_per_ms);
  m->active_timeout = times(m->options.active_timeout_s, 1000 * m->ticks_per_ms);
  m->scan_interval = SCAN_INTERVAL_MS * m->ticks_per_ms;
}

static bool is_within(const char *name, uint32_t value, uint32_t max, const char *expected, char *error) {
  if (value > max) nf_fail(error, "%s %u: expected %s", name, value, expected);
  return value <= max;
}

static bool check_options(const struct nf_options *o, char *error) {
  return is_within("time_unit", o->time_unit, NF_NANOSECONDS, "0, 1 or 2", error) &&
         is_within("accounting_mode", o->accounting_mode, NF_SIZE_PAYLOAD, "0, 1, 2 or 3", error) &&
         is_within("n_dissections", o->n_dissections, 255, "0 to 255", error) &&
         is_within("splt_analysis", o->splt_analysis, 65535, "0 to 65535", error) &&
         is_within("udps_size", o->udps_size, 1u << 28, "at most 268435456", error);
}

static bool open_parts(struct nf_meter *m, const struct nf_options *o, char *error) {
  if (!(m->source = nf_source_open(o->sources, o->source_count, o->bpf_filter, error))) return false;
  if (!(m->table = nf_table_new(m->layout.size, o->max_flows))) {
    nf_fail(error, "out of memory: cannot make a flow table");
    return false;
  }
  if (!o->n_dissections) return true;
  bool publish = o->events & (NF_EVENT_INIT | NF_EVENT_UPDATE);
  m->dpi = nf_dpi_new(o->n_dissections, m->layout.l7_extra != 0, publish, error);
  return m->dpi != NULL;
}

struct nf_meter *nf_meter_new(const struct nf_options *options, char *error) {
  if (!check_options(options, error)) return NULL;
  struct nf_meter *m = calloc(1, sizeof *m);
  if (!m) {
    nf_fail(error, "out of memory: cannot make a meter");
    return NULL;
  }
  m->options = *options;
  m->options.sources = NULL; /* the caller's, read only here */
  m->options.bpf_filter = NULL;
  m->layout = nf_layout_of(options);
  m->failure = NF_END;
  set_clock(m);
  if (!open_parts(m, options, error)) {
    nf_meter_free(m);
    return NULL;
  }
  return m;
}

static struct nf_l7 *l7_of(const struct nf_meter *m, const struct nf_flow *flow) {
  return nf_section(flow, m->layout.l7);
}

static struct nf_l7_extra *l7_extra_of(const struct nf_meter *m, const struct nf_flow *flow) {
  return nf_section(flow, m->layout.l7_extra);
}

void nf_meter_free(struct nf_meter *m) {
  if (!m) return;
  if (m->dpi && m->table)
    for (struct nf_flow *flow; (flow = nf_table_oldest(m->table));) {
      nf_dpi_drop(m->dpi, l7_of(m, flow));
      nf_table_drain(m->table, flow);
    }
  nf_dpi_free(m->dpi);
  nf_table_free(m->table);
  nf_source_close(m->source);
  free(m);
}

/* ---- events ---- */

static void tell(struct nf_meter *m, enum nf_event_kind kind, struct nf_flow *flow) {
  nf_require(m->queue_count < QUEUE);
  m->queue[m->queue_count++] = (struct told){.kind = kind, .flow = flow};
}

static void end_flow(struct nf_meter *m, struct nf_flow *flow, enum nf_end reason, uint64_t position) {
  if (m->state == READING) nf_table_remove(m->table, flow);
  else nf_table_drain(m->table, flow);
  if (m->dpi) nf_dpi_finish(m->dpi, l7_of(m, flow), l7_extra_of(m, flow));
  nf_flow_finish(flow, &m->layout, reason);
  flow->ended_at = position;
  m->counters.ended[reason]++;
  tell(m, NF_EVENT_EXPIRE, flow);
}

static void tell_packet(struct nf_meter *m, enum nf_event_kind kind, struct nf_flow *flow, struct nf_packet *p) {
  p->number = (double)p->position;
  p->time = (double)p->tick;
  p->delta_time = (double)p->delta;
  m->event.packet = *p;
  if (m->queue_count > 0) { /* behind the end of another flow */
    tell(m, kind, flow);
  } else {
    m->event.flow = flow;
    m->told_kind = (int)kind;
  }
}

/* What was told last has been handled: a flow that ended gives its slot back, a hook may have forced its flow's end. */
static void settle(struct nf_meter *m) {
  struct nf_flow *flow = m->event.flow;
  if (m->told_kind == NF_EVENT_EXPIRE) nf_table_release(m->table, flow);
  else if (m->told_kind & (NF_EVENT_INIT | NF_EVENT_UPDATE) && flow->expiration_id == -1)
    end_flow(m, flow, NF_END_FORCED, flow->last_packet);
  m->told_kind = 0;
}

static int tell_next(struct nf_meter *m) {
  struct told t = m->queue[m->queue_next++];
  if (m->queue_next == m->queue_count) m->queue_next = m->queue_count = 0;
  m->event.flow = t.flow;
  return m->told_kind = (int)t.kind;
}

/* ---- one packet ---- */

static uint32_t accounted_size(const struct nf_meter *m, const struct nf_packet *p) {
  switch (m->options.accounting_mode) {
  case NF_SIZE_IP: return p->ip_size;
  case NF_SIZE_TRANSPORT: return p->transport_size;
  case NF_SIZE_PAYLOAD: return p->payload_size;
  default: return p->raw_size;
  }
}

static uint64_t to_ticks(const struct nf_meter *m, uint64_t ns) {
  switch (m->options.time_unit) { /* constants divide faster than a variable */
  case NF_MILLISECONDS: return ns / 1000000;
  case NF_MICROSECONDS: return ns / 1000;
  default: return ns;
  }
}

static void move_clock(struct nf_meter *m, struct nf_packet *p) {
  uint64_t tick = to_ticks(m, p->time_ns);
  if (tick > m->tick) m->tick = tick;
  p->tick = m->tick;
  m->position = p->position;
  if (m->tick - m->last_scan >= m->scan_interval) {
    m->last_scan = m->tick;
    m->is_scanning = true;
  }
}

static bool is_idle(const struct nf_meter *m, const struct nf_flow *flow, uint64_t tick) {
  return tick - flow->scope[NF_BIDIRECTIONAL].last_seen >= m->idle_timeout;
}

static bool is_overdue(const struct nf_meter *m, const struct nf_flow *flow, uint64_t tick) {
  return tick - flow->scope[NF_BIDIRECTIONAL].first_seen >= m->active_timeout;
}

/* A flow that this packet comes too late for ends without it; then NULL is returned. */
static struct nf_flow *cut_if_due(struct nf_meter *m, struct nf_flow *flow, const struct nf_packet *p) {
  bool idle = is_idle(m, flow, p->tick);
  if (!idle && !is_overdue(m, flow, p->tick)) return flow;
  flow->expiration_id = idle ? 0 : 1;
  end_flow(m, flow, idle ? NF_END_IDLE : NF_END_ACTIVE, p->position);
  return NULL;
}

static struct nf_flow *begin_flow(struct nf_meter *m, struct nf_packet *p, uint64_t hash) {
  if (nf_table_is_full(m->table)) end_flow(m, nf_table_oldest(m->table), NF_END_FULL, p->position);
  struct nf_flow *flow = nf_table_insert(m->table, &p->tuple, hash);
  if (!flow) return NULL;
  nf_flow_start(flow, &m->layout, p);
  if (m->dpi) {
    memset(l7_of(m, flow), 0, sizeof(struct nf_l7));
    if (m->layout.l7_extra) memset(l7_extra_of(m, flow), 0, sizeof(struct nf_l7_extra));
  }
  return flow;
}

static void dissect(struct nf_meter *m, struct nf_flow *flow, const struct nf_packet *p) {
  struct nf_l7 *l7 = l7_of(m, flow);
  uint64_t count = flow->scope[NF_BIDIRECTIONAL].packets;
  if (count > 1 && !l7->dissection) return; /* the verdict is there */
  nf_dpi_packet(m->dpi, l7, l7_extra_of(m, flow), p, count, m->ticks_per_ms);
}

static int handle_packet(struct nf_meter *m, struct nf_packet *p, uint64_t hash) {
  enum nf_event_kind kind = NF_EVENT_UPDATE;
  move_clock(m, p);
  p->accounted_size = accounted_size(m, p);
  struct nf_flow *flow = nf_table_find(m->table, &p->tuple, hash, &p->direction);
  if (flow) flow = cut_if_due(m, flow, p);
  if (flow) {
    nf_flow_add(flow, &m->layout, p);
    nf_table_touch(m->table, flow);
  } else {
    kind = NF_EVENT_INIT;
    if (!(flow = begin_flow(m, p, hash))) {
      nf_fail(m->error, "out of memory: cannot add to %llu live flows", (unsigned long long)nf_table_count(m->table));
      return NF_ERR_NOMEM;
    }
  }
  if (m->dpi) dissect(m, flow, p);
  if (m->options.events & kind) tell_packet(m, kind, flow, p);
  return NF_OK;
}

/* ---- input ---- */

static void count_source(struct nf_meter *m) {
  const struct nf_source_counters *c = nf_source_counters(m->source);
  m->counters.packets = c->packets;
  m->counters.bytes = c->bytes;
  m->counters.input_read = c->input_read;
  m->counters.input_size = c->input_size;
  m->counters.ignored[NF_IGNORED_FILTERED] = c->filtered;
}

static void look_at_clock(struct nf_meter *m) {
  if (nf_interrupt_take() & NF_REQUEST_STATUS) tell(m, NF_EVENT_STATUS, NULL);
  if (!(m->options.events & NF_EVENT_PROGRESS) || ++m->looks < LOOKS_PER_CLOCK) return;
  m->looks = 0;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  if (m->told && now.tv_sec != m->told) tell(m, NF_EVENT_PROGRESS, NULL);
  m->told = now.tv_sec;
}

/* No more input: what is live ends in the next calls, then they return `status`. */
static void stop_reading(struct nf_meter *m, int status) {
  if (m->state != READING) return;
  m->state = DRAINING;
  m->is_scanning = false;
  for (; m->next < m->ahead; m->next++) { /* read ahead, but never come to */
    m->counters.packets--;
    m->counters.bytes -= m->packets[m->next].raw_size;
  }
  m->failure = status;
}

static void ignore(struct nf_meter *m, const struct nf_frame *frame, enum nf_ignored why) {
  m->counters.ignored[why]++;
  if (why != NF_IGNORED_LINK_TYPE || m->has_unknown_link) return;
  m->has_unknown_link = true;
  m->unknown_link = frame->link_type;
}

/* Decodes the next frames. Returns false when there is nothing to go on with at the moment. */
static bool look_ahead(struct nf_meter *m) {
  struct nf_frame frames[AHEAD];
  if (nf_interrupted()) {
    stop_reading(m, NF_END);
    return true;
  }
  int n = nf_source_read(m->source, frames, AHEAD);
  count_source(m);
  if (n < 0) {
    if (n != NF_END) nf_fail(m->error, "%s", nf_source_error(m->source));
    stop_reading(m, n);
    return true;
  }
  m->next = m->ahead = 0;
  for (int i = 0; i < n; i++) {
    struct nf_packet *p = &m->packets[m->ahead];
    enum nf_ignored why = nf_decode(p, &frames[i], m->options.decode_tunnels);
    if (why != NF_IGNORED_NONE) {
      ignore(m, &frames[i], why);
      continue;
    }
    m->hashes[m->ahead] = nf_table_hash(m->table, &p->tuple);
    nf_table_prefetch(m->table, m->hashes[m->ahead++]);
  }
  for (int i = 0; i < NEAR && i < m->ahead; i++) nf_table_prefetch_slot(m->table, m->hashes[i]);
  look_at_clock(m);
  return n > 0;
}

/* ---- going on ---- */

static void end_one_idle(struct nf_meter *m) {
  struct nf_flow *flow = nf_table_oldest(m->table);
  if (flow && is_idle(m, flow, m->tick)) end_flow(m, flow, NF_END_IDLE, m->position);
  else m->is_scanning = false;
}

static void end_one_live(struct nf_meter *m) {
  struct nf_flow *flow = nf_table_oldest(m->table);
  if (flow) end_flow(m, flow, NF_END_INPUT, m->position);
  else m->state = DONE;
}

static void handle_next(struct nf_meter *m) {
  int i = m->next++;
  if (i + NEAR < m->ahead) nf_table_prefetch_slot(m->table, m->hashes[i + NEAR]);
  int status = handle_packet(m, &m->packets[i], m->hashes[i]);
  if (status != NF_OK) stop_reading(m, status);
}

int nf_meter_next(struct nf_meter *m) {
  settle(m);
  for (;;) {
    if (m->queue_count > 0) return tell_next(m);
    if (m->told_kind) return m->told_kind;
    if (m->is_scanning) {
      end_one_idle(m);
    } else if (m->next < m->ahead) {
      handle_next(m);
    } else if (m->state == READING) {
      if (!look_ahead(m) && m->queue_count == 0) return 0;
    } else if (m->state == DRAINING) {
      end_one_live(m);
    } else {
      return m->failure;
    }
  }
}

const struct nf_event *nf_meter_event(const struct nf_meter *m) { return &m->event; }

void nf_meter_stop(struct nf_meter *m) { stop_reading(m, NF_END); }

const struct nf_counters *nf_meter_counters(struct nf_meter *m) {
  m->counters.ended[NF_END_LIVE] = nf_table_count(m->table);
  return &m->counters;
}
bool nf_meter_reads(const struct nf_meter *m, const char *path) { return nf_source_reads(m->source, path); }
const char *nf_meter_error(const struct nf_meter *m) { return m->error; }

const char *nf_meter_warning(struct nf_meter *m) {
  const char *warning = nf_source_warning(m->source);
  if (warning || !m->has_unknown_link || m->has_told_link) return warning;
  m->has_told_link = true;
  nf_fail(m->warning, "link type %u is not known: its packets were ignored", m->unknown_link);
  return m->warning;
}

bool nf_meter_is_damaged(const struct nf_meter *m) { return m->has_unknown_link || nf_source_is_damaged(m->source); }
