/*
 * source.c: one face for files and interfaces, and the limits that end either: a stop asked for, packets, time. It
 * knows neither formats nor libpcap.
 */
#include "source.h"

#include <sys/stat.h>
#include <time.h>

#include "files.h"
#include "interrupt.h"

struct nf_source {
  struct nf_files *files;
  uint64_t packets_left; /* before max_packets is reached */
  struct timespec deadline;
  bool has_deadline;
  bool is_stopped;
};

bool nf_source_is_live(const char *const *names, uint32_t count) {
  (void)names, (void)count;
  return false;
}

struct nf_source *nf_source_open(const struct nf_options *o, int32_t *fanout, char *error) {
  (void)fanout;
  struct nf_source *source = calloc(1, sizeof *source);
  if (!source) {
    nf_fail(error, "out of memory");
    return NULL;
  }
  source->packets_left = o->max_packets ? o->max_packets : UINT64_MAX;
  if (o->duration_s) {
    clock_gettime(CLOCK_MONOTONIC_COARSE, &source->deadline);
    source->deadline.tv_sec += o->duration_s;
    source->has_deadline = true;
  }
  source->files = nf_files_open(o->sources, o->source_count, o->bpf_filter, error);
  if (source->files) return source;
  nf_source_close(source);
  return NULL;
}

void nf_source_close(struct nf_source *source) {
  if (!source) return;
  nf_files_close(source->files);
  free(source);
}

static bool is_late(const struct nf_source *source) {
  struct timespec now;
  if (!source->has_deadline) return false;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec > source->deadline.tv_sec ||
         (now.tv_sec == source->deadline.tv_sec && now.tv_nsec >= source->deadline.tv_nsec);
}

int nf_source_read(struct nf_source *source, struct nf_frame *frames, int max) {
  if (source->packets_left == 0 || nf_interrupted() || is_late(source)) source->is_stopped = true;
  if (source->is_stopped) return NF_END;
  if ((uint64_t)max > source->packets_left) max = (int)source->packets_left;
  uint64_t before = nf_files_counters(source->files)->packets;
  int count = nf_files_read(source->files, frames, max);
  source->packets_left -= nf_files_counters(source->files)->packets - before;
  return count;
}

const char *nf_source_error(const struct nf_source *source) { return nf_files_error(source->files); }
const char *nf_source_warning(struct nf_source *source) { return nf_files_warning(source->files); }
bool nf_source_reads(const struct nf_source *source, const char *path) { return nf_files_reads(source->files, path); }
bool nf_source_is_damaged(const struct nf_source *source) { return nf_files_is_damaged(source->files); }

void nf_source_count(struct nf_source *source, struct nf_counters *counters) {
  const struct nf_files_counters *c = nf_files_counters(source->files);
  counters->ignored[NF_IGNORED_FILTERED] += c->filtered;
  counters->packets += c->filtered;
  counters->bytes += c->filtered_bytes;
  counters->input_read += c->input_read;
  counters->input_size += c->input_size;
}
