/*
 * sockets.c: who owned which socket, remembered. Owns the thread that looks, and two snapshots: the one that finders
 * read, and the one that the thread fills from the kernel's list, the owners and the former snapshot. Then it swaps the
 * two, which is all it does under the lock besides talking to callers. It must not know flows.
 *
 * A snapshot's entries lie in the order of when they were last seen, latest first: those of this look, then the former
 * snapshot's that are not among them. So what is too old, or too much, is the end of it.
 */
#include "sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include "clock.h"
#include "hash.h"
#include "sockets_parts.h"
#include "thread.h"
#include "warnings.h"

struct remembered {
  struct nf_ends ends;
  uint64_t seen_ms;
  struct nf_process process; /* pid -1: a socket whose owner is not known, which hides earlier owners of its ends */
  bool takes_ipv4;
};

struct snapshot {
  struct remembered *at;
  uint32_t count, room;
  struct nf_index index;
  struct nf_addresses own; /* addresses of the namespace */
};

/* Kinds of warnings; each is told once. */
enum warning { NO_NETLINK, NO_PROC_NET, NO_ADDRESSES, NO_RIGHTS, NO_PROCESSES, TOO_MANY, NO_MEMORY, WARNINGS };

struct nf_sockets {
  /* the thread's alone */
  pthread_t thread;
  uint64_t keep_ms;
  uint32_t poll_ms;
  struct nf_socket_reader *reader;
  struct nf_owners *owners;
  struct nf_socket_list list;
  struct snapshot *next;
  struct snapshot snapshots[2];
  bool is_told[WARNINGS];

  struct nf_hash_key key; /* stays as it is */
  struct nf_warnings warnings;

  bool is_stopping; /* written under the lock, but also read without it */

  pthread_mutex_t lock; /* of all below; the thread also reads *current without it, being the only one to write */
  pthread_cond_t changed;
  struct snapshot *current;
  uint64_t asked, answered; /* looks asked for; the last of them that is done */
  uint64_t scans;
  bool use_proc_net;
  bool is_working; /* the latest look could list the sockets */
};

static void lock(struct nf_sockets *s) { (void)pthread_mutex_lock(&s->lock); }

static void unlock(struct nf_sockets *s) { (void)pthread_mutex_unlock(&s->lock); }

static uint64_t now_ms(void) { return (uint64_t)nf_clock_ms(CLOCK_MONOTONIC); }

/* The text, and why where that is not NULL. */
static void warn(struct nf_sockets *s, enum warning warning, const char *text, const char *why) {
  if (s->is_told[warning]) return;
  s->is_told[warning] = true;
  nf_warnings_add(&s->warnings, "%s%s%s", text, why ? ": " : "", why ? why : "");
}

const char *nf_sockets_warning(struct nf_sockets *s) { return nf_warnings_next(&s->warnings); }

/* ---- a snapshot ---- */

/* Keyed, for who connects to this machine chooses half of the ends. */
static uint32_t hash(const struct nf_sockets *s, const struct nf_ends *ends) {
  struct nf_tuple tuple;
  static_assert(sizeof tuple == sizeof *ends &&
                    offsetof(struct nf_tuple, protocol) == offsetof(struct nf_ends, protocol),
                "ends are hashed as a tuple");
  memcpy(&tuple, ends, sizeof tuple);
  return (uint32_t)nf_hash_tuple(&s->key, &tuple);
}

/* Where the position of these ends stands or belongs. */
static uint32_t *slot_of(const struct nf_sockets *s, const struct snapshot *snapshot, const struct nf_ends *ends) {
  const struct nf_index *index = &snapshot->index;
  uint32_t i = hash(s, ends) & index->mask;
  while (index->slots[i] && memcmp(&snapshot->at[index->slots[i] - 1].ends, ends, sizeof *ends) != 0) {
    i = (i + 1) & index->mask;
  }
  return &index->slots[i];
}

static struct remembered *find(const struct nf_sockets *s, const struct snapshot *snapshot,
                               const struct nf_ends *ends) {
  if (snapshot->count == 0) return NULL;
  uint32_t position = *slot_of(s, snapshot, ends);
  return position ? &snapshot->at[position - 1] : NULL;
}

static bool make_room(struct snapshot *snapshot, uint32_t count) {
  snapshot->count = 0;
  if (count > snapshot->room) {
    free(snapshot->at);
    snapshot->room = 0;
    snapshot->at = malloc(count * sizeof *snapshot->at);
    if (!snapshot->at) return false;
    snapshot->room = count;
  }
  return nf_index_reset(&snapshot->index, count);
}

/* ---- a look ---- */

/* A socket that a process holds. Several may have the same ends (SO_REUSEPORT): the lowest pid among them counts. */
static void remember_held(struct nf_sockets *s, const struct nf_socket *socket, uint64_t now) {
  struct snapshot *next = s->next;
  const struct nf_process *process = nf_owners_find(s->owners, socket->inode);
  uint32_t *slot = slot_of(s, next, &socket->ends);
  if (*slot == 0) {
    next->at[next->count] = (struct remembered){socket->ends, now, *process, socket->takes_ipv4};
    *slot = ++next->count;
    return;
  }
  struct remembered *known = &next->at[*slot - 1];
  if (known->process.pid < 0 || (process->pid >= 0 && process->pid < known->process.pid)) known->process = *process;
  known->takes_ipv4 |= socket->takes_ipv4;
}

/* One that was there before: still there but let go by its process, or not seen in this look. */
static void remember_former(struct nf_sockets *s, const struct remembered *former, uint64_t seen_ms) {
  struct snapshot *next = s->next;
  if (former->process.pid < 0 || next->count == NF_SOCKETS_MAX) return;
  uint32_t *slot = slot_of(s, next, &former->ends);
  if (*slot) return;
  next->at[next->count] = *former;
  next->at[next->count].seen_ms = seen_ms;
  *slot = ++next->count;
}

/* Fills the next snapshot. */
static bool remember(struct nf_sockets *s) {
  const struct snapshot *former = s->current;
  uint64_t now = now_ms();
  uint64_t count = (uint64_t)s->list.count + former->count;
  if (!make_room(s->next, count < NF_SOCKETS_MAX ? (uint32_t)count : NF_SOCKETS_MAX)) return false;
  for (uint32_t i = 0; i < s->list.count; i++) {
    if (s->list.at[i].inode != 0) remember_held(s, &s->list.at[i], now);
  }
  for (uint32_t i = 0; i < s->list.count; i++) {
    const struct nf_socket *socket = &s->list.at[i];
    const struct remembered *known = socket->inode == 0 ? find(s, former, &socket->ends) : NULL;
    if (known) remember_former(s, known, now);
  }
  /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): where there are some, they are somewhere */
  for (uint32_t i = 0; i < former->count && now - former->at[i].seen_ms <= s->keep_ms; i++) {
    remember_former(s, &former->at[i], former->at[i].seen_ms);
  }
  return true;
}

static void swap_snapshots(struct nf_sockets *s) {
  lock(s);
  struct snapshot *former = s->current;
  s->current = s->next;
  s->next = former;
  s->scans = nf_owners_scans(s->owners);
  unlock(s);
}

/* What stood in the way of looking into processes. */
static void warn_of_obstacle(struct nf_sockets *s, int reason) {
  if (reason == EACCES || reason == EPERM) {
    warn(s, NO_RIGHTS, "sockets of other users' processes are not found, expected root or CAP_SYS_PTRACE", NULL);
  } else if (reason != 0) {
    warn(s, NO_PROCESSES, "processes cannot be looked into, so some sockets are not found", strerror(reason));
  }
}

/* Returns whether sockets could be listed. */
static bool look(struct nf_sockets *s, bool use_proc_net) {
  struct nf_socket_reader *reader = s->reader;
  if (use_proc_net) nf_socket_reader_refuse_netlink(reader);
  bool is_done = nf_socket_reader_read(reader, &s->list);
  const char *problem = nf_socket_reader_problem(reader);
  if (!is_done) {
    warn(s, NO_PROC_NET, "sockets cannot be listed, expected netlink or /proc/net", problem);
    return false;
  }
  if (nf_socket_reader_is_refused(reader)) {
    warn(s, NO_NETLINK, "netlink gives no list of sockets, so /proc/net is read, which takes longer", problem);
  }
  if (!nf_addresses_read(&s->next->own)) {
    warn(s, NO_ADDRESSES, "this machine's addresses are not known, so only sockets with a peer are found",
         strerror(errno));
  }
  if (s->list.is_cut) warn(s, TOO_MANY, "more sockets than can be remembered, so some are not found", NULL);
  if (s->list.is_out_of_memory || !nf_owners_update(s->owners, &s->list, &s->is_stopping) || !remember(s)) {
    warn(s, NO_MEMORY, "out of memory: sockets are found as of an earlier look", NULL);
    s->next->count = 0;
    return true;
  }
  warn_of_obstacle(s, nf_owners_obstacle(s->owners));
  swap_snapshots(s);
  return true;
}

static struct timespec moment(uint64_t ms) {
  return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
}

static void *watch(void *context) {
  struct nf_sockets *s = context;
  lock(s);
  while (!s->is_stopping) {
    uint64_t answering = s->asked;
    bool use_proc_net = s->use_proc_net;
    unlock(s);
    bool is_working = look(s, use_proc_net);
    lock(s);
    s->is_working = is_working;
    s->answered = answering;
    (void)pthread_cond_broadcast(&s->changed);
    struct timespec until = moment(now_ms() + s->poll_ms);
    int result = 0;
    while (!s->is_stopping && s->asked == answering && result == 0) {
      result = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    }
  }
  unlock(s);
  return NULL;
}

/* Under the lock. */
static void wait_for(struct nf_sockets *s, uint64_t ticket) {
  while (s->answered < ticket) (void)pthread_cond_wait(&s->changed, &s->lock);
}

void nf_sockets_refresh(struct nf_sockets *s) {
  lock(s);
  uint64_t ticket = ++s->asked;
  (void)pthread_cond_broadcast(&s->changed);
  wait_for(s, ticket);
  unlock(s);
}

/* ---- life ---- */

/* Waits are by a clock that nobody sets. */
static bool prepare_lock(struct nf_sockets *s) {
  pthread_condattr_t attributes;
  if (pthread_mutex_init(&s->lock, NULL) != 0) return false;
  if (pthread_condattr_init(&attributes) != 0) goto no_attributes;
  bool is_done = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                 pthread_cond_init(&s->changed, &attributes) == 0;
  (void)pthread_condattr_destroy(&attributes);
  if (is_done) return true;
no_attributes:
  (void)pthread_mutex_destroy(&s->lock);
  return false;
}

static void release(struct nf_sockets *s) {
  nf_socket_reader_free(s->reader);
  nf_owners_free(s->owners);
  nf_socket_list_free(&s->list);
  for (int i = 0; i < 2; i++) {
    free(s->snapshots[i].at);
    free(s->snapshots[i].index.slots);
    nf_addresses_free(&s->snapshots[i].own);
  }
  nf_warnings_clear(&s->warnings);
  (void)pthread_cond_destroy(&s->changed);
  (void)pthread_mutex_destroy(&s->lock);
  free(s);
}

struct nf_sockets *nf_sockets_new(uint32_t poll_ms, uint64_t keep_ms, char *error) {
  struct nf_sockets *s = calloc(1, sizeof *s);
  if (!s || !prepare_lock(s)) {
    nf_fail(error, "out of memory");
    free(s);
    return NULL;
  }
  s->poll_ms = poll_ms ? poll_ms : 1;
  s->keep_ms = keep_ms;
  s->current = &s->snapshots[0];
  s->next = &s->snapshots[1];
  s->reader = nf_socket_reader_new();
  s->owners = nf_owners_new();
  nf_hash_seed(&s->key);
  nf_warnings_init(&s->warnings);
  s->asked = 1;
  int result = s->reader && s->owners ? nf_thread_start(&s->thread, watch, s) : ENOMEM;
  if (result != 0) {
    nf_fail(error, "sockets cannot be watched: %s", strerror(result));
    release(s);
    return NULL;
  }
  lock(s);
  wait_for(s, s->asked);
  bool is_working = s->is_working;
  unlock(s);
  if (is_working) return s;
  const char *why = nf_sockets_warning(s);
  nf_fail(error, "%s", why ? why : "out of memory");
  nf_sockets_free(s);
  return NULL;
}

void nf_sockets_free(struct nf_sockets *s) {
  if (!s) return;
  lock(s);
  __atomic_store_n(&s->is_stopping, true, __ATOMIC_RELAXED);
  (void)pthread_cond_broadcast(&s->changed);
  unlock(s);
  (void)pthread_join(s->thread, NULL);
  release(s);
}

/* ---- finding ---- */

static const struct remembered *find_known(const struct nf_sockets *s, const struct nf_ends *ends) {
  const struct remembered *found = find(s, s->current, ends);
  return found && found->process.pid >= 0 ? found : NULL;
}

/* A socket that takes what comes to the local address and port from whoever it is. */
static const struct remembered *find_unconnected(const struct nf_sockets *s, struct nf_ends ends) {
  static const uint8_t unspecified[16];
  memset(ends.remote_address, 0, sizeof ends.remote_address);
  ends.remote_port = 0;
  if (memcmp(ends.local_address, unspecified, sizeof unspecified) != 0) {
    if (!nf_addresses_have(&s->current->own, ends.local_address, ends.ip_version)) return NULL;
    const struct remembered *bound = find_known(s, &ends);
    if (bound) return bound;
    memset(ends.local_address, 0, sizeof ends.local_address);
  } else if (ends.protocol != IPPROTO_UDP) {
    return NULL;
  }
  const struct remembered *everywhere = find_known(s, &ends);
  if (everywhere || ends.ip_version == 6) return everywhere;
  ends.ip_version = 6;
  everywhere = find_known(s, &ends);
  return everywhere && everywhere->takes_ipv4 ? everywhere : NULL;
}

static const struct remembered *find_local(const struct nf_sockets *s, const struct nf_ends *ends) {
  const struct remembered *connected = find_known(s, ends);
  return connected ? connected : find_unconnected(s, *ends);
}

bool nf_sockets_find(struct nf_sockets *s, const struct nf_tuple *tuple, uint8_t ip_version,
                     struct nf_process *process) {
  *process = (struct nf_process){.pid = -1};
  if (tuple->protocol != IPPROTO_TCP && tuple->protocol != IPPROTO_UDP) return false;
  struct nf_ends source = {.protocol = tuple->protocol, .ip_version = ip_version};
  struct nf_ends destination = source;
  memcpy(source.local_address, tuple->src_address, sizeof source.local_address);
  memcpy(source.remote_address, tuple->dst_address, sizeof source.remote_address);
  source.local_port = destination.remote_port = tuple->src_port;
  source.remote_port = destination.local_port = tuple->dst_port;
  memcpy(destination.local_address, source.remote_address, sizeof destination.local_address);
  memcpy(destination.remote_address, source.local_address, sizeof destination.remote_address);
  lock(s);
  const struct remembered *found = find_local(s, &source);
  if (!found) found = find_local(s, &destination);
  if (found) *process = found->process;
  unlock(s);
  return found != NULL;
}

/* ---- for specs ---- */

void nf_sockets_use_proc_net(struct nf_sockets *s) {
  lock(s);
  s->use_proc_net = true;
  unlock(s);
}

uint64_t nf_sockets_scans(struct nf_sockets *s) {
  lock(s);
  uint64_t scans = s->scans;
  unlock(s);
  return scans;
}

uint32_t nf_sockets_count(struct nf_sockets *s) {
  lock(s);
  uint32_t count = s->current->count;
  unlock(s);
  return count;
}
