#pragma once
/*
 * collector.h: whoever takes messages over the network, by UDP or TCP. Knows nothing of what they say.
 *
 * By UDP a message is a datagram. Nobody need be there to take it: collectors come and go, so what cannot be sent, or
 * comes back, is counted, and no failure. By TCP a message is bytes of a stream; where the collector is slow, sending
 * waits for it, for two seconds in all once a stop was asked for, and has failed by EINTR then. A connection that
 * breaks is followed by another, in which nothing has been said yet.
 */
#include "base.h"

struct nf_collector;

/* Looks up "udp://HOST:PORT" or "tcp://HOST:PORT" (an IPv6 address in brackets; port 4739, IPFIX's, without one) and
   connects. One by TCP that went away is waited for as long as `patience_s`; one by UDP gets at most `rate` messages a
   second, unless that is 0 or a stop was asked for. NULL with a one-line reason in `error`. */
struct nf_collector *nf_collector_open(const char *url, uint32_t patience_s, uint32_t rate, char *error);
void nf_collector_free(struct nf_collector *collector);

/* Sends a message. Returns whether the system took it, whole; if not, and nothing has failed, it was a datagram that is
   lost, or another session has begun. */
bool nf_collector_send(struct nf_collector *collector, const void *message, size_t size);

/* Waits, as sending does, until a TCP collector's host has got all that was sent. 0 or errno. */
int nf_collector_finish(struct nf_collector *collector);

/* errno of what failed for good, 0 while all is well. */
int nf_collector_failure(const struct nf_collector *collector);
/* Bytes that were sent and have not been acknowledged. */
uint64_t nf_collector_pending(const struct nf_collector *collector);
/* Which connection it is, from 1; the only one by UDP. */
uint32_t nf_collector_session(const struct nf_collector *collector);
/* How many datagrams could not be sent, or have come back. */
uint64_t nf_collector_refused(const struct nf_collector *collector);

/* What there is to tell that is no failure, as one line; false where there is nothing. */
bool nf_collector_warning(const struct nf_collector *collector, char *text);
