/*
 * server/config_value.h: the values sallyport.conf is made of.
 *
 * Each function reads the whole of text or returns false and leaves its
 * output alone.  Threads: any.
 */
#ifndef SERVER_CONFIG_VALUE_H
#define SERVER_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Decimal digits only. */
bool value_count(const char *text, uint64_t *out);
/* Octets: digits, then nothing or K, M or G (powers of 1024). */
bool value_size(const char *text, uint64_t *out);
/* Milliseconds: digits and ms, s, m, h or d; or 0. */
bool value_duration(const char *text, uint64_t *ms_out);
/* yes, true, on; no, false, off. */
bool value_switch(const char *text, bool *out);
/* YYYY-MM-DD from 2000 to 2999, the last day of something: Unix second at which
 * it is over in UTC, as with until= in the site table. */
bool value_date(const char *text, uint64_t *out);
/* The same, or a second of such a day, 2027-03-31T12:00:00Z (UTC), which is
 * the first that is no longer meant. */
bool value_end(const char *text, int64_t *out);
/* As value_end reads it; an end of a day as that day. */
enum { VALUE_END = sizeof "2027-03-31T12:00:00Z" };
void value_end_print(int64_t over, char out[static VALUE_END]);
/* A host name of letters, digits and hyphens (RFC 5321 Domain), no dot at
 * its end, at most 253 octets. */
bool value_is_host(const char *text);
/* Letters, digits, '-' and '_', at most 63. */
bool value_is_name(const char *text);
/* ADDRESS:PORT with an IPv4 address or an IPv6 one in brackets; port 0 lets
 * the kernel choose. */
bool value_address(const char *text, struct sockaddr_storage *out,
    socklen_t *len_out);
/*
 * HOST:PORT, HOST or ADDRESS, an IPv6 address with a port in brackets.  Host
 * names get lower case; *port_out is 0 if none was given.  host_out holds at
 * least 254 octets.
 */
bool value_host_port(const char *text, char *host_out, uint16_t *port_out);

/* The same, or srv:DOMAIN: hosts and ports as that domain's SRV records say.
 * *srv_out tells which; the port is 0 for the latter. */
bool value_next_hop(const char *text, char *host_out, uint16_t *port_out,
    bool *srv_out);
/* A URL without blanks, fragment or user: https with a host, or http with a
 * loopback literal. */
bool value_is_endpoint(const char *text);
/* Printable ASCII without blanks, 1 to 512 octets. */
bool value_is_word(const char *text);
/* ADDRESS:PORT of a socket address, for logs; out holds at least 64. */
const char *value_address_print(const struct sockaddr_storage *address,
    char out[static 64]);

#endif
