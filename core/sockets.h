#pragma once
/*
 * sockets.h: which process owns the local end of a flow. A thread of its own lists the sockets of the network namespace
 * again and again; sockets that open and close between two looks are never seen.
 */
#include "base.h"

struct nf_sockets;

/*
 * Starts the thread, in the caller's network namespace and with its rights, and returns once it has looked for the
 * first time. It looks again `poll_ms` after each look is over (0 counts as 1), and remembers what it saw for `keep_ms`
 * after it was last there, as of the latest look. At most 131072 pairs of ends are remembered, in about 64 MB; beyond
 * that the least recently seen leave first. NULL with one line in `error` (NF_ERROR_SIZE bytes): out of memory, no
 * thread, or neither netlink nor /proc/net lists sockets. nf_sockets_free stops the thread at once, asleep or not.
 */
struct nf_sockets *nf_sockets_new(uint32_t poll_ms, uint64_t keep_ms, char *error);
void nf_sockets_free(struct nf_sockets *sockets);

/*
 * The process at the flow's source end or, where none is known there, at its destination. At each end the socket
 * between these two ends counts first, then the one bound to the end's address and port, then the one bound to its port
 * on every address; the last two only where the address is this namespace's own, or unspecified as in DHCP. Of several
 * processes that share a socket it is the one with the lowest pid, by the name it had when the socket was first seen.
 * Returns false with *process = {-1, ""} where none is known, and for all but TCP and UDP. Safe from any thread; never
 * waits for a look.
 */
bool nf_sockets_find(struct nf_sockets *sockets, const struct nf_tuple *tuple, uint8_t ip_version,
                     struct nf_process *process);

/* Looks at once; returns when a look that began after the call is over. Safe from any thread. */
void nf_sockets_refresh(struct nf_sockets *sockets);

/* Next warning not yet fetched, or NULL; valid until the next call. Each kind is given once. */
const char *nf_sockets_warning(struct nf_sockets *sockets);
