#pragma once
/* thread.h: threads beside the one that started the run. */
#include "base.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

/* How many may run at once: the CPUs that this process may use. */
static inline uint32_t nf_cpu_count(void) {
  cpu_set_t set;
  const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return count > 0 ? (uint32_t)count : 1;
}

/* Starts one that gets no signals: those are for the thread that started the run. 0, or the number of the error for
   which there is none. */
static inline int nf_thread_start(pthread_t *thread, void *(*work)(void *), void *given) {
  sigset_t all, before;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  int problem = pthread_create(thread, NULL, work, given);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return problem;
}
