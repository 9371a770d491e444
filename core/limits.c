/*
 * limits.c: what code of others may take: so much memory for the process, and so much CPU time for one call, which
 * compiled code, that looks at no hook of Lua's, is held to as well. Knows nothing of Lua.
 *
 * Memory is the kernel's to refuse: every allocation beyond the limit fails, whoever makes it. CPU time is looked at by
 * a timer on the calling thread's own clock, so that neither other threads nor a stopped process count.
 */
#include "limits.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Private writable memory of the process, what RLIMIT_DATA counts: the sixth number in statm (proc(5)), in pages; 0
   where the system does not say. */
static uint64_t memory_in_use(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  char line[256] = "", *at = line;
  uint64_t pages = 0;
  if (!file) return 0;
  if (!fgets(line, sizeof line, file)) line[0] = '\0';
  fclose(file);
  for (int i = 0; i < 6; i++) pages = strtoull(at, &at, 10);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

int nf_limit_memory(uint64_t bytes, char *error) {
  struct rlimit limit;
  uint64_t most = memory_in_use() + bytes;
  if (getrlimit(RLIMIT_DATA, &limit) == 0) {
    if (limit.rlim_cur > most) limit.rlim_cur = most;
    limit.rlim_max = limit.rlim_cur;
    if (setrlimit(RLIMIT_DATA, &limit) == 0) return NF_OK;
  }
  snprintf(error, NF_ERROR_SIZE, "cannot limit memory: %s", strerror(errno));
  return NF_ERR_SYSTEM;
}

/* One for the process: of a signal's handler nothing else is known. */
static struct nf_watch watch;
static int patience_s;

void nf_watch_go_on(void) { watch.calls++; }

static void say(const char *text) {
  if (write(STDERR_FILENO, text, strlen(text)) < 0) return; /* nobody is left to tell */
}

/* A second of CPU time has passed. */
static void look(int number) {
  static double seen;
  static int seconds;
  const char *inside = watch.inside;
  (void)number;
  if (!inside || watch.calls != seen) {
    seen = watch.calls;
    seconds = 0;
    return;
  }
  if (++seconds < patience_s) return;
  say("nfengine: --safe: ");
  say(inside);
  say(": one call takes more CPU time than --safe-seconds allows\n");
  _exit(1);
}

struct nf_watch *nf_watch_start(uint32_t seconds, char *error) {
  struct sigaction action = {.sa_handler = look, .sa_flags = SA_RESTART};
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM};
  struct itimerspec every_second = {.it_value = {.tv_sec = 1}, .it_interval = {.tv_sec = 1}};
  timer_t timer;
  sigemptyset(&action.sa_mask);
  patience_s = (int)seconds;
  if (sigaction(SIGVTALRM, &action, NULL) == 0 && timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0 &&
      timer_settime(timer, 0, &every_second, NULL) == 0) {
    return &watch;
  }
  snprintf(error, NF_ERROR_SIZE, "cannot watch CPU time: %s", strerror(errno));
  return NULL;
}
