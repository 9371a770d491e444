#pragma once
/*
 * interrupt.h: what signals ask of the process. Whoever waits for input does so for NF_LOOK_MS at most, then
 * looks here.
 */
#include "base.h"

enum { NF_LOOK_MS = 100 };

/* Requests of enum nf_request but for the stop that have been asked and not yet been taken; they count as taken now. */
int nf_interrupt_take(void);
