/*
 * system.c: small questions to the system that Lua cannot ask itself.
 */
#include "clock.h"

#include <sys/ioctl.h>
#include <unistd.h>

double nf_now(void) { return (double)nf_clock_ns(CLOCK_MONOTONIC) * 1e-9; }
double nf_time(void) { return (double)nf_clock_ns(CLOCK_REALTIME) * 1e-9; }

bool nf_is_terminal(int descriptor) { return isatty(descriptor) == 1; }
bool nf_terminal_size(int descriptor, int *columns, int *lines) {
  struct winsize size;
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0) return false;
  *columns = size.ws_col;
  *lines = size.ws_row;
  return true;
}
bool nf_has_failed(void *file) { return ferror(file) != 0; }
int nf_descriptor_of(void *file) { return fileno(file); }
