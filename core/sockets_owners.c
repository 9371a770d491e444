/*
 * sockets_owners.c: which process holds a socket, by inode. Owns what it found out of the sockets listed last, so that
 * /proc is looked through only when new ones come: that costs a system call for each descriptor of each process. It
 * must not know what the sockets are connected to.
 */
#include "sockets_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "format.h"

enum {
  TRIES = 3,        /* a socket that nobody holds is the kernel's, out of our sight, or on its way between two */
  COMM_LENGTH = 15, /* the kernel cuts names to that */
  NAME_SIZE = sizeof(((struct nf_process *)0)->name)
};

struct owner {
  uint64_t inode;
  uint32_t tries;
  struct nf_process process;
};

/* The owners of one list of sockets. */
struct generation {
  struct owner *at;
  uint32_t count, room;
  struct nf_index index;
};

struct nf_owners {
  struct generation now, before;
  uint32_t wanted; /* still to be found in this look */
  int obstacle;    /* errno of a process that could not be looked into in this look */
  uint64_t scans;
};

struct nf_owners *nf_owners_new(void) {
  return calloc(1, sizeof(struct nf_owners));
}

static void free_generation(struct generation *generation) {
  free(generation->at);
  free(generation->index.slots);
}

void nf_owners_free(struct nf_owners *owners) {
  if (!owners) return;
  free_generation(&owners->now);
  free_generation(&owners->before);
  free(owners);
}

/* ---- by inode ---- */

bool nf_index_reset(struct nf_index *index, uint32_t count) {
  uint32_t room = 16;
  while (room / 2 < count) room *= 2;
  if (room > index->room) {
    free(index->slots);
    *index = (struct nf_index){.slots = malloc(room * sizeof *index->slots)};
    if (!index->slots) return false;
    index->room = room;
  }
  index->mask = room - 1;
  memset(index->slots, 0, room * sizeof *index->slots);
  return true;
}

/* Where the inode's position stands or belongs. The kernel counts inodes up, so nobody can choose them to collide. */
static uint32_t *slot_of(const struct generation *generation, uint64_t inode) {
  const struct nf_index *index = &generation->index;
  uint32_t i = (uint32_t)(inode * 0x9E3779B97F4A7C15u >> 32) & index->mask;
  while (index->slots[i] && generation->at[index->slots[i] - 1].inode != inode) i = (i + 1) & index->mask;
  return &index->slots[i];
}

static struct owner *find(const struct generation *generation, uint64_t inode) {
  if (generation->count == 0) return NULL;
  uint32_t position = *slot_of(generation, inode);
  return position ? &generation->at[position - 1] : NULL;
}

static bool make_room(struct generation *generation, uint32_t count) {
  generation->count = 0;
  if (count > generation->room) {
    free(generation->at);
    generation->room = 0;
    generation->at = malloc(count * sizeof *generation->at);
    if (!generation->at) return false;
    generation->room = count;
  }
  return nf_index_reset(&generation->index, count);
}

const struct nf_process *nf_owners_find(const struct nf_owners *owners, uint64_t inode) {
  static const struct nf_process none = {.pid = -1};
  const struct owner *owner = find(&owners->now, inode);
  return owner ? &owner->process : &none;
}

int nf_owners_obstacle(const struct nf_owners *owners) { return owners->wanted > 0 ? owners->obstacle : 0; }

uint64_t nf_owners_scans(const struct nf_owners *owners) { return owners->scans; }

/* ---- a process's name ---- */

/* What one read of a small file of a process gives, as text; "" where it cannot be read. */
static void read_text(int proc, int32_t pid, const char *name, char *text, size_t size) {
  char path[32];
  (void)snprintf(path, sizeof path, "%" PRId32 "/%s", pid, name);
  int file = openat(proc, path, O_RDONLY | O_CLOEXEC);
  ssize_t got = file >= 0 ? read(file, text, size - 1) : 0;
  if (file >= 0) close(file);
  text[got > 0 ? got : 0] = '\0';
}

/* Characters that are no text, control characters among them (C1 ones too), become '?'. What does not fit in whole is
   left out. */
static void copy_name(char *to, const char *from) {
  char *out = to;
  for (const char *end = from + strlen(from); from < end;) {
    const char *character = from;
    char copy[4];
    size_t size = (size_t)(nf_put_utf8(copy, &from, end) - copy);
    bool is_text = size == (size_t)(from - character) && memcmp(copy, character, size) == 0;
    if ((uint8_t)copy[0] < ' ' || copy[0] == 0x7f || ((uint8_t)copy[0] == 0xc2 && (uint8_t)copy[1] < 0xa0)) {
      is_text = false;
    }
    if (!is_text) {
      copy[0] = '?';
      size = 1;
    }
    if (size >= (size_t)(to + NAME_SIZE - out)) break;
    memcpy(out, copy, size);
    out += size;
  }
  memset(out, 0, (size_t)(to + NAME_SIZE - out));
}

/* A name that the kernel has cut is taken from the command line where that goes on from it. */
static void read_name(int proc, int32_t pid, char *name) {
  char comm[64], command[4096];
  read_text(proc, pid, "comm", comm, sizeof comm);
  size_t length = strlen(comm);
  if (length > 0 && comm[length - 1] == '\n') comm[--length] = '\0';
  const char *chosen = comm;
  if (length == COMM_LENGTH) {
    read_text(proc, pid, "cmdline", command, sizeof command);
    const char *slash = strrchr(command, '/');
    const char *base = slash ? slash + 1 : command;
    if (strncmp(base, comm, length) == 0) chosen = base;
  }
  copy_name(name, chosen);
}

/* ---- looking through /proc ---- */

static bool is_want_of_rights(int reason) { return reason == EACCES || reason == EPERM; }

/* What stands in the way for a while (no descriptors left, say) counts more than what always will. */
static void meet_obstacle(struct nf_owners *owners, int reason) {
  if (owners->obstacle == 0 || is_want_of_rights(owners->obstacle)) owners->obstacle = reason;
}

/* Looks at every descriptor of a process. A process may end at any moment: then there is nothing to see. */
static void look_into(struct nf_owners *owners, int proc, int32_t pid) {
  char path[32];
  (void)snprintf(path, sizeof path, "%" PRId32 "/fd", pid);
  int folder = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *descriptors = folder >= 0 ? fdopendir(folder) : NULL;
  if (!descriptors) {
    if (errno != ENOENT && errno != ESRCH) meet_obstacle(owners, errno);
    if (folder >= 0) close(folder);
    return;
  }
  struct nf_process process = {.pid = -1};
  const struct dirent *entry;
  while (owners->wanted > 0 && (entry = readdir(descriptors))) {
    static const char prefix[] = "socket:[";
    char link[64];
    ssize_t size = readlinkat(folder, entry->d_name, link, sizeof link - 1);
    if (size <= 0) continue;
    link[size] = '\0';
    if (strncmp(link, prefix, sizeof prefix - 1) != 0) continue;
    struct owner *owner = find(&owners->now, strtoull(link + sizeof prefix - 1, NULL, 10));
    if (!owner || owner->process.pid >= 0) continue;
    if (process.pid < 0) read_name(proc, pid, process.name);
    process.pid = pid;
    owner->process = process;
    if (owner->tries < TRIES) owners->wanted--;
  }
  closedir(descriptors);
}

/* The kernel lists processes by pid, so the first that has a socket is the lowest. */
static void scan(struct nf_owners *owners, const bool *is_stopping) {
  owners->scans++;
  DIR *proc = opendir("/proc");
  if (!proc) {
    meet_obstacle(owners, errno);
    return;
  }
  const struct dirent *entry;
  while (owners->wanted > 0 && !__atomic_load_n(is_stopping, __ATOMIC_RELAXED) && (entry = readdir(proc))) {
    char *end;
    long pid = strtol(entry->d_name, &end, 10);
    if (*end == '\0' && pid > 0 && pid <= INT32_MAX) look_into(owners, dirfd(proc), (int32_t)pid);
  }
  closedir(proc);
}

bool nf_owners_update(struct nf_owners *owners, const struct nf_socket_list *list, const bool *is_stopping) {
  struct generation before = owners->now;
  owners->now = owners->before;
  owners->before = before;
  owners->wanted = 0;
  owners->obstacle = 0;
  struct generation *now = &owners->now;
  if (!make_room(now, list->count)) return false;
  for (uint32_t i = 0; i < list->count; i++) {
    uint64_t inode = list->at[i].inode;
    uint32_t *slot = slot_of(now, inode);
    if (inode == 0 || *slot) continue;
    const struct owner *known = find(&before, inode);
    now->at[now->count] = known ? *known : (struct owner){.inode = inode, .process = {.pid = -1}};
    if (now->at[now->count].process.pid < 0 && now->at[now->count].tries < TRIES) owners->wanted++;
    *slot = ++now->count;
  }
  if (owners->wanted == 0) return true;
  scan(owners, is_stopping);
  if (owners->obstacle != 0 && !is_want_of_rights(owners->obstacle)) return true;
  for (uint32_t i = 0; i < now->count; i++) {
    struct owner *owner = &now->at[i];
    if (owner->process.pid < 0 && owner->tries < TRIES) owner->tries++;
  }
  return true;
}
