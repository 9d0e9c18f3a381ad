/*
 * server/smtp_parse.h: the grammar of SMTP commands, apart from all I/O.
 *
 * RFC 5321 sections 4.1.1 to 4.1.3 as far as a submission server needs them
 * (RFC 6409), RFC 4954 for AUTH, RFC 3461 section 4 for xtext.  Nothing is
 * copied: results are slices of the line that was given.  UTF-8 stands where
 * RFC 6531, section 3.3, lets it; whether it may stand there at all is known
 * only with the parameters (SMTPUTF8).  Threads: any; no state.
 */
#ifndef SERVER_SMTP_PARSE_H
#define SERVER_SMTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Octets of somebody else. */
struct slice {
	const char *at;
	size_t len;
};

enum {
	/* RFC 5321, section 4.5.3.1. */
	SMTP_LOCAL_PART_MAX = 64,
	SMTP_DOMAIN_MAX = 255,
	SMTP_PATH_MAX = 256,       /* with its angle brackets */
	SMTP_TEXT_LINE_MAX = 1000, /* with CRLF, without a stuffed dot */
	/* 512 of section 4.5.3.1.4, and what SIZE (26), BODY (17), AUTH (500)
	 * and DSN (RET and ENVID, or NOTIFY and ORCPT, 540) add, and SMTPUTF8
	 * (10); with CRLF. */
	SMTP_COMMAND_MAX = 2048,
	/* RFC 4954, section 4: of an AUTH command or response, with CRLF. */
	SMTP_AUTH_LINE_MAX = 12288,
	/* RFC 3461, sections 4.4 and 4.2: of the values, as xtext. */
	SMTP_ENVID_MAX = 100,
	SMTP_ORCPT_MAX = 500,
};

struct slice slice_of(const char *text);
/* Equal without regard to the case of ASCII letters. */
bool slice_is(struct slice s, const char *text);
/* NUL-terminated malloc'd copy, or NULL. */
char *slice_copy(struct slice s);

/*
 * A command line without its CRLF: the verb up to the first blank, and the
 * rest without the blanks around it.
 */
void smtp_split(struct slice line, struct slice *verb_out,
    struct slice *args_out);

enum smtp_syntax {
	SMTP_SYNTAX_OK,
	SMTP_SYNTAX_BAD,       /* not the grammar: 501 */
	SMTP_SYNTAX_TOO_LONG,  /* section 4.5.3.1: 501 */
	SMTP_SYNTAX_NOT_UTF8,  /* octets above 127 that are not plain UTF-8:
				  501 */
};

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]". */
bool smtp_is_address_literal(struct slice s);
/* What follows EHLO or HELO: a Domain (an underscore is let through, because
 * names of machines have them) or an address literal. */
bool smtp_is_greeting_name(struct slice s);

struct smtp_path {
	struct slice mailbox; /* without brackets and source route; empty
				 for the null reverse-path */
	struct slice domain;  /* empty for the null path and Postmaster */
	bool is_utf8;         /* there are octets above 127 in the mailbox */
};

/*
 * The arguments of MAIL ("FROM:<...> parameters") and RCPT ("TO:<...>
 * parameters").  A blank after the colon is let through.  params_out is what
 * follows the path, for smtp_next_param.
 */
enum smtp_syntax smtp_parse_mail(struct slice args, struct smtp_path *path_out,
    struct slice *params_out);
enum smtp_syntax smtp_parse_rcpt(struct slice args, struct smtp_path *path_out,
    struct slice *params_out);

struct smtp_param {
	struct slice keyword;
	struct slice value; /* empty without one */
	bool has_value;
};

enum smtp_param_result { SMTP_PARAM_GOT, SMTP_PARAM_END, SMTP_PARAM_BAD };

/* Take the next esmtp-param off *rest. */
enum smtp_param_result smtp_next_param(struct slice *rest,
    struct smtp_param *out);

/* 1 to 20 digits that fit 64 bits (RFC 1870, section 6). */
bool smtp_parse_size(struct slice s, uint64_t *out);
bool smtp_is_xtext(struct slice s);
/* What xtext stands for; out has room for s.len + 1 octets, one for the NUL.
 * False if it is none, or stands for what is not printable US-ASCII. */
bool smtp_xtext_decode(struct slice s, char *out);

/* The values of DSN's parameters (RFC 3461, section 4), within its bounds. */

/* FULL or HDRS, as enum ret of server/envelope.h. */
bool smtp_parse_ret(struct slice s, uint8_t *out);
/* NEVER alone, or a list of the others, as enum notify. */
bool smtp_parse_notify(struct slice s, uint8_t *out);
bool smtp_is_envid(struct slice s);
/* xtext of any address type; of the type utf-8 also its own forms (RFC 6533,
 * section 3), which may have octets above 127. */
bool smtp_is_orcpt(struct slice s);
/* The address type, and what follows it, of what smtp_is_orcpt. */
void smtp_split_orcpt(struct slice s, struct slice *type_out,
    struct slice *xtext_out);
/* RFC 4422, section 3.1; case is the caller's business. */
bool smtp_is_mechanism(struct slice s);

/* --- server/smtp_base64.c --- */

/* Strict base64 (RFC 4648, section 4): whole quanta, right padding, no other
 * octet.  out has room for in.len / 4 * 3 octets. */
bool smtp_base64_decode(struct slice in, unsigned char *out, size_t *len_out);
/* Characters, for the capacity: (len + 2) / 3 * 4, no NUL. */
size_t smtp_base64_encode(const unsigned char *in, size_t len, char *out);

#endif
