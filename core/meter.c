/*
 * meter.c: wires table, features and DPI into one share of the traffic, and tells what happened as events. Packets come
 * to it decoded, with the run's clock on them, some at a time. It calls nobody back but for more of them: whoever
 * drives it asks for the next event.
 *
 * Packets are known a little before their turn, so that table entries and slots can be fetched into the cache before
 * they are needed. What one packet does, in order:
 *
 *   1. a flow of the same tuple that was idle, or has lasted, too long ends (EXPIRE), and one whose connection is over
 *      where this packet opens another; a frozen flow absorbs the packet, and that is all
 *   2. the packet begins a flow (INIT) or is added to one (UPDATE, while a plugin watches it); counters, statistics,
 *      SPLT and DPI are done by then
 *   3. if a hook set expiration_id to -1, the flow ends (EXPIRE); if it set is_closing, the flow lingers
 *   4. where a sweep is due, flows idle too long end, least recently seen first (EXPIRE)
 */
#include "meter.h"

#include "dpi.h"
#include "flow.h"
#include "table.h"

enum {
  FAR = 24, /* packets ahead whose table entries are fetched, ... */
  NEAR = 8, /* ... and whose slots */
  QUEUE = 4 /* events that one step can bring */
};

enum state { READING, DRAINING, DONE };

struct nf_meter {
  struct nf_options options;
  struct nf_layout layout;
  struct nf_table *table;
  struct nf_dpi *dpi;
  struct nf_sockets *sockets; /* the crew's, or NULL */
  nf_supply *supply;
  void *supplier;

  enum state state;
  int failure; /* what to return once every flow has ended: NF_END or an error */
  uint64_t ticks_per_ms;
  uint64_t idle_timeout, active_timeout, linger; /* ticks */
  uint64_t position;                             /* of the packet handled last */

  struct nf_share share;
  uint32_t next, next_sweep; /* in the share */
  uint64_t sweep_behind;     /* position of that sweep, or UINT64_MAX */
  struct nf_sweep sweep;     /* under way */
  bool is_sweeping;

  int told_kind;         /* what nf_meter_next returned last */
  struct nf_event event; /* the rest of it */
  uint64_t order;        /* and its order, of EXPIRE */
  int queue_next, queue_count;
  struct told {
    enum nf_event_kind kind;
    struct nf_flow *flow;
    uint64_t order;
  } queue[QUEUE]; /* to be told next */
  struct nf_counters counters;
  char error[NF_ERROR_SIZE];
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
  l.splt = take(&end, (size_t)o->splt_analysis * NF_SPLT_ENTRY, o->splt_analysis > 0);
  l.l7 = take(&end, sizeof(struct nf_l7), o->n_dissections > 0);
  l.l7_extra = take(&end, sizeof(struct nf_l7_extra), o->n_dissections > 0 && o->l7_extra);
  l.process = take(&end, sizeof(struct nf_process), o->system_visibility);
  l.udps = take(&end, o->udps_size, o->udps_size > 0);
  l.size = end;
  return l;
}

static uint64_t times(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static void set_clock(struct nf_meter *m) {
  m->ticks_per_ms = nf_ticks_per_ms(m->options.time_unit);
  m->idle_timeout = times(m->options.idle_timeout_s, 1000 * m->ticks_per_ms);
  m->active_timeout = times(m->options.active_timeout_s, 1000 * m->ticks_per_ms);
  m->linger = times(m->options.linger_s, 1000 * m->ticks_per_ms);
}

static bool is_within(const char *name, uint32_t value, uint32_t max, const char *expected, char *error) {
  if (value > max) nf_fail(error, "%s %u: expected %s", name, value, expected);
  return value <= max;
}

bool nf_meter_accepts(const struct nf_options *o, char *error) {
  return is_within("time_unit", o->time_unit, NF_NANOSECONDS, "0, 1 or 2", error) &&
         is_within("accounting_mode", o->accounting_mode, NF_SIZE_PAYLOAD, "0, 1, 2 or 3", error) &&
         is_within("n_dissections", o->n_dissections, 255, "0 to 255", error) &&
         is_within("splt_analysis", o->splt_analysis, 65535, "0 to 65535", error) &&
         is_within("udps_size", o->udps_size, 1u << 28, "at most 268435456", error);
}

static bool make_parts(struct nf_meter *m, const struct nf_hash_key *key, char *error) {
  const struct nf_options *o = &m->options;
  if (!(m->table = nf_table_new(m->layout.size, o->max_flows, key))) {
    nf_fail(error, "out of memory: cannot make a flow table");
    return false;
  }
  if (!o->n_dissections) return true;
  m->dpi = nf_dpi_new(o->n_dissections, m->layout.l7_extra != 0, o->dpi_cache, error);
  return m->dpi != NULL;
}

struct nf_meter *nf_meter_new(const struct nf_options *options, const struct nf_hash_key *key, nf_supply *supply,
                              void *supplier, char *error) {
  struct nf_meter *m = calloc(1, sizeof *m);
  if (!m) {
    nf_fail(error, "out of memory: cannot make a meter");
    return NULL;
  }
  m->options = *options;
  m->options.sources = NULL; /* the caller's */
  m->options.bpf_filter = NULL;
  m->layout = nf_layout_of(options);
  m->supply = supply;
  m->supplier = supplier;
  m->failure = NF_END;
  m->sweep_behind = UINT64_MAX;
  set_clock(m);
  if (make_parts(m, key, error)) return m;
  nf_meter_free(m);
  return NULL;
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
  free(m);
}

/* ---- events ---- */

static void tell(struct nf_meter *m, enum nf_event_kind kind, struct nf_flow *flow, uint64_t order) {
  nf_require(m->queue_count < QUEUE);
  m->queue[m->queue_count++] = (struct told){.kind = kind, .flow = flow, .order = order};
}

static void find_process(const struct nf_meter *m, const struct nf_flow *flow) {
  struct nf_process *process = nf_section(flow, m->layout.process);
  if (m->sockets) (void)nf_sockets_find(m->sockets, &flow->tuple, flow->ip_version, process);
}

static void end_flow(struct nf_meter *m, struct nf_flow *flow, enum nf_end reason, uint64_t position, uint64_t order) {
  if (m->state == READING) nf_table_remove(m->table, flow);
  else nf_table_drain(m->table, flow);
  if (m->dpi) nf_dpi_finish(m->dpi, l7_of(m, flow), l7_extra_of(m, flow));
  if (m->layout.process) find_process(m, flow);
  nf_flow_finish(flow, &m->layout, reason);
  flow->ended_at = position;
  m->counters.ended[reason]++;
  tell(m, NF_EVENT_EXPIRE, flow, order);
}

/* The packet itself ends a flow. */
static void end_by_packet(struct nf_meter *m, struct nf_flow *flow, enum nf_end reason, uint64_t position) {
  end_flow(m, flow, reason, position, NF_ORDER_BY_PACKET(position));
}

static void tell_packet(struct nf_meter *m, enum nf_event_kind kind, struct nf_flow *flow, struct nf_packet *p) {
  p->number = (double)p->position;
  p->time = (double)p->tick;
  p->delta_time = (double)p->delta;
  m->event.packet = *p;
  if (m->queue_count > 0) { /* behind the end of another flow */
    tell(m, kind, flow, 0);
  } else {
    m->event.flow = flow;
    m->told_kind = (int)kind;
  }
}

/* Hooks have seen a flow's packet, and may have decided what becomes of the flow. */
static void settle_live(struct nf_meter *m, struct nf_flow *flow) {
  if (flow->expiration_id == -1) {
    end_by_packet(m, flow, NF_END_FORCED, flow->last_packet);
  } else if (NF_UNLIKELY(flow->is_closing || flow->is_frozen)) {
    if (flow->is_frozen) flow->absorbed_at = flow->scope[NF_BIDIRECTIONAL].last_seen;
    if (flow->is_closing && flow->queue == NF_QUEUE_OPEN) nf_table_move(m->table, flow, NF_QUEUE_CLOSING);
  }
}

/* What was told last has been handled: a flow that ended gives its slot back. */
static void settle(struct nf_meter *m) {
  struct nf_flow *flow = m->event.flow;
  if (m->told_kind == NF_EVENT_EXPIRE) nf_table_release(m->table, flow);
  else if (m->told_kind & (NF_EVENT_INIT | NF_EVENT_UPDATE)) settle_live(m, flow);
  m->told_kind = 0;
}

static int tell_next(struct nf_meter *m) {
  struct told t = m->queue[m->queue_next++];
  if (m->queue_next == m->queue_count) m->queue_next = m->queue_count = 0;
  m->event.flow = t.flow;
  m->order = t.order;
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

/* How long there was no packet. */
static uint64_t silence(const struct nf_flow *flow, uint64_t tick) {
  return tick - (flow->is_frozen ? flow->absorbed_at : flow->scope[NF_BIDIRECTIONAL].last_seen);
}

static bool is_idle(const struct nf_meter *m, const struct nf_flow *flow, uint64_t tick) {
  return silence(flow, tick) >= m->idle_timeout;
}

static bool is_overdue(const struct nf_meter *m, const struct nf_flow *flow, uint64_t tick) {
  return tick - flow->scope[NF_BIDIRECTIONAL].first_seen >= m->active_timeout;
}

/* Whether a flow whose connection is over has waited long enough for late packets. */
static bool has_lingered(const struct nf_meter *m, const struct nf_flow *flow, uint64_t tick) {
  return silence(flow, tick) >= m->linger || is_idle(m, flow, tick);
}

static bool opens_connection(const struct nf_packet *p) { return (p->tcp_flags & (NF_SYN | NF_ACK)) == NF_SYN; }

/* Why a flow ends before this packet, which then begins another; NF_END_LIVE: it does not. */
static enum nf_end cut_by(const struct nf_meter *m, const struct nf_flow *flow, const struct nf_packet *p) {
  if (flow->is_closing && (opens_connection(p) || has_lingered(m, flow, p->tick))) return NF_END_FORCED;
  if (is_idle(m, flow, p->tick)) return NF_END_IDLE;
  return is_overdue(m, flow, p->tick) ? NF_END_ACTIVE : NF_END_LIVE;
}

/* A flow that this packet comes too late for ends without it; then NULL is returned. */
static struct nf_flow *cut_if_due(struct nf_meter *m, struct nf_flow *flow, const struct nf_packet *p) {
  enum nf_end reason = cut_by(m, flow, p);
  if (NF_LIKELY(reason == NF_END_LIVE)) return flow;
  flow->expiration_id = reason == NF_END_ACTIVE ? 1 : reason == NF_END_FORCED ? -1 : 0;
  end_by_packet(m, flow, reason, p->position);
  return NULL;
}

static struct nf_flow *begin_flow(struct nf_meter *m, struct nf_packet *p, uint64_t hash) {
  if (nf_table_is_full(m->table)) end_by_packet(m, nf_table_oldest(m->table), NF_END_FULL, p->position);
  struct nf_flow *flow = nf_table_insert(m->table, &p->tuple, hash);
  if (!flow) return NULL;
  nf_flow_start(flow, &m->layout, p);
  flow->watchers = m->options.watchers;
  if (m->layout.process) *(struct nf_process *)nf_section(flow, m->layout.process) = (struct nf_process){.pid = -1};
  if (m->dpi) {
    memset(l7_of(m, flow), 0, sizeof(struct nf_l7));
    if (m->layout.l7_extra) memset(l7_extra_of(m, flow), 0, sizeof(struct nf_l7_extra));
  }
  return flow;
}

/* Whether a hook will see the flow's later packets. */
static bool wants_updates(const struct nf_meter *m, const struct nf_flow *flow) {
  return m->options.events & NF_EVENT_UPDATE && flow->watchers;
}

/* False when there is no memory for it. */
static bool dissect(struct nf_meter *m, struct nf_flow *flow, const struct nf_packet *p) {
  struct nf_l7 *l7 = l7_of(m, flow);
  uint64_t count = flow->scope[NF_BIDIRECTIONAL].packets;
  if (count > 1 && !l7->dissection) return true; /* the verdict is there */
  nf_dpi_publish(m->dpi, count > 1 ? wants_updates(m, flow) : m->options.events & (NF_EVENT_INIT | NF_EVENT_UPDATE));
  return nf_dpi_packet(m->dpi, l7, l7_extra_of(m, flow), p, count, m->ticks_per_ms);
}

static int handle_packet(struct nf_meter *m, struct nf_packet *p, uint64_t hash) {
  enum nf_event_kind kind = NF_EVENT_UPDATE;
  m->position = p->position;
  m->counters.packets++;
  m->counters.bytes += p->raw_size;
  p->accounted_size = accounted_size(m, p);
  struct nf_flow *flow = nf_table_find(m->table, &p->tuple, hash, &p->direction);
  if (flow) flow = cut_if_due(m, flow, p);
  if (flow && NF_UNLIKELY(flow->is_frozen)) {
    nf_flow_absorb(flow, p);
    nf_table_touch(m->table, flow);
    return NF_OK;
  }
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
  bool is_dissected = !m->dpi || dissect(m, flow, p);
  if (kind == NF_EVENT_UPDATE ? wants_updates(m, flow) : m->options.events & NF_EVENT_INIT)
    tell_packet(m, kind, flow, p);
  if (NF_LIKELY(is_dissected)) return NF_OK;
  nf_fail(m->error, "out of memory: cannot identify the application of %llu live flows",
          (unsigned long long)nf_table_count(m->table));
  return NF_ERR_NOMEM;
}

/* ---- going on ---- */

/* No more input: what is live ends in the next calls, then they return `status`. */
static void stop_reading(struct nf_meter *m, int status) {
  if (m->state != READING) return;
  m->state = DRAINING;
  m->is_sweeping = false;
  m->next = m->share.count;
  m->sweep_behind = UINT64_MAX;
  m->failure = status;
}

static void next_sweep(struct nf_meter *m) {
  m->sweep_behind = m->next_sweep < m->share.sweep_count ? m->share.sweeps[m->next_sweep].position : UINT64_MAX;
}

static inline uint32_t in_batch(const struct nf_meter *m, uint32_t i) { return m->share.mine[i]; }

/* Asks for the next packets. Returns false when there is nothing to go on with at the moment. */
static bool get_share(struct nf_meter *m) {
  struct nf_share *share = &m->share;
  if (m->state == READING && share->position > m->position) m->position = share->position;
  int status = m->supply(m->supplier, share);
  m->next = m->next_sweep = 0;
  if (status <= 0) {
    share->count = share->sweep_count = 0;
    if (status < 0) stop_reading(m, status);
    return status < 0;
  }
  next_sweep(m);
  for (uint32_t i = 0; i < FAR && i < share->count; i++) nf_table_prefetch(m->table, share->hashes[in_batch(m, i)]);
  for (uint32_t i = 0; i < NEAR && i < share->count; i++)
    nf_table_prefetch_slot(m->table, share->hashes[in_batch(m, i)]);
  return true;
}

static void handle_next(struct nf_meter *m) {
  const struct nf_share *share = &m->share;
  uint32_t i = m->next++, at = in_batch(m, i);
  if (i + FAR < share->count) nf_table_prefetch(m->table, share->hashes[in_batch(m, i + FAR)]);
  if (i + NEAR < share->count) nf_table_prefetch_slot(m->table, share->hashes[in_batch(m, i + NEAR)]);
  int status = handle_packet(m, &share->packets[at], share->hashes[at]);
  if (status != NF_OK) stop_reading(m, status);
}

/* Whether a sweep comes before the next packet of the share. */
static bool is_sweep_due(const struct nf_meter *m) {
  if (NF_LIKELY(m->sweep_behind == UINT64_MAX)) return false;
  return m->next == m->share.count || m->sweep_behind < m->share.packets[in_batch(m, m->next)].position;
}

static void begin_sweep(struct nf_meter *m) {
  m->sweep = m->share.sweeps[m->next_sweep++];
  m->is_sweeping = true;
  next_sweep(m);
}

/* The flow that ends next in a sweep: of those due, the least recently seen. */
static struct nf_flow *next_due(const struct nf_meter *m) {
  struct nf_flow *open = nf_table_oldest_in(m->table, NF_QUEUE_OPEN);
  struct nf_flow *closing = nf_table_oldest_in(m->table, NF_QUEUE_CLOSING);
  if (open && !is_idle(m, open, m->sweep.tick)) open = NULL;
  if (closing && !has_lingered(m, closing, m->sweep.tick)) closing = NULL;
  return nf_table_older(open, closing);
}

/* A flow ends for no packet of its own: for this reason, unless its connection was over before. */
static void end_quietly(struct nf_meter *m, struct nf_flow *flow, enum nf_end reason, uint64_t position,
                        uint64_t order) {
  if (flow->is_closing) {
    reason = NF_END_FORCED;
    flow->expiration_id = -1;
  }
  end_flow(m, flow, reason, position, order);
}

static void end_one_due(struct nf_meter *m) {
  struct nf_flow *flow = next_due(m);
  if (flow) {
    nf_table_prefetch_next(m->table, flow);
    end_quietly(m, flow, NF_END_IDLE, m->sweep.position, NF_ORDER_BY_SWEEP(m->sweep.position));
  } else {
    m->is_sweeping = false;
  }
}

static void end_one_live(struct nf_meter *m) {
  struct nf_flow *flow = nf_table_oldest(m->table);
  if (!flow) {
    m->state = DONE;
    return;
  }
  nf_table_prefetch_next(m->table, flow);
  end_quietly(m, flow, NF_END_INPUT, m->position, NF_ORDER_AT_END);
}

int nf_meter_next(struct nf_meter *m) {
  settle(m);
  for (;;) {
    if (m->queue_count > 0) return tell_next(m);
    if (m->told_kind) return m->told_kind;
    if (m->is_sweeping) {
      end_one_due(m);
    } else if (is_sweep_due(m)) {
      begin_sweep(m);
    } else if (m->next < m->share.count) {
      handle_next(m);
    } else if (m->state == READING) {
      if (!get_share(m)) return 0;
    } else if (m->state == DRAINING) {
      end_one_live(m);
    } else {
      return m->failure;
    }
  }
}

const struct nf_event *nf_meter_event(const struct nf_meter *m) { return &m->event; }
const char *nf_meter_error(const struct nf_meter *m) { return m->error; }

struct nf_place nf_meter_place(const struct nf_meter *m) {
  if (m->state == DONE) return (struct nf_place){NF_ORDER_AT_END, UINT64_MAX};
  if (m->told_kind == NF_EVENT_EXPIRE) return (struct nf_place){m->order, m->event.flow->last_packet};
  return (struct nf_place){NF_ORDER_BY_PACKET(m->position), 0};
}

void nf_meter_watch(struct nf_meter *m, struct nf_sockets *sockets) { m->sockets = sockets; }

void nf_meter_stop(struct nf_meter *m) { stop_reading(m, NF_END); }

void nf_meter_count(const struct nf_meter *m, struct nf_counters *counters) {
  counters->packets += m->counters.packets;
  counters->bytes += m->counters.bytes;
  for (int i = 0; i < NF_END_COUNT; i++) counters->ended[i] += m->counters.ended[i];
  counters->ended[NF_END_LIVE] += nf_table_count(m->table);
}
