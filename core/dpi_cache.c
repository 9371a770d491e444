/*
 * dpi_cache.c: nDPI's memory across flows, switched off. nDPI names some flows by what it saw in others of the same
 * module: hosts that spoke BitTorrent, an address a certificate came from, the peer of a STUN exchange. With that off,
 * what a flow is called depends on its own packets alone, in whatever order and company they come.
 *
 * From 4.6 on a module can be told so, but for TINC, whose UDP flows are still known by their TCP flow. Before, caches
 * are made when there is first something to put into them, and no call empties them: so they are freed after each call
 * that has made one, which needs the module's layout. nDPI's headers show it to those who say that they are nDPI.
 */
#include "dpi_cache.h"

#include "ndpi_define.h"
#include "ndpi_includes.h"

#if NDPI_MINOR < 6
/* Say so, but do without ndpi_config.h, which need not be installed. */
#define NDPI_LIB_COMPILATION
#define _NDPI_CONFIG_H_ /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): nDPI's name */
#include "ndpi_typedefs.h"
#undef NDPI_LIB_COMPILATION
#endif
#include "ndpi_api.h"

#if NDPI_MINOR >= 6

bool nf_dpi_cache_disable(struct ndpi_detection_module_struct *module) {
  for (int cache = 0; cache < NDPI_LRUCACHE_MAX; cache++) {
#if NDPI_MINOR >= 10
    char name[64];
    (void)snprintf(name, sizeof name, "lru.%s.size", ndpi_lru_cache_idx_to_name((lru_cache_type)cache));
    if (ndpi_set_config(module, NULL, name, "0") != NDPI_CFG_OK) return false;
#else
    if (ndpi_set_lru_cache_size(module, (lru_cache_type)cache, 0) != 0) return false;
#endif
  }
  return true;
}

void nf_dpi_cache_clear(struct ndpi_detection_module_struct *module) { (void)module; }

#else

/* In the library, but in none of its installed headers. */
void cache_free(struct cache *cache);

/* A library built with other switches has its fields elsewhere. Behind the caches stands a table of known content. */
bool nf_dpi_cache_disable(struct ndpi_detection_module_struct *module) {
  return module->proto_defaults[NDPI_PROTOCOL_HTTP].protoId == NDPI_PROTOCOL_HTTP &&
         module->proto_defaults[NDPI_PROTOCOL_TLS].protoId == NDPI_PROTOCOL_TLS && !module->ookla_cache &&
         !module->msteams_cache;
}

static void forget(struct ndpi_lru_cache **cache) {
  if (NF_LIKELY(!*cache)) return;
  ndpi_lru_free_cache(*cache);
  *cache = NULL;
}

void nf_dpi_cache_clear(struct ndpi_detection_module_struct *module) {
  forget(&module->ookla_cache);
  forget(&module->bittorrent_cache);
  forget(&module->zoom_cache);
  forget(&module->stun_cache);
  forget(&module->tls_cert_cache);
  forget(&module->mining_cache);
  forget(&module->msteams_cache);
  if (NF_LIKELY(!module->tinc_cache)) return;
  cache_free(module->tinc_cache);
  module->tinc_cache = NULL;
}

#endif
