/*
 * device.c: network interfaces, by libpcap. Owns a libpcap handle for each interface, the frames of the last read, and
 * what outlives a handle when an interface comes back: counters and warnings. It must not know what a frame holds, what
 * is to be done with it, or what else may be read.
 *
 * The kernel hands frames over in blocks (TPACKET_V3): when one is full, or at the latest two of its timer's periods
 * after the first frame in it. libpcap gives a block back as soon as its last frame has been passed on, so frames are
 * copied.
 */
#include "device.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <pcap/pcap.h>

#include "clock.h"
#include "interrupt.h"
#include "warnings.h"

enum {
  SNAPSHOT_MAX = 262144,        /* libpcap's MAXIMUM_SNAPLEN */
  BLOCK_MS = 100,               /* the period of the kernel's timer for blocks that are not full */
  LAST_BLOCK_MS = 3 * BLOCK_MS, /* by then the last block has been handed over */
  LAST_FRAME_MS = 10,           /* by then a frame that was on its way past the filter has been counted */
  CLOSING_WAIT_MS = 10,         /* a closing interface is asked this often */
  LOOK_MS = NF_LOOK_MS,         /* whether interfaces are still there is looked up this often */
  REOPEN_MS = 500,              /* time between two tries to open an interface again */
  ROOM_FRAMES = 32,             /* of the largest size, that a read can give at once */
  LINKTYPE_RAW_IP = 101         /* in captures; libpcap has another number for it in memory */
};

/* In the machine's byte order; it matters to "ip broadcast" only, and NFStream gives the same. */
static const bpf_u_int32 NETMASK = 0xffffff00;

enum state {
  OPEN,
  CLOSING, /* lets nothing more in; what it has is still read */
  AWAY,    /* waited for */
  ENDED
};

enum presence { UP, DOWN, REMOVED };

static const char *const CHANGES[] = {[DOWN] = "the interface went down", [REMOVED] = "the interface was removed"};

struct device {
  char *name;
  enum state state;
  bool is_waited_for;  /* once closed */
  bool is_member;      /* of a fan-out group */
  int32_t group;       /* its number, or -1 for one to be made */
  int64_t changing_ms; /* since when it is closing; when to try to open it again */

  /* While OPEN or CLOSING, the handle longer where the run was stopped. */
  pcap_t *pcap;
  int descriptor; /* -1 without a handle */
  int index;      /* the kernel's number for the interface; 0 for "any" */
  uint32_t link_type;
  uint32_t fraction_ns;
  uint64_t since_ns;     /* since 1970: earlier frames went to the group's other members as well, or instead */
  uint32_t taken;        /* frames, wrapping around as libpcap's counters do */
  struct pcap_stat told; /* what libpcap's counters were when asked last */
};

struct nf_devices {
  struct device *list;
  uint32_t count;
  uint32_t first; /* to be read next time, so that a busy interface keeps none waiting */

  char *filter; /* or NULL */
  int snapshot, buffer_size;
  bool promiscuous, reconnect;
  bool is_stopped, is_damaged;

  int control; /* a socket to ask about interfaces, in whose network namespace they are */
  int64_t look_ms;
  struct pollfd *polled; /* each interface's descriptor */
  uint8_t *room;         /* for the frames of a read: ROOM_FRAMES of frame_room bytes */
  uint32_t frame_room;

  struct nf_device_counters counters;
  struct nf_warnings warnings;
};

/* What a read has put together so far. */
struct batch {
  struct nf_devices *devices;
  const struct device *device; /* the frames are of */
  struct nf_frame *frames;
  int count, max;
  size_t used; /* bytes of devices->room */
};

static int64_t now_ms(void) { return nf_clock_ms(CLOCK_MONOTONIC); }

static bool is_any(const char *name) { return strcmp(name, "any") == 0; }

/* A socket to ask about interfaces. Of the kind that libpcap opens anyway, so that a sandbox need let in no other. */
static int open_control(void) { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE); }

static void put_name(struct ifreq *request, const char *name) {
  snprintf(request->ifr_name, sizeof request->ifr_name, "%s", name);
}

/* Whether there seems to be such an interface, for who may open no socket: it is to be told that, and not of a missing
   file. */
static bool is_listed(const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/sys/class/net/%s", name);
  return access(path, F_OK) == 0;
}

bool nf_device_exists(const char *name) {
  if (is_any(name)) return true;
  if (!*name || strlen(name) >= IF_NAMESIZE || strchr(name, '/')) return false;
  int control = open_control();
  if (control < 0) return is_listed(name);
  struct ifreq request = {0};
  put_name(&request, name);
  bool exists = ioctl(control, SIOCGIFINDEX, &request) == 0;
  close(control);
  return exists;
}

/* Names may hold anything; an error is one line. */
static void make_line(char *text) {
  for (; *text; text++) {
    if ((unsigned char)*text < ' ' || *text == 0x7f) *text = '?';
  }
}

static void warn(struct nf_devices *devices, const struct device *device, const char *what, const char *then) {
  nf_warnings_add(&devices->warnings, "%s: %s%s", device->name, what, then);
}

const char *nf_devices_warning(struct nf_devices *devices) { return nf_warnings_next(&devices->warnings); }

static enum presence presence_of_request(const struct nf_devices *devices, struct ifreq *request) {
  if (ioctl(devices->control, SIOCGIFFLAGS, request) != 0) return REMOVED;
  return request->ifr_flags & IFF_UP ? UP : DOWN;
}

/* Whether a captured interface is still there. By its number: its name may have changed, or be another's by now. */
static enum presence presence_of(const struct nf_devices *devices, const struct device *device) {
  if (device->index == 0) return UP;
  struct ifreq request = {.ifr_ifindex = device->index};
  if (ioctl(devices->control, SIOCGIFNAME, &request) != 0) return REMOVED;
  return presence_of_request(devices, &request);
}

static enum presence presence_of_name(const struct nf_devices *devices, const char *name) {
  if (is_any(name)) return UP;
  struct ifreq request = {0};
  put_name(&request, name);
  return presence_of_request(devices, &request);
}

/* Adds what the kernel has counted since it was asked last. */
static void add_counters(struct nf_devices *devices, struct device *device) {
  struct pcap_stat now;
  if (!device->pcap || pcap_stats(device->pcap, &now) != 0) return;
  devices->counters.dropped_kernel += now.ps_drop - device->told.ps_drop;
  /* This one falls when the interface is removed, which takes its count along. */
  int32_t lost = (int32_t)(now.ps_ifdrop - device->told.ps_ifdrop);
  if (lost > 0) devices->counters.dropped_interface += (uint32_t)lost;
  device->told = now;
}

static void close_handle(struct nf_devices *devices, struct device *device) {
  if (!device->pcap) return;
  add_counters(devices, device);
  pcap_close(device->pcap);
  device->pcap = NULL;
  device->descriptor = -1;
}

enum opened {
  OPENED,
  NOT_THERE,
  NOT_JOINED, /* the fan-out group is not this interface's, or not yet */
  FAILED
};

static enum opened explain(pcap_t *pcap, int result, char *reason) {
  const char *text = pcap_geterr(pcap);
  if (!*text) text = pcap_statustostr(result);
  switch (result) {
  case PCAP_ERROR_NO_SUCH_DEVICE:
  case PCAP_ERROR_IFACE_NOT_UP: nf_fail(reason, "the interface is down, expected it to be up"); return NOT_THERE;
  case PCAP_ERROR_PERM_DENIED:
  case PCAP_ERROR_PROMISC_PERM_DENIED:
    nf_fail(reason, "cannot capture: %s, expected root or the capability CAP_NET_RAW", text);
    return FAILED;
  default: nf_fail(reason, "cannot capture: %s", text); return FAILED;
  }
}

/* Joins the device's fan-out group, or makes it. */
static bool join_group(struct device *device, char *reason) {
  uint32_t how = PACKET_FANOUT_HASH; /* frames put together from fragments would be none that was sent */
  if (device->group < 0) how |= PACKET_FANOUT_FLAG_UNIQUEID;
  uint32_t group = device->group < 0 ? 0 : (uint32_t)device->group & 0xffff;
  uint32_t argument = how << 16 | group;
  socklen_t size = sizeof argument;
  device->since_ns = (uint64_t)nf_clock_ns(CLOCK_REALTIME);
  if (setsockopt(device->descriptor, SOL_PACKET, PACKET_FANOUT, &argument, size) != 0 ||
      getsockopt(device->descriptor, SOL_PACKET, PACKET_FANOUT, &argument, &size) != 0) {
    nf_fail(reason, "fan-out group %d: %s, expected a group of this interface or -1", device->group, strerror(errno));
    return false;
  }
  device->group = (int32_t)(argument & 0xffff);
  return true;
}

static bool set_filter(const struct nf_devices *devices, pcap_t *pcap, char *reason) {
  if (!devices->filter) return true;
  struct bpf_program program = {0};
  int result = pcap_compile(pcap, &program, devices->filter, 1, NETMASK);
  if (result == 0) {
    result = pcap_setfilter(pcap, &program);
    pcap_freecode(&program);
  }
  if (result == 0) return true;
  int link_type = pcap_datalink(pcap);
  const char *name = pcap_datalink_val_to_name(link_type);
  nf_fail(reason, "bpf_filter \"%.200s\": %s, expected a libpcap filter for link type %d (%s)", devices->filter,
          pcap_geterr(pcap), link_type, name ? name : "unknown");
  return false;
}

static pcap_t *create_handle(struct nf_devices *devices, const struct device *device, char *text) {
  pcap_t *pcap = pcap_create(device->name, text);
  if (!pcap) return NULL;
  pcap_set_snaplen(pcap, devices->snapshot);
  pcap_set_promisc(pcap, devices->promiscuous && !is_any(device->name));
  pcap_set_timeout(pcap, BLOCK_MS);
  if (devices->buffer_size > 0) pcap_set_buffer_size(pcap, devices->buffer_size);
  pcap_set_tstamp_precision(pcap, PCAP_TSTAMP_PRECISION_NANO); /* or else it stays at microseconds */
  return pcap;
}

/* The number of the interface that the socket is bound to. */
static int index_of(int descriptor) {
  struct sockaddr_ll address = {0};
  socklen_t size = sizeof address;
  return getsockname(descriptor, (struct sockaddr *)&address, &size) == 0 ? address.sll_ifindex : 0;
}

static enum opened open_handle(struct nf_devices *devices, struct device *device, char *reason) {
  char text[PCAP_ERRBUF_SIZE] = "";
  pcap_t *pcap = device->pcap = create_handle(devices, device, text);
  if (!pcap) {
    nf_fail(reason, "cannot capture: %s", text);
    return FAILED;
  }
  device->told = (struct pcap_stat){0};
  device->taken = 0;
  int result = pcap_activate(pcap);
  enum opened opened = result < 0 ? explain(pcap, result, reason) : OPENED;
  if (result > 0) warn(devices, device, *pcap_geterr(pcap) ? pcap_geterr(pcap) : pcap_statustostr(result), "");
  if (opened != OPENED) goto fail;
  device->descriptor = pcap_get_selectable_fd(pcap);
  device->index = index_of(device->descriptor);
  opened = FAILED;
  if (pcap_setnonblock(pcap, 1, text) != 0) {
    nf_fail(reason, "cannot capture: %s", text);
    goto fail;
  }
  if (device->is_member && !join_group(device, reason)) {
    opened = NOT_JOINED;
    goto fail;
  }
  if (!set_filter(devices, pcap, reason)) goto fail;
  int link_type = pcap_datalink(pcap);
  device->link_type = link_type == DLT_RAW ? LINKTYPE_RAW_IP : (uint32_t)link_type;
  device->fraction_ns = pcap_get_tstamp_precision(pcap) == PCAP_TSTAMP_PRECISION_NANO ? 1 : 1000;
  device->state = OPEN;
  return OPENED;

fail:
  pcap_close(pcap);
  device->pcap = NULL;
  device->descriptor = -1;
  return opened;
}

/* The group's number must be known to the other members before the interface is there to make one. */
static void choose_group(struct device *device) {
  uint16_t number = 0;
  if (!device->is_member || device->group >= 0) return;
  if (getrandom(&number, sizeof number, 0) < 0) number = (uint16_t)getpid();
  device->group = number | 0x8000; /* far from those that the kernel and people give */
}

/* Opens an interface for the first time. */
static bool start_device(struct nf_devices *devices, struct device *device, char *error) {
  char reason[NF_ERROR_SIZE];
  if (!nf_device_exists(device->name)) {
    nf_fail(error, "\"%.64s\": no such interface, expected the name of a network interface or any", device->name);
    return false;
  }
  enum opened opened = open_handle(devices, device, reason);
  if (opened == NOT_THERE && devices->reconnect) {
    warn(devices, device, "the interface is down", ", waiting for it to come up");
    choose_group(device);
    device->state = AWAY;
  } else if (opened != OPENED) {
    nf_fail(error, "\"%s\": %.*s", device->name, NF_ERROR_SIZE - IF_NAMESIZE - 8, reason);
    return false;
  }
  return true;
}

/* Takes over the options' names and groups. */
static bool add_devices(struct nf_devices *devices, const struct nf_device_options *options, char *error) {
  for (uint32_t i = 0; i < options->count; i++) {
    for (uint32_t j = 0; j < i; j++) {
      if (strcmp(options->names[i], options->names[j]) != 0) continue;
      nf_fail(error, "\"%.64s\": named twice, expected each interface once", options->names[i]);
      return false;
    }
    struct device *device = &devices->list[i];
    *device = (struct device){.state = ENDED, .descriptor = -1, .name = strdup(options->names[i])};
    devices->count = i + 1;
    if (!device->name) {
      nf_fail(error, "out of memory");
      return false;
    }
    device->is_member = options->fanout != NULL;
    device->group = options->fanout ? options->fanout[i] : -1;
  }
  return true;
}

static bool reserve(struct nf_devices *devices, const struct nf_device_options *options) {
  devices->frame_room = ((uint32_t)devices->snapshot + 7) & ~7u;
  devices->list = calloc(options->count, sizeof *devices->list);
  devices->polled = calloc(options->count, sizeof *devices->polled);
  devices->room = malloc((size_t)ROOM_FRAMES * devices->frame_room);
  if (options->filter && *options->filter) {
    devices->filter = strdup(options->filter);
    if (!devices->filter) return false;
  }
  return devices->list && devices->polled && devices->room;
}

struct nf_devices *nf_devices_open(const struct nf_device_options *options, char *error) {
  struct nf_devices *devices = calloc(1, sizeof *devices);
  if (!devices) {
    nf_fail(error, "out of memory");
    return NULL;
  }
  nf_warnings_init(&devices->warnings);
  bool is_whole = options->snapshot_length == 0 || options->snapshot_length > SNAPSHOT_MAX;
  devices->snapshot = is_whole ? SNAPSHOT_MAX : (int)options->snapshot_length;
  devices->buffer_size = options->buffer_size > INT32_MAX ? INT32_MAX : (int)options->buffer_size;
  devices->promiscuous = options->promiscuous;
  devices->reconnect = options->reconnect;
  devices->control = open_control();
  if (options->count == 0) {
    nf_fail(error, "no interface, expected at least one");
    goto fail;
  }
  if (devices->control < 0) {
    nf_fail(error, "cannot ask about interfaces: %s", strerror(errno));
    goto fail;
  }
  if (!reserve(devices, options)) {
    nf_fail(error, "out of memory");
    goto fail;
  }
  if (!add_devices(devices, options, error)) goto fail;
  for (uint32_t i = 0; i < devices->count; i++) {
    if (!start_device(devices, &devices->list[i], error)) goto fail;
  }
  for (uint32_t i = 0; options->fanout && i < devices->count; i++) options->fanout[i] = devices->list[i].group;
  return devices;

fail:
  if (error) make_line(error);
  nf_devices_close(devices);
  return NULL;
}

void nf_devices_begin(struct nf_devices *devices, uint64_t since_ns) {
  for (uint32_t i = 0; i < devices->count; i++) devices->list[i].since_ns = since_ns;
}

void nf_devices_close(struct nf_devices *devices) {
  if (!devices) return;
  for (uint32_t i = 0; i < devices->count; i++) {
    close_handle(devices, &devices->list[i]);
    free(devices->list[i].name);
  }
  free(devices->list);
  free(devices->polled);
  free(devices->room);
  free(devices->filter);
  if (devices->control >= 0) close(devices->control);
  nf_warnings_clear(&devices->warnings);
  free(devices);
}

/* Lets nothing more in, not even into the kernel's counters. */
static void shut(struct device *device) {
  struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
  struct sock_fprog program = {.len = 1, .filter = &nothing};
  (void)setsockopt(device->descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
  device->state = CLOSING;
  device->changing_ms = now_ms();
}

/* The interface gives no more frames, of itself. */
static void lose(struct nf_devices *devices, struct device *device, const char *why) {
  warn(devices, device, why, devices->reconnect ? ", waiting for it to come back" : "");
  device->is_waited_for = devices->reconnect;
  if (!devices->reconnect) devices->is_damaged = true;
  shut(device);
}

/* Whether all that a closing interface had let in has been read, where nothing was there just now. Frames that libpcap
   itself passes over are in the kernel's counters: on loopback each frame's first appearance, and what came before the
   filter was in place. Then time tells. */
static bool is_drained(struct nf_devices *devices, struct device *device) {
  int64_t closing_ms = now_ms() - device->changing_ms;
  if (closing_ms >= LAST_BLOCK_MS) return true;
  add_counters(devices, device);
  return closing_ms >= LAST_FRAME_MS && device->told.ps_recv - device->told.ps_drop == device->taken;
}

/* After a stop the handle stays as it is, shut: with its socket gone, other members of the fan-out group that have not
   come to stop would get its flows' frames. */
static void finish(struct nf_devices *devices, struct device *device) {
  if (!devices->is_stopped) close_handle(devices, device);
  device->descriptor = -1;
  device->state = device->is_waited_for && !devices->is_stopped ? AWAY : ENDED;
  device->changing_ms += REOPEN_MS;
}

/* Opens an interface that was away, if it is back. Its fan-out group may still be that of the interface before, while
   there are members that have not noticed; then it is too early. */
static void try_again(struct nf_devices *devices, struct device *device, int64_t now) {
  device->changing_ms = now + REOPEN_MS;
  if (presence_of_name(devices, device->name) != UP) return;
  char reason[NF_ERROR_SIZE];
  enum opened opened = open_handle(devices, device, reason);
  if (opened == OPENED) {
    warn(devices, device, "the interface is back", "");
  } else if (opened == FAILED) {
    warn(devices, device, reason, "");
    devices->is_damaged = true;
    device->state = ENDED;
  }
}

/* Notices interfaces that went away and those that are back: the kernel need not say so to who is busy reading. */
static void look_around(struct nf_devices *devices, int64_t now) {
  devices->look_ms = now + LOOK_MS;
  for (uint32_t i = 0; i < devices->count; i++) {
    struct device *device = &devices->list[i];
    if (device->state == AWAY && now >= device->changing_ms) try_again(devices, device, now);
    if (device->state != OPEN) continue;
    enum presence presence = presence_of(devices, device);
    if (presence != UP) lose(devices, device, CHANGES[presence]);
    else add_counters(devices, device); /* libpcap's are of 32 bits */
  }
}

static void keep_frame(u_char *user, const struct pcap_pkthdr *header, const u_char *bytes) {
  struct batch *batch = (struct batch *)user;
  struct nf_devices *devices = batch->devices;
  uint64_t time_ns = (uint64_t)header->ts.tv_sec * 1000000000 +
                     (uint64_t)header->ts.tv_usec * batch->device->fraction_ns;
  if (time_ns < batch->device->since_ns) return;
  uint32_t captured = header->caplen < devices->frame_room ? header->caplen : devices->frame_room;
  nf_require(batch->count < batch->max);
  nf_require(batch->used + devices->frame_room <= (size_t)ROOM_FRAMES * devices->frame_room);
  uint8_t *copy = devices->room + batch->used;
  memcpy(copy, bytes, captured);
  batch->used += (captured + 7) & ~7u;
  devices->counters.packets++;
  devices->counters.bytes += header->len;
  batch->frames[batch->count++] = (struct nf_frame){
      .data = copy,
      .captured = captured,
      .size = header->len,
      .time_ns = time_ns,
      .number = devices->counters.packets,
      .link_type = batch->device->link_type,
  };
}

/* Takes frames that the kernel has handed over. 1 when there is no room for more, 0 when there are no more, or
   libpcap's error. */
static int take(struct device *device, struct batch *batch) {
  const struct nf_devices *devices = batch->devices;
  batch->device = device;
  for (;;) {
    int room = (int)(((size_t)ROOM_FRAMES * devices->frame_room - batch->used) / devices->frame_room);
    int wanted = batch->max - batch->count < room ? batch->max - batch->count : room;
    if (wanted <= 0) return 1;
    int result = pcap_dispatch(device->pcap, wanted, keep_frame, (u_char *)batch);
    if (result > 0) device->taken += (uint32_t)result;
    if (result <= 0) return result;
  }
}

static void read_device(struct nf_devices *devices, struct device *device, struct batch *batch) {
  int before = batch->count;
  int result = take(device, batch);
  if (result < 0 && device->state == OPEN) {
    enum presence presence = presence_of(devices, device);
    lose(devices, device, presence == UP ? pcap_geterr(device->pcap) : CHANGES[presence]);
  }
  /* A closing handle may call the missing interface an error again and again, with frames in between. */
  if (result <= 0 && device->state == CLOSING && batch->count == before && is_drained(devices, device)) {
    finish(devices, device);
  }
}

static int gather(struct nf_devices *devices, struct nf_frame *frames, int max) {
  struct batch batch = {.devices = devices, .frames = frames, .max = max};
  int64_t now = now_ms();
  if (now >= devices->look_ms) look_around(devices, now);
  uint32_t first = devices->first;
  devices->first = (first + 1) % devices->count;
  for (uint32_t i = 0; i < devices->count; i++) {
    struct device *device = &devices->list[(first + i) % devices->count];
    if (device->state == OPEN || device->state == CLOSING) read_device(devices, device, &batch);
  }
  return batch.count;
}

static bool have_ended(const struct nf_devices *devices) {
  for (uint32_t i = 0; i < devices->count; i++) {
    if (devices->list[i].state != ENDED) return false;
  }
  return true;
}

/* Waits for an interface to give something. False where none did. */
static bool wait_for_frames(struct nf_devices *devices) {
  int timeout = NF_LOOK_MS;
  for (uint32_t i = 0; i < devices->count; i++) {
    devices->polled[i] = (struct pollfd){devices->list[i].descriptor, POLLIN, 0};
    if (devices->list[i].state == CLOSING) timeout = CLOSING_WAIT_MS;
  }
  return poll(devices->polled, devices->count, timeout) > 0;
}

int nf_devices_read(struct nf_devices *devices, struct nf_frame *frames, int max) {
  int count = gather(devices, frames, max);
  if (count > 0) return count;
  if (have_ended(devices)) return NF_END;
  return wait_for_frames(devices) ? gather(devices, frames, max) : 0;
}

void nf_devices_stop(struct nf_devices *devices) {
  devices->is_stopped = true;
  for (uint32_t i = 0; i < devices->count; i++) {
    struct device *device = &devices->list[i];
    if (device->state == OPEN) shut(device);
    if (device->state == AWAY) device->state = ENDED;
  }
}

bool nf_devices_is_damaged(const struct nf_devices *devices) { return devices->is_damaged; }

const struct nf_device_counters *nf_devices_counters(struct nf_devices *devices) {
  for (uint32_t i = 0; i < devices->count; i++) add_counters(devices, &devices->list[i]);
  return &devices->counters;
}
