/* server/introspection.c: asking an endpoint what a token is worth. */
#include "introspection.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../auth/bearer.h"
#include "../auth/claims.h"
#include "helper.h"

/* The parts of the library that are used. */
struct library {
	__typeof__(curl_global_init) *init;
	__typeof__(curl_easy_init) *easy_init;
	__typeof__(curl_easy_cleanup) *easy_cleanup;
	__typeof__(curl_easy_setopt) *setopt;
	__typeof__(curl_easy_perform) *perform;
	__typeof__(curl_easy_getinfo) *getinfo;
	__typeof__(curl_easy_strerror) *strerror;
	__typeof__(curl_easy_escape) *escape;
	__typeof__(curl_free) *free;
};

static bool
find(void *handle, const char *name, void *out)
{
	void *symbol = dlsym(handle, name);

	/* A pointer to a function in the room of one to an object. */
	memcpy(out, &symbol, sizeof(symbol));
	return symbol != NULL;
}

static bool
library_load(struct library *l, struct reason *why)
{
	static const char *const files[] = { "libcurl-gnutls.so.4",
		"libcurl.so.4" };
	void *handle = NULL;

	for (size_t i = 0; i < 2 && handle == NULL; i++)
		handle = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		return fail(why, REASON_ABSENT, "%s is not installed",
		    files[0]);
	if (!find(handle, "curl_global_init", &l->init) ||
	    !find(handle, "curl_easy_init", &l->easy_init) ||
	    !find(handle, "curl_easy_cleanup", &l->easy_cleanup) ||
	    !find(handle, "curl_easy_setopt", &l->setopt) ||
	    !find(handle, "curl_easy_perform", &l->perform) ||
	    !find(handle, "curl_easy_getinfo", &l->getinfo) ||
	    !find(handle, "curl_easy_strerror", &l->strerror) ||
	    !find(handle, "curl_easy_escape", &l->escape) ||
	    !find(handle, "curl_free", &l->free) ||
	    l->init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return fail(why, REASON_INTERNAL, "libcurl cannot be used");
	return true;
}

struct answer {
	size_t len, header_len;
	bool too_long;
	char text[INTROSPECTION_OCTETS_MAX];
};

static size_t
take(char *octets, size_t size, size_t count, void *context)
{
	struct answer *answer = context;
	size_t len = size * count;

	if (len > sizeof(answer->text) - answer->len) {
		answer->too_long = true;
		return 0;
	}
	memcpy(answer->text + answer->len, octets, len);
	answer->len += len;
	return len;
}

/* Which are for the library, but it would keep as many as there come: behind
 * the last chunk it has no bound of its own. */
static size_t
take_header(char *octets, size_t size, size_t count, void *context)
{
	struct answer *answer = context;
	size_t len = size * count;

	(void)octets;
	if (len > INTROSPECTION_OCTETS_MAX - answer->header_len) {
		answer->too_long = true;
		return 0;
	}
	answer->header_len += len;
	return len;
}

/* text as application/x-www-form-urlencoded, into out. */
static bool
encode(const struct library *l, CURL *curl, const char *text, size_t len,
    char *out, size_t capacity)
{
	char *escaped = l->escape(curl, text, (int)len);
	int n;

	if (escaped == NULL)
		return false;
	n = snprintf(out, capacity, "%s", escaped);
	explicit_bzero(escaped, strlen(escaped));
	l->free(escaped);
	return n >= 0 && (size_t)n < capacity;
}

/* The client's id and secret are encoded before they are put together again
 * (RFC 6749, 2.3.1). */
static bool
set_login(const struct library *l, CURL *curl, const char *login)
{
	char id[3 * HELPER_LOGIN_MAX + 1], secret[3 * HELPER_LOGIN_MAX + 1];
	const char *colon = strchr(login, ':');
	bool ok;

	ok = colon != NULL &&
	     encode(l, curl, login, (size_t)(colon - login), id, sizeof(id)) &&
	     encode(l, curl, colon + 1, strlen(colon + 1), secret,
		 sizeof(secret)) &&
	     l->setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC) ==
		 CURLE_OK &&
	     l->setopt(curl, CURLOPT_USERNAME, id) == CURLE_OK &&
	     l->setopt(curl, CURLOPT_PASSWORD, secret) == CURLE_OK;
	explicit_bzero(secret, sizeof(secret));
	return ok;
}

/* Before 8.18 libcurl takes anchors for GnuTLS only from a file. */
static bool
set_anchors(const struct library *l, CURL *curl, const gnutls_datum_t *anchors)
{
	int fd = memfd_create("anchors", MFD_CLOEXEC);
	char path[40];

	if (fd < 0 ||
	    write(fd, anchors->data, anchors->size) != (ssize_t)anchors->size)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return l->setopt(curl, CURLOPT_CAINFO, path) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK;
}

static bool
set_all(const struct library *l, CURL *curl, const struct introspection *ask,
    const char *body, struct answer *answer)
{
	bool secure = strncmp(ask->url, "https:", 6) == 0;

	return l->setopt(curl, CURLOPT_URL, ask->url) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_PROTOCOLS_STR,
		   secure ? "https" : "http") == CURLE_OK &&
	       l->setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
	       l->setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_TIMEOUT_MS, ask->timeout_ms) ==
		   CURLE_OK &&
	       l->setopt(curl, CURLOPT_SSLVERSION,
		   (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
	       (!secure || set_anchors(l, curl, &ask->anchors)) &&
	       set_login(l, curl, ask->login) &&
	       l->setopt(curl, CURLOPT_POSTFIELDS, body) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_WRITEDATA, answer) == CURLE_OK &&
	       l->setopt(curl, CURLOPT_HEADERFUNCTION, take_header) ==
		   CURLE_OK &&
	       l->setopt(curl, CURLOPT_HEADERDATA, answer) == CURLE_OK;
}

static bool
judge(const struct library *l, CURL *curl, CURLcode rc,
    const struct answer *answer, json_t **answer_out, struct reason *why)
{
	json_t *object;
	long status = 0;

	if (answer->too_long)
		return fail(why, REASON_PROTOCOL,
		    "introspection: an answer of more than %d octets",
		    INTROSPECTION_OCTETS_MAX);
	if (rc != CURLE_OK)
		return fail(why,
		    rc == CURLE_OPERATION_TIMEDOUT ? REASON_TIMEOUT
						   : REASON_CONNECT,
		    "introspection: %s", l->strerror(rc));
	l->getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return fail(why, REASON_PROTOCOL,
		    "introspection: the endpoint answers %ld", status);
	object = claims_load(answer->text, answer->len);
	if (json_is_boolean(json_object_get(object, "active"))) {
		*answer_out = object;
		return true;
	}
	json_decref(object);
	return fail(why, REASON_PROTOCOL,
	    "introspection: the answer is no JSON object with \"active\"");
}

bool
introspection_ask(json_t **answer_out, const struct introspection *ask,
    struct reason *why)
{
	static const char before[] = "token_type_hint=access_token&token=";
	char body[sizeof(before) + 3 * BEARER_TOKEN_MAX];
	struct answer *answer;
	struct library library;
	CURL *curl;
	bool ok;

	if (!library_load(&library, why))
		return false;
	answer = calloc(1, sizeof(*answer));
	curl = library.easy_init();
	memcpy(body, before, sizeof(before));
	if (answer == NULL || curl == NULL ||
	    !encode(&library, curl, ask->token, strlen(ask->token),
		body + sizeof(before) - 1, sizeof(body) - sizeof(before) + 1) ||
	    !set_all(&library, curl, ask, body, answer))
		ok = fail(why, REASON_NO_MEMORY, "introspection");
	else
		ok = judge(&library, curl, library.perform(curl), answer,
		    answer_out, why);
	explicit_bzero(body, sizeof(body));
	if (curl != NULL)
		library.easy_cleanup(curl);
	free(answer);
	return ok;
}
