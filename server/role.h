/*
 * server/role.h: what every role but the master shares: its start, its
 * confinement, and the packets of its master.
 *
 * main() of a role: descriptor 3 is the channel to the master, 4 the log
 * pipe.  role_start reads MASTER_HELLO, confines the process (server/
 * confine.h) and says ROLE_READY.  The role then runs its own event loop and
 * calls role_dispatch whenever descriptor 3 is readable.
 */
#ifndef SERVER_ROLE_H
#define SERVER_ROLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "bundle.h"
#include "messages.h"

enum { ROLE_MASTER_FD = 3, ROLE_LOG_FD = 4 };

/* Bits of MASTER_HELLO's flags. */
enum { HELLO_CONFINE_BEST = 1, HELLO_DEBUG = 2 };

/* "session", "signer" and so on: the word after --role and in the log. */
const char *role_name(enum role role);
/* ROLES if there is no such word. */
enum role role_by_name(const char *name);

struct role_info {
	enum role role;
	uint64_t start_id; /* of this process; session's names its segments */
	unsigned threads;  /* how many channels an index-per-thread peer has */
	bool confined;
	/* The role's root: "" when confined (chroot), else the folder that
	 * would have been it; prepend to "/tables/...", "/in/...". */
	char root[4096];
	char hostname[256];
};

/* Functions a role gives; all called on the thread that calls role_dispatch.
 * NULL ones are not expected: such a packet ends the role.  Descriptors are
 * handed over. */
struct role_handler {
	/* Build all that configuration number needs; bundle is borrowed for
	 * the call.  False refuses the reload. */
	bool (*prepare)(void *self, uint32_t number,
	    const struct bundle *bundle, struct reason *why);
	/* New connections and work use number from now on. */
	void (*commit)(void *self, uint32_t number);
	/* End what still uses number soon (421 4.3.2). */
	void (*retire)(void *self, uint32_t number);
	/* A (new) channel to a peer; replaces the earlier one of that index,
	 * whose pending requests have failed. */
	void (*peer)(void *self, enum role peer, unsigned index, int fd);
	void (*listener)(void *self, uint32_t number, const char *name, int fd);
	void (*control)(void *self, int fd);
	void (*ticket_key)(void *self, const char *listener,
	    const unsigned char key[64]);
	/* Configuration number's certificate of that section has that OCSP
	 * response (borrowed) until that Unix second. */
	void (*staple)(void *self, uint32_t number, const char *certificate,
	    int64_t until, const gnutls_datum_t *response);
	void (*start_id)(void *self, uint64_t start_id);
	/* As asked with role_say_wants_token: where to read it, or fd -1 and
	 * why there is none. */
	void (*token)(void *self, uint64_t number, int fd, const char *text);
	/* Mail it: role_say_alarm_kept(number) once that is certain. */
	void (*alarm)(void *self, uint64_t number, const char *text);
	/* Finish within ms, then role_say_stopped and exit. */
	void (*stop)(void *self, uint32_t ms);
	/* Fill the object for "sallyport status". */
	void (*status)(void *self, json_t *object);
	/* The master is gone, and the process ends on return; NULL: at once.
	 * For what a moment's work keeps. */
	void (*gone)(void *self);
};

/* Ends the process with a log line if anything fails. */
void role_start(struct role_info *info_out);

/* The same, and before is called while the process is not yet confined, with
 * how it will be: for a child that is to be confined otherwise. */
struct confinement;
void role_start_after(struct role_info *info_out,
    void (*before)(const struct confinement *c));

/* Read and act on all packets that are there; at end of file of the master
 * the process ends. */
void role_dispatch(const struct role_handler *handler, void *self);

/* Nothing uses configuration number any more. */
void role_say_unused(uint32_t number);
void role_say_stopped(void);
void role_say_wants_token(uint64_t number, uint32_t configuration,
    const char *login);
void role_say_alarm_kept(uint64_t number);

/* The mains of the roles; they do not return. */
int session_main(void);
int signer_main(void);
int auth_main(void);
int helpers_main(void);
int relay_main(void);
int lookup_main(void);

#endif
