/*
 * abi.c: what this build believes of the contract, for lib.lua to compare, and the names of its enums.
 */
#include "base.h"

#ifndef NF_VERSION
#define NF_VERSION "unknown"
#endif
#ifndef NF_REVISION
#define NF_REVISION "unknown"
#endif

const struct nf_abi nf_abi = {
    .version = NF_ABI_VERSION,
    .packet_size = sizeof(struct nf_packet),
    .flow_size = sizeof(struct nf_flow),
    .statistics_size = sizeof(struct nf_statistics),
    .l7_size = sizeof(struct nf_l7),
    .l7_extra_size = sizeof(struct nf_l7_extra),
    .event_size = sizeof(struct nf_event),
    .options_size = sizeof(struct nf_options),
    .counters_size = sizeof(struct nf_counters),
    .column_size = sizeof(struct nf_column),
    .layout_size = sizeof(struct nf_layout),
};

const char *nf_version(void) { return NF_VERSION; }
const char *nf_revision(void) { return NF_REVISION; }

const char *nf_end_name(int end_reason) {
  static const char *const names[NF_END_COUNT] = {
      [NF_END_LIVE] = "live",     [NF_END_IDLE] = "idle", [NF_END_ACTIVE] = "active",
      [NF_END_FORCED] = "forced", [NF_END_FULL] = "full", [NF_END_INPUT] = "end of input",
  };
  return end_reason >= 0 && end_reason < NF_END_COUNT ? names[end_reason] : "unknown";
}

const char *nf_ignored_name(int reason) {
  static const char *const names[NF_IGNORED_COUNT] = {
      [NF_IGNORED_NONE] = "none",
      [NF_IGNORED_LINK_TYPE] = "unknown link type",
      [NF_IGNORED_NOT_IP] = "not IP",
      [NF_IGNORED_TRUNCATED] = "truncated",
      [NF_IGNORED_BAD_HEADER] = "bad header",
      [NF_IGNORED_FRAGMENT] = "later fragment",
      [NF_IGNORED_FILTERED] = "filtered",
  };
  return reason >= 0 && reason < NF_IGNORED_COUNT ? names[reason] : "unknown";
}
