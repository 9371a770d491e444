/*
 * system.c: small questions to the system that Lua cannot ask itself.
 */
#include "base.h"

#include <time.h>
#include <unistd.h>

static double seconds_of(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double nf_now(void) { return seconds_of(CLOCK_MONOTONIC); }
double nf_time(void) { return seconds_of(CLOCK_REALTIME); }

bool nf_is_terminal(int descriptor) { return isatty(descriptor) == 1; }
bool nf_has_failed(void *file) { return ferror(file) != 0; }
int nf_descriptor_of(void *file) { return fileno(file); }
