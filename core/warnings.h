#pragma once
/*
 * warnings.h: one-line texts for a person, from whoever finds that something is not as it should be to whoever tells.
 * Safe between threads.
 */
#include "base.h"

#include <pthread.h>

struct nf_warnings {
  pthread_mutex_t lock;
  struct nf_warning *first, **last; /* not yet fetched */
  struct nf_warning *fetched;       /* the one that may still be read */
  bool has_lost;                    /* one or more, for want of memory, and not yet told so */
};

void nf_warnings_init(struct nf_warnings *warnings);
/* Frees what is left. */
void nf_warnings_clear(struct nf_warnings *warnings);

/* Adds a text; control characters in it become question marks. Where there is no memory for it, that is what is told
   in its place. */
NF_PRINTF(2, 3) void nf_warnings_add(struct nf_warnings *warnings, const char *format, ...);
/* The next text not yet fetched, or NULL. Valid until the next call. */
const char *nf_warnings_next(struct nf_warnings *warnings);
