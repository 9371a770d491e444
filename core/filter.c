/*
 * filter.c: libpcap's filter language. libpcap compiles expressions and runs them; nothing else is asked of it here.
 * It must not know where frames come from, and of packets only where the innermost IP packet lies.
 */
#include "filter.h"

#include <pcap/pcap.h>

struct nf_filter {
  struct bpf_program code;
};

enum { LINK_RAW = 101, LINK_OPENBSD_RAW = 14, SNAP_LENGTH = 262144 };

/* A handle to compile a filter for a link type. It is one of an (empty) capture file, not pcap_open_dead's: for files,
   libpcap knows all the numbers that systems have given IPv6 on their loopback interfaces. */
static pcap_t *open_empty_capture(uint32_t link_type) {
  struct pcap_file_header header = {
      .magic = 0xa1b2c3d4, .version_major = 2, .version_minor = 4, .snaplen = SNAP_LENGTH};
  header.linktype = link_type == LINK_OPENBSD_RAW ? LINK_RAW : link_type;
  char ignored[PCAP_ERRBUF_SIZE];
  FILE *file = fmemopen(&header, sizeof header, "rb");
  pcap_t *pcap = file ? pcap_fopen_offline(file, ignored) : NULL;
  if (!pcap && file) fclose(file);
  return pcap;
}

int nf_filter_compile(struct nf_filter **filter, const char *expression, uint32_t link_type, char *reason) {
  struct nf_filter *made = calloc(1, sizeof *made);
  pcap_t *pcap = made ? open_empty_capture(link_type) : NULL;
  if (!pcap) {
    free(made);
    return NF_ERR_NOMEM;
  }
  /* The netmask, in the machine's byte order, matters to "ip broadcast" only; NFStream gives the same. */
  int result = pcap_compile(pcap, &made->code, expression, 1, 0xffffff00);
  if (result != 0) {
    const char *name = pcap_datalink_val_to_name(pcap_datalink(pcap));
    snprintf(reason, NF_FILTER_REASON_SIZE, "%s, expected a libpcap filter for link type %u (%s)", pcap_geterr(pcap),
             link_type, name ? name : "unknown");
    free(made);
  } else {
    *filter = made;
  }
  pcap_close(pcap);
  return result == 0 ? NF_OK : NF_ERR_SOURCE;
}

void nf_filter_free(struct nf_filter *filter) {
  if (!filter) return;
  pcap_freecode(&filter->code);
  free(filter);
}

bool nf_filter_accepts(const struct nf_filter *filter, const uint8_t *data, uint32_t size, uint32_t captured) {
  return bpf_filter(filter->code.bf_insns, data, size, captured) != 0;
}

/* ---- packets in hooks ---- */

struct nf_filter *nf_filter_new(const char *expression, char *error) {
  struct nf_filter *filter = NULL;
  char reason[NF_FILTER_REASON_SIZE];
  int status = nf_filter_compile(&filter, expression, LINK_RAW, reason);
  if (status == NF_ERR_NOMEM) nf_fail(error, "out of memory");
  if (status == NF_ERR_SOURCE) nf_fail(error, "\"%s\": %s", expression, reason);
  return filter;
}

bool nf_filter_matches(const struct nf_filter *filter, const struct nf_packet *packet) {
  uint32_t there = packet->captured_size - packet->ip_offset, size = packet->ip_size;
  return nf_filter_accepts(filter, packet->frame + packet->ip_offset, size, size < there ? size : there);
}

const char *nf_pcap_version(void) { return pcap_lib_version(); }
