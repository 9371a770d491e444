#pragma once
/* frame.h: one captured frame as a source hands it to the decoder. */
#include "base.h"

struct nf_frame {
  const uint8_t *data; /* borrowed from the source until its next read */
  uint32_t captured;   /* bytes there */
  uint32_t size;       /* bytes on the wire */
  uint64_t time_ns;    /* ns since 1970 */
  uint64_t number;     /* position in the source, from 1 */
  uint32_t link_type;  /* LINKTYPE_ value */
  uint32_t comment_size;
  const char *comment; /* what the capture says of it, borrowed as well; NULL without, or where nobody asked */
};
