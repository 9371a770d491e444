#pragma once
/*
 * table.h: live flows by tuple, in order of when they were last seen. Knows tuples and slots, not features.
 */
#include "hash.h"

struct nf_table;

/* A table of slots of `slot_size` bytes, each starting with a struct nf_flow; at most `max_flows` live ones, 0 for no
   limit. Tuples are hashed with `key`. NULL when out of memory. */
struct nf_table *nf_table_new(uint32_t slot_size, uint64_t max_flows, const struct nf_hash_key *key);
/* Frees the table and every slot. */
void nf_table_free(struct nf_table *table);

/* Hash of a tuple as the table takes it. */
uint64_t nf_table_hash(const struct nf_table *table, const struct nf_tuple *tuple);

/* Hints for a look-up soon to come: first where the slot is noted, a while later the slot itself. */
void nf_table_prefetch(const struct nf_table *table, uint64_t hash);
void nf_table_prefetch_slot(const struct nf_table *table, uint64_t hash);
/* ... and the slot of the flow that was seen next after this one: after its end, that one is likely to end. */
void nf_table_prefetch_next(const struct nf_table *table, const struct nf_flow *flow);

/* The live flow between these end points, or NULL. *direction: 0 as the flow began, 1 the other way. */
struct nf_flow *nf_table_find(const struct nf_table *table, const struct nf_tuple *tuple, uint64_t hash,
                              uint8_t *direction);

/* A new live flow, the most recently seen; only its tuple and slot are set. NULL when the table is full or, with
   fewer than max_flows live, out of memory. The tuple must not be in the table. */
struct nf_flow *nf_table_insert(struct nf_table *table, const struct nf_tuple *tuple, uint64_t hash);

/* Live flows stand in one of two orders, each by when its flows were last seen: those that go on, and those whose
   connection is over, which wait for another time to end. A new flow stands in the first. */
enum nf_queue { NF_QUEUE_OPEN, NF_QUEUE_CLOSING, NF_QUEUES };

/* Makes a live flow the most recently seen of its order. */
void nf_table_touch(struct nf_table *table, const struct nf_flow *flow);
/* Moves the most recently seen flow of all into the other order. */
void nf_table_move(struct nf_table *table, struct nf_flow *flow, enum nf_queue queue);

/* The least recently seen live flow of an order, or of all; NULL when there is none. */
struct nf_flow *nf_table_oldest_in(const struct nf_table *table, enum nf_queue queue);
struct nf_flow *nf_table_oldest(const struct nf_table *table);
/* Of the oldest of both orders, either of which may be NULL, the one less recently seen; of equals the open one. */
struct nf_flow *nf_table_older(struct nf_flow *open, struct nf_flow *closing);

/* Ends a flow's life in the table. Its slot stays as it is until it is released. */
void nf_table_remove(struct nf_table *table, struct nf_flow *flow);
/* The same when the table will be asked for no flow any more: saves the look-up, which is most of the cost. */
void nf_table_drain(struct nf_table *table, const struct nf_flow *flow);
/* Gives a removed or drained flow's slot back for reuse. */
void nf_table_release(struct nf_table *table, struct nf_flow *flow);

uint64_t nf_table_count(const struct nf_table *table);
bool nf_table_is_full(const struct nf_table *table);
