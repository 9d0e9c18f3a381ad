/*
 * t/bench/table.c: a site table of a million rows beside one of a thousand.
 *
 *     table FOLDER ROWS FEWER
 *
 * For both: compile and publish, open with the whole check, look up what has a
 * row and what has none.  Then two threads look up without a pause while the
 * tables are opened and swapped under them, as a reload does: each answer has
 * to be whole, of the one or the other.  Prints one line a number of rows, one
 * for the ratios, one for the swaps.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../policy/decide.h"
#include "../../policy/table.h"

enum { LOOKUPS = 200000, READERS = 2, SWAPS = 100, ROW_MOST = 128 };

struct figures {
	double compile_s, open_s, hit_us, miss_us;
};

static _Noreturn void
die(const char *what, const char *text)
{
	fprintf(stderr, "table: %s: %s\n", what, text);
	exit(1);
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- the text ------------------------------------------------------------ */

/* As a large site's might be: next hops, domains under them, clients,
 * recipients, and some exceptions. */
static size_t
write_row(char *at, unsigned long i)
{
	int len;

	switch (i % 10) {
	case 0:
	case 1:
		len = sprintf(at, ".d%lu.example out verify min=tls1.3\n", i);
		break;
	case 2:
		len = sprintf(at, "10.%lu.%lu.%lu in encrypt bits=128\n",
		    i >> 16 & 255, i >> 8 & 255, i & 255);
		break;
	case 3:
		len = sprintf(at, "d%lu.example rcpt lock\n", i);
		break;
	case 4:
		len = i % 1000 == 4
			  ? sprintf(at,
				"o%lu.example out may until=2199-12-31 "
				"reason=\"no TLS yet\"\n",
				i)
			  : sprintf(at, "u%lu@mail.example rcpt verify\n", i);
		break;
	default:
		len = sprintf(at,
		    "mx%lu.example out lock match=.example ratchet\n", i);
	}
	return (size_t)len;
}

static char *
text_of(unsigned long rows, size_t *len_out)
{
	char *text = malloc((rows + 1) * ROW_MOST);
	size_t len = 0;

	if (text == NULL)
		die("text", "out of memory");
	for (unsigned long i = 0; i < rows; i++)
		len += write_row(text + len, i);
	len += (size_t)sprintf(text + len, "* both encrypt\n");
	*len_out = len;
	return text;
}

/* --- one table ------------------------------------------------------------ */

static void
say(void *context, bool is_error, const char *text)
{
	(void)context;
	if (is_error)
		fprintf(stderr, "%s\n", text);
}

static void
compile(const char *folder, unsigned long rows, char *path, size_t size,
    struct figures *figures)
{
	struct table_source source = { .path = "/sites", .now = time(NULL) };
	struct reason why;
	char name[80];
	size_t len;
	char *text = text_of(rows, &len);
	double began;

	source.text.data = (unsigned char *)text;
	source.text.size = (unsigned)len;
	began = now();
	if (!table_compile(&source, folder, name, say, NULL, &why))
		die("compile", why.text);
	figures->compile_s = now() - began;
	(void)snprintf(path, size, "%s/%s", folder, name);
	free(text);
}

static struct table *
open_table(const char *path, bool check_whole)
{
	struct table *table;
	struct reason why;

	if (!table_open(&table, path, check_whole, &why))
		die("open", why.text);
	return table;
}

/* Microseconds for one, of names spread over the whole table. */
static double
lookups(const struct table *table, bool hit, unsigned long rows)
{
	struct demand *demand = demand_new();
	struct reason why;
	char host[64];
	double began = now();

	for (unsigned long i = 0; i < LOOKUPS; i++) {
		unsigned long row = i * 7919 % rows / 10 * 10 + 5;

		(void)snprintf(host, sizeof(host), "%s%lu%s", hit ? "mx" : "no",
		    row, hit ? ".example" : ".elsewhere.test");
		if (!demand_out(demand, table, host, 465, 0, &why))
			die("lookup", why.text);
		if (demand->row_count != 1 ||
		    (demand->level == LEVEL_LOCK) != hit)
			die(host, "another row was found");
	}
	demand_free(demand);
	return (now() - began) * 1e6 / LOOKUPS;
}

static void
measure(const char *folder, unsigned long rows, char *path, size_t size,
    struct figures *figures)
{
	struct table *table;
	double began;

	compile(folder, rows, path, size, figures);
	began = now();
	table = open_table(path, true);
	figures->open_s = now() - began;
	figures->hit_us = lookups(table, true, rows);
	figures->miss_us = lookups(table, false, rows);
	printf("table %8zu rows: compile and publish %.3f s, whole check "
	       "%.3f s, lookup %.2f us (no row: %.2f us)\n",
	    table_rows(table), figures->compile_s, figures->open_s,
	    figures->hit_us, figures->miss_us);
	fflush(stdout);
	table_close(table);
}

/* --- swaps under load ----------------------------------------------------- */

static struct {
	pthread_rwlock_t lock; /* over current, as a generation's count is */
	struct table *current;
	atomic_bool stop;
	unsigned long rows;
} shared = { .lock = PTHREAD_RWLOCK_INITIALIZER };

struct reader {
	pthread_t thread;
	unsigned long done, torn;
	double longest_us;
};

static void *
read_on(void *context)
{
	struct reader *reader = context;
	struct demand *demand = demand_new();
	struct reason why;
	char host[64];

	while (!atomic_load(&shared.stop)) {
		double began = now(), took;

		(void)snprintf(host, sizeof(host), "mx%lu.example",
		    reader->done * 7919 % shared.rows / 10 * 10 + 5);
		(void)pthread_rwlock_rdlock(&shared.lock);
		if (!demand_out(demand, shared.current, host, 465, 0, &why) ||
		    demand->row_count != 1 || demand->level < LEVEL_ENCRYPT ||
		    (demand->level >= LEVEL_VERIFY) != (demand->anchors == 1))
			reader->torn++;
		(void)pthread_rwlock_unlock(&shared.lock);
		took = (now() - began) * 1e6;
		if (took > reader->longest_us)
			reader->longest_us = took;
		reader->done++;
	}
	demand_free(demand);
	return NULL;
}

/* The old one is closed when nobody reads it any more. */
static void
swap_in(const char *path)
{
	struct table *next = open_table(path, false), *old;

	(void)pthread_rwlock_wrlock(&shared.lock);
	old = shared.current;
	shared.current = next;
	(void)pthread_rwlock_unlock(&shared.lock);
	table_close(old);
}

static void
swap(const char *many, const char *few)
{
	struct reader readers[READERS] = { 0 };
	unsigned long done = 0, torn = 0;
	double began = now(), longest = 0;

	swap_in(many);
	for (int i = 0; i < READERS; i++)
		if (pthread_create(&readers[i].thread, NULL, read_on,
			&readers[i]) != 0)
			die("swap", "no thread");
	for (int i = 0; i < SWAPS; i++) {
		(void)usleep(5000);
		swap_in(i % 2 == 0 ? few : many);
	}
	atomic_store(&shared.stop, true);
	for (int i = 0; i < READERS; i++) {
		(void)pthread_join(readers[i].thread, NULL);
		done += readers[i].done;
		torn += readers[i].torn;
		if (readers[i].longest_us > longest)
			longest = readers[i].longest_us;
	}
	printf("table swapped %d times under %.0f lookups/s: %lu torn, longest "
	       "lookup %.0f us\n",
	    SWAPS, (double)done / (now() - began), torn, longest);
	table_close(shared.current);
	if (torn != 0)
		die("swap", "an answer was torn");
}

int
main(int argc, char **argv)
{
	char million[4200], thousand[4200];
	struct figures many, few;
	unsigned long fewer;

	if (argc != 4)
		die("usage", "table FOLDER ROWS FEWER");
	shared.rows = strtoul(argv[2], NULL, 10);
	fewer = strtoul(argv[3], NULL, 10);
	if (fewer < 10 || shared.rows < fewer)
		die("usage", "expected at least 10 rows, and not more FEWER");
	measure(argv[1], fewer, thousand, sizeof(thousand), &few);
	measure(argv[1], shared.rows, million, sizeof(million), &many);
	printf("ratios: compile %.2f a row, lookup %.2f, no row %.2f\n",
	    many.compile_s / few.compile_s * (double)fewer /
		(double)shared.rows,
	    many.hit_us / few.hit_us, many.miss_us / few.miss_us);
	swap(million, thousand);
	(void)unlink(million);
	(void)unlink(thousand);
	return 0;
}
