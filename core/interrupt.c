/*
 * interrupt.c: requests, set by signal handlers and looked at by every thread that drives a run. Signals belong to the
 * process, so this state cannot live in a handle.
 */
#include "interrupt.h"

#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

static atomic_int requests;
static atomic_int descriptor = -1; /* an eventfd, once somebody has asked for it */

int nf_interrupt_descriptor(void) {
  int known = atomic_load(&descriptor);
  if (known >= 0) return known;
  int made = eventfd(nf_interrupted(), EFD_CLOEXEC | EFD_NONBLOCK);
  if (made < 0) return -1;
  if (!atomic_compare_exchange_strong(&descriptor, &known, made)) {
    close(made); /* another thread was first */
    return known;
  }
  if (nf_interrupted()) (void)eventfd_write(made, 1); /* asked in between */
  return made;
}

void nf_interrupt(int request) {
  int at = atomic_load(&descriptor);
  eventfd_t count;
  if (request == 0) {
    atomic_store(&requests, 0);
    if (at >= 0) (void)eventfd_read(at, &count);
    return;
  }
  atomic_fetch_or(&requests, request);
  if (request & NF_REQUEST_STOP && at >= 0) (void)eventfd_write(at, 1);
}

bool nf_interrupted(void) { return atomic_load_explicit(&requests, memory_order_relaxed) & NF_REQUEST_STOP; }

int nf_interrupt_take(void) {
  if ((atomic_load_explicit(&requests, memory_order_relaxed) & ~NF_REQUEST_STOP) == 0) return 0;
  return atomic_fetch_and(&requests, NF_REQUEST_STOP) & ~NF_REQUEST_STOP;
}
