/*
 * interrupt.c: requests, set by signal handlers and looked at by every thread that drives a run. Signals belong to the
 * process, so this state cannot live in a handle.
 */
#include "interrupt.h"

#include <stdatomic.h>

static atomic_int requests;

void nf_interrupt(int request) {
  if (request) atomic_fetch_or(&requests, request);
  else atomic_store(&requests, 0);
}

bool nf_interrupted(void) { return atomic_load_explicit(&requests, memory_order_relaxed) & NF_REQUEST_STOP; }

int nf_interrupt_take(void) {
  if ((atomic_load_explicit(&requests, memory_order_relaxed) & ~NF_REQUEST_STOP) == 0) return 0;
  return atomic_fetch_and(&requests, NF_REQUEST_STOP) & ~NF_REQUEST_STOP;
}
