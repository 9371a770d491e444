#pragma once
/*
 * dpi_cache.h: what an nDPI module remembers from one flow to the next, and how to make it forget. For dpi.c alone.
 */
#include "base.h"

struct ndpi_detection_module_struct;

/*
 * Keeps a module from learning across flows where its version can be told so, which is before it is finalized. False
 * when the module is not laid out as this program was built for, so that it cannot be made to forget either.
 */
bool nf_dpi_cache_disable(struct ndpi_detection_module_struct *module);

/* Forgets what the last call into nDPI has learnt for other flows. Cheap when it has learnt nothing, as most have. */
void nf_dpi_cache_clear(struct ndpi_detection_module_struct *module);
