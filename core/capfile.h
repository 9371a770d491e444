#pragma once
/*
 * capfile.h: one capture file's frames: pcap and pcapng, whatever the byte order, plain or packed.
 */
#include "frame.h"

struct nf_capfile;

/* What a read says instead of a count; final, said again when asked again. */
enum nf_capfile_status {
  NF_CAPFILE_END = -1,
  NF_CAPFILE_DAMAGED = -2, /* cannot be read on; nf_capfile_problem tells where and why */
  NF_CAPFILE_FOREIGN = -3, /* not a capture file at all; likewise */
  NF_CAPFILE_NOMEM = -4
};

/* Opens a path, or standard input for "-", and reads nothing yet. NULL with errno set. */
struct nf_capfile *nf_capfile_open(const char *path);
void nf_capfile_close(struct nf_capfile *file);

/* From now on frames come with their comments, where the capture has any: the first of a frame's. */
void nf_capfile_want_comments(struct nf_capfile *file);

/*
 * Gives up to `max` frames, those that are in memory already or else the next to arrive, numbered from `number`.
 * Returns how many, 0 when it has to be asked again, or an enum nf_capfile_status. Frames are valid until the next
 * call. Every whole frame before damage is given before the damage is told.
 */
int nf_capfile_read(struct nf_capfile *file, struct nf_frame *frames, int max, uint64_t number);

/* Reads on, giving out no frame and waiting for input, to where the link type of the first interface is known. Returns
   1 with *link_type set, 0 when it is not known yet because a stop was asked for or a packet precedes any interface, or
   a status. */
int nf_capfile_link_type(struct nf_capfile *file, uint32_t *link_type);

/* Bytes taken from the file itself, packed as they are. */
uint64_t nf_capfile_input_read(const struct nf_capfile *file);
/* One line, to be read behind the file's name. */
const char *nf_capfile_problem(const struct nf_capfile *file);
