/*
 * server/config_parse.h: what the files that read sallyport.conf share.
 *
 *     config.c           syntax, one option after another, the whole
 *     config_sections.c  smarthost, token, certificates
 *     config_listener.c  listeners
 *     config_find.c      questions about what was read
 *     config_table.c     the table of options
 *     config_scan.c      what libconfuse would let pass
 *     config_value.c     values
 */
#ifndef SERVER_CONFIG_PARSE_H
#define SERVER_CONFIG_PARSE_H

#include <confuse.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "config.h"
#include "config_table.h"

/* A config and what it owns. */
struct owner {
	struct config config; /* first: config_free gets its address */
	void **owned;
	size_t owned_count, owned_capacity;
};

/* One run of config_parse; libconfuse's callbacks carry no context. */
struct parse {
	struct owner *owner;
	const char *path;
	struct reason *why;
	bool failed;
	bool has_smarthost, has_token;
	int last_line;
	int alarm_command_line;
};

/* The first failure counts; libconfuse may report more after it.  False. */
bool parse_fail(struct parse *p, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool parse_no_memory(struct parse *p);

/* data (malloc'd, or NULL) lives as long as the configuration. */
void *parse_own(struct owner *owner, void *data);
const char *parse_own_string(struct owner *owner, const char *text);

/* All options of one section into base. */
bool parse_store(struct parse *p, cfg_t *cfg, const struct section *s,
    void *base);

/* Sections, in this order: listeners name certificates. */
bool parse_smarthost(struct parse *p, cfg_t *cfg);
bool parse_token(struct parse *p, cfg_t *cfg);
bool parse_certificates(struct parse *p, cfg_t *cfg);
bool parse_listeners(struct parse *p, cfg_t *cfg);

#endif
