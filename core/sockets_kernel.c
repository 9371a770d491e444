/*
 * sockets_kernel.c: what the kernel says of this network namespace: its TCP and UDP sockets, by netlink
 * (sock_diag(7)) or else from /proc/net, and its addresses. Owns the netlink socket. It must not know processes, nor
 * what was there earlier.
 *
 * A list that netlink refuses once (no such module, or a filter of system calls) is read from /proc/net for good.
 */
#include "sockets_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { REPLY_SIZE = 64 * 1024 /* twice what the kernel puts into a datagram */ };

/* The path is the thread's, for a process can have threads in several namespaces. */
static const struct {
  uint8_t family, ip_version, protocol;
  const char *path;
} lists[] = {
    {AF_INET, 4, IPPROTO_TCP, "/proc/thread-self/net/tcp"},
    {AF_INET6, 6, IPPROTO_TCP, "/proc/thread-self/net/tcp6"},
    {AF_INET, 4, IPPROTO_UDP, "/proc/thread-self/net/udp"},
    {AF_INET6, 6, IPPROTO_UDP, "/proc/thread-self/net/udp6"},
};
enum { LISTS = sizeof lists / sizeof lists[0] };

struct nf_socket_reader {
  int netlink; /* -1 while there is none */
  uint32_t sequence;
  bool is_refused[LISTS];
  char problem[160];
  uint8_t reply[REPLY_SIZE];
};

/* ---- a socket ---- */

static bool is_unspecified(const uint8_t *address) {
  static const uint8_t zeros[16];
  return memcmp(address, zeros, sizeof zeros) == 0;
}

static bool is_mapped(const uint8_t *address) {
  static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291, 2.5.5.2 */
  return memcmp(address, prefix, sizeof prefix) == 0;
}

static void unmap(uint8_t *address) {
  memcpy(address, address + 12, 4);
  memset(address + 4, 0, 12);
}

/* Room for one more; NULL when the list is full or memory is. */
static struct nf_socket *add_socket(struct nf_socket_list *list) {
  if (list->count == NF_SOCKETS_MAX) {
    list->is_cut = true;
    return NULL;
  }
  if (list->count == list->room) {
    uint32_t room = list->room ? 2 * list->room : 256;
    struct nf_socket *larger = realloc(list->at, room * sizeof *larger);
    if (!larger) {
      list->is_out_of_memory = true;
      return NULL;
    }
    list->at = larger;
    list->room = room;
  }
  return &list->at[list->count++];
}

/* Addresses that are mapped IPv4 (of an IPv6 socket that talks IPv4) become IPv4. */
static void add(struct nf_socket_list *list, const struct nf_ends *ends, uint64_t inode, bool is_v6_only) {
  struct nf_socket *socket = add_socket(list);
  if (!socket) return;
  *socket = (struct nf_socket){.ends = *ends, .inode = inode};
  struct nf_ends *e = &socket->ends;
  bool is_local_mapped = is_mapped(e->local_address), is_remote_mapped = is_mapped(e->remote_address);
  if (e->ip_version == 6 && (is_local_mapped || is_remote_mapped)) {
    if (is_local_mapped) unmap(e->local_address);
    if (is_remote_mapped) unmap(e->remote_address);
    e->ip_version = 4;
  }
  socket->takes_ipv4 = e->ip_version == 6 && is_unspecified(e->local_address) && !is_v6_only;
}

void nf_socket_list_free(struct nf_socket_list *list) {
  free(list->at);
  *list = (struct nf_socket_list){.at = NULL};
}

/* ---- netlink ---- */

/* Only sockets that may be on every address say whether they are for IPv6 alone. */
static bool says_v6_only(const uint8_t *attributes, size_t size) {
  struct rtattr attribute;
  while (size >= sizeof attribute) {
    memcpy(&attribute, attributes, sizeof attribute);
    size_t length = attribute.rta_len;
    if (length < sizeof attribute || length > size) return false;
    if (attribute.rta_type == INET_DIAG_SKV6ONLY && length > sizeof attribute) {
      return attributes[sizeof attribute] != 0;
    }
    if (RTA_ALIGN(length) > size) return false;
    attributes += RTA_ALIGN(length);
    size -= RTA_ALIGN(length);
  }
  return false;
}

static void add_message(struct nf_socket_list *list, uint8_t protocol, const uint8_t *bytes, size_t size) {
  struct inet_diag_msg message;
  if (size < sizeof message) return;
  memcpy(&message, bytes, sizeof message);
  if (message.idiag_family != AF_INET && message.idiag_family != AF_INET6) return;
  bool is_ipv6 = message.idiag_family == AF_INET6;
  size_t address_size = is_ipv6 ? 16 : 4;
  struct nf_ends ends = {
      .protocol = protocol,
      .ip_version = is_ipv6 ? 6 : 4,
      .local_port = ntohs(message.id.idiag_sport),
      .remote_port = ntohs(message.id.idiag_dport),
  };
  memcpy(ends.local_address, message.id.idiag_src, address_size);
  memcpy(ends.remote_address, message.id.idiag_dst, address_size);
  static_assert(sizeof message % NLMSG_ALIGNTO == 0, "attributes follow directly");
  add(list, &ends, message.idiag_inode, says_v6_only(bytes + sizeof message, size - sizeof message));
}

/* The errno at the head of a message that ends a dump. */
static int result_of(const uint8_t *body, size_t size) {
  int32_t result = 0;
  if (size >= sizeof result) memcpy(&result, body, sizeof result);
  return result < 0 ? (int)-(int64_t)result : 0;
}

int nf_socket_list_add_reply(struct nf_socket_list *list, uint8_t protocol, uint32_t sequence, const uint8_t *bytes,
                             size_t size) {
  struct nlmsghdr header;
  while (size >= sizeof header) {
    memcpy(&header, bytes, sizeof header);
    size_t length = header.nlmsg_len;
    if (length < sizeof header || length > size) return EBADMSG;
    const uint8_t *body = bytes + sizeof header;
    size_t body_size = length - sizeof header;
    if (header.nlmsg_seq == sequence) {
      if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) return result_of(body, body_size);
      if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY) add_message(list, protocol, body, body_size);
    }
    size_t step = (length + NLMSG_ALIGNTO - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
    if (step > size) break;
    bytes += step;
    size -= step;
  }
  return EAGAIN;
}

static int open_netlink(struct nf_socket_reader *reader) {
  if (reader->netlink >= 0) return 0;
  reader->netlink = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (reader->netlink < 0) return errno;
  /* The kernel answers at once or not at all; this only keeps the thread from ever hanging. */
  struct timeval patience = {.tv_sec = 2};
  (void)setsockopt(reader->netlink, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return 0;
}

static int ask(struct nf_socket_reader *reader, int which) {
  struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
  } request = {
      .header = {.nlmsg_len = sizeof request,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                 .nlmsg_seq = ++reader->sequence},
      .body = {.sdiag_family = lists[which].family, .sdiag_protocol = lists[which].protocol, .idiag_states = ~0u},
  };
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  ssize_t sent = sendto(reader->netlink, &request, sizeof request, 0, (const struct sockaddr *)&kernel, sizeof kernel);
  return sent < 0 ? errno : 0;
}

/* 0, or the errno that netlink refuses with. */
static int read_netlink(struct nf_socket_reader *reader, int which, struct nf_socket_list *list) {
  int result = open_netlink(reader);
  if (result == 0) result = ask(reader, which);
  if (result != 0) return result;
  do {
    struct sockaddr_nl from = {.nl_family = AF_NETLINK};
    socklen_t from_size = sizeof from;
    ssize_t size = recvfrom(reader->netlink, reader->reply, REPLY_SIZE, MSG_TRUNC, (struct sockaddr *)&from,
                            &from_size);
    if (size < 0 && errno != EINTR) return errno;
    if (size > REPLY_SIZE) return EMSGSIZE;
    if (size < 0 || from.nl_pid != 0) result = EAGAIN; /* a stopped process goes on; not from the kernel */
    else result = nf_socket_list_add_reply(list, lists[which].protocol, reader->sequence, reader->reply, (size_t)size);
  } while (result == EAGAIN);
  return result;
}

/* ---- /proc/net ---- */

/* Addresses stand there as numbers of 32 bits in the machine's byte order. */
static bool read_address(uint8_t *address, const char *digits, size_t words) {
  if (strlen(digits) != 8 * words) return false;
  for (size_t i = 0; i < words; i++) {
    char word[9] = "";
    memcpy(word, digits + 8 * i, 8);
    uint32_t value = (uint32_t)strtoul(word, NULL, 16);
    memcpy(address + 4 * i, &value, 4);
  }
  return true;
}

bool nf_socket_list_add_line(struct nf_socket_list *list, uint8_t protocol, uint8_t ip_version, const char *line) {
  char local[33], remote[33];
  unsigned local_port, remote_port;
  uint64_t inode;
  /* NOLINTNEXTLINE(cert-err34-c): widths keep ports and addresses in bounds; an inode too large finds no process */
  int found = sscanf(line, " %*d: %32[0-9A-F]:%4x %32[0-9A-F]:%4x %*x %*x:%*x %*x:%*x %*x %*u %*d %" SCNu64, local,
                     &local_port, remote, &remote_port, &inode);
  if (found != 5) return false;
  struct nf_ends ends = {
      .protocol = protocol,
      .ip_version = ip_version,
      .local_port = (uint16_t)local_port,
      .remote_port = (uint16_t)remote_port,
  };
  size_t words = ip_version == 6 ? 4 : 1;
  if (!read_address(ends.local_address, local, words) || !read_address(ends.remote_address, remote, words))
    return false;
  add(list, &ends, inode, false); /* whether a socket is for IPv6 alone is not told */
  return true;
}

/* 0 or errno. A system without IPv6 has no list of it. */
static int read_proc_net(int which, struct nf_socket_list *list) {
  FILE *file = fopen(lists[which].path, "re");
  if (!file) return errno == ENOENT && lists[which].ip_version == 6 ? 0 : errno;
  char line[512];
  while (fgets(line, sizeof line, file)) {
    (void)nf_socket_list_add_line(list, lists[which].protocol, lists[which].ip_version, line);
  }
  fclose(file);
  return 0;
}

/* ---- either ---- */

struct nf_socket_reader *nf_socket_reader_new(void) {
  struct nf_socket_reader *reader = calloc(1, sizeof *reader);
  if (reader) reader->netlink = -1;
  return reader;
}

void nf_socket_reader_free(struct nf_socket_reader *reader) {
  if (!reader) return;
  if (reader->netlink >= 0) close(reader->netlink);
  free(reader);
}

void nf_socket_reader_refuse_netlink(struct nf_socket_reader *reader) {
  (void)snprintf(reader->problem, sizeof reader->problem, "not to be used");
  for (int i = 0; i < LISTS; i++) reader->is_refused[i] = true;
}

bool nf_socket_reader_read(struct nf_socket_reader *reader, struct nf_socket_list *list) {
  list->count = 0;
  list->is_cut = list->is_out_of_memory = false;
  for (int i = 0; i < LISTS; i++) {
    int result = reader->is_refused[i] ? 0 : read_netlink(reader, i, list);
    if (result != 0) {
      (void)snprintf(reader->problem, sizeof reader->problem, "%s", strerror(result));
      reader->is_refused[i] = true;
    }
    /* What netlink gave before it failed comes a second time: the same sockets. */
    result = reader->is_refused[i] ? read_proc_net(i, list) : 0;
    if (result == 0) continue;
    (void)snprintf(reader->problem, sizeof reader->problem, "\"%s\": %s", lists[i].path, strerror(result));
    return false;
  }
  return true;
}

const char *nf_socket_reader_problem(const struct nf_socket_reader *reader) { return reader->problem; }

bool nf_socket_reader_is_refused(const struct nf_socket_reader *reader) {
  for (int i = 0; i < LISTS; i++) {
    if (reader->is_refused[i]) return true;
  }
  return false;
}

/* ---- addresses ---- */

static int compare_addresses(const void *a, const void *b) { return memcmp(a, b, sizeof(struct nf_address)); }

static bool address_of(const struct ifaddrs *interface, struct nf_address *address) {
  if (!interface->ifa_addr) return false;
  *address = (struct nf_address){.ip_version = 4};
  if (interface->ifa_addr->sa_family == AF_INET) {
    struct sockaddr_in ipv4;
    memcpy(&ipv4, interface->ifa_addr, sizeof ipv4);
    memcpy(address->bytes, &ipv4.sin_addr, 4);
    return true;
  }
  if (interface->ifa_addr->sa_family != AF_INET6) return false;
  struct sockaddr_in6 ipv6;
  memcpy(&ipv6, interface->ifa_addr, sizeof ipv6);
  memcpy(address->bytes, &ipv6.sin6_addr, 16);
  address->ip_version = 6;
  return true;
}

bool nf_addresses_read(struct nf_addresses *addresses) {
  struct ifaddrs *interfaces;
  if (getifaddrs(&interfaces) != 0) return false;
  size_t room = 1; /* never 0, for which malloc may give NULL */
  for (const struct ifaddrs *i = interfaces; i; i = i->ifa_next) room++;
  struct nf_address *at = malloc(room * sizeof *at);
  if (at) {
    free(addresses->at);
    *addresses = (struct nf_addresses){.at = at};
    for (const struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
      if (address_of(i, &at[addresses->count])) addresses->count++;
    }
    qsort(at, addresses->count, sizeof *at, compare_addresses);
  }
  freeifaddrs(interfaces);
  return at != NULL;
}

bool nf_addresses_have(const struct nf_addresses *addresses, const uint8_t *address, uint8_t ip_version) {
  if (ip_version == 4 && address[0] == 127) return true; /* all of the loopback network, not only what lo has */
  struct nf_address wanted = {.ip_version = ip_version};
  memcpy(wanted.bytes, address, sizeof wanted.bytes);
  return addresses->count > 0 && bsearch(&wanted, addresses->at, addresses->count, sizeof wanted, compare_addresses);
}

void nf_addresses_free(struct nf_addresses *addresses) {
  free(addresses->at);
  *addresses = (struct nf_addresses){.at = NULL};
}
