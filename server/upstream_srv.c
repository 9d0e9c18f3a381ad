/*
 * server/upstream_srv.c: SRV records into places, in the order to be tried.
 *
 * What they say comes from DNS, so that nothing rests on it: which TLS is
 * asked for is the site table's to say, and the certificate has to name the
 * route's domain, unless DNSSEC proves that the target stands for it.
 */
#include "upstream_srv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upstream_internal.h"

/* --- the order ---------------------------------------------------------- */

/* Is a in a group before b's? */
static bool
comes_before(const struct srv_target *a, const struct srv_target *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority;
	return a->implicit_tls && !b->implicit_tls;
}

static bool
is_equal(const struct srv_target *a, const struct srv_target *b)
{
	return !comes_before(a, b) && !comes_before(b, a);
}

static void
move_to_front(struct srv_target *targets, size_t index)
{
	struct srv_target chosen = targets[index];

	memmove(targets + 1, targets, index * sizeof(*targets));
	targets[0] = chosen;
}

static void
sort_by_group(struct srv_target *targets, size_t count)
{
	for (size_t done = 0; done < count; done++) {
		size_t best = done;

		for (size_t i = done + 1; i < count; i++)
			if (comes_before(&targets[i], &targets[best]))
				best = i;
		move_to_front(targets + done, best - done);
	}
}

/* Those of weight 0 first, for a small chance of being chosen. */
static void
put_zeros_first(struct srv_target *targets, size_t count)
{
	for (size_t i = 0, zeros = 0; i < count; i++)
		if (targets[i].weight == 0) {
			move_to_front(targets + zeros, i - zeros);
			zeros++;
		}
}

/* The running sum that reaches the lot decides. */
static size_t
draw(const struct srv_target *targets, size_t count, srv_chance chance,
    void *context)
{
	uint32_t total = 0, sum = 0, lot;
	size_t i = 0;

	for (size_t n = 0; n < count; n++)
		total += targets[n].weight;
	lot = chance(context, total + 1);
	while (i + 1 < count && (sum += targets[i].weight) < lot)
		i++;
	return i;
}

void
srv_order(struct srv_target *targets, size_t count, srv_chance chance,
    void *context)
{
	size_t from = 0;

	sort_by_group(targets, count);
	while (from < count) {
		size_t end = from + 1;

		while (end < count && is_equal(&targets[from], &targets[end]))
			end++;
		put_zeros_first(targets + from, end - from);
		for (; from < end; from++)
			move_to_front(targets + from,
			    draw(targets + from, end - from, chance, context));
	}
}

/* --- the question ------------------------------------------------------- */

static uint32_t
chance_of_kernel(void *context, uint32_t below)
{
	(void)context;
	return arc4random_uniform(below);
}

static bool
malformed(const struct next_hop *hop, struct upstream_failure *failure)
{
	upstream_fail(failure, "4.3.0",
	    "%s: malformed answer of the lookup role", hop->host);
	return false;
}

static bool
ask(const struct upstream_thread *thread, const struct next_hop *hop,
    struct srv_answer *out, struct upstream_failure *failure)
{
	unsigned char packet[512], answer[SRV_PACKET_MAX];
	struct wire_writer w;
	struct wire_reader r;
	struct reason why;
	uint64_t number = call_number(thread->lookup);
	uint8_t type;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOOKUP_SRV);
	wire_put_u64(&w, number);
	wire_put_string(&w, hop->host);
	if (!call_ask(thread->lookup, &w, true, number, answer, sizeof(answer),
		TIMEOUT_LOOKUP, &type, &r, &why)) {
		upstream_fail(failure, "4.4.3", "%s: lookup: %s", hop->host,
		    why.text);
		return false;
	}
	if (type != LOOKUP_SRV_ANSWER || !srv_answer_get(&r, out))
		return malformed(hop, failure);
	return true;
}

/* None is not for good: one record that somebody forges, or forgets, must not
 * return all mail.  What the operator wants returned he routes to error:. */
static bool
no_target(const struct next_hop *hop, const struct srv_answer *answer,
    struct upstream_failure *failure)
{
	upstream_fail(failure,
	    answer->answer == LOOKUP_NONE ? "4.4.4" : "4.4.3", "srv:%s: %s%s",
	    hop->host,
	    answer->answer == LOOKUP_NONE ? "no submission service: "
					  : "lookup failed: ",
	    answer->text);
	return false;
}

bool
upstream_places(const struct upstream_thread *thread,
    const struct next_hop *hop,
    struct upstream_place out[static UPSTREAM_PLACES], size_t *count_out,
    struct upstream_failure *failure)
{
	struct srv_answer answer;

	memset(out, 0, UPSTREAM_PLACES * sizeof(*out));
	if (!next_hop_is_srv(hop)) {
		out[0].at = *hop;
		*count_out = 1;
		return true;
	}
	if (!ask(thread, hop, &answer, failure))
		return false;
	if (answer.answer != LOOKUP_FOUND)
		return no_target(hop, &answer, failure);
	srv_order(answer.targets, answer.count, chance_of_kernel, NULL);
	for (size_t i = 0; i < answer.count; i++) {
		const struct srv_target *target = &answer.targets[i];

		strcpy(out[i].at.host, target->host);
		out[i].at.port = target->port;
		out[i].at.implicit_tls = target->implicit_tls;
		out[i].by_srv = true;
		out[i].proved = target->secure;
	}
	*count_out = answer.count;
	return true;
}
