/*
 * server/config_value.c: the values sallyport.conf is made of.
 */
#include "config_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Leading digits of text; NULL if there are none or they overflow. */
static const char *
digits(const char *text, uint64_t *out)
{
	const char *p = text;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t d = (uint64_t)(*p - '0');

		if (v > (UINT64_MAX - d) / 10)
			return NULL;
		v = v * 10 + d;
	}
	if (p == text)
		return NULL;
	*out = v;
	return p;
}

static bool
scaled(uint64_t v, uint64_t unit, uint64_t *out)
{
	if (v > UINT64_MAX / unit)
		return false;
	*out = v * unit;
	return true;
}

bool
value_count(const char *text, uint64_t *out)
{
	uint64_t v;
	const char *rest = digits(text, &v);

	if (rest == NULL || *rest != '\0')
		return false;
	*out = v;
	return true;
}

struct unit {
	const char *suffix;
	uint64_t factor;
};

static bool
with_unit(const char *text, const struct unit *units, size_t count,
    uint64_t *out)
{
	uint64_t v;
	const char *rest = digits(text, &v);

	if (rest == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		if (strcmp(rest, units[i].suffix) == 0)
			return scaled(v, units[i].factor, out);
	return false;
}

bool
value_size(const char *text, uint64_t *out)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "K", 1024 },
		{ "M", 1024 * 1024 },
		{ "G", 1024 * 1024 * 1024 },
	};

	return with_unit(text, units, sizeof(units) / sizeof(*units), out);
}

bool
value_duration(const char *text, uint64_t *ms_out)
{
	static const struct unit units[] = {
		{ "ms", 1 },
		{ "s", 1000 },
		{ "m", 60 * 1000 },
		{ "h", 3600 * 1000 },
		{ "d", 86400 * 1000 },
	};

	if (strcmp(text, "0") == 0) {
		*ms_out = 0;
		return true;
	}
	return with_unit(text, units, sizeof(units) / sizeof(*units), ms_out);
}

bool
value_switch(const char *text, bool *out)
{
	static const struct {
		const char *word;
		bool on;
	} words[] = { { "yes", true }, { "true", true }, { "on", true },
		{ "no", false }, { "false", false }, { "off", false } };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strcmp(text, words[i].word) == 0) {
			*out = words[i].on;
			return true;
		}
	}
	return false;
}

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z');
}

static bool
is_label(const char *label, size_t len)
{
	if (len == 0 || len > 63 || !is_alnum(label[0]) ||
	    !is_alnum(label[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(label[i]) && label[i] != '-')
			return false;
	return true;
}

enum { DAY_S = 24 * 60 * 60 };

/* Two or four digits of a date. */
static int
date_digits(const char *text, int count)
{
	int v = 0;

	for (int i = 0; i < count; i++)
		v = v * 10 + (text[i] - '0');
	return v;
}

/* Digits where form has a d, else what form has. */
static bool
has_form(const char *text, const char *form)
{
	if (strlen(text) != strlen(form))
		return false;
	for (size_t i = 0; form[i] != '\0'; i++)
		if (form[i] == 'd' ? text[i] < '0' || text[i] > '9'
				   : text[i] != form[i])
			return false;
	return true;
}

bool
value_date(const char *text, uint64_t *out)
{
	struct tm tm = { 0 }, back;
	time_t first;

	if (!has_form(text, "dddd-dd-dd"))
		return false;
	tm.tm_year = date_digits(text, 4) - 1900;
	tm.tm_mon = date_digits(text + 5, 2) - 1;
	tm.tm_mday = date_digits(text + 8, 2);
	back = tm;
	if (tm.tm_year < 100 || tm.tm_year >= 1100)
		return false;
	/* timegm makes the 3rd of March of a 31st of February. */
	first = timegm(&back);
	if (back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday)
		return false;
	*out = (uint64_t)first + DAY_S;
	return true;
}

bool
value_end(const char *text, int64_t *out)
{
	char day[sizeof "2027-03-31"] = "";
	int hour, minute, second;
	bool is_second = has_form(text, "dddd-dd-ddTdd:dd:ddZ");
	uint64_t over;

	snprintf(day, sizeof day, "%s", text);
	if (!value_date(is_second ? day : text, &over))
		return false;
	if (is_second) {
		hour = date_digits(text + 11, 2);
		minute = date_digits(text + 14, 2);
		second = date_digits(text + 17, 2);
		if (hour > 23 || minute > 59 || second > 59)
			return false;
		over -= (uint64_t)(DAY_S - (hour * 60 + minute) * 60 - second);
	}
	*out = (int64_t)over;
	return true;
}

void
value_end_print(int64_t over, char out[static VALUE_END])
{
	bool is_day = over % DAY_S == 0;
	time_t shown = (time_t)(is_day ? over - 1 : over);
	struct tm tm;

	if (gmtime_r(&shown, &tm) == NULL ||
	    strftime(out, VALUE_END, is_day ? "%Y-%m-%d" : "%Y-%m-%dT%H:%M:%SZ",
		&tm) == 0)
		strcpy(out, "?");
}

bool
value_is_host(const char *text)
{
	const char *label = text;

	if (strlen(text) > 253)
		return false;
	for (;;) {
		size_t len = strcspn(label, ".");

		if (!is_label(label, len))
			return false;
		if (label[len] == '\0')
			break;
		label += len + 1;
	}
	/* Digits alone in the last label would be a mistyped address. */
	return label[strspn(label, "0123456789")] != '\0';
}

bool
value_is_name(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > 63)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(text[i]) && text[i] != '-' && text[i] != '_')
			return false;
	return true;
}

/* Split "HOST:PORT", "[HOST]:PORT", "[HOST]", "HOST"; port text "" if none. */
static bool
split(const char *text, char *host, size_t capacity, const char **port_out)
{
	const char *end, *rest;
	size_t len;

	if (text[0] == '[') {
		text++;
		end = strchr(text, ']');
		if (end == NULL)
			return false;
		rest = end + 1;
	} else {
		end = strchr(text, ':');
		/* An IPv6 address without brackets has no port. */
		if (end != NULL && strchr(end + 1, ':') != NULL)
			end = NULL;
		if (end == NULL)
			end = text + strlen(text);
		rest = end;
	}
	len = (size_t)(end - text);
	if (len == 0 || len >= capacity || (*rest != '\0' && *rest != ':'))
		return false;
	if (*rest == ':' && rest[1] == '\0')
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	*port_out = *rest == ':' ? rest + 1 : rest;
	return true;
}

static bool
port_number(const char *text, uint16_t *out)
{
	uint64_t v;

	if (strlen(text) > 5 || !value_count(text, &v) || v > 65535)
		return false;
	*out = (uint16_t)v;
	return true;
}

bool
value_address(const char *text, struct sockaddr_storage *out,
    socklen_t *len_out)
{
	struct sockaddr_storage address = { 0 };
	struct sockaddr_in *in4 = (struct sockaddr_in *)&address;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
	char host[64];
	const char *port_text;
	uint16_t port;

	if (!split(text, host, sizeof(host), &port_text) ||
	    !port_number(port_text, &port))
		return false;
	if (text[0] == '[' && inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		*len_out = sizeof(*in6);
	} else if (text[0] != '[' &&
		   inet_pton(AF_INET, host, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		*len_out = sizeof(*in4);
	} else {
		return false;
	}
	*out = address;
	return true;
}

bool
value_host_port(const char *text, char *host_out, uint16_t *port_out)
{
	unsigned char raw[16];
	char host[254];
	const char *port_text;
	uint16_t port = 0;

	if (!split(text, host, sizeof(host), &port_text))
		return false;
	if (*port_text != '\0' && (!port_number(port_text, &port) || port == 0))
		return false;
	if (inet_pton(AF_INET, host, raw) == 1) {
		inet_ntop(AF_INET, raw, host, sizeof(host));
	} else if (inet_pton(AF_INET6, host, raw) == 1) {
		inet_ntop(AF_INET6, raw, host, sizeof(host));
	} else {
		if (text[0] == '[' || !value_is_host(host))
			return false;
		for (char *p = host; *p != '\0'; p++)
			*p = (char)tolower((unsigned char)*p);
	}
	memcpy(host_out, host, strlen(host) + 1);
	*port_out = port;
	return true;
}

bool
value_next_hop(const char *text, char *host_out, uint16_t *port_out,
    bool *srv_out)
{
	const char *domain = text + strlen("srv:");

	/* With a port behind it, it is a host of that name. */
	*srv_out = strncasecmp(text, "srv:", strlen("srv:")) == 0 &&
		   domain[strspn(domain, "0123456789")] != '\0';
	if (!*srv_out)
		return value_host_port(text, host_out, port_out);
	if (strchr(domain, ':') != NULL ||
	    !value_host_port(domain, host_out, port_out))
		return false;
	/* No address. */
	return strspn(host_out, "0123456789.") < strlen(host_out);
}

const char *
value_address_print(const struct sockaddr_storage *address, char out[static 64])
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
	char host[INET6_ADDRSTRLEN] = "";

	if (address->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(out, 64, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		inet_ntop(AF_INET, &in4->sin_addr, host, sizeof(host));
		snprintf(out, 64, "%s:%u", host, ntohs(in4->sin_port));
	}
	return out;
}

bool
value_is_word(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > 512)
		return false;
	for (; *text != '\0'; text++)
		if (*text <= 0x20 || *text >= 0x7f)
			return false;
	return true;
}

static bool
is_loopback(const char *host)
{
	struct in6_addr in6;
	struct in_addr in4;

	if (inet_pton(AF_INET, host, &in4) == 1)
		return ntohl(in4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, host, &in6) == 1 &&
	       IN6_IS_ADDR_LOOPBACK(&in6);
}

bool
value_is_endpoint(const char *text)
{
	char authority[300], host[254];
	const char *at = text;
	bool clear = false;
	uint16_t port;
	size_t len;

	if (!value_is_word(text) || strchr(text, '#') != NULL)
		return false;
	if (strncmp(at, "https://", 8) == 0) {
		at += 8;
	} else if (strncmp(at, "http://", 7) == 0) {
		at += 7;
		clear = true;
	} else {
		return false;
	}
	len = strcspn(at, "/?");
	if (len >= sizeof(authority))
		return false;
	memcpy(authority, at, len);
	authority[len] = '\0';
	return value_host_port(authority, host, &port) &&
	       (!clear || is_loopback(host));
}
