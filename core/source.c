/*
 * source.c: one face for files and interfaces, and the limits that end either: a stop asked for, packets, time. It
 * knows neither formats nor libpcap.
 */
#include "source.h"

#include <unistd.h>

#include "clock.h"
#include "device.h"
#include "files.h"
#include "interrupt.h"

enum { ASK_MS = 100 };

struct nf_source {
  struct nf_files *files; /* or ... */
  struct nf_devices *devices;
  atomic_uint_least64_t *packets_left; /* the run's, before max_packets is reached */
  int64_t deadline_ms;                 /* on the coarse clock; 0 for none */
  bool is_stopped, has_ended;
  int64_t asked_ms;                  /* when the kernel was asked last for ... */
  struct nf_device_counters dropped; /* ... what it counts */
};

static bool is_device(const char *name) {
  return strcmp(name, "-") != 0 && access(name, F_OK) != 0 && nf_device_exists(name);
}

bool nf_source_is_live(const char *const *names, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (!is_device(names[i])) return false;
  }
  return count > 0;
}

static int64_t now_ms(void) { return nf_clock_ms(CLOCK_MONOTONIC_COARSE); }

/* NOLINTNEXTLINE(readability-non-const-parameter): what is opened writes there */
static bool open_input(struct nf_source *source, const struct nf_options *o, int32_t *fanout, char *error) {
  if (nf_source_is_live(o->sources, o->source_count)) {
    struct nf_device_options options = {
        .names = o->sources,
        .count = o->source_count,
        .filter = o->bpf_filter,
        .snapshot_length = o->snapshot_length,
        .buffer_size = o->socket_buffer_size,
        .promiscuous = o->promiscuous_mode,
        .reconnect = o->reconnect,
        .fanout = fanout,
    };
    source->devices = nf_devices_open(&options, error);
    return source->devices != NULL;
  }
  for (uint32_t i = 0; i < o->source_count; i++) {
    if (!is_device(o->sources[i])) continue;
    nf_fail(error, "\"%s\": an interface among files, expected one or the other", o->sources[i]);
    return false;
  }
  source->files = nf_files_open(o->sources, o->source_count, o->bpf_filter, error);
  if (source->files && o->comments) nf_files_want_comments(source->files);
  return source->files != NULL;
}

struct nf_source *nf_source_open(const struct nf_options *o, int32_t *fanout, atomic_uint_least64_t *packets_left,
                                 char *error) {
  struct nf_source *source = calloc(1, sizeof *source);
  if (!source) {
    nf_fail(error, "out of memory");
    return NULL;
  }
  source->packets_left = packets_left;
  if (o->duration_s) source->deadline_ms = now_ms() + (int64_t)o->duration_s * 1000;
  if (open_input(source, o, fanout, error)) return source;
  nf_source_close(source);
  return NULL;
}

void nf_source_begin(struct nf_source *source, uint64_t since_ns) {
  if (source->devices) nf_devices_begin(source->devices, since_ns);
}

void nf_source_close(struct nf_source *source) {
  if (!source) return;
  nf_files_close(source->files);
  nf_devices_close(source->devices);
  free(source);
}

static bool is_late(const struct nf_source *source) { return source->deadline_ms && now_ms() >= source->deadline_ms; }

/* How many of so many packets are within the limit, which other sources may be about to reach as well. */
static int take_packets(struct nf_source *source, uint64_t count) {
  uint64_t left = atomic_load(source->packets_left), taken;
  do taken = count < left ? count : left;
  while (!atomic_compare_exchange_weak(source->packets_left, &left, left - taken));
  return (int)taken;
}

static int read_devices(struct nf_source *source, struct nf_frame *frames, int max) {
  if (!source->is_stopped && (nf_interrupted() || is_late(source))) {
    source->is_stopped = true;
    nf_devices_stop(source->devices);
  }
  int count = nf_devices_read(source->devices, frames, max);
  source->has_ended = count < 0;
  return count > 0 ? take_packets(source, (uint64_t)count) : count;
}

int nf_source_read(struct nf_source *source, struct nf_frame *frames, int max) {
  uint64_t left = atomic_load_explicit(source->packets_left, memory_order_relaxed);
  if (left == 0) return NF_END;
  if ((uint64_t)max > left) max = (int)left;
  if (source->devices) return read_devices(source, frames, max);
  if (nf_interrupted() || is_late(source)) source->is_stopped = true;
  if (source->is_stopped) return NF_END;
  uint64_t before = nf_files_counters(source->files)->packets;
  int count = nf_files_read(source->files, frames, max);
  (void)take_packets(source, nf_files_counters(source->files)->packets - before);
  return count;
}

const char *nf_source_error(const struct nf_source *source) {
  return source->files ? nf_files_error(source->files) : "capturing failed";
}

const char *nf_source_warning(struct nf_source *source) {
  return source->files ? nf_files_warning(source->files) : nf_devices_warning(source->devices);
}

bool nf_source_may_wait(const struct nf_source *source) { return source->devices || nf_files_may_wait(source->files); }

bool nf_source_reads(const struct nf_source *source, const char *path) {
  return source->files && nf_files_reads(source->files, path);
}

struct nf_input nf_source_input(const struct nf_source *source, uint32_t index) {
  return source->files ? nf_files_input(source->files, index) : (struct nf_input){0};
}

bool nf_source_is_damaged(const struct nf_source *source) {
  return source->files ? nf_files_is_damaged(source->files) : nf_devices_is_damaged(source->devices);
}

/* The kernel is asked ten times a second at most; what it says in the end counts. */
static void ask_devices(struct nf_source *source) {
  int64_t now = now_ms();
  if (now - source->asked_ms < ASK_MS && !source->has_ended) return;
  source->asked_ms = now;
  source->dropped = *nf_devices_counters(source->devices);
}

void nf_source_count(struct nf_source *source, struct nf_counters *counters) {
  if (source->devices) {
    ask_devices(source);
    counters->dropped_kernel += source->dropped.dropped_kernel;
    counters->dropped_interface += source->dropped.dropped_interface;
    return;
  }
  const struct nf_files_counters *c = nf_files_counters(source->files);
  counters->ignored[NF_IGNORED_FILTERED] += c->filtered;
  counters->packets += c->filtered;
  counters->bytes += c->filtered_bytes;
  counters->input_read += c->input_read;
  counters->input_size += c->input_size;
}
