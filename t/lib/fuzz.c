/*
 * t/lib/fuzz.c: drives a fuzz target without a fuzzing engine.
 *
 *     TARGET CORPUS-FOLDER SECONDS
 *
 * Runs every file of the kept corpus, then mutations of them (octets flipped,
 * cut, doubled, spliced) for so many seconds from a seed that changes daily
 * and is printed, as TAP.  A crash or a sanitizer's report ends the process,
 * and the input that did it is left in ./fuzz-crash-PID.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);
/* Called by the sanitizers before they end the process. */
void __sanitizer_set_death_callback(void (*callback)(void))
    __attribute__((weak));

enum { SEEDS_MAX = 4096, INPUT_MAX = 1 << 16 };

static struct {
	uint8_t *octets;
	size_t len;
} seeds[SEEDS_MAX];
static size_t seed_count;

static uint8_t current[INPUT_MAX];
static size_t current_len;
static uint64_t state;

static void
keep_input(void)
{
	char name[64];
	int fd;

	snprintf(name, sizeof name, "fuzz-crash-%d", (int)getpid());
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, current, current_len) < 0)
		return;
	close(fd);
	dprintf(STDERR_FILENO, "# the input is in %s\n", name);
}

static void
on_signal(int number)
{
	keep_input();
	signal(number, SIG_DFL);
	raise(number);
}

/* xorshift64*: quality does not matter, repeatability does. */
static uint64_t
chance(uint64_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 2685821657736338717ULL % below;
}

static void
run_one(void)
{
	/* A copy of the exact size, so that reading past it is seen. */
	uint8_t *exact = malloc(current_len == 0 ? 1 : current_len);

	if (exact == NULL)
		return;
	memcpy(exact, current, current_len);
	LLVMFuzzerTestOneInput(exact, current_len);
	free(exact);
}

static void
read_seed(const char *folder, const char *name)
{
	char path[4096];
	ssize_t got;
	int fd;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	got = read(fd, current, INPUT_MAX);
	close(fd);
	if (got < 0 || seed_count == SEEDS_MAX)
		return;
	seeds[seed_count].octets = malloc((size_t)got + 1);
	if (seeds[seed_count].octets == NULL)
		return;
	memcpy(seeds[seed_count].octets, current, (size_t)got);
	seeds[seed_count].len = (size_t)got;
	seed_count++;
}

static void
read_corpus(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			read_seed(folder, entry->d_name);
	if (dir != NULL)
		closedir(dir);
}

static void
take_seed(void)
{
	size_t i;

	current_len = 0;
	if (seed_count == 0)
		return;
	i = chance(seed_count);
	current_len = seeds[i].len;
	memcpy(current, seeds[i].octets, current_len);
}

/* Replace the end by the end of another input. */
static void
splice_seed(void)
{
	size_t i = chance(seed_count), from, at, len;

	if (seeds[i].len == 0)
		return;
	from = chance(seeds[i].len);
	at = chance(current_len + 1);
	len = seeds[i].len - from;
	if (len > INPUT_MAX - at)
		len = INPUT_MAX - at;
	memcpy(current + at, seeds[i].octets + from, len);
	current_len = at + len;
}

static void
double_part(void)
{
	size_t from = chance(current_len);
	size_t len = 1 + chance(current_len - from);

	if (len > INPUT_MAX - current_len)
		len = INPUT_MAX - current_len;
	memmove(current + from + len, current + from, current_len - from);
	current_len += len;
}

static void
insert_octet(void)
{
	static const char telling[] = "\r\n\0. \t=:<>\"\\@/*-9\377";
	size_t at = chance(current_len + 1);

	if (current_len == INPUT_MAX)
		return;
	memmove(current + at + 1, current + at, current_len - at);
	current[at] = (uint8_t)telling[chance(sizeof telling - 1)];
	current_len++;
}

static void
mutate(void)
{
	uint64_t rounds = 1 + chance(6);

	for (; rounds > 0; rounds--) {
		uint64_t kind = chance(6);

		if (current_len == 0 || kind == 0)
			insert_octet();
		else if (kind == 1)
			current[chance(current_len)] ^=
			    (uint8_t)(1 << chance(8));
		else if (kind == 2)
			current[chance(current_len)] = (uint8_t)chance(256);
		else if (kind == 3)
			current_len = chance(current_len + 1);
		else if (kind == 4 && seed_count > 0)
			splice_seed();
		else
			double_part();
	}
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t
run_mutations(double seconds)
{
	double end = now() + seconds;
	size_t runs = 0;

	while (now() < end) {
		take_seed();
		mutate();
		run_one();
		runs++;
	}
	return runs;
}

int
main(int argc, char **argv)
{
	uint64_t seed = (uint64_t)time(NULL) / 86400;
	size_t i;

	if (argc != 3) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER SECONDS\n", argv[0]);
		return 2;
	}
	signal(SIGSEGV, on_signal);
	signal(SIGABRT, on_signal);
	if (__sanitizer_set_death_callback != NULL)
		__sanitizer_set_death_callback(keep_input);
	state = 0x9e3779b97f4a7c15ULL ^ seed;
	setvbuf(stdout, NULL, _IOLBF, 0);
	read_corpus(argv[1]);
	printf("1..2\n");
	for (i = 0; i < seed_count; i++) {
		current_len = seeds[i].len;
		memcpy(current, seeds[i].octets, current_len);
		run_one();
	}
	printf("ok 1 - %zu inputs of the kept corpus\n", seed_count);
	i = run_mutations(atof(argv[2]));
	printf("ok 2 - %zu mutations, seed %llu\n", i,
	    (unsigned long long)seed);
	return 0;
}
