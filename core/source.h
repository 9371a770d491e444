#pragma once
/*
 * source.h: where frames come from: capture files or network interfaces, up to the limits that the run sets.
 */
#include <stdatomic.h>

#include "frame.h"

struct nf_source;

/*
 * Opens what the options name: files as nf_files_open, interfaces as nf_devices_open, in the kernel's fan-out groups
 * `fanout` if that is not NULL. Gives no more packets than `packets_left`, from which all sources of a run take what
 * they give; it has to outlive them. Returns NULL with a one-line reason in `error`.
 */
struct nf_source *nf_source_open(const struct nf_options *options, int32_t *fanout, atomic_uint_least64_t *packets_left,
                                 char *error);
void nf_source_close(struct nf_source *source);
/* As nf_devices_begin; nothing to files. */
void nf_source_begin(struct nf_source *source, uint64_t since_ns);

/*
 * Gives up to `max` frames that the filter accepts, in capture order. Returns how many, 0 when it has to be asked
 * again, NF_END after the last, or NF_ERR_SOURCE or NF_ERR_NOMEM with nf_source_error telling why. Frames are valid
 * until the next call. Ends early where a stop is asked for or a limit is reached; then interfaces give what the kernel
 * has already taken for them.
 */
int nf_source_read(struct nf_source *source, struct nf_frame *frames, int max);

/* What went wrong with an error. */
const char *nf_source_error(const struct nf_source *source);
/* Next warning not yet fetched, or NULL; valid until the next call. */
const char *nf_source_warning(struct nf_source *source);
/* Whether frames may be long in coming: from interfaces, or as nf_files_may_wait. */
bool nf_source_may_wait(const struct nf_source *source);
/* Whether this path is one of the source's files, by whatever name. */
bool nf_source_reads(const struct nf_source *source, const char *path);
/* As nf_crew_input. */
struct nf_input nf_source_input(const struct nf_source *source, uint32_t index);
/* Whether a file was damaged or an interface went away; the warnings tell which and how. */
bool nf_source_is_damaged(const struct nf_source *source);

/* Adds what the source alone knows to `counters`: input read, packets filtered and dropped. */
void nf_source_count(struct nf_source *source, struct nf_counters *counters);
