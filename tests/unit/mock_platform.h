/*
 * A machine for unit tests: guest memory, two buses, and arrays that record what a device asked of
 * the platform. Any thread may call; one lock guards the records.
 */
#ifndef TESTS_MOCK_PLATFORM_H
#define TESTS_MOCK_PLATFORM_H

#include <pthread.h>

#include "base/loop.h"
#include "base/platform.h"

#define MOCK_LINES     64
#define MOCK_ROUTES    64
#define MOCK_DOORBELLS 64

/* For what a mock cannot go on without. Unlike ck_assert() it also works in a fuzzer. */
#define mock_require(expr)                                    \
	do {                                                  \
		if (!(expr))                                  \
			mock_fail(__FILE__, __LINE__, #expr); \
	} while (0)
void mock_fail(const char *file, int line, const char *expr) __attribute__((noreturn));

/* Turns a loop that has no thread on this one, until nothing is left to do (or 64 times: work may
 * post itself). */
void mock_loop_run(struct loop *l);

struct mock_doorbell {
	bool used;
	gpa_t gpa;
	unsigned len;
	int efd;
};

struct mock_platform {
	struct platform plat; /* give &plat to the device */
	struct gmem mem;
	struct bus mmio, pio;
	pthread_mutex_t lock;
	bool line[MOCK_LINES];		 /* level, as line_set() left it */
	unsigned line_rises[MOCK_LINES]; /* low to high */
	int line_efd[MOCK_LINES];	 /* as line_irqfd() left it, -1: none */
	struct msi_route *route[MOCK_ROUTES];
	struct msi_route routed[MOCK_ROUTES]; /* copy of *route at the last msi_set() */
	unsigned msi_sets, msi_clears;
	struct mock_doorbell doorbell[MOCK_DOORBELLS];
	int fail_msi, fail_doorbell; /* 0, or the -errno that the call returns from now on */
};

/* Memory: [0, low_bytes), and [4 GiB, 4 GiB + high_bytes) unless high_bytes is 0. Fails the test
 * on error. */
void mock_platform_init(struct mock_platform *m, uint64_t low_bytes, uint64_t high_bytes);
void mock_platform_fini(struct mock_platform *m);

/* What a vCPU does: a write that hits a doorbell goes to its eventfd and nowhere else. Reads of
 * nothing give all ones. */
void mock_mmio_write(struct mock_platform *m, gpa_t gpa, uint64_t value, unsigned size);
uint64_t mock_mmio_read(struct mock_platform *m, gpa_t gpa, unsigned size);
void mock_pio_write(struct mock_platform *m, uint64_t port, uint32_t value, unsigned size);
uint32_t mock_pio_read(struct mock_platform *m, uint64_t port, unsigned size);

unsigned mock_nr_doorbells(struct mock_platform *m);
unsigned mock_nr_routes(struct mock_platform *m);
/* How often MSI (address, data) was delivered since the last call: reads the route's eventfd. */
uint64_t mock_msi_count(struct mock_platform *m, uint64_t address, uint32_t data);
bool mock_line_level(struct mock_platform *m, unsigned gsi);
/* How often an edge-triggered line was raised since the last call. */
uint64_t mock_line_count(struct mock_platform *m, unsigned gsi);
/* Reads an eventfd without waiting; 0 if there is nothing. */
uint64_t mock_efd_take(int efd);

#endif
