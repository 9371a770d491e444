#pragma once
/*
 * files.h: frames of capture files, one after another as one capture, filtered by libpcap.
 */
#include "frame.h"

struct nf_files;

/*
 * Opens `count` inputs: capture files (pcap, pcapng; gzip or zstd), folders of such files, or "-" for standard input.
 * Every named file is checked to exist and the filter to be well-formed before the first frame is read; `filter` may be
 * NULL. With a filter this waits for the first input of a pipe. Returns NULL with a one-line reason in `error`.
 */
struct nf_files *nf_files_open(const char *const *paths, uint32_t count, const char *filter, char *error);
void nf_files_close(struct nf_files *files);
/* As nf_capfile_want_comments, of all files. To be called before the first read. */
void nf_files_want_comments(struct nf_files *files);

/*
 * Gives up to `max` frames that the filter accepts, in capture order. Returns how many, 0 when it has to be asked
 * again, NF_END after the last, or NF_ERR_SOURCE or NF_ERR_NOMEM with nf_files_error telling why. Frames are valid
 * until the next call. A damaged file ends early with a warning and reading goes on with the next one.
 */
int nf_files_read(struct nf_files *files, struct nf_frame *frames, int max);

/* What went wrong with an error. */
const char *nf_files_error(const struct nf_files *files);
/* Next warning not yet fetched, or NULL; valid until the next call. */
const char *nf_files_warning(struct nf_files *files);

/* Whether some input is no regular file, which may be long in coming. */
bool nf_files_may_wait(const struct nf_files *files);
/* Whether this path is one of the files, by whatever name. */
bool nf_files_reads(const struct nf_files *files, const char *path);
/* As nf_crew_input. */
struct nf_input nf_files_input(const struct nf_files *files, uint32_t index);

/* Whether a file was damaged, or named and no capture at all; the warnings tell which and how. */
bool nf_files_is_damaged(const struct nf_files *files);

/* Frames and wire bytes read so far, filtered ones included; those the filter refused; bytes of input read and in all
   (0 in all when unknown). */
struct nf_files_counters {
  uint64_t packets, bytes, filtered, filtered_bytes, input_read, input_size;
};
const struct nf_files_counters *nf_files_counters(const struct nf_files *files);
