/*
 * tools/policy_import_demand.h: the right-hand sides of Sendmail's access map.
 */
#ifndef TOOLS_POLICY_IMPORT_DEMAND_H
#define TOOLS_POLICY_IMPORT_DEMAND_H

#include "policy_import.h"

enum { LOGIN_NAME = 64 };

/* [PERM+|TEMP+] VERIFY[:BITS] | ENCR:BITS [+EXTENSION[++EXTENSION]...] */
struct demanded {
	bool verify;
	bool permanent;
	unsigned bits;
	bool own_name;    /* CN */
	unsigned names;   /* how many CN:NAME */
	unsigned issuers; /* how many CI and CITag; all have to be met */
	char name[HOST_MAX + 2];
	char issuer_options[IMPORT_OPTIONS]; /* " issuer=..." */
	char issuer_tag[64];                 /* of CITag, or "" */
	char refused[128]; /* what cannot be expressed, or "" */
};

/* False: no demand at all, so that Sendmail took anything. */
bool demand_read(struct demanded *out, const char *value);
/* TLS, and nothing else. */
void demand_encrypt(struct demanded *out);
void demand_refuse(struct demanded *demanded, const char *what);
/* A DN as Sendmail writes it, "/C=../CN=.." with +XX for octets. */
void demand_add_issuer(struct demanded *demanded, const char *dn, size_t len);
/* What it means otherwise than there. */
void demand_remark(struct import *import, const struct demanded *demanded);
/* Its row for a site; login is what auth= says, or "". */
void demand_write(struct import *import, const struct demanded *demanded,
    const struct key *site, unsigned direction, const char *login);

/*
 * AuthInfo's value as the line that the operator puts into the upstream file,
 * with file:NAME instead of the password.  False: out says why not.
 */
bool login_line(char *out, size_t size, const char *name, const char *value);

#endif
