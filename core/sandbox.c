/*
 * sandbox.c: takes from the process, for good, the system calls that it will not need: a list of those that are allowed
 * becomes a filter in the kernel (seccomp(2)). All others fail with EPERM, so that who tries has an ordinary error and
 * what has been gathered is still written. Knows libseccomp, and nobody else does; knows nothing of captures or
 * outputs.
 *
 * A filter sees numbers, not what pointers point to: how a file is opened, but not which; what kind of socket, but not
 * whose address. It knows calls by the numbers of the processor's own interface; a call by another's, as that of 32
 * bits or x32, ends the process.
 */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What always goes on. */
static const int always[] = {
    /* Memory, with code that LuaJIT makes. */
    SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(munmap),
    /* Threads. */
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(futex), SCMP_SYS(gettid), SCMP_SYS(rseq),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_yield), SCMP_SYS(set_robust_list),
    /* Signals to be taken. */
    SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    /* Clocks, and timers, which signal to the process itself. */
    SCMP_SYS(clock_getres), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(getrusage),
    SCMP_SYS(gettimeofday), SCMP_SYS(nanosleep), SCMP_SYS(time), SCMP_SYS(timer_create), SCMP_SYS(timer_delete),
    SCMP_SYS(timer_settime), SCMP_SYS(times),
    /* Who and where the process is. */
    SCMP_SYS(capget), SCMP_SYS(getcwd), SCMP_SYS(getegid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getgroups),
    SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getrandom), SCMP_SYS(getresgid), SCMP_SYS(getresuid),
    SCMP_SYS(getuid), SCMP_SYS(sysinfo), SCMP_SYS(uname),
    /* Files to be found. */
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(getdents), SCMP_SYS(getdents64),
    SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(stat), SCMP_SYS(statfs),
    SCMP_SYS(statx),
    /* Files that are open. */
    SCMP_SYS(close), SCMP_SYS(fadvise64), SCMP_SYS(fstat), SCMP_SYS(fstatfs), SCMP_SYS(ftruncate), SCMP_SYS(lseek),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(pread64), SCMP_SYS(pselect6), SCMP_SYS(pwrite64), SCMP_SYS(read),
    SCMP_SYS(readv), SCMP_SYS(select), SCMP_SYS(write), SCMP_SYS(writev),
    /* Interfaces that are open. */
    SCMP_SYS(getsockname), SCMP_SYS(getsockopt), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg)};

enum {
  ALWAYS = -1, /* whatever is kept */
  SOCKETS = NF_PRIVILEGE_CAPTURE | NF_PRIVILEGE_PROCESSES,
  FILES = NF_PRIVILEGE_FILES,
  IDENTITY = NF_PRIVILEGE_IDENTITY,
  COLLECTOR = NF_PRIVILEGE_COLLECTOR,

  CHANGES_FILES = O_ACCMODE | O_CREAT | O_TRUNC, /* among the flags of an opening */
  NEW_NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                   CLONE_NEWNET
};

/* clang-format off */
#define ANYHOW {0, _SCMP_CMP_MIN, 0, 0}
#define WHERE(argument, value) {argument, SCMP_CMP_EQ, value, 0}
#define WHERE_BITS(argument, mask, value) {argument, SCMP_CMP_MASKED_EQ, (unsigned)(mask), value}
/* clang-format on */

/* What goes on where one of some privileges is kept, or with some values of an argument, or both. A call may have
   several lines. */
static const struct rule {
  int call;
  int privileges;
  struct scmp_arg_cmp condition; /* compares numbers of 64 bits, whatever the kernel takes of them */
} rules[] = {
    {SCMP_SYS(open), ALWAYS, WHERE_BITS(1, CHANGES_FILES, O_RDONLY)},
    {SCMP_SYS(openat), ALWAYS, WHERE_BITS(2, CHANGES_FILES, O_RDONLY)},
    /* Threads, but no processes. */
    {SCMP_SYS(clone), ALWAYS, WHERE_BITS(0, CLONE_THREAD | NEW_NAMESPACES, CLONE_THREAD)},
    {SCMP_SYS(prctl), ALWAYS, WHERE(0, PR_SET_NAME)},
    /* The process's own limits. */
    {SCMP_SYS(prlimit64), ALWAYS, WHERE(0, 0)},
    /* A descriptor's owner (F_SETOWN) would be sent signals. */
    {SCMP_SYS(fcntl), ALWAYS, WHERE(1, F_GETFD)},
    {SCMP_SYS(fcntl), ALWAYS, WHERE(1, F_SETFD)},
    {SCMP_SYS(fcntl), ALWAYS, WHERE(1, F_GETFL)},
    {SCMP_SYS(fcntl), ALWAYS, WHERE(1, F_SETFL)},
    /* Questions to terminals and interfaces: TIOCSTI, for one, would type into the terminal. */
    {SCMP_SYS(ioctl), ALWAYS, WHERE(1, TCGETS)},
    {SCMP_SYS(ioctl), ALWAYS, WHERE(1, TIOCGWINSZ)},
    {SCMP_SYS(ioctl), ALWAYS, WHERE(1, SIOCGIFFLAGS)},
    {SCMP_SYS(ioctl), ALWAYS, WHERE(1, SIOCGIFNAME)},
    /* An interface that is closing lets no more in. */
    {SCMP_SYS(setsockopt), ALWAYS, WHERE(2, SO_ATTACH_FILTER)},

    /* To open interfaces, and to ask the kernel about them and about sockets. */
    {SCMP_SYS(socket), NF_PRIVILEGE_CAPTURE, WHERE(0, AF_PACKET)},
    {SCMP_SYS(socket), SOCKETS, WHERE(0, AF_NETLINK)},
    {SCMP_SYS(bind), SOCKETS, ANYHOW},
    {SCMP_SYS(sendmsg), SOCKETS, ANYHOW},
    {SCMP_SYS(sendto), SOCKETS, ANYHOW},
    {SCMP_SYS(setsockopt), SOCKETS, ANYHOW},
    {SCMP_SYS(eventfd2), NF_PRIVILEGE_CAPTURE, ANYHOW},
    {SCMP_SYS(ioctl), NF_PRIVILEGE_CAPTURE, WHERE(1, SIOCETHTOOL)},
    {SCMP_SYS(ioctl), NF_PRIVILEGE_CAPTURE, WHERE(1, SIOCGIFHWADDR)},
    {SCMP_SYS(ioctl), NF_PRIVILEGE_CAPTURE, WHERE(1, SIOCGIFINDEX)},

    {SCMP_SYS(creat), FILES, ANYHOW},
    /* Databases lock parts of their files, and wait for the disk. */
    {SCMP_SYS(fcntl), FILES, WHERE(1, F_GETLK)},
    {SCMP_SYS(fcntl), FILES, WHERE(1, F_SETLK)},
    {SCMP_SYS(fdatasync), FILES, ANYHOW},
    {SCMP_SYS(fsync), FILES, ANYHOW},
    {SCMP_SYS(mkdir), FILES, ANYHOW},
    {SCMP_SYS(mkdirat), FILES, ANYHOW},
    {SCMP_SYS(open), FILES, ANYHOW},
    {SCMP_SYS(openat), FILES, ANYHOW},
    {SCMP_SYS(rename), FILES, ANYHOW},
    {SCMP_SYS(renameat), FILES, ANYHOW},
    {SCMP_SYS(renameat2), FILES, ANYHOW},
    {SCMP_SYS(rmdir), FILES, ANYHOW},
    {SCMP_SYS(unlink), FILES, ANYHOW},
    {SCMP_SYS(unlinkat), FILES, ANYHOW},

    /* To send over a socket that is connected, and by TCP to connect another. */
    {SCMP_SYS(socket), COLLECTOR, WHERE(0, AF_INET)},
    {SCMP_SYS(socket), COLLECTOR, WHERE(0, AF_INET6)},
    {SCMP_SYS(connect), COLLECTOR, ANYHOW},
    {SCMP_SYS(sendto), COLLECTOR, ANYHOW},
    {SCMP_SYS(setsockopt), COLLECTOR, WHERE(2, SO_SNDTIMEO)},
    {SCMP_SYS(ioctl), COLLECTOR, WHERE(1, SIOCOUTQ)},

    {SCMP_SYS(capset), IDENTITY, ANYHOW},
    {SCMP_SYS(prctl), IDENTITY, ANYHOW},
    {SCMP_SYS(seccomp), IDENTITY, ANYHOW},
    {SCMP_SYS(setgroups), IDENTITY, ANYHOW},
    {SCMP_SYS(setresgid), IDENTITY, ANYHOW},
    {SCMP_SYS(setresuid), IDENTITY, ANYHOW},
    {SCMP_SYS(setuid), IDENTITY, ANYHOW},
};

static int allow(scmp_filter_ctx filter, int call, const struct scmp_arg_cmp *condition) {
  bool is_bound = condition->op != _SCMP_CMP_MIN;
  return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, is_bound, condition);
}

static int add_rules(scmp_filter_ctx filter, int keep) {
  static const struct scmp_arg_cmp anyhow = ANYHOW;
  const struct scmp_arg_cmp myself = WHERE(0, (scmp_datum_t)getpid());
  int failure = allow(filter, SCMP_SYS(tgkill), &myself); /* as abort does */
  for (size_t i = 0; failure == 0 && i < sizeof always / sizeof always[0]; i++) {
    failure = allow(filter, always[i], &anyhow);
  }
  for (size_t i = 0; failure == 0 && i < sizeof rules / sizeof rules[0]; i++) {
    bool is_kept = rules[i].privileges == ALWAYS || rules[i].privileges & keep;
    if (is_kept) failure = allow(filter, rules[i].call, &rules[i].condition);
  }
  if (failure != 0) return failure;
  /* Its flags are behind a pointer. Where it does not exist, glibc makes threads by clone. */
  return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* For all threads; calls found by search rather than in turn; and no slower code where the kernel would have it against
   speculative store bypass: there is no secret in the process that its own code could not read. */
static int set_attributes(scmp_filter_ctx filter) {
  static const struct {
    enum scmp_filter_attr name;
    uint32_t value;
  } attributes[] = {
      {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
      {SCMP_FLTATR_CTL_TSYNC, 1},
      {SCMP_FLTATR_CTL_OPTIMIZE, 2},
      {SCMP_FLTATR_CTL_SSB, 1},
  };
  int failure = 0;
  for (size_t i = 0; failure == 0 && i < sizeof attributes / sizeof attributes[0]; i++) {
    failure = seccomp_attr_set(filter, attributes[i].name, attributes[i].value);
  }
  return failure;
}

int nf_sandbox_enter(int keep, char *error) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  int failure = filter ? set_attributes(filter) : -ENOMEM;
  if (failure == 0) failure = add_rules(filter, keep);
  if (failure == 0) failure = seccomp_load(filter);
  seccomp_release(filter);
  if (failure == 0) return NF_OK;
  nf_fail(error, "cannot confine the process: %s, expected a kernel with seccomp filters",
          failure == -ENOMEM ? strerror(ENOMEM) : "the system refused"); /* libseccomp knows no more */
  return NF_ERR_SYSTEM;
}
