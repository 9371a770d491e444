#pragma once
/*
 * intake.h: frames become packets: the source is read, frames are decoded, the run's clock moves.
 */
#include <stdatomic.h>

#include "fragments.h"
#include "hash.h"

struct nf_intake;

/* Ticks of the run's clock, in this unit. */
static inline uint64_t nf_ticks_per_ms(uint8_t time_unit) {
  return time_unit == NF_MILLISECONDS ? 1 : time_unit == NF_MICROSECONDS ? 1000 : 1000000;
}

/* Idle flows end here: behind the packet with this number, as of this tick. */
struct nf_sweep {
  uint64_t position, tick;
};

/* Packets one behind another. Reused from read to read. */
struct nf_batch {
  uint32_t capacity;
  uint32_t count;    /* packets */
  uint64_t position; /* number of the last one decoded so far, which may be in an earlier batch */
  struct nf_packet *packets;
  uint64_t *hashes; /* of their tuples */
  struct nf_sweep *sweeps;
  uint32_t sweep_count;
  uint8_t *bytes; /* copies of frames and comments, where the packets outlive the source's own; else NULL */
  size_t bytes_room, bytes_used;
  bool is_lasting; /* filled by several reads of the source; copies frames and comments if has_bytes */
  bool has_bytes;
};

/* Packets that a batch may hold beyond its capacity: fragments that waited for the packet before them. */
enum { NF_BATCH_SPARE = NF_FRAGMENTS_HELD };

/* A batch of up to `capacity` packets and the spare ones, which are valid until the intake is read again; `is_lasting`:
   until the batch is filled again, their frames being NULL unless `has_bytes`. NULL when out of memory. */
struct nf_batch *nf_batch_new(uint32_t capacity, bool is_lasting, bool has_bytes);
void nf_batch_free(struct nf_batch *batch);

/* Opens the source of these options; `fanout` and `packets_left` as nf_source_open. NULL with a one-line reason in
   `error`. */
struct nf_intake *nf_intake_new(const struct nf_options *options, const struct nf_hash_key *key, int32_t *fanout,
                                atomic_uint_least64_t *packets_left, char *error);
void nf_intake_free(struct nf_intake *intake);
/* As nf_source_begin. */
void nf_intake_begin(struct nf_intake *intake, uint64_t since_ns);

/*
 * Fills the batch with what comes next: packets with their position, tick and hash, and the sweeps due among them. All
 * sweeps behind a packet are in the batch that the packet is in. A lasting batch that does not fill up within a tenth
 * of a second is given as it is. Returns 1, even where every frame was ignored, 0 when there was nothing to read at the
 * moment (but maybe sweeps), NF_END, or an error with nf_intake_error saying which.
 */
int nf_intake_read(struct nf_intake *intake, struct nf_batch *batch);

/* Adds packets and bytes that were ignored, by reason, and what the source says. */
void nf_intake_count(struct nf_intake *intake, struct nf_counters *counters);

/* As nf_source's of the same names; the warnings include unknown link types, which count as damage. */
const char *nf_intake_error(const struct nf_intake *intake);
const char *nf_intake_warning(struct nf_intake *intake);
bool nf_intake_is_damaged(const struct nf_intake *intake);
bool nf_intake_may_wait(const struct nf_intake *intake);
bool nf_intake_reads(const struct nf_intake *intake, const char *path);
/* As nf_crew_input. */
struct nf_input nf_intake_input(const struct nf_intake *intake, uint32_t index);
