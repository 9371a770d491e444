#pragma once
/*
 * sockets_parts.h: what the parts of sockets share: the kernel's list of sockets (sockets_kernel.c), the processes that
 * own them (sockets_owners.c), and what is remembered of both (sockets.c). Nothing here is safe from two threads.
 */
#include "base.h"

enum { NF_SOCKETS_MAX = 1 << 17 /* in a list, and remembered */ };

/* Both ends of a socket, zeros where it is bound to no address or not connected. Laid out, compared and hashed as a
   struct nf_tuple. */
struct nf_ends {
  uint8_t local_address[16];
  uint8_t remote_address[16];
  uint16_t local_port;
  uint16_t remote_port;
  uint16_t zero;
  uint8_t protocol;
  uint8_t ip_version; /* 4 for an IPv6 socket whose addresses are mapped IPv4 */
} __attribute__((aligned(8)));

struct nf_socket {
  struct nf_ends ends;
  uint64_t inode;  /* 0 where no process holds it (any more): TIME_WAIT, or not yet accepted */
  bool takes_ipv4; /* IPv6, on every address, IPv4 ones included */
};

struct nf_socket_list {
  struct nf_socket *at;
  uint32_t count, room;
  bool is_cut; /* there were more */
  bool is_out_of_memory;
};

/* Adds what one datagram of a netlink dump of a protocol's sockets says; other dumps' messages, told by `sequence`, are
   passed over. 0 at the end of the dump, EAGAIN when more is to come, or the errno that the dump failed with. */
int nf_socket_list_add_reply(struct nf_socket_list *list, uint8_t protocol, uint32_t sequence, const uint8_t *bytes,
                             size_t size);
/* Adds what a line of /proc/net/{tcp,tcp6,udp,udp6} says; false for the heading and other lines that say nothing. */
bool nf_socket_list_add_line(struct nf_socket_list *list, uint8_t protocol, uint8_t ip_version, const char *line);
void nf_socket_list_free(struct nf_socket_list *list);

/* Lists the sockets of the calling thread's network namespace. NULL when out of memory. */
struct nf_socket_reader *nf_socket_reader_new(void);
void nf_socket_reader_free(struct nf_socket_reader *reader);
/* From now on as if netlink were refused. */
void nf_socket_reader_refuse_netlink(struct nf_socket_reader *reader);
/* Lists anew. false when not even /proc/net can be read: then nf_socket_reader_problem says why. */
bool nf_socket_reader_read(struct nf_socket_reader *reader, struct nf_socket_list *list);
/* Why the latest thing that did not work did not. */
const char *nf_socket_reader_problem(const struct nf_socket_reader *reader);
/* Whether /proc/net had to be read, in part or in whole. */
bool nf_socket_reader_is_refused(const struct nf_socket_reader *reader);

struct nf_address {
  uint8_t bytes[16];
  uint8_t ip_version;
};

/* The addresses that this namespace's interfaces have. */
struct nf_addresses {
  struct nf_address *at;
  uint32_t count;
};

/* Reads them anew. false with errno set, and the addresses as they were. */
bool nf_addresses_read(struct nf_addresses *addresses);
bool nf_addresses_have(const struct nf_addresses *addresses, const uint8_t *address, uint8_t ip_version);
void nf_addresses_free(struct nf_addresses *addresses);

/* Positions in an array, plus 1, by hash: linear probing from hash & mask to the first 0. At most half full. */
struct nf_index {
  uint32_t *slots;
  uint32_t mask, room; /* room: slots that are allocated */
};

/* Empties it and makes it fit for `count` positions. false when out of memory. */
bool nf_index_reset(struct nf_index *index, uint32_t count);

/* Which process holds which socket, by inode. NULL when out of memory. */
struct nf_owners *nf_owners_new(void);
void nf_owners_free(struct nf_owners *owners);
/* Finds the owners of these sockets, looking through /proc only for those not asked for before, and those a few times
   at most; gives up early once *is_stopping. Forgets all others. false when out of memory. */
bool nf_owners_update(struct nf_owners *owners, const struct nf_socket_list *list, const bool *is_stopping);
/* The owner of a socket of that list; a pid of -1 where none was found. Valid until the next update. */
const struct nf_process *nf_owners_find(const struct nf_owners *owners, uint64_t inode);
/* Where an owner was not found, why a process could not be looked into: EACCES and EPERM for want of rights, or another
   errno; else 0. */
int nf_owners_obstacle(const struct nf_owners *owners);
/* How often /proc has been looked through. */
uint64_t nf_owners_scans(const struct nf_owners *owners);

struct nf_sockets;

/* From the next look on as if netlink were refused. */
void nf_sockets_use_proc_net(struct nf_sockets *sockets);
/* How often /proc has been looked through, and how many pairs of ends are remembered, as of the latest look. */
uint64_t nf_sockets_scans(struct nf_sockets *sockets);
uint32_t nf_sockets_count(struct nf_sockets *sockets);
