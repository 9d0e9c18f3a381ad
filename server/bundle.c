/*
 * server/bundle.c: a numbered configuration as a sealed memfd.
 *
 * Octets: "SLYB", u32 count, then per entry u8 kind, u32 name length, name,
 * NUL, u32 length, octets, NUL.  The NULs let a reader borrow strings.
 */
#include "bundle.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire.h"

enum {
	BUNDLE_ENTRIES = 1024,
	BUNDLE_NAME_MAX = 4096,
	BUNDLE_OCTETS_MAX = 64 * 1024 * 1024,
};

static const char magic[4] = { 'S', 'L', 'Y', 'B' };

struct entry {
	enum bundle_kind kind;
	const char *name; /* owned when writing, else in the map */
	unsigned char *octets;
	size_t len;
};

struct bundle {
	struct entry *entries;
	size_t count;
	size_t total; /* encoded octets */
	void *map;    /* reading side; NULL on the writing side */
	size_t map_len;
};

struct bundle *
bundle_new(void)
{
	struct bundle *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	b->entries = calloc(BUNDLE_ENTRIES, sizeof(*b->entries));
	if (b->entries == NULL) {
		free(b);
		return NULL;
	}
	b->total = sizeof(magic) + 4;
	return b;
}

static void
entry_fini(struct entry *e)
{
	free((char *)(uintptr_t)e->name);
	if (e->octets != NULL)
		explicit_bzero(e->octets, e->len);
	free(e->octets);
}

void
bundle_free(struct bundle *b)
{
	if (b == NULL)
		return;
	if (b->map != NULL)
		munmap(b->map, b->map_len);
	else
		for (size_t i = 0; i < b->count; i++)
			entry_fini(&b->entries[i]);
	free(b->entries);
	free(b);
}

bool
bundle_add(struct bundle *b, enum bundle_kind kind, const char *name,
    const gnutls_datum_t *octets, struct reason *why)
{
	size_t len = octets == NULL ? 0 : octets->size;
	size_t need = 1 + 4 + strlen(name) + 1 + 4 + len + 1;
	struct entry e = { .kind = kind, .len = len };

	if (b->count == BUNDLE_ENTRIES || strlen(name) > BUNDLE_NAME_MAX ||
	    need > BUNDLE_OCTETS_MAX - b->total)
		return fail(why, REASON_RANGE,
		    "%s: configuration too large, expected at most %d files "
		    "and %d MiB",
		    name, BUNDLE_ENTRIES, BUNDLE_OCTETS_MAX >> 20);
	e.name = strdup(name);
	e.octets = malloc(len + 1);
	if (e.name == NULL || e.octets == NULL) {
		entry_fini(&e);
		return fail(why, REASON_NO_MEMORY, "%s", name);
	}
	if (len > 0)
		memcpy(e.octets, octets->data, len);
	b->entries[b->count++] = e;
	b->total += need;
	return true;
}

static void
encode(const struct bundle *b, struct wire_writer *w)
{
	wire_put_raw(w, magic, sizeof(magic));
	wire_put_u32(w, (uint32_t)b->count);
	for (size_t i = 0; i < b->count; i++) {
		const struct entry *e = &b->entries[i];

		wire_put_u8(w, (uint8_t)e->kind);
		wire_put_string(w, e->name);
		wire_put_u8(w, 0);
		wire_put_bytes(w, e->octets, e->len);
		wire_put_u8(w, 0);
	}
}

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

bool
bundle_seal(const struct bundle *b, int *fd_out, struct reason *why)
{
	struct wire_writer w;
	void *map;
	int fd;

	fd = memfd_create("sallyport-configuration",
	    MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return fail_errno(why, "memory for a configuration");
	if (ftruncate(fd, (off_t)b->total) != 0)
		goto failed;
	map = mmap(NULL, b->total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		goto failed;
	wire_writer_init(&w, map, b->total);
	encode(b, &w);
	/* F_SEAL_WRITE is refused while a writable mapping exists. */
	munmap(map, b->total);
	if (w.failed || w.len != b->total) {
		close(fd);
		return fail(why, REASON_INTERNAL, "configuration bundle");
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS) != 0)
		goto failed;
	*fd_out = fd;
	return true;
failed:
	fail_errno(why, "memory for a configuration");
	close(fd);
	return false;
}

/* A borrowed string or octets with the NUL that has to follow. */
static gnutls_datum_t
terminated(struct wire_reader *r, size_t most)
{
	gnutls_datum_t d = wire_get_bytes(r, most);

	if (wire_get_u8(r) != 0)
		r->failed = true;
	return d;
}

static bool
decode(struct bundle *b)
{
	struct wire_reader r;
	char head[sizeof(magic)];
	uint32_t count;

	wire_reader_init(&r, b->map, b->map_len);
	if (!wire_get_raw(&r, head, sizeof(head)) ||
	    memcmp(head, magic, sizeof(head)) != 0)
		return false;
	count = wire_get_u32(&r);
	if (r.failed || count > BUNDLE_ENTRIES)
		return false;
	for (; b->count < count && !r.failed; b->count++) {
		struct entry *e = &b->entries[b->count];
		gnutls_datum_t name, octets;
		uint8_t kind = wire_get_u8(&r);

		name = terminated(&r, BUNDLE_NAME_MAX);
		octets = terminated(&r, BUNDLE_OCTETS_MAX);
		if (r.failed || kind < BUNDLE_CONF || kind > BUNDLE_PIN ||
		    memchr(name.data, '\0', name.size) != NULL)
			return false;
		e->kind = (enum bundle_kind)kind;
		e->name = (const char *)name.data;
		e->octets = octets.data;
		e->len = octets.size;
	}
	return wire_reader_done(&r);
}

bool
bundle_open(struct bundle **bundle_out, int fd, struct reason *why)
{
	struct bundle *b;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) != 0 ||
	    st.st_size <= 0 || st.st_size > BUNDLE_OCTETS_MAX) {
		close(fd);
		return fail(why, REASON_PROTOCOL,
		    "configuration bundle: not a sealed one");
	}
	b = bundle_new();
	if (b == NULL) {
		close(fd);
		return fail(why, REASON_NO_MEMORY, "configuration bundle");
	}
	b->map_len = (size_t)st.st_size;
	b->map = mmap(NULL, b->map_len, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (b->map == MAP_FAILED) {
		b->map = NULL;
		bundle_free(b);
		return fail_errno(why, "configuration bundle");
	}
	if (!decode(b)) {
		bundle_free(b);
		return fail(why, REASON_PROTOCOL,
		    "configuration bundle: malformed");
	}
	*bundle_out = b;
	return true;
}

bool
bundle_entry(const struct bundle *b, size_t i, enum bundle_kind *kind_out,
    const char **name_out, gnutls_datum_t *octets_out)
{
	const struct entry *e;

	if (i >= b->count)
		return false;
	e = &b->entries[i];
	*kind_out = e->kind;
	*name_out = e->name;
	octets_out->data = e->octets;
	octets_out->size = (unsigned)e->len;
	return true;
}

bool
bundle_find(const struct bundle *b, enum bundle_kind kind, const char *name,
    gnutls_datum_t *octets_out)
{
	enum bundle_kind k;
	const char *n;
	gnutls_datum_t octets;

	for (size_t i = 0; bundle_entry(b, i, &k, &n, &octets); i++) {
		if (k != kind || strcmp(n, name) != 0)
			continue;
		*octets_out = octets;
		return true;
	}
	return false;
}
