#pragma once
/*
 * crew.h: what the rest of the core needs of a crew beyond nf_abi.h: its threads are started by script.c, which knows
 * how a meter's Lua state begins.
 */
#include "base.h"

/* A meter's thread: drives nf_crew_meter(crew, index), and calls nf_crew_ready and nf_crew_leave. */
typedef void nf_crew_work(struct nf_crew *crew, uint32_t index, void *context);

/* That of a meter without hooks: gives every flow that ended. */
nf_crew_work nf_crew_drive;

/* Starts a thread for each of several meters and waits until all of them are ready; `context` lasts until then. Starts
   what else the run needs a thread for. NF_ERR_METER or NF_ERR_SYSTEM with a one-line reason in `error`; the meters'
   threads have ended then. */
int nf_crew_launch(struct nf_crew *crew, nf_crew_work *work, void *context, char *error);
