/*
 * server/control.h: control sockets, from both ends.
 *
 * DIR/state/control/{master,auth,relay}: SOCK_SEQPACKET in a 0700 folder; the
 * peer must be root or the server's own user.
 */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "config.h"

/* Master: bind and listen, in place of whatever socket is there: the caller
 * holds the lock of the state folder, so nobody else's is alive. */
bool control_listen(const char *state, const char *name, int *fd_out,
    struct reason *why);

/* Role: accept one connection whose SO_PEERCRED passes; -1 otherwise.  The
 * connection blocks, with timeouts of 5 s. */
int control_accept(int listener);

/* Role: answers. */
bool control_send_data(int fd, const void *octets, size_t len);
bool control_send_end(int fd, bool ok, const char *text);

/* Tool: connect; false with REASON_AWAY if nobody listens. */
bool control_connect(const char *state, const char *name, int *fd_out,
    struct reason *why);

/*
 * Tool: send one request packet and read the answer; data is called for each
 * CONTROL_DATA (octets are NUL-terminated after len).  True if the role said
 * ok; otherwise why has its text.
 */
bool control_ask(int fd, const void *request, size_t len,
    void (*data)(void *context, const char *octets, size_t len), void *context,
    struct reason *why);

#endif
