/*
 * server/pkcs11_worker.h: a process that has one private key in a token.
 *
 * A PKCS#11 module is a library of somebody else that opens files and sockets
 * as it likes, waits as long as it likes, and may crash.  So it is loaded by a
 * child that has nothing but one key: confined as the signer is in user and
 * privileges, but with the file system and the network, which modules need,
 * and with the groups that its user is in, which give it the token's files.
 * It is forked from a process that never loads one, and logs in once in its
 * life.
 *
 * server/messages.h has its packets.  It ends when its channel does, when the
 * token fails it, and when a call into the module takes PKCS11_HANG_S.
 */
#ifndef SERVER_PKCS11_WORKER_H
#define SERVER_PKCS11_WORKER_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../pki/pin_file.h"
#include "../pki/pkcs11.h"
#include "../tls/tls.h"
#include "confine.h"
#include "wire.h"

enum {
	PKCS11_HANG_S = 20,
	PKCS11_TAG_OCTETS = 16, /* the asker's own; it comes back */
	PKCS11_TEXT_MAX = REASON_TEXT_MAX,
	PKCS11_PUBLIC_MAX = 4096,
	PKCS11_OPEN_MAX = 8192,   /* octets of PKCS11_OPEN */
	PKCS11_PACKET_MAX = 2048, /* of all others */
};

/* What a child opens. */
struct pkcs11_work {
	const char *url;
	const char *pin;       /* "": none */
	gnutls_datum_t public; /* DER */
};

/* In a process just forked, which ends with it: fd is the channel to who
 * asks.  Not confined if confinement is NULL (it is already). */
_Noreturn void pkcs11_worker(int fd, const struct confinement *confinement);

/*
 * Fork a process that does nothing but fork workers, as PKCS11_FORK asks for
 * them, and ends with its channel: -1 if there is none.  The caller is about
 * to be confined as c says.
 */
int pkcs11_spawner(const struct confinement *c);

/* Packets, as the asking side writes and reads them.  False if what came
 * breaks the protocol. */
void pkcs11_put_open(struct wire_writer *w, const struct pkcs11_work *work);
void pkcs11_put_sign(struct wire_writer *w,
    const unsigned char tag[static PKCS11_TAG_OCTETS], enum cert_purpose side,
    const struct tls_sign_request *request);
/* r is past the type.  why->code is REASON_NONE if the key is open. */
bool pkcs11_get_opened(struct wire_reader *r, struct reason *why);
/* *len_out is 0 and why filled if there is no signature. */
bool pkcs11_get_signed(struct wire_reader *r,
    unsigned char tag[static PKCS11_TAG_OCTETS],
    unsigned char signature[static TLS_SIGNATURE_MAX], size_t *len_out,
    struct reason *why);

#endif
