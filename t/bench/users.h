/* t/bench/users.h: the names of the many users of the login benchmark. */
#ifndef T_BENCH_USERS_H
#define T_BENCH_USERS_H

#include <stdio.h>

enum { USER_NAME_SIZE = 32, USER_DIGITS = 8 };

static inline void
user_name(unsigned number, char out[static USER_NAME_SIZE])
{
	snprintf(out, USER_NAME_SIZE, "u%0*u@bench.example", USER_DIGITS,
	    number);
}

#endif
