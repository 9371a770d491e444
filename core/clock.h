#pragma once
/* clock.h: the system's clocks as one number. */
#include "base.h"

#include <time.h>

static inline int64_t nf_clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t nf_clock_ms(clockid_t clock) { return nf_clock_ns(clock) / 1000000; }
