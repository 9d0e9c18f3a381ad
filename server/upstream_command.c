/*
 * server/upstream_command.c: the command lines of a mail transaction, with the
 * parameters that the other side offers (RFC 1870, 3461, 6152, 6531, 8689).
 */
#include "smtp_utf8.h"
#include "upstream_transaction.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool
command_path_fits(const char *path, const struct envelope *envelope)
{
	size_t len = strlen(path);

	if (len > PATH_OCTETS_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f)
			return false;
	return !utf8_has_high(slice_of(path)) ||
	       (envelope->smtputf8 && smtp_is_utf8_path(path));
}

/* Where the client said it, as it may know of more than was looked at. */
static bool
says_smtputf8(const struct transaction *t)
{
	return t->delivery->envelope.smtputf8 && t->up->extensions.smtputf8;
}

/*
 * What RFC 3461, section 5.2.1, has passed on, to a server that offers DSN:
 * only what was given, and as it was.  The spool held it, as with paths.
 */
static void
mail_dsn(const struct transaction *t, char out[static DSN_OCTETS_MAX])
{
	const struct envelope *envelope = &t->delivery->envelope;
	bool has_envid =
	    envelope->envid != NULL && smtp_is_envid(slice_of(envelope->envid));

	snprintf(out, DSN_OCTETS_MAX, "%s%s%s",
	    envelope->ret == RET_FULL   ? " RET=FULL"
	    : envelope->ret == RET_HDRS ? " RET=HDRS"
					: "",
	    has_envid ? " ENVID=" : "", has_envid ? envelope->envid : "");
}

/* Beyond ASCII only with SMTPUTF8 (RFC 6533, section 3). */
static void
put_orcpt(char *end, const char *orcpt, bool smtputf8)
{
	char ascii[SMTP_ORCPT_MAX + 1];

	if (orcpt == NULL || !smtp_is_orcpt(slice_of(orcpt)))
		return;
	if (!smtputf8) {
		if (!utf8_orcpt_to_ascii(orcpt, ascii))
			return;
		orcpt = ascii;
	}
	stpcpy(stpcpy(end, " ORCPT="), orcpt);
}

static void
rcpt_dsn(const struct envelope_recipient *recipient, bool smtputf8,
    char out[static DSN_OCTETS_MAX])
{
	static const struct {
		enum notify bit;
		const char *word;
	} words[] = {
		{ NOTIFY_NEVER, "NEVER" },
		{ NOTIFY_SUCCESS, "SUCCESS" },
		{ NOTIFY_FAILURE, "FAILURE" },
		{ NOTIFY_DELAY, "DELAY" },
	};
	const char *before = " NOTIFY=";
	char *end = out;

	*end = '\0';
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if ((recipient->notify & words[i].bit) == 0)
			continue;
		end = stpcpy(stpcpy(end, before), words[i].word);
		before = ",";
		if (words[i].bit == NOTIFY_NEVER)
			break; /* it stands alone */
	}
	put_orcpt(end, recipient->orcpt, smtputf8);
}

static size_t
rcpt_make(const struct transaction *t, size_t recipient,
    char out[static COMMAND_OCTETS_MAX])
{
	unsigned index = t->order[recipient]->index;
	const struct envelope_recipient *one =
	    &t->delivery->envelope.recipients[index];
	char dsn[DSN_OCTETS_MAX];

	dsn[0] = '\0';
	if (t->up->extensions.dsn && (one->notify != 0 || one->orcpt != NULL))
		rcpt_dsn(one, says_smtputf8(t), dsn);
	return (size_t)snprintf(out, COMMAND_OCTETS_MAX, "RCPT TO:<%s>%s\r\n",
	    one->forward_path, dsn);
}

size_t
command_make(const struct transaction *t, size_t number,
    char out[static COMMAND_OCTETS_MAX])
{
	const struct upstream_extensions *extensions = &t->up->extensions;
	const struct envelope *envelope = &t->delivery->envelope;
	char size[40] = "", dsn[DSN_OCTETS_MAX];

	if (number == t->count + 1 && t->way == DATA_DOTS)
		return (size_t)snprintf(out, COMMAND_OCTETS_MAX, "DATA\r\n");
	if (number == t->count + 1)
		return (size_t)snprintf(out, COMMAND_OCTETS_MAX,
		    "BDAT %" PRIu64 " LAST\r\n", chunk_size(t));
	if (number == t->count + 2)
		return (size_t)snprintf(out, COMMAND_OCTETS_MAX, "RSET\r\n");
	if (number > 0)
		return rcpt_make(t, number - 1, out);
	dsn[0] = '\0';
	if (extensions->dsn && (envelope->ret != 0 || envelope->envid != NULL))
		mail_dsn(t, dsn);
	if (extensions->size)
		snprintf(size, sizeof(size), " SIZE=%llu",
		    (unsigned long long)(t->delivery->head_len +
					 t->delivery->body_len));
	return (size_t)snprintf(out, COMMAND_OCTETS_MAX,
	    "MAIL FROM:<%s>%s%s%s%s%s\r\n", envelope->reverse_path, size,
	    envelope->eight_bit ? " BODY=8BITMIME" : "",
	    says_smtputf8(t) ? " SMTPUTF8" : "",
	    envelope->requiretls ? " REQUIRETLS" : "", dsn);
}
