/*
 * server/upstream_keep.c: what becomes of a connection that is open: whom else
 * it may serve, and its end.
 */
#include <stdlib.h>
#include <string.h>

#include "upstream_internal.h"

static bool
same_name(const char *kept, const char *name)
{
	return strcmp(kept, name == NULL ? "" : name) == 0;
}

bool
upstream_may_serve(struct upstream *upstream, const struct relay_config *config,
    const struct next_hop *hop, struct judgement *judgement)
{
	const struct demand *demand = judgement_base(judgement);

	if (upstream->io.dead || upstream_is_spent(upstream) ||
	    config != upstream->config || !next_hop_same(hop, &upstream->hop) ||
	    !demand->reuse || !same_name(upstream->cert, demand->cert) ||
	    !same_name(upstream->auth, demand->auth) ||
	    !same_name(upstream->sni, demand->sni))
		return false;
	/* In clear by somebody's leave: TLS is tried again for others. */
	if (upstream->io.tls == NULL && judgement_hides_name(judgement))
		return false;
	if (!upstream_has_dane(upstream, judgement))
		return false;
	upstream_judge(upstream, judgement);
	return judgement_all_pass(judgement);
}

bool
upstream_said_mail(const struct upstream *upstream)
{
	return upstream->said_mail;
}

const struct next_hop *
upstream_hop(const struct upstream *upstream)
{
	return &upstream->hop;
}

bool
upstream_is_spent(const struct upstream *upstream)
{
	unsigned most = upstream->extensions.mail_max;

	if (most == 0 || most > UPSTREAM_MESSAGES)
		most = UPSTREAM_MESSAGES;
	return !upstream->reuse || upstream->messages >= most ||
	       upstream->refusals >= UPSTREAM_REFUSALS ||
	       relay_config_is_retired(upstream->config);
}

void
upstream_quit(struct upstream *upstream)
{
	struct upstream_reply reply;

	if (upstream != NULL && !upstream->io.dead) {
		upstream_reply_init(&reply);
		upstream_command(upstream, "QUIT", &reply, TIMEOUT_QUIT, NULL);
	}
	upstream_close(upstream);
}

void
upstream_close(struct upstream *upstream)
{
	if (upstream == NULL)
		return;
	upstream_io_close(&upstream->io);
	relay_config_unref(upstream->config);
	free(upstream);
}
