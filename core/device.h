#pragma once
/*
 * device.h: frames from network interfaces, as they come. A handle belongs to one thread.
 */
#include "frame.h"

struct nf_devices; /* one or more interfaces, captured together as one source */

struct nf_device_options {
  const char *const *names; /* of interfaces, each once; "any" is all of them, as LINKTYPE_LINUX_SLL: see below */
  uint32_t count;
  const char *filter;       /* a libpcap filter, which the kernel runs, or NULL */
  uint32_t snapshot_length; /* bytes kept of each frame; 0, or more than 262144, is 262144 */
  uint32_t buffer_size;     /* bytes of the kernel's buffer for each interface; 0 is libpcap's choice */
  bool promiscuous;         /* take other machines' frames too; "any" cannot */
  bool reconnect;           /* wait for an interface that went away, instead of ending it */
  int32_t *fanout;          /* one for each name, or NULL: see below */
};

/*
 * Opens the interfaces. Nothing is borrowed from `options`. An interface that does not exist is an error, and so is one
 * that is down, except that `reconnect` waits for it. Returns NULL with a one-line reason in `error`.
 *
 * On "any", frames have version 1 of the Linux cooked header, the one in which libpcap keeps a VLAN tag. Of two tags,
 * recent kernels (6.18 for one) leave the inner one unannounced, so what is behind it cannot be found.
 *
 * With `fanout`, several handles share an interface's frames: all whose group number for it is the same. -1 makes a new
 * group and puts its number there for the others. The kernel deals frames out by a hash of addresses, protocol and
 * ports that is the same for both directions of a flow; it looks at the outer headers only, so what is inside a tunnel
 * stays with the tunnel, and a fragment, also the first of a datagram, is dealt out by its addresses alone.
 */
struct nf_devices *nf_devices_open(const struct nf_device_options *options, char *error);
void nf_devices_close(struct nf_devices *devices);

/* Frames from before this time (since 1970) are not given: called with the same one for all members of a fan-out group
   when the last one has been opened, as until then others got its frames. */
void nf_devices_begin(struct nf_devices *devices, uint64_t since_ns);

/*
 * Gives up to `max` frames, of each interface in the order of arrival; across interfaces the order is not kept. Returns
 * how many, or 0 when nothing came for NF_LOOK_MS, or a signal did; a frame on a quiet interface may be that late.
 * NF_END after the last frame of the last interface. Frames are valid until the next call. An interface that went down
 * or was removed gives first what it still has; a warning names it.
 */
int nf_devices_read(struct nf_devices *devices, struct nf_frame *frames, int max);

/* Lets no more frames in. What the kernel has taken until now is still to be read, until NF_END: every frame offered
   is either given out or counted as dropped. */
void nf_devices_stop(struct nf_devices *devices);

/* Next warning not yet fetched, or NULL; valid until the next call. */
const char *nf_devices_warning(struct nf_devices *devices);
/* Whether an interface ended before it was told to; the warnings tell which and why. */
bool nf_devices_is_damaged(const struct nf_devices *devices);

/* Sums over all interfaces, from the start on: frames given out and their bytes on the wire; frames that passed the
   filter and found the kernel's buffer full; frames the interface itself lost (known with `promiscuous` only). */
struct nf_device_counters {
  uint64_t packets, bytes, dropped_kernel, dropped_interface;
};
/* Asks the kernel. Valid until the handle is closed, up to date when called. */
const struct nf_device_counters *nf_devices_counters(struct nf_devices *devices);

/* Whether there is a network interface of this name, or it is "any". */
bool nf_device_exists(const char *name);
