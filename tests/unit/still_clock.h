/*
 * A monotonic clock that stands still until it is put forward. It takes libc's place in the whole
 * program: included by programs that want that, once, and by nothing that others are linked with.
 */
#ifndef TESTS_UNIT_STILL_CLOCK_H
#define TESTS_UNIT_STILL_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

static _Atomic uint64_t now_ns = 1000000 * MS;
/* Called whenever anybody asks for the time, on that thread. Set before there are threads. */
static void (*on_clock_read)(void);

int clock_gettime(clockid_t id, struct timespec *ts)
{
	uint64_t ns = atomic_load(&now_ns);

	if (id != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, id, ts);
	if (on_clock_read)
		on_clock_read();
	ts->tv_sec = (time_t)(ns / 1000000000);
	ts->tv_nsec = (long)(ns % 1000000000);
	return 0;
}

/* Puts the clock forward. */
static inline void pass(uint64_t ns)
{
	atomic_fetch_add(&now_ns, ns);
}

#endif
