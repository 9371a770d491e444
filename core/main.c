/*
 * main.c: the program's entry. Signals only leave requests (interrupt.h); the rest is Lua.
 */
#include "base.h"
#include "script.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static void on_signal(int number) {
  int kept = errno;
  nf_interrupt(number == SIGUSR1 ? NF_REQUEST_STATUS : number == SIGHUP ? NF_REQUEST_REOPEN : NF_REQUEST_STOP);
  errno = kept;
}

/* With SA_RESTART: else what a script prints is lost where a signal comes while the reader of a pipe lets it wait. What
   the program itself waits for is looked at by poll, which returns all the same. */
static void handle(int number, int flags) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags | SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, NULL);
}

/* A standard stream that was closed leaves its number to the next file opened: warnings would go into the records.
   What takes the place is open the wrong way round, so that using it still fails. */
static bool occupy_standard_streams(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) return false;
  }
  return true;
}

int main(int argc, char **argv) {
  if (!occupy_standard_streams()) return 1;
  /* The first SIGINT or SIGTERM ends the run in order, a second one takes its default course. */
  handle(SIGINT, (int)SA_RESETHAND);
  handle(SIGTERM, (int)SA_RESETHAND);
  handle(SIGUSR1, 0);
  /* Who has started the program with nohup wants it to go on when the terminal goes. */
  if (signal(SIGHUP, SIG_IGN) != SIG_IGN) handle(SIGHUP, 0);
  signal(SIGPIPE, SIG_IGN); /* writers report EPIPE instead */
  signal(SIGXFSZ, SIG_IGN); /* and EFBIG, where files may grow no further (ulimit -f) */
  return nf_script_run(argc, argv);
}
