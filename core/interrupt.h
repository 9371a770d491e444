#pragma once
/*
 * interrupt.h: what signals ask of the process, and how whoever waits for input learns of it.
 */
#include "base.h"

/* Requests of enum nf_request but for the stop that have been asked and not yet been taken; they count as taken now. */
int nf_interrupt_take(void);

/* A descriptor that poll() finds readable from the request to stop on. Do not read it. -1 where the system has none. */
int nf_interrupt_descriptor(void);
