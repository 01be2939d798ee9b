/* On x86, code that computes much is better off in ring 3; here it is called as it is. */
#ifndef LIB_USER_H
#define LIB_USER_H

#include "lib/intr.h"

static inline void user_init(void)
{
}

static inline uint64_t user_call(uint64_t (*fn)(void *arg), void *arg)
{
	return fn(arg);
}

#endif
