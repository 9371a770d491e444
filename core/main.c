/*
 * main.c: the program's entry. Signals only leave requests (interrupt.h); the rest is Lua.
 */
#include "base.h"
#include "script.h"

#include <errno.h>
#include <signal.h>

static void on_signal(int number) {
  int kept = errno;
  nf_interrupt(number == SIGUSR1 ? NF_REQUEST_STATUS : number == SIGHUP ? NF_REQUEST_REOPEN : NF_REQUEST_STOP);
  errno = kept;
}

static void handle(int number, int flags) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, NULL);
}

int main(int argc, char **argv) {
  /* The first SIGINT or SIGTERM ends the run in order, a second one takes its default course. No SA_RESTART: a read
     that waits for standard input has to return. */
  handle(SIGINT, (int)SA_RESETHAND);
  handle(SIGTERM, (int)SA_RESETHAND);
  handle(SIGUSR1, 0);
  /* Who has started the program with nohup wants it to go on when the terminal goes. */
  if (signal(SIGHUP, SIG_IGN) != SIG_IGN) handle(SIGHUP, 0);
  signal(SIGPIPE, SIG_IGN); /* writers report EPIPE instead */
  return nf_script_run(argc, argv);
}
