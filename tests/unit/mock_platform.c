/* See mock_platform.h. */
#include "tests/unit/mock_platform.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void mock_loop_run(struct loop *l)
{
	for (unsigned i = 0; i < 64 && loop_turn(l, 0); i++)
		;
}

void mock_fail(const char *file, int line, const char *expr)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, expr);
	abort();
}

static struct mock_platform *mock(struct platform *p)
{
	return container_of(p, struct mock_platform, plat);
}

static int line_set(struct platform *p, unsigned gsi, bool level)
{
	struct mock_platform *m = mock(p);

	if (gsi >= MOCK_LINES)
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	if (level && !m->line[gsi])
		m->line_rises[gsi]++;
	m->line[gsi] = level;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int line_irqfd(struct platform *p, unsigned gsi, int efd, bool on)
{
	struct mock_platform *m = mock(p);

	if (gsi >= MOCK_LINES)
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	m->line_efd[gsi] = on ? efd : -1;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int msi_set(struct platform *p, struct msi_route *r)
{
	struct mock_platform *m = mock(p);
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	m->msi_sets++;
	if (m->fail_msi) {
		rc = m->fail_msi;
		goto out;
	}
	for (int i = 0; r->gsi < 0 && i < MOCK_ROUTES; i++) {
		if (!m->route[i]) {
			m->route[i] = r;
			r->gsi = i;
		}
	}
	if (r->gsi < 0)
		rc = -ENOSPC;
	else
		m->routed[r->gsi] = *r;
out:
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static void msi_clear(struct platform *p, struct msi_route *r)
{
	struct mock_platform *m = mock(p);

	pthread_mutex_lock(&m->lock);
	m->msi_clears++;
	if (r->gsi >= 0 && r->gsi < MOCK_ROUTES)
		m->route[r->gsi] = NULL;
	r->gsi = -1;
	pthread_mutex_unlock(&m->lock);
}

static int doorbell_add(struct platform *p, gpa_t gpa, unsigned len, int efd)
{
	struct mock_platform *m = mock(p);
	struct mock_doorbell *free_slot = NULL;
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = m->fail_doorbell;
	if (rc)
		goto out;
	rc = -ENOSPC;
	for (int i = 0; i < MOCK_DOORBELLS; i++) {
		struct mock_doorbell *d = &m->doorbell[i];

		if (d->used && d->gpa == gpa) {
			rc = -EEXIST;
			break;
		}
		if (!d->used)
			free_slot = d;
	}
	if (rc == -ENOSPC && free_slot) {
		*free_slot = (struct mock_doorbell){ true, gpa, len, efd };
		rc = 0;
	}
out:
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static void doorbell_del(struct platform *p, gpa_t gpa, unsigned len, int efd)
{
	struct mock_platform *m = mock(p);

	pthread_mutex_lock(&m->lock);
	for (int i = 0; i < MOCK_DOORBELLS; i++) {
		struct mock_doorbell *d = &m->doorbell[i];

		if (d->used && d->gpa == gpa && d->len == len && d->efd == efd)
			d->used = false;
	}
	pthread_mutex_unlock(&m->lock);
}

static const struct platform_ops mock_ops = {
	.line_set = line_set,
	.line_irqfd = line_irqfd,
	.msi_set = msi_set,
	.msi_clear = msi_clear,
	.doorbell_add = doorbell_add,
	.doorbell_del = doorbell_del,
};

void mock_platform_init(struct mock_platform *m, uint64_t low_bytes, uint64_t high_bytes)
{
	struct gmem_layout layout[2] = {
		{ .base = 0, .size_bytes = low_bytes },
		{ .base = GIB(4), .size_bytes = high_bytes },
	};

	memset(m, 0, sizeof(*m));
	mock_require(gmem_create(&m->mem, "mock", layout, high_bytes ? 2 : 1, 0) == 0);
	bus_init(&m->mmio, "mmio");
	bus_init(&m->pio, "pio");
	pthread_mutex_init(&m->lock, NULL);
	for (int i = 0; i < MOCK_LINES; i++)
		m->line_efd[i] = -1;
	m->plat = (struct platform){
		.ops = &mock_ops,
		.name = "mock",
		.mem = &m->mem,
		.mmio = &m->mmio,
		.pio = &m->pio,
	};
}

void mock_platform_fini(struct mock_platform *m)
{
	pthread_mutex_destroy(&m->lock);
	bus_fini(&m->pio);
	bus_fini(&m->mmio);
	gmem_destroy(&m->mem);
}

void mock_mmio_write(struct mock_platform *m, gpa_t gpa, uint64_t value, unsigned size)
{
	uint64_t one = 1;
	int efd = -1;

	pthread_mutex_lock(&m->lock);
	for (int i = 0; i < MOCK_DOORBELLS; i++) {
		struct mock_doorbell *d = &m->doorbell[i];

		if (d->used && d->gpa == gpa && (!d->len || d->len == size))
			efd = d->efd;
	}
	/* Under the lock, so that nobody closes it meanwhile. */
	if (efd >= 0)
		mock_require(write(efd, &one, sizeof(one)) == sizeof(one));
	pthread_mutex_unlock(&m->lock);
	if (efd < 0)
		bus_write(&m->mmio, gpa, &value, size);
}

uint64_t mock_mmio_read(struct mock_platform *m, gpa_t gpa, unsigned size)
{
	uint64_t v = 0;

	bus_read(&m->mmio, gpa, &v, size);
	return v;
}

void mock_pio_write(struct mock_platform *m, uint64_t port, uint32_t value, unsigned size)
{
	bus_write(&m->pio, port, &value, size);
}

uint32_t mock_pio_read(struct mock_platform *m, uint64_t port, unsigned size)
{
	uint32_t v = 0;

	bus_read(&m->pio, port, &v, size);
	return v;
}

unsigned mock_nr_doorbells(struct mock_platform *m)
{
	unsigned n = 0;

	pthread_mutex_lock(&m->lock);
	for (int i = 0; i < MOCK_DOORBELLS; i++)
		n += m->doorbell[i].used;
	pthread_mutex_unlock(&m->lock);
	return n;
}

unsigned mock_nr_routes(struct mock_platform *m)
{
	unsigned n = 0;

	pthread_mutex_lock(&m->lock);
	for (int i = 0; i < MOCK_ROUTES; i++)
		n += m->route[i] != NULL;
	pthread_mutex_unlock(&m->lock);
	return n;
}

uint64_t mock_efd_take(int efd)
{
	struct pollfd p = { .fd = efd, .events = POLLIN };
	uint64_t n = 0;

	if (poll(&p, 1, 0) == 1 && read(efd, &n, sizeof(n)) != sizeof(n))
		n = 0;
	return n;
}

uint64_t mock_msi_count(struct mock_platform *m, uint64_t address, uint32_t data)
{
	uint64_t n = 0;

	pthread_mutex_lock(&m->lock);
	for (int i = 0; i < MOCK_ROUTES; i++) {
		const struct msi_route *r = &m->routed[i];

		if (m->route[i] && r->address == address && r->data == data)
			n += mock_efd_take(r->efd);
	}
	pthread_mutex_unlock(&m->lock);
	return n;
}

bool mock_line_level(struct mock_platform *m, unsigned gsi)
{
	bool level;

	pthread_mutex_lock(&m->lock);
	level = m->line[gsi];
	pthread_mutex_unlock(&m->lock);
	return level;
}

uint64_t mock_line_count(struct mock_platform *m, unsigned gsi)
{
	uint64_t n = 0;

	pthread_mutex_lock(&m->lock);
	if (gsi < MOCK_LINES && m->line_efd[gsi] >= 0)
		n = mock_efd_take(m->line_efd[gsi]);
	pthread_mutex_unlock(&m->lock);
	return n;
}
