/*
 * tools/tool.h: what the subcommands of sallyport(8) share.
 *
 * Each tool_NAME is called with its own name as argv[0] and returns an exit
 * status; it may use getopt_long with optind as main left it (0: start anew).
 * What the operator asked for goes to stdout, errors to stderr.
 */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../pki/key.h"
#include "../policy/reason.h"
#include "../server/config.h"

enum tool_status {
	TOOL_DONE = 0,  /* done, or the answer is yes */
	TOOL_NO = 1,    /* the answer is no, or it could not be done */
	TOOL_USAGE = 2, /* the command line is wrong */
};

/* -c FILE, else the compiled-in default; never NULL. */
extern const char *tool_config_path;

/* Load tool_config_path. */
bool tool_config(struct config **out, struct reason *why);

/* "sallyport: " and the text of why, or the text alone when it begins with
 * "file:line:"; to stderr. */
void tool_error(const struct reason *why);

/*
 * Read a secret of at most cap - 1 octets into out, without its line end:
 * from the first line of stdin, or from the terminal without echo after
 * prompt (asked twice and compared if twice).  Empty ones, those that are too
 * long and those with a NUL are refused.  The caller wipes out.
 */
bool tool_secret(const char *prompt, bool from_stdin, bool twice, char *out,
    size_t cap, struct reason *why);

/* For struct pki_passphrase: asked of the terminal, or of stdin's first line
 * if context is a bool that says so (NULL: it does not). */
bool tool_passphrase(void *context, const char *what, bool fresh,
    char out[static PKI_PASSPHRASE_SIZE], struct reason *why);

/* A decimal port, 1 to 65535. */
bool tool_port(const char *text, uint16_t *out);

int tool_user(int argc, char **argv);
int tool_policy(int argc, char **argv);
int tool_route(int argc, char **argv);
int tool_cert(int argc, char **argv);
int tool_device(int argc, char **argv);
int tool_queue(int argc, char **argv);
int tool_init(int argc, char **argv);
int tool_report(int argc, char **argv);
int tool_status(int argc, char **argv);
int tool_trace(int argc, char **argv);

#endif
