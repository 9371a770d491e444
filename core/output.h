#pragma once
/*
 * output.h: where an output's bytes go: to a file of its own or an open descriptor, as they are or compressed; or to a
 * collector, then each put is a message. After the first failure nothing more is written. Knows nothing of what the
 * bytes mean. What Lua has of it, opening, putting an end and closing, is in nf_abi.h.
 */
#include "base.h"

/*
 * Writes bytes. Returns how many have got out: all, or, once something has failed, fewer. Of compressed ones it is all
 * or none, and what was written of them is taken back. To a collector it is all or none as well, and none need be no
 * failure: a datagram could not be sent, or another session has begun, in which nothing has been said yet.
 */
size_t nf_output_put(struct nf_output *output, const void *bytes, size_t size);

/* Writes all of these bytes, or none but to a pipe, of which nothing can be taken back. Returns whether all got out. */
bool nf_output_put_whole(struct nf_output *output, const void *bytes, size_t size);

/* Says that there is no memory for what is to be written. */
void nf_output_fail(struct nf_output *output);

/* Cuts off the last so many bytes again, where they are the last of a file. */
void nf_output_take_back(struct nf_output *output, uint64_t size);

/* Bytes that the system has got, as they are in the file. */
uint64_t nf_output_size(const struct nf_output *output);

/* Which session with a collector it is, from 1, by UDP the only one; 0 for what is no collector. */
uint32_t nf_output_session(const struct nf_output *output);

/* How many datagrams have come back, or could not be sent: who reads may be another then. */
uint64_t nf_output_refused(const struct nf_output *output);

/* Whether there is something to be told of a collector that is no failure, then as one line. */
bool nf_output_warning(const struct nf_output *output, char *text);

/* Bytes that a collector was sent and has not acknowledged. */
uint64_t nf_output_pending(const struct nf_output *output);

/* Whether it is a collector that has failed after a stop was asked for: all there is left to do is to count. */
bool nf_output_is_called_off(const struct nf_output *output);

/* errno of what failed first, 0 while all is well; EINTR where a collector was too slow to wait for. */
int nf_output_failure(const struct nf_output *output);

/*
 * For log rotation: where the path no longer names the open file, goes on in the file that it names now, which is made
 * if need be and appended to, and sets *is_empty if nothing is in that. Descriptors of others, and files that get their
 * name in the end, stay as they are. NF_ERR_OUTPUT with the reason in `error` when the new file cannot be opened, then
 * the old one stays in use; or when it is bytes to the old one that did not get out.
 */
int nf_output_reopen(struct nf_output *output, bool *is_empty, char *error);

/* Says why it failed. */
void nf_output_tell(const struct nf_output *output, int failure, char *error);

/* Waits until a collector has got all that was put, the last of it. */
void nf_output_finish(struct nf_output *output);
