/*
 * policy/key.h: what a row is about: host names, addresses, networks.
 *
 * Text from the table, from a route, a client or an envelope is brought to
 * one form here, so that equal things compare equal.  Threads: any.
 */
#ifndef POLICY_KEY_H
#define POLICY_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "reason.h"

enum {
	HOST_MAX = 254,     /* a name of 253 octets (RFC 1035) and its NUL */
	KEY_TEXT = 512,     /* any key as text, with its NUL */
	KEY_OCTETS = 512,   /* any key as the database has it */
	LOCAL_PART_MAX = 64 /* RFC 5321, section 4.5.3.1.1 */
};

/* An address, or a network when prefix is less than all bits. */
struct address {
	int family; /* AF_INET or AF_INET6; never a mapped IPv4 address */
	unsigned prefix;
	unsigned char octets[16]; /* the first 4 for AF_INET */
};

enum key_kind {
	KEY_HOST,
	KEY_HOST_PORT, /* host or address, and port */
	KEY_SUFFIX,    /* text begins with a dot */
	KEY_ADDRESS,
	KEY_NETWORK,
	KEY_MAILBOX, /* user@domain */
	KEY_ANY,     /* "*" */
};

struct key {
	enum key_kind kind;
	struct address address; /* KEY_ADDRESS, KEY_NETWORK, or with port */
	bool is_address;
	char text[KEY_TEXT]; /* canonical */
};

/* The word of a row.  U-labels are refused, with the A-label as a hint; the
 * local part of a mailbox may be UTF-8. */
bool key_parse(struct key *out, const char *word, struct reason *why);

/*
 * A host name in A-labels, lower case, without trailing dot; U-labels are
 * converted (IDNA).  False if it is none: an address, an empty or overlong
 * label, a forbidden character, a numeric last label.
 */
bool host_normalise(char out[static HOST_MAX], const char *text, size_t len);

/* Address literal, bracketed or not, "IPv6:" within brackets allowed;
 * ::ffff:a.b.c.d becomes a.b.c.d.  No zone, no prefix. */
bool address_parse(struct address *out, const char *text);
/* False for families other than AF_INET and AF_INET6. */
bool address_of_peer(struct address *out, const struct sockaddr_storage *peer);
/* The network of prefix bits that address lies in. */
struct address address_network(const struct address *address, unsigned prefix);
bool address_equal(const struct address *a, const struct address *b);
/* As text, "/prefix" added to networks. */
void address_print(const struct address *address, char out[static 64]);
bool address_is_loopback(const struct address *address);

/*
 * Of a forward-path or reverse-path, "<" and ">" around it ignored: its domain
 * as a host, and the mailbox in the form of a row's key: quotes taken away, as
 * "user"@d is user@d, and without case, as that can only bring more rows.
 * False if there is none, or none that a row can be about.
 */
bool path_host(char out[static HOST_MAX], const char *path);
bool path_mailbox(char out[static KEY_TEXT], const char *path);

/*
 * Database keys: direction (one of "iofr"), a letter for the kind, and the
 * value.  Each returns the length.
 */
size_t key_encode(const struct key *key, char direction,
    unsigned char out[static KEY_OCTETS]);
size_t key_encode_text(char direction, char kind, const char *text, size_t len,
    unsigned char out[static KEY_OCTETS]);
size_t key_encode_address(char direction, const struct address *network,
    unsigned char out[static KEY_OCTETS]);

#endif
