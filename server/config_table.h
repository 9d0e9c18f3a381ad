/*
 * server/config_table.h: the options of sallyport.conf, with ranges and
 * defaults.  For server/config.c alone.
 */
#ifndef SERVER_CONFIG_TABLE_H
#define SERVER_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum type {
	T_HOST,
	T_NAME,
	T_PATH,
	T_KEY,    /* a path, or a PKCS#11 URL */
	T_COUNT,
	T_SIZE,
	T_SECONDS,
	T_MILLISECONDS,
	T_SWITCH,
	T_WORD,
	T_HOST_PORT,
	T_MAILBOX,
	T_DATE,
	T_STRING,
	T_ENDPOINT,
	T_ADDRESSES, /* lists from here on; least: the least port */
	T_NAMES,
	T_HOSTS,
	T_BITS,
	T_NETWORKS,
	T_COMMAND,
};

struct word {
	const char *word;
	unsigned value;
};

struct field {
	const char *name;
	enum type type;
	size_t offset, size;  /* of the field in its struct */
	const char *standard; /* default; NULL: none, "" in a list: none */
	uint64_t least, most;
	const struct word *words;
};

struct section {
	const char *name;
	const struct field *fields;
	size_t count;
	bool titled; /* may be repeated under other titles */
};

enum {
	SECTION_TOP,
	SECTION_SMARTHOST,
	SECTION_LISTENER,
	SECTION_CERTIFICATE,
	SECTION_TOKEN,
	SECTIONS
};
extern const struct section config_sections[SECTIONS];

/* Is text a value of field (one of its list)? */
bool field_is_valid(const struct field *field, const char *text);
/* A number, time, switch or word as what is stored for it. */
bool field_number(const struct field *field, const char *text, uint64_t *out);
/* What a value has to look like, for messages. */
void field_expected(const struct field *field, char *out, size_t capacity);

#endif
