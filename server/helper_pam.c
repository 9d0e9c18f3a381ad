/*
 * server/helper_pam.c: PAM, asked in a child.
 *
 * PAM's modules may block, crash, fork or keep state in globals: the child is
 * killed at its deadline, with all it has started.
 */
#include <arpa/inet.h>
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"

enum { USER_SIZE = 65, PASSWORD_SIZE = PAM_MAX_RESP_SIZE + 1 };

static const char pam_tty[] = "smtp"; /* access rules may name it */

struct check {
	const char *service;
	char user[USER_SIZE];
	char password[PASSWORD_SIZE];
	char client[INET6_ADDRSTRLEN];
};

struct conversation {
	const char *password; /* NULL: it was asked for already */
};

static void
no_delay(int status, unsigned us, void *context)
{
	/* The answer's time is auth's to choose. */
	(void)status;
	(void)us;
	(void)context;
}

/*
 * One hidden prompt is answered.  A second one, a visible one or a text could
 * be a second factor or a password change: the dialogue ends there.
 */
static int
converse(int n, const struct pam_message **messages,
    struct pam_response **responses, void *context)
{
	struct conversation *c = context;
	struct pam_response *response;

	if (n != 1 || messages[0]->msg_style != PAM_PROMPT_ECHO_OFF ||
	    c->password == NULL)
		return PAM_CONV_ERR;
	response = calloc(1, sizeof *response);
	if (response == NULL ||
	    (response->resp = strdup(c->password)) == NULL) {
		free(response);
		return PAM_BUF_ERR;
	}
	c->password = NULL;
	*responses = response;
	return PAM_SUCCESS;
}

static int
set_items(pam_handle_t *pam, const struct check *check)
{
	union {
		void (*function)(int, unsigned, void *);
		const void *item;
	} delay = { no_delay };
	int rc = pam_set_item(pam, PAM_FAIL_DELAY, delay.item);

	if (rc == PAM_SUCCESS)
		rc = pam_set_item(pam, PAM_RHOST, check->client);
	if (rc == PAM_SUCCESS)
		rc = pam_set_item(pam, PAM_TTY, pam_tty);
	return rc;
}

/* A module may have put another user in place of the one that was asked. */
static int
same_user(pam_handle_t *pam, const char *user)
{
	const void *item = NULL;
	int rc = pam_get_item(pam, PAM_USER, &item);

	if (rc != PAM_SUCCESS)
		return rc;
	return item != NULL && strcmp(item, user) == 0 ? PAM_SUCCESS
						       : PAM_USER_UNKNOWN;
}

static enum helper_answer
answer_of(int rc)
{
	switch (rc) {
	case PAM_SUCCESS:
		return HELPER_YES;
	case PAM_OPEN_ERR:
	case PAM_SYMBOL_ERR:
	case PAM_SERVICE_ERR:
	case PAM_SYSTEM_ERR:
	case PAM_BUF_ERR:
	case PAM_AUTHINFO_UNAVAIL:
	case PAM_ABORT:
	case PAM_MODULE_UNKNOWN:
		return HELPER_TROUBLE;
	default:
		return HELPER_NO;
	}
}

static void
ask_pam(const struct check *check)
{
	struct conversation talk = { check->password };
	const struct pam_conv conv = { converse, &talk };
	char text[HELPER_TEXT_SIZE];
	pam_handle_t *pam = NULL;
	int rc = pam_start(check->service, check->user, &conv, &pam);

	if (rc == PAM_SUCCESS)
		rc = set_items(pam, check);
	if (rc == PAM_SUCCESS)
		rc = pam_authenticate(pam,
		    PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
	if (rc == PAM_SUCCESS)
		rc = pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
	if (rc == PAM_SUCCESS)
		rc = same_user(pam, check->user);
	snprintf(text, sizeof text, "PAM: %s",
	    rc == PAM_SUCCESS ? "yes" : pam_strerror(pam, rc));
	if (pam != NULL)
		pam_end(pam, rc);
	helper_answer(answer_of(rc), text);
}

static bool
is_pam_name(const char *name)
{
	if (*name == '-' || *name == '.' || *name == '\0')
		return false;
	for (; *name != '\0'; name++)
		if (!(*name >= 'a' && *name <= 'z') &&
		    !(*name >= 'A' && *name <= 'Z') &&
		    !(*name >= '0' && *name <= '9') &&
		    strchr("_.+-", *name) == NULL)
			return false;
	return true;
}

static bool
is_address(const char *text)
{
	unsigned char address[16];

	return inet_pton(AF_INET, text, address) == 1 ||
	       inet_pton(AF_INET6, text, address) == 1;
}

static bool
read_check(struct check *check, struct wire_reader *r)
{
	gnutls_datum_t password;

	if (!wire_get_string(r, check->user, sizeof check->user))
		return false;
	password = wire_get_bytes(r, PASSWORD_SIZE - 1);
	if (r->failed ||
	    !wire_get_string(r, check->client, sizeof check->client) ||
	    !wire_reader_done(r) || password.size == 0 ||
	    memchr(password.data, '\0', password.size) != NULL)
		return false;
	memcpy(check->password, password.data, password.size);
	check->password[password.size] = '\0';
	explicit_bzero(password.data, password.size);
	return is_address(check->client);
}

static void
run(const struct helper_settings *settings, struct wire_reader *r)
{
	struct check check = { .service = settings->config->pam_service };

	if (!read_check(&check, r))
		helper_answer_broken();
	else if (!is_pam_name(check.user))
		helper_answer(HELPER_NO, "not a name that PAM is asked for");
	else
		ask_pam(&check);
	explicit_bzero(&check, sizeof check);
}

const struct helper_kind helper_pam = { .start = HELPER_CHECK,
	.longest = 1024,
	.run = run };
