/*
 * server/book_proof.c: each next hop's last proof, and what is said about the
 * certificates that next hops show.
 */
#include "book_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/hex.h"
#include "channel.h"
#include "log.h"

enum { HEX_SPKI = 2 * SPKI_OCTETS + 1, AT_OCTETS = 8 };

void
book_proof_fini(struct book_entry *entry)
{
	free(((struct book_proof *)entry)->octets);
}

bool
book_proof_decode(const struct book_proof *kept, struct proof *out)
{
	struct wire_reader r;

	wire_reader_init(&r, kept->octets, kept->len);
	return proof_get(&r, out) && wire_reader_done(&r);
}

/* Nothing but the time, which is written first, may differ. */
static bool
is_same(const struct book_proof *kept, const unsigned char *octets, size_t len)
{
	return kept->octets != NULL && kept->len == len &&
	       memcmp(kept->octets + AT_OCTETS, octets + AT_OCTETS,
		   len - AT_OCTETS) == 0;
}

static struct book_proof *
proof_entry(struct book *book, const struct next_hop *hop)
{
	struct book_entry *entry;
	char key[BOOK_KEY];

	book_key(key, hop->host, hop->port);
	entry = book_table_find(&book->proofs, key);
	if (entry == NULL)
		entry = book_table_add(&book->proofs, key,
		    sizeof(struct book_proof));
	return (struct book_proof *)entry;
}

/* Keep octets (handed over) as the hop's proof; *changed_out: the session
 * should hear of it. */
static struct book_proof *
keep(struct book *book, const struct next_hop *hop, unsigned char *octets,
    size_t len, bool *changed_out)
{
	struct book_proof *kept = proof_entry(book, hop);
	int64_t now = book_now(book), passed;

	if (kept == NULL) {
		free(octets);
		return NULL;
	}
	passed = now - kept->published_at;
	*changed_out =
	    !is_same(kept, octets, len) || passed < 0 || passed >= BOOK_HOUR_S;
	free(kept->octets);
	kept->octets = octets;
	kept->len = len;
	if (*changed_out) {
		kept->generation = ++book->generation;
		kept->published_at = now;
		/* The table's order is that of generations. */
		book_table_touch(&book->proofs, &kept->entry);
	}
	return kept;
}

bool
book_proof_put(struct book *book, const struct proof *proof,
    struct book_proof **kept_out, bool *changed_out)
{
	unsigned char *octets = malloc(CHANNEL_PACKET_MAX), *fitting;
	struct wire_writer w;

	if (octets == NULL)
		return false;
	wire_writer_init(&w, octets, CHANNEL_PACKET_MAX - 1);
	proof_put(&w, proof);
	if (w.failed) {
		free(octets);
		return false;
	}
	fitting = realloc(octets, w.len);
	*kept_out = keep(book, &proof->hop, fitting != NULL ? fitting : octets,
	    w.len, changed_out);
	return *kept_out != NULL;
}

static void
tell_new_key(const struct proof *proof, const struct facts *before,
    const char *spki)
{
	char was[HEX_SPKI], host[300], issuer[300];
	const char *name = proof->facts.issuer;

	hex_print(was, before->spki, SPKI_OCTETS);
	log_line(SAY_NOTE, "peer-key",
	    "host=%s port=%u spki=%s was=%s issuer=%s issuer-was-the-same=%s",
	    log_value(host, sizeof(host), proof->hop.host,
		strlen(proof->hop.host)),
	    (unsigned)proof->hop.port, spki, was,
	    log_value(issuer, sizeof(issuer), name, strlen(name)),
	    strcmp(name, before->issuer) == 0 ? "yes" : "no");
}

/* The lowest threshold that is reached, or 0. */
static unsigned
threshold(int64_t left_s)
{
	static const unsigned days[] = { 1, 7, 14, 30 };

	for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++)
		if (left_s <= (int64_t)days[i] * BOOK_DAY_S)
			return days[i];
	return 0;
}

/* What is said of a certificate near its end, whoever shows it. */
struct ending {
	enum side side;
	const char *site; /* next hop "host:port", or the client's site */
	const char *subject, *spki;
	int64_t not_after;
};

/* Is a threshold reached that was not told? */
static bool
is_near_end(const struct book *book, const struct book_certificate *certificate,
    int64_t not_after)
{
	unsigned days = threshold(not_after - book_now(book));

	return days != 0 &&
	       (certificate->told_days == 0 || certificate->told_days > days);
}

static void
tell_end(struct book *book, struct book_certificate *certificate,
    const struct ending *ending)
{
	int64_t left = ending->not_after - book_now(book);
	char date[40] = "", site[300], subject[300];
	time_t ends = (time_t)ending->not_after;
	struct tm tm;

	if (gmtime_r(&ends, &tm) != NULL)
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	log_line(SAY_ALARM, "peer-certificate",
	    "direction=%s site=%s ends=%s days=%" PRId64 " spki=%s subject=%s "
	    "what=\"the %s's certificate %s\"",
	    ending->side == SIDE_OUT ? "out" : "in",
	    log_value(site, sizeof(site), ending->site, strlen(ending->site)),
	    date, left / BOOK_DAY_S, ending->spki,
	    log_value(subject, sizeof(subject), ending->subject,
		strlen(ending->subject)),
	    ending->side == SIDE_OUT ? "next hop" : "client",
	    left < 0 ? "has ended" : "ends soon");
	certificate->told_days = threshold(left);
	book->alarms++;
	book->dirty[PART_CERTIFICATES] = true;
}

/* A peer that shows another certificate each time gets one alarm an hour. */
static void
watch_end(struct book *book, struct book_proof *kept,
    struct book_certificate *certificate, const struct proof *proof,
    const char *spki)
{
	int64_t now = book_now(book), passed = now - kept->end_alarm_at;
	const struct ending ending = { SIDE_OUT, kept->entry.key,
		proof->facts.subject, spki, (int64_t)proof->facts.not_after };

	if (!is_near_end(book, certificate, ending.not_after) ||
	    (kept->end_alarm_at != 0 && passed >= 0 && passed < BOOK_HOUR_S))
		return;
	tell_end(book, certificate, &ending);
	kept->end_alarm_at = now;
}

/* The certificate that site has shown; *new_out: for the first time. */
static struct book_certificate *
certificate_of(struct book *book, const char *site, const char *spki,
    int64_t not_after, bool *new_out)
{
	struct book_entry *entry;
	char key[BOOK_KEY];

	(void)snprintf(key, sizeof(key), "%.380s %s %" PRId64, site, spki,
	    not_after);
	entry = book_table_find(&book->certificates, key);
	*new_out = entry == NULL;
	if (entry == NULL) {
		book->dirty[PART_CERTIFICATES] = true;
		entry = book_table_add(&book->certificates, key,
		    sizeof(struct book_certificate));
	} else {
		book_table_touch(&book->certificates, entry);
	}
	return (struct book_certificate *)entry;
}

/* Callers hold lock; before is the hop's earlier proof, or NULL. */
static void
look_at_certificate(struct book *book, struct book_proof *kept,
    const struct proof *proof, const struct proof *before, bool watch)
{
	struct book_certificate *certificate;
	char spki[HEX_SPKI];
	bool is_new;

	if (!proof->facts.peer_cert)
		return;
	hex_print(spki, proof->facts.spki, SPKI_OCTETS);
	certificate = certificate_of(book, kept->entry.key, spki,
	    (int64_t)proof->facts.not_after, &is_new);
	if (certificate == NULL)
		return;
	if (is_new && before != NULL && before->facts.peer_cert &&
	    memcmp(before->facts.spki, proof->facts.spki, SPKI_OCTETS) != 0)
		tell_new_key(proof, &before->facts, spki);
	if (watch)
		watch_end(book, kept, certificate, proof, spki);
}

void
book_client_certificate(struct book *book, const struct decision *decision)
{
	char spki[HEX_SPKI];
	struct book_certificate *certificate;
	const struct ending ending = { SIDE_IN, decision->site,
		decision->peer_subject, spki, decision->peer_not_after };
	bool is_new;

	if (decision->peer_not_after == 0 ||
	    threshold(ending.not_after - book_now(book)) == 0)
		return;
	hex_print(spki, decision->peer_spki, SPKI_OCTETS);
	/* By its key alone: a client may come from many addresses. */
	certificate =
	    certificate_of(book, "in", spki, ending.not_after, &is_new);
	if (certificate != NULL &&
	    is_near_end(book, certificate, ending.not_after) &&
	    book_within_budget(book, SIDE_IN))
		tell_end(book, certificate, &ending);
}

void
book_proved(struct book *book, const struct proof *proof, bool watch)
{
	struct proof *before = malloc(sizeof(*before));
	struct book_proof *kept;
	bool known = false, changed = false;
	char key[BOOK_KEY];

	book_key(key, proof->hop.host, proof->hop.port);
	pthread_mutex_lock(&book->lock);
	kept = (struct book_proof *)book_table_find(&book->proofs, key);
	if (kept != NULL && before != NULL)
		known = book_proof_decode(kept, before);
	if (book_proof_put(book, proof, &kept, &changed)) {
		if (changed)
			book->dirty[PART_PROOFS] = true;
		look_at_certificate(book, kept, proof, known ? before : NULL,
		    watch);
	}
	pthread_mutex_unlock(&book->lock);
	free(before);
}

void
book_proofs(struct book *book, uint64_t *since,
    bool (*proof)(void *context, const struct proof *proof), void *context)
{
	struct proof *decoded = malloc(sizeof(*decoded));
	struct book_entry *entry;

	if (decoded == NULL)
		return;
	pthread_mutex_lock(&book->lock);
	/* Those that are wanted are the newest. */
	for (entry = book->proofs.newest;
	     entry != NULL && ((struct book_proof *)entry)->generation > *since;
	     entry = entry->older)
		;
	entry = entry == NULL ? book->proofs.oldest : entry->newer;
	for (; entry != NULL; entry = entry->newer) {
		const struct book_proof *kept = (struct book_proof *)entry;

		if (book_proof_decode(kept, decoded) &&
		    !proof(context, decoded))
			break;
		*since = kept->generation;
	}
	pthread_mutex_unlock(&book->lock);
	free(decoded);
}
