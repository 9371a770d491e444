#pragma once
/*
 * base.h: what every file of the core starts with. Standard headers, the contract, and the checks that the contract's
 * structs have the shape both languages rely on.
 */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nf_abi.h"

#define NF_LIKELY(x)         __builtin_expect(!!(x), 1)
#define NF_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define NF_PRINTF(at, first) __attribute__((format(printf, at, first)))

/* An invariant of our own: broken only by a bug in this program, so stop at once, in every build. */
#define nf_require(x) ((x) ? (void)0 : nf_broken(#x, __FILE__, __LINE__))

static inline _Noreturn void nf_broken(const char *what, const char *file, int line) {
  fprintf(stderr, "nfengine: %s:%d: broken invariant: %s\n", file, line, what);
  abort();
}

/* Writes a one-line reason into an NF_ERROR_SIZE buffer, or nowhere for NULL. */
#define nf_fail(error, ...) ((error) ? (void)snprintf((error), NF_ERROR_SIZE, __VA_ARGS__) : (void)0)

static_assert(sizeof(struct nf_tuple) == 40, "tuples are compared as five 64-bit words");
static_assert(offsetof(struct nf_packet, tunnel_id) == offsetof(struct nf_tuple, tunnel_id), "one tuple, two names");
static_assert(sizeof(struct nf_flow) % 8 == 0, "sections behind a flow are 8-byte aligned");
static_assert(sizeof(((struct nf_counters *)0)->ignored) / 8 == NF_IGNORED_COUNT, "one counter a reason");
static_assert(sizeof(((struct nf_counters *)0)->ended) / 8 == NF_END_COUNT, "one counter an end");
