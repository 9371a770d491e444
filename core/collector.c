/*
 * collector.c: sockets that messages are sent over. Names are looked up once: connecting again asks nobody but the
 * addresses found then.
 */
#include "collector.h"

#include "clock.h"
#include "interrupt.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  NAME_SIZE = 300, /* of the collector in texts */
  CONNECT_S = 5,   /* for one address */
  APART_MS = 1000, /* connections begin at least so long one after another */
  STOP_MS = 2000,  /* that a collector is waited for in all once a stop was asked for */
  LOOK_MS = 5      /* between the first two looks whether all has arrived */
};

static const char DEFAULT_PORT[] = "4739"; /* of IPFIX, by IANA */

struct nf_collector {
  bool is_stream;
  int socket; /* -1 for none */
  struct addrinfo *addresses;
  int64_t patience_ms;
  int64_t interval_ns, due_ns; /* between two datagrams, 0 for no limit; and when the next one may go */
  int64_t connecting_at;       /* when the latest connection was begun */
  int64_t trouble_at;          /* since when none has lasted, 0 while all is well */
  uint32_t session;
  uint64_t refused;
  int refusal; /* errno of the latest refused datagram */
  int failure;
  int64_t waited_ms; /* since a stop was asked for */
  bool is_finished;
  char name[NAME_SIZE];
};

static int64_t now_ms(void) { return nf_clock_ms(CLOCK_MONOTONIC); }

/* ---- connecting ---- */

/* Splits what stands behind the scheme, "HOST", "HOST:PORT" or "[ADDRESS]:PORT", in place. */
static bool split(char *place, const char **host, const char **port) {
  *host = place;
  *port = DEFAULT_PORT;
  char *end = strchr(place, ':');
  if (*place == '[') {
    *host = place + 1;
    char *bracket = strchr(place, ']');
    if (!bracket || (bracket[1] && bracket[1] != ':')) return false;
    end = bracket[1] ? bracket + 1 : NULL;
    *bracket = '\0';
  } else if (end && strchr(end + 1, ':')) {
    return false;
  }
  if (end) {
    *end = '\0';
    *port = end + 1;
  }
  char *rest;
  return **host && **port >= '0' && **port <= '9' && strtoul(*port, &rest, 10) <= UINT16_MAX && !*rest;
}

/* Finds the addresses. False with the reason in `error`. */
static bool look_up(struct nf_collector *c, const char *url, char *error) {
  static const char *const schemes[] = {"udp://", "tcp://"};
  char place[NAME_SIZE];
  const char *host, *port;
  c->is_stream = strncmp(url, schemes[1], strlen(schemes[1])) == 0;
  const bool is_known = c->is_stream || strncmp(url, schemes[0], strlen(schemes[0])) == 0;
  if (is_known) (void)snprintf(place, sizeof place, "%s", url + strlen(schemes[0]));
  if (!is_known || strlen(url) >= NAME_SIZE || !split(place, &host, &port)) {
    nf_fail(error, "cannot write \"%.200s\": expected udp://HOST:PORT or tcp://HOST:PORT", url);
    return false;
  }
  const struct addrinfo wanted = {.ai_socktype = c->is_stream ? SOCK_STREAM : SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
  const int problem = getaddrinfo(host, port, &wanted, &c->addresses);
  if (problem) nf_fail(error, "cannot write \"%.200s\": %s", url, gai_strerror(problem));
  return !problem;
}

static void set_send_timeout(int socket, time_t seconds) {
  const struct timeval timeout = {.tv_sec = seconds};
  (void)setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout); /* connecting heeds it, too */
}

/* A socket connected to this address, or -1 with errno. */
static int connect_to(const struct addrinfo *address) {
  const int connected = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
  if (connected < 0) return -1;
  set_send_timeout(connected, CONNECT_S);
  if (connect(connected, address->ai_addr, address->ai_addrlen) == 0) {
    set_send_timeout(connected, 0);
    return connected;
  }
  const int problem = errno == EINPROGRESS ? ETIMEDOUT : errno;
  (void)close(connected);
  errno = problem;
  return -1;
}

/* Connects to the first address that can be. 0 or errno of the last one. */
static int connect_any(struct nf_collector *c) {
  int problem = EADDRNOTAVAIL;
  c->connecting_at = now_ms();
  for (const struct addrinfo *address = c->addresses; address; address = address->ai_next) {
    if ((c->socket = connect_to(address)) >= 0) {
      c->session++;
      return 0;
    }
    problem = errno;
  }
  return problem;
}

struct nf_collector *nf_collector_open(const char *url, uint32_t patience_s, uint32_t rate, char *error) {
  struct nf_collector *c = calloc(1, sizeof *c);
  if (!c) {
    nf_fail(error, "out of memory for an output");
    return NULL;
  }
  c->socket = -1;
  c->patience_ms = (int64_t)patience_s * 1000;
  c->interval_ns = rate ? 1000000000 / rate : 0;
  (void)snprintf(c->name, sizeof c->name, "%s", url);
  if (look_up(c, url, error)) {
    const int problem = connect_any(c);
    if (!problem) return c;
    nf_fail(error, "cannot write \"%.200s\": %s", url, strerror(problem));
  }
  nf_collector_free(c);
  return NULL;
}

void nf_collector_free(struct nf_collector *c) {
  if (!c) return;
  if (c->socket >= 0) (void)close(c->socket);
  if (c->addresses) freeaddrinfo(c->addresses);
  free(c);
}

/* Lets so much time pass between connections; false when a stop was asked for. */
static bool keep_apart(const struct nf_collector *c) {
  int64_t left;
  while (!nf_interrupted() && (left = c->connecting_at + APART_MS - now_ms()) > 0) (void)poll(NULL, 0, (int)left);
  return !nf_interrupted();
}

/* Connects again, as often as patience lasts. What has failed is `problem`. */
static void reconnect(struct nf_collector *c, int problem) {
  if (!c->trouble_at) c->trouble_at = now_ms();
  (void)close(c->socket);
  c->socket = -1;
  while (c->socket < 0 && now_ms() < c->trouble_at + c->patience_ms && keep_apart(c)) problem = connect_any(c);
  if (c->socket < 0) c->failure = problem;
}

/* Waits for a slow collector, but not long: who waits on looks round in between. False once it has been waited for long
   enough after a stop was asked for; it has failed then, by EINTR. */
static bool wait_for(struct nf_collector *c, short event, int ms) {
  struct pollfd wait = {.fd = c->socket, .events = event};
  const int64_t before = now_ms();
  (void)poll(&wait, 1, ms);
  if (nf_interrupted()) c->waited_ms += now_ms() - before;
  if (c->waited_ms > STOP_MS) c->failure = EINTR;
  return !c->failure;
}

/* ---- sending ---- */

/* Whether a TCP collector has closed the connection, or it is broken; sets errno. What a collector says is not heard,
   but for its end. */
static bool has_gone(const struct nf_collector *c) {
  enum { PIECES = 16 };
  char ignored[256];
  ssize_t size = 1;
  for (int i = 0; i < PIECES && size > 0; i++) size = recv(c->socket, ignored, sizeof ignored, MSG_DONTWAIT);
  if (size == 0) errno = ECONNRESET;
  return size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
}

/* False with errno where the connection is broken, or has failed. */
static bool send_bytes(struct nf_collector *c, const uint8_t *bytes, size_t size) {
  size_t sent = 0;
  while (sent < size && !c->failure) {
    const ssize_t n = send(c->socket, bytes + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) sent += (size_t)n;
    else if (errno == EAGAIN) (void)wait_for(c, POLLOUT, NF_LOOK_MS);
    else if (errno != EINTR) return false;
  }
  return !c->failure;
}

static bool send_to_stream(struct nf_collector *c, const void *message, size_t size) {
  if (!has_gone(c) && send_bytes(c, message, size)) {
    if (now_ms() - c->connecting_at > APART_MS) c->trouble_at = 0;
    return true;
  }
  if (!c->failure) reconnect(c, errno);
  return false;
}

/* Keeps datagrams as far apart as they are to be on average: no time is shorter than a wait, so some go together. */
static void keep_pace(struct nf_collector *c) {
  if (!c->interval_ns || nf_interrupted()) return;
  const int64_t now = nf_clock_ns(CLOCK_MONOTONIC);
  if (c->due_ns < now) c->due_ns = now;
  const int64_t ahead_ms = (c->due_ns - now) / 1000000;
  if (ahead_ms > 0) (void)poll(NULL, 0, (int)ahead_ms);
  c->due_ns += c->interval_ns;
}

/* What a send fails for is mostly an earlier datagram that came back, which says nothing of this one. */
static bool send_datagram(struct nf_collector *c, const void *message, size_t size) {
  enum { TRIES = 3 };
  bool is_sent = false, was_refused = false;
  keep_pace(c);
  for (int i = 0; i < TRIES && !is_sent; i++) {
    is_sent = send(c->socket, message, size, MSG_NOSIGNAL) >= 0;
    if (is_sent || errno == EINTR) continue;
    c->refusal = errno;
    was_refused = true;
  }
  c->refused += was_refused;
  return is_sent;
}

bool nf_collector_send(struct nf_collector *c, const void *message, size_t size) {
  if (c->failure) return false;
  return c->is_stream ? send_to_stream(c, message, size) : send_datagram(c, message, size);
}

/* ---- ending ---- */

/* What a datagram has to say that came back behind the last one. */
static void look_for_refusal(struct nf_collector *c) {
  int problem = 0;
  socklen_t size = sizeof problem;
  (void)getsockopt(c->socket, SOL_SOCKET, SO_ERROR, &problem, &size);
  if (!problem) return;
  c->refusal = problem;
  c->refused++;
}

uint64_t nf_collector_pending(const struct nf_collector *c) {
  int left = 0;
  return c->is_stream && c->socket >= 0 && ioctl(c->socket, SIOCOUTQ, &left) == 0 ? (uint64_t)left : 0;
}

/* Until what was sent is acknowledged. 0 or errno. */
static int wait_for_stream(struct nf_collector *c) {
  for (int ms = LOOK_MS; !has_gone(c); ms = ms < NF_LOOK_MS ? 2 * ms : ms) {
    if (nf_collector_pending(c) == 0) return 0;
    if (!wait_for(c, 0, ms)) return c->failure;
  }
  return errno;
}

int nf_collector_finish(struct nf_collector *c) {
  if (c->is_finished || c->failure) return c->failure; /* once: it may well have gone then */
  c->is_finished = true;
  if (c->is_stream) c->failure = wait_for_stream(c);
  else look_for_refusal(c);
  return c->failure;
}

int nf_collector_failure(const struct nf_collector *c) { return c->failure; }
uint32_t nf_collector_session(const struct nf_collector *c) { return c->session; }
uint64_t nf_collector_refused(const struct nf_collector *c) { return c->refused; }

bool nf_collector_warning(const struct nf_collector *c, char *text) {
  const uint32_t again = c->session > 1 ? c->session - 1 : 0;
  if (c->refused) {
    (void)snprintf(text, NF_ERROR_SIZE, "\"%.200s\": %llu message%s could not be sent or came back: %s", c->name,
                   (unsigned long long)c->refused, c->refused == 1 ? "" : "s", strerror(c->refusal));
  } else if (again) {
    (void)snprintf(text, NF_ERROR_SIZE, "\"%.200s\": connected again %u time%s: what was on the way is lost", c->name,
                   again, again == 1 ? "" : "s");
  }
  return c->refused || again;
}
