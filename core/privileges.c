/*
 * privileges.c: gives up root once everything is open that needs it. The process takes another user's identity and
 * keeps no capability but those it was asked to keep, and then looks whether that is so: a system that only pretends is
 * told as an error. Knows libcap-ng, and nobody else does; knows nothing of captures or outputs.
 *
 * Identities belong to the process, capabilities to a thread (capabilities(7)): threads made before have none left when
 * root is gone, those made later have what the calling thread kept.
 */
#include "base.h"

#include <cap-ng.h>
#include <errno.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
  PASSWD_SIZE = 16384, /* for an entry's texts */
  CAPABILITIES = 64    /* the kernel's sets have so many bits, whatever is known of them here */
};

/* What each capability is kept for. */
static const struct {
  int privilege;
  unsigned capability;
} kept_for[] = {
    {NF_PRIVILEGE_CAPTURE, CAP_NET_RAW},
    {NF_PRIVILEGE_PROCESSES, CAP_SYS_PTRACE},
    {NF_PRIVILEGE_PROCESSES, CAP_DAC_READ_SEARCH},
};

struct drop {
  uid_t uid; /* whom to become */
  gid_t gid;
  uint64_t kept;         /* capabilities, by number */
  bool is_changed;       /* the process is not that user yet */
  bool may_clear_bounds; /* the bounding set can be emptied */
};

/* A number without an entry has no primary group, so it is no user. Returns NULL or why there is none. */
static const char *find_user(const char *user, struct drop *drop) {
  char texts[PASSWD_SIZE], *end;
  struct passwd entry, *result = NULL;
  int failure = getpwnam_r(user, &entry, texts, sizeof texts, &result);
  if (!result && user[0] >= '0' && user[0] <= '9') {
    errno = 0;
    unsigned long number = strtoul(user, &end, 10);
    if (errno || *end || number > UINT32_MAX) return "no such user";
    failure = getpwuid_r((uid_t)number, &entry, texts, sizeof texts, &result);
  }
  if (!result) return failure && failure != ENOENT && failure != ESRCH ? strerror(failure) : "no such user";
  drop->uid = entry.pw_uid;
  drop->gid = entry.pw_gid;
  return NULL;
}

static bool is_uid(uid_t uid) {
  uid_t real, effective, saved;
  return getresuid(&real, &effective, &saved) == 0 && real == uid && effective == uid && saved == uid;
}

static bool is_gid(gid_t gid) {
  gid_t real, effective, saved;
  return getresgid(&real, &effective, &saved) == 0 && real == gid && effective == gid && saved == gid;
}

static bool has(capng_type_t set, unsigned capability) { return capng_have_capability(set, capability) > 0; }

/* Of what is to be kept, what there is. */
static uint64_t held_of(int keep) {
  uint64_t held = 0;
  for (size_t i = 0; i < sizeof kept_for / sizeof kept_for[0]; i++) {
    if (!(keep & kept_for[i].privilege) || !has(CAPNG_PERMITTED, kept_for[i].capability)) continue;
    held |= UINT64_C(1) << kept_for[i].capability;
  }
  return held;
}

/* Tells libcap-ng what the thread shall have. */
static void choose(uint64_t kept) {
  capng_clear(CAPNG_SELECT_BOTH);
  for (unsigned capability = 0; capability < CAPABILITIES; capability++) {
    if (kept >> capability & 1) capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, capability);
  }
}

/* Whether the thread, asked anew, has what it was to keep and no more. */
static bool is_bare(const struct drop *drop) {
  if (capng_get_caps_process() != 0) return false;
  for (unsigned capability = 0; capability < CAPABILITIES; capability++) {
    bool is_kept = drop->kept >> capability & 1;
    if (has(CAPNG_EFFECTIVE, capability) != is_kept || has(CAPNG_PERMITTED, capability) != is_kept) return false;
    if (has(CAPNG_INHERITABLE, capability)) return false;
    if (drop->may_clear_bounds && has(CAPNG_BOUNDING_SET, capability)) return false;
  }
  return true;
}

/* Takes the identity, unless it is there already, and the capabilities chosen. */
static bool change(const struct drop *drop) {
  if (!drop->is_changed) return capng_apply(drop->may_clear_bounds ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) == 0;
  int flags = CAPNG_DROP_SUPP_GRP | (drop->may_clear_bounds ? CAPNG_CLEAR_BOUNDING : 0);
  return capng_change_id((int)drop->uid, (int)drop->gid, (capng_flags_t)flags) == 0;
}

/* What is left that should be gone, or NULL. */
static const char *left_over(const struct drop *drop) {
  if (setuid(0) == 0) return "the way back to root";
  if (!is_uid(drop->uid)) return "another user's identity";
  if (drop->is_changed && !is_gid(drop->gid)) return "another group's identity";
  if (drop->is_changed && getgroups(0, NULL) != 0) return "other groups";
  if (!is_bare(drop)) return "other capabilities than asked for";
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return "what programs may bring";
  return NULL;
}

static int refuse(const char *user, const char *reason, const char *expected, char *error) {
  nf_fail(error, "cannot become \"%.100s\": %s, expected %s", user, reason, expected);
  return NF_ERR_SYSTEM;
}

/* Finds out what there is to do, and whether it may be done. */
static int prepare(const char *user, struct drop *drop, char *error) {
  const char *missing = find_user(user, drop);
  if (missing) return refuse(user, missing, "the name or number of one", error);
  if (drop->uid == 0) return refuse(user, "it is root", "an ordinary user", error);
  if (capng_get_caps_process() != 0) return refuse(user, "cannot tell the capabilities", "/proc to be there", error);
  drop->is_changed = !is_uid(drop->uid);
  drop->may_clear_bounds = has(CAPNG_EFFECTIVE, CAP_SETPCAP);
  if (drop->is_changed && !(has(CAPNG_EFFECTIVE, CAP_SETUID) && has(CAPNG_EFFECTIVE, CAP_SETGID))) {
    return refuse(user, strerror(EPERM), "to be started as root", error);
  }
  return NF_OK;
}

int nf_privileges_check(const char *user, char *error) {
  struct drop drop = {0};
  return prepare(user, &drop, error);
}

int nf_privileges_drop(const char *user, int keep, char *error) {
  struct drop drop = {0};
  int status = prepare(user, &drop, error);
  if (status != NF_OK) return status;
  drop.kept = held_of(keep);
  choose(drop.kept);
  errno = 0;
  if (!change(&drop) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return refuse(user, errno ? strerror(errno) : "the system refused", "to be started as root", error);
  }
  const char *left = left_over(&drop);
  if (!left) return NF_OK;
  nf_fail(error, "became \"%.100s\" but has %s, expected none", user, left);
  return NF_ERR_SYSTEM;
}
