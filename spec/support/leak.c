/*
 * leak.c: drives the core without Lua over each file given, with everything switched on, for the leak sanitizer to judge
 * at exit. Half-way through each second file the run is given up, so that what is live then has to be freed too.
 *
 * With --starve first, each file is read once for every allocation that the core makes for it, with that one failing,
 * and once more with all from that one on; the leak sanitizer judges after each. The linker puts the functions below,
 * __wrap_..., in the place of those that the core calls. What libraries allocate for themselves does not fail.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sanitizer/lsan_interface.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "crew.h"

static _Noreturn void fail(const char *what, const char *why) {
  fprintf(stderr, "leak: %s: %s\n", what, why);
  exit(1);
}

/* ---- allocations that fail ---- */

static bool is_starving;
static uint64_t first_failing, last_failing; /* of the allocations that fail */
static atomic_uint_least64_t allocations;

static bool starves(void) {
  uint64_t number = atomic_fetch_add(&allocations, 1) + 1;
  if (!is_starving || number < first_failing || number > last_failing) return false;
  errno = ENOMEM;
  return true;
}

#define WRAP(type, name, parameters, arguments, failure) \
  type __real_##name parameters;                         \
  type __wrap_##name parameters;                         \
  type __wrap_##name parameters { return starves() ? (failure) : __real_##name arguments; }

WRAP(void *, malloc, (size_t size), (size), NULL)
WRAP(void *, calloc, (size_t count, size_t size), (count, size), NULL)
WRAP(void *, realloc, (void *block, size_t size), (block, size), NULL)
WRAP(char *, strdup, (const char *text), (text), NULL)
WRAP(int, vasprintf, (char **text, const char *format, va_list rest), (text, format, rest), -1)
WRAP(FILE *, fmemopen, (void *bytes, size_t size, const char *mode), (bytes, size, mode), NULL)
WRAP(void *, mmap, (void *at, size_t size, int protection, int flags, int descriptor, off_t offset),
     (at, size, protection, flags, descriptor, offset), MAP_FAILED)
WRAP(int, mprotect, (void *at, size_t size, int protection), (at, size, protection), -1)
WRAP(int, scandir,
     (const char *folder, struct dirent ***entries, int (*is_wanted)(const struct dirent *),
      int (*compare)(const struct dirent **, const struct dirent **)),
     (folder, entries, is_wanted, compare), -1)

/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's name */
int __wrap_asprintf(char **text, const char *format, ...);
int __wrap_asprintf(char **text, const char *format, ...) {
  va_list rest;
  va_start(rest, format);
  int size = __wrap_vasprintf(text, format, rest);
  va_end(rest);
  return size;
}

/* What could not be had is an error, unless something had to fail; then it has to have a reason of one line. */
static void refused(const char *what, const char *why) {
  if (!is_starving) fail(what, why);
  if (!*why || strchr(why, '\n')) fail(what, "failed without a reason of one line");
}

/* ---- what the core is asked for ---- */

static const struct nf_column columns[] = {
    {.name = "id", .offset = offsetof(struct nf_flow, record_id), .length = 1, .type = NF_TYPE_UINT64},
    {.name = "src_ip", .offset = offsetof(struct nf_flow, tuple.src_address), .length = 1, .type = NF_TYPE_IP},
};

/* What hooks and sinks use beside flows, given all there is to see. */
struct tools {
  struct nf_filter *filter;
  struct nf_assembly *assembly;
  struct nf_quic *quic;
  struct nf_crypto *crypto;
  struct nf_message *message;
  struct nf_mask *mask;
};

static void free_tools(struct tools t) {
  nf_filter_free(t.filter);
  nf_assembly_free(t.assembly);
  nf_quic_free(t.quic);
  nf_crypto_free(t.crypto);
  nf_message_free(t.message);
  nf_mask_free(t.mask);
}

static struct nf_mask *make_mask(char *error) {
  const struct nf_mask_step steps[] = {{columns[0], sizeof(struct nf_flow), NF_MASK_HASH}};
  const struct nf_mask_options options = {steps, 1,           sizeof(struct nf_flow), sizeof(struct nf_flow) + 129, 64,
                                          0,     {.size = 32}};
  return nf_mask_new(&options, error);
}

static bool make_tools(struct tools *t) {
  char error[NF_ERROR_SIZE] = "out of memory"; /* which nf_assembly_new says by returning NULL */
  if (nf_filter_new("no such thing", error)) fail("filter", "compiles what is none");
  *t = (struct tools){0};
  if ((t->filter = nf_filter_new("udp", error)) && (t->assembly = nf_assembly_new(4, 64, 3)) &&
      (t->quic = nf_quic_new(error)) && (t->crypto = nf_crypto_new(error)) &&
      (t->message = nf_message_new(NF_MESSAGE_JSON, columns, 2, error)) && (t->mask = make_mask(error)))
    return true;
  refused("tools", error);
  free_tools(*t);
  return false;
}

static void use_tools(const struct tools *t, const struct nf_packet *packet) {
  static uint8_t frames[1 << 16];
  uint8_t digest[32];
  uint32_t size = packet->captured_size - packet->payload_offset;
  const uint8_t *payload = packet->frame + packet->payload_offset;
  struct nf_quic_id first = {.size = 0};
  if (nf_filter_matches(t->filter, packet))
    nf_quic_client_initial(t->quic, payload, size, &first, frames, sizeof frames);
  nf_assembly_add(t->assembly, nf_assembly_open(t->assembly), 0, payload, size);
  nf_sha256(t->crypto, payload, size, digest);
  nf_mask_apply(t->mask, packet->flow);
}

/* What a run has. All at once is much to go through for every allocation. */
struct setting {
  uint32_t meters;
  bool has_dpi, has_outputs; /* writers, and tools */
};

static struct nf_options options_for(const char *const *path, const struct setting *setting) {
  return (struct nf_options){
      .sources = path,
      .n_meters = setting->meters,
      .source_count = 1,
      .bpf_filter = "ip or ip6 or vlan or mpls",
      .idle_timeout_s = 1,
      .active_timeout_s = 60,
      .n_dissections = setting->has_dpi ? 20 : 0,
      .splt_analysis = 10,
      .udps_size = 24,
      .events = NF_EVENT_INIT | NF_EVENT_UPDATE,
      .watchers = 1,
      .decode_tunnels = true,
      .defragment = true,
      .statistical_analysis = true,
      .l7_extra = true,
      .comments = true,
  };
}

/* A writer of each format. */
enum { FORMATS = NF_FORMAT_IPFIX + 1 };

static void close_writers(struct nf_writer *const *writers) {
  for (int format = 0; format < FORMATS; format++) nf_writer_close(writers[format], NULL);
}

static bool open_writers(struct nf_writer **writers) {
  char error[NF_ERROR_SIZE];
  const struct nf_element elements[] = {{.enterprise = 1, .number = 1}, {.number = 8, .number_v6 = 27}};
  const struct nf_ipfix ipfix = {.elements = elements, .enterprise = 1, .message_size = 1400};
  const struct nf_destination to = {.path = "/dev/null", .descriptor = -1, .ipfix = &ipfix};
  for (int format = 0; format < FORMATS; format++) writers[format] = NULL;
  for (int format = 0; format < FORMATS; format++) {
    if (!(writers[format] = nf_writer_open(&to, format, columns, 2, error))) {
      refused("/dev/null", error);
      close_writers(writers);
      return false;
    }
    (void)nf_writer_describe(writers[format], "name", "text");
  }
  return true;
}

/* What takes flows and packets. */
struct outputs {
  struct nf_writer *writers[FORMATS];
  struct tools tools;
};

static bool make_outputs(struct outputs *o) {
  if (!open_writers(o->writers)) return false;
  if (make_tools(&o->tools)) return true;
  close_writers(o->writers);
  return false;
}

static void free_outputs(const struct outputs *o) {
  free_tools(o->tools);
  close_writers(o->writers);
}

static void give(const struct outputs *o, int kind, const struct nf_event *event) {
  size_t size;
  if (kind == NF_EVENT_UPDATE) use_tools(&o->tools, &event->packet);
  if (kind != NF_EVENT_EXPIRE) return;
  for (int i = 0; i < FORMATS; i++) nf_writer_write(o->writers[i], event->flow);
  nf_message_encode(o->tools.message, event->flow, &size);
}

/* Goes through the events of a run, and all of them unless it is to be given up. */
static void follow(struct nf_crew *crew, const struct outputs *outputs, bool give_up) {
  int kind, updates = 0;
  while ((kind = nf_crew_next(crew)) >= 0) {
    if (outputs) give(outputs, kind, nf_crew_event(crew));
    if (kind == NF_EVENT_UPDATE && give_up && ++updates == 20) return;
  }
  if (kind != NF_END) refused("run", nf_crew_error(crew));
}

/* A meter's thread, without hooks. */
static void work(struct nf_crew *crew, uint32_t index, void *context) {
  (void)context;
  if (!nf_crew_ready(crew, NULL)) return;
  struct nf_meter *meter = nf_crew_meter(crew, index);
  int kind;
  while ((kind = nf_meter_next(meter)) >= 0)
    if (kind == NF_EVENT_EXPIRE && !nf_crew_give(crew, index)) break;
  nf_crew_leave(crew, index, kind >= 0 || kind == NF_END ? NULL : nf_meter_error(meter), "state", sizeof "state");
}

static void launch(struct nf_crew *crew, const struct outputs *outputs, bool give_up) {
  char error[NF_ERROR_SIZE];
  if (nf_crew_launch(crew, work, NULL, error) != NF_OK) refused("launch", error);
  else follow(crew, outputs, give_up);
}

static void run(const char *path, const struct setting *setting, bool give_up) {
  char error[NF_ERROR_SIZE];
  struct nf_options options = options_for(&path, setting);
  struct nf_crew *crew = nf_crew_new(&options, error);
  struct outputs outputs;
  if (!crew) {
    refused(path, error);
    return;
  }
  if (!setting->has_outputs) {
    launch(crew, NULL, give_up);
  } else if (make_outputs(&outputs)) {
    launch(crew, &outputs, give_up);
    free_outputs(&outputs);
  }
  while (nf_crew_warning(crew)) continue;
  nf_crew_free(crew);
}

/* Absent where valgrind looks for leaks, in a build without sanitizers. */
#pragma weak __lsan_do_recoverable_leak_check

static bool leaks(void) { return __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check(); }

/* The same with each allocation failing, alone and with all that come after it. */
static void starve(const char *path, const struct setting *setting) {
  atomic_store(&allocations, 0);
  run(path, setting, false);
  uint64_t count = atomic_load(&allocations);
  is_starving = true;
  for (first_failing = 1; first_failing <= count; first_failing++) {
    for (int all = 0; all < 2; all++) {
      last_failing = all ? UINT64_MAX : first_failing;
      atomic_store(&allocations, 0);
      run(path, setting, false);
      if (!leaks()) continue;
      fprintf(stderr, "leak: %s: allocation %llu of %llu failed\n", path, (unsigned long long)first_failing,
              (unsigned long long)count);
      exit(1);
    }
  }
  is_starving = false;
  printf("leak: %s, %u meter%s%s%s: %llu allocations failed one after another\n", path, setting->meters,
         setting->meters == 1 ? "" : "s", setting->has_dpi ? ", DPI" : "", setting->has_outputs ? ", outputs" : "",
         (unsigned long long)count);
}

int main(int argc, char **argv) {
  const struct setting all = {1, true, true}, parts[] = {{1, true, false}, {3, true, false}, {1, false, true}};
  bool starving = argc > 1 && strcmp(argv[1], "--starve") == 0;
  for (int i = 1; !starving && i < argc; i++) run(argv[i], &all, i % 2 == 0);
  for (int i = 2; starving && i < argc; i++) {
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) starve(argv[i], &parts[part]);
  }
  return 0;
}
