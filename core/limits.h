#pragma once
/*
 * limits.h: what the engine tells the watch over code of others, see nf_watch_start.
 */
#include "base.h"

/* The engine is at work on the thread that is watched: what time it takes is not theirs. */
void nf_watch_go_on(void);
