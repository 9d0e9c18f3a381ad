/*
 * server/channel.h: packets between roles, over SOCK_SEQPACKET.
 *
 * One message, one packet, at most CHANNEL_PACKET_MAX octets; a packet may
 * carry one descriptor.  The first octet is its type (server/messages.h).
 * send and recv are atomic per packet: several threads may use one channel.
 */
#ifndef SERVER_CHANNEL_H
#define SERVER_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"

enum { CHANNEL_PACKET_MAX = 32768 };

enum channel_io {
	CHANNEL_DONE,
	CHANNEL_WAIT,   /* non-blocking: nothing there, or no room */
	CHANNEL_CLOSED, /* the other side is gone */
	CHANNEL_FAILED, /* anything else, a packet over the bound included */
};

/* Both ends close-on-exec; nonblocking for both. */
bool channel_pair(int fd_out[static 2], bool nonblocking, struct reason *why);

/* pass_fd -1 for none; the caller keeps its own copy open. */
enum channel_io channel_send(int fd, const void *data, size_t len,
    int pass_fd);

/* *fd_out (may be NULL: then a passed descriptor is closed) is -1 for none;
 * received descriptors are close-on-exec. */
enum channel_io channel_recv(int fd, void *data, size_t capacity,
    size_t *len_out, int *fd_out);

/*
 * For blocking callers: send a request and wait for the answer whose octets
 * 1..8 (a u64 after the type) equal number; others are dropped.  At most
 * timeout_ms altogether.
 */
enum channel_io channel_call(int fd, const void *request, size_t request_len,
    uint64_t number, void *answer, size_t capacity, size_t *len_out,
    int timeout_ms);

#endif
