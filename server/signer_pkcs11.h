/*
 * server/signer_pkcs11.h: keys in tokens, for the signer.
 *
 * Each is held by a process of its own (server/pkcs11_worker.h).  One that the
 * token fails is opened again every few seconds until it is back; but a PIN
 * that was refused is not offered again, because tokens lock.
 * Threads: the signer has one.
 */
#ifndef SERVER_SIGNER_PKCS11_H
#define SERVER_SIGNER_PKCS11_H

#include <stdbool.h>
#include <stdint.h>

#include "pkcs11_worker.h"

enum { PKCS11_RETRY_MS = 5000 };

struct pkcs11_key;

/* A signature, or none (len 0, and why), for who asked with that tag. */
typedef void (*pkcs11_answer)(void *context,
    const unsigned char tag[static PKCS11_TAG_OCTETS],
    const unsigned char *signature, size_t len, const struct reason *why);

struct pkcs11_keys {
	struct pkcs11_key *first;
	int spawner; /* pkcs11_spawner's, or -1 */
	int epoll;   /* channels are put in; data.ptr is the key */
	pkcs11_answer answer;
	void *context;
};

/* What epoll's data.ptr points to begins with one: is it a key's? */
enum watched { WATCHED_ASKER = 1, WATCHED_PKCS11 };

/*
 * One more holder of that key: of the one that is open already, or of one whose
 * opening has begun.  name: of the certificate, for the log.  NULL with why: no
 * memory.
 */
struct pkcs11_key *pkcs11_hold(struct pkcs11_keys *keys, const char *name,
    const struct pkcs11_work *work, struct reason *why);
void pkcs11_release(struct pkcs11_keys *keys, struct pkcs11_key *key);

const unsigned char *pkcs11_spki(const struct pkcs11_key *key);
bool pkcs11_is_open(const struct pkcs11_key *key);
/* How many cannot sign now. */
unsigned pkcs11_count_away(const struct pkcs11_keys *keys);
/* Is some key still being opened for the first time? */
bool pkcs11_is_opening(const struct pkcs11_keys *keys);

/* Have the key sign: keys->answer comes later, or never if the token hangs.
 * False if it cannot. */
bool pkcs11_sign(struct pkcs11_key *key,
    const unsigned char tag[static PKCS11_TAG_OCTETS], enum cert_purpose side,
    const struct tls_sign_request *request, struct reason *why);

/* Its channel is readable. */
void pkcs11_event(struct pkcs11_keys *keys, struct pkcs11_key *key);

/* Opens again what is due; milliseconds until there is more, or -1. */
int pkcs11_timers(struct pkcs11_keys *keys, long long now_ms);

#endif
