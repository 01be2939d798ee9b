/*
 * Pages of two guests bound to one DMA buffer and back: who sees what, and what a failure leaves.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/dmabuf.h"
#include "base/gmem.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define PAGE 4096

static const struct gmem_layout two[] = { { 0, MIB(4) }, { GIB(4), MIB(2) } };
static struct gmem a, b;
static struct dma_buf dma;

static void fill(struct gmem *m, char c)
{
	for (unsigned i = 0; i < m->nr_regions; i++)
		memset(m->region[i].hva, c, m->region[i].size_bytes);
}

static void setup(void)
{
	ck_assert_int_eq(gmem_create(&a, "a", two, 2, GMEM_VCPU_VIEW), 0);
	ck_assert_int_eq(gmem_create(&b, "b", two, 2, 0), 0);
	ck_assert_int_eq(dma_buf_create(&dma, "dma", MIB(2)), 0);
	fill(&a, 'a');
	fill(&b, 'b');
	memset(dma.map, 'd', dma.bytes);
}

static void teardown(void)
{
	dma_buf_destroy(&dma);
	gmem_destroy(&a);
	gmem_destroy(&b);
}

static uint8_t *at(struct gmem *m, gpa_t gpa)
{
	uint8_t *p = gmem_ptr(m, gpa, 1);

	ck_assert_ptr_nonnull(p);
	return p;
}

/* The same byte as vCPUs see it. */
static uint8_t *vcpu_at(struct gmem *m, gpa_t gpa)
{
	return m->vcpu_map + (at(m, gpa) - m->map);
}

static void all_are(const uint8_t *p, size_t len, char c)
{
	ck_assert_int_eq(*p, c);
	ck_assert_int_eq(memcmp(p, p + 1, len - 1), 0);
}

static void sees(struct gmem *m, gpa_t gpa, size_t len, char c)
{
	all_are(at(m, gpa), len, c);
	all_are(vcpu_at(m, gpa), len, c);
}

/* Line of /proc/self/maps, or smaps' flags, that holds an address. */
static void mapping(const char *file, const void *p, const char *key, char *out, size_t bytes)
{
	FILE *f = fopen(file, "re");
	unsigned long from, end;
	bool in = false;
	char line[512];

	ck_assert_ptr_nonnull(f);
	out[0] = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &end) == 2)
			in = (uintptr_t)p >= from && (uintptr_t)p < end;
		if (in && strstr(line, key)) {
			snprintf(out, bytes, "%s", line);
			break;
		}
	}
	fclose(f);
}

static bool has_flags(const void *p, const char *x, const char *y)
{
	char line[512];

	mapping("/proc/self/smaps", p, "VmFlags", line, sizeof(line));
	return strstr(line, x) && strstr(line, y);
}

static bool is_writable(const void *p)
{
	char line[512];

	mapping("/proc/self/maps", p, "-", line, sizeof(line));
	ck_assert(line[0]);
	return strstr(line, " rw-s ");
}

/* Whether a write is refused, tried by a child that keeps the mappings. */
static bool write_faults(uint8_t *p, const void *map, size_t len)
{
	int status;
	pid_t pid;

	madvise((void *)map, len, MADV_DOFORK);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile uint8_t *)p = 'x';
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	madvise((void *)map, len, MADV_DONTFORK);
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

static unsigned mappings_of(const struct gmem *m)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long from, end;
	unsigned n = 0;
	char line[512];

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &end) != 2)
			continue;
		n += from >= (uintptr_t)m->map && from < (uintptr_t)m->map + m->map_bytes;
		n += m->vcpu_map != m->map && from >= (uintptr_t)m->vcpu_map &&
		     from < (uintptr_t)m->vcpu_map + m->map_bytes;
	}
	fclose(f);
	return n;
}

START_TEST(views)
{
	ck_assert_ptr_eq(b.vcpu_map, b.map);
	ck_assert_ptr_ne(a.vcpu_map, a.map);
	ck_assert_uint_eq((uintptr_t)a.vcpu_map % MIB(2), 0);
	*at(&a, 5) = 'x';
	ck_assert_int_eq(*vcpu_at(&a, 5), 'x');
	*vcpu_at(&a, GIB(4) + 7) = 'y';
	ck_assert_int_eq(*at(&a, GIB(4) + 7), 'y');
	ck_assert(has_flags(a.vcpu_map, " dd", " dc"));
	ck_assert(has_flags(a.map, " dd", " dc"));
}
END_TEST

START_TEST(two_guests_see_one_page)
{
	struct {
		gpa_t a, b;
		uint64_t offset, len;
	} t[] = {
		{ MIB(2), 0, 0, MIB(2) },		 /* a whole element, aligned */
		{ PAGE, MIB(4) - PAGE, 3 * PAGE, PAGE }, /* one page */
		{ GIB(4), MIB(1) + PAGE, 0, MIB(1) },	 /* the other region, not aligned alike */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		uint8_t *pa = at(&a, t[i].a), *pb = at(&b, t[i].b);
		uint64_t len = t[i].len, last = t[i].len - 1;

		ck_assert(!gmem_is_rebound(&a, pa, len));
		ck_assert_int_eq(gmem_rebind(&a, pa, len, dma.fd, t[i].offset, 0), 0);
		ck_assert_int_eq(gmem_rebind(&b, pb, len, dma.fd, t[i].offset, 0), 0);
		ck_assert(gmem_is_rebound(&a, pa, len));
		ck_assert(gmem_is_rebound(&b, pb, len));
		if (i & 1) {
			gmem_prefault(&a, pa, len);
			gmem_prefault(&b, pb, len);
		}
		sees(&a, t[i].a, len, 'd');
		sees(&b, t[i].b, len, 'd');
		/* What one writes, the other has, and the buffer too. */
		*vcpu_at(&a, t[i].a + last) = 'A';
		ck_assert_int_eq(*vcpu_at(&b, t[i].b + last), 'A');
		ck_assert_int_eq(*at(&b, t[i].b + last), 'A');
		*at(&b, t[i].b) = 'B';
		ck_assert_int_eq(*at(&a, t[i].a), 'B');
		ck_assert_int_eq(dma.map[t[i].offset], 'B');
		ck_assert_int_eq(dma.map[t[i].offset + last], 'A');
		ck_assert(has_flags(pa, " dd", " dc"));
		ck_assert(has_flags(vcpu_at(&a, t[i].a), " dd", " dc"));

		/* Nothing around it has moved. */
		if (t[i].a && t[i].a != GIB(4))
			sees(&a, t[i].a - PAGE, PAGE, 'a');
		if (t[i].b + len < MIB(4))
			sees(&b, t[i].b + len, PAGE, 'b');

		ck_assert_int_eq(gmem_restore(&b, pb, len), 0);
		ck_assert_int_eq(gmem_restore(&b, pb, len), 0);
		ck_assert(!gmem_is_rebound(&b, pb, len));
		sees(&b, t[i].b, len, 'b');
		*at(&b, t[i].b) = 'b';
		ck_assert_int_eq(*at(&a, t[i].a), 'B');
		ck_assert_int_eq(gmem_restore(&a, pa, len), 0);
		sees(&a, t[i].a, len, 'a');
		ck_assert(has_flags(pa, " dd", " dc"));
		memset(dma.map, 'd', dma.bytes);
		ck_assert_uint_eq(mappings_of(&a), 2);
		ck_assert_uint_eq(mappings_of(&b), 1);
	}
	sees(&a, 0, MIB(4), 'a');
	sees(&a, GIB(4), MIB(2), 'a');
}
END_TEST

START_TEST(private_pages_can_be_written_behind)
{
	uint8_t *p = at(&a, MIB(1));
	static uint8_t news[3 * PAGE];

	memset(news, 'n', sizeof(news));
	ck_assert_int_eq(gmem_rebind(&a, p, MIB(1), dma.fd, 0, GMEM_VCPU_READONLY), 0);
	ck_assert_int_eq(gmem_private_write(&a, p + 100, news, sizeof(news)), 0);
	ck_assert_int_eq(gmem_private_write(&a, p + MIB(1) - 1, "zz", 2), 0); /* over the end */
	ck_assert_int_eq(gmem_private_write(&a, p, news, 0), 0);
	sees(&a, MIB(1), MIB(1), 'd');
	all_are(dma.map, dma.bytes, 'd');
	ck_assert_int_eq(*at(&a, MIB(2)), 'z'); /* that page was not rebound */
	ck_assert_int_eq(gmem_restore(&a, p, MIB(1)), 0);
	sees(&a, MIB(1), 100, 'a');
	sees(&a, MIB(1) + 100, sizeof(news), 'n');
	sees(&a, MIB(1) + 100 + sizeof(news), MIB(1) - 100 - sizeof(news) - 1, 'a');
	ck_assert_int_eq(*at(&a, MIB(2) - 1), 'z');
	/* Not rebound. */
	ck_assert_int_eq(gmem_private_write(&b, at(&b, GIB(4) + 1), "q", 1), 0);
	ck_assert_int_eq(*at(&b, GIB(4) + 1), 'q');

	ck_assert_int_eq(gmem_private_write(&a, a.region[0].hva + MIB(4) - 1, "xy", 2), -EINVAL);
	ck_assert_int_eq(gmem_private_write(&a, a.vcpu_map, "x", 1), -EINVAL);
	ck_assert_int_eq(gmem_private_write(&a, news, "x", 1), -EINVAL);
	ck_assert_int_eq(gmem_private_write(&a, NULL, "x", 1), -EINVAL);
	ck_assert_int_eq(gmem_private_write(&a, p, "x", UINT64_MAX), -EINVAL);
	ck_assert_int_eq(*at(&a, MIB(4) - 1), 'a');
}
END_TEST

START_TEST(vcpus_can_be_refused_writes)
{
	uint8_t *p = at(&a, MIB(2));
	uint8_t *v = vcpu_at(&a, MIB(2));

	ck_assert(is_writable(v));
	ck_assert(!write_faults(v, a.vcpu_map, a.map_bytes));
	*p = 'a';
	ck_assert_int_eq(gmem_rebind(&a, p, MIB(1), dma.fd, 0, GMEM_VCPU_READONLY), 0);
	gmem_prefault(&a, p, MIB(1));
	ck_assert(!is_writable(v));
	ck_assert(!is_writable(v + MIB(1) - 1));
	ck_assert(is_writable(v + MIB(1)));
	ck_assert(is_writable(v - 1));
	ck_assert(is_writable(p));
	ck_assert(write_faults(v, v, MIB(1)));
	ck_assert_int_eq(dma.map[0], 'd');
	*p = 'X';
	ck_assert_int_eq(*v, 'X');
	ck_assert_int_eq(dma.map[0], 'X');
	ck_assert_int_eq(gmem_restore(&a, p, MIB(1)), 0);
	ck_assert(is_writable(v));
	*v = 'a';
	sees(&a, 0, MIB(4), 'a');
}
END_TEST

START_TEST(restore_finds_what_is_rebound)
{
	/* Pages 1, 3, 4, 5, and the last of the region. */
	static const unsigned page[] = { 1, 3, 4, 5, 1023 };

	for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
		ck_assert_int_eq(gmem_rebind(&a, at(&a, page[i] * PAGE), PAGE, dma.fd, i * PAGE, 0),
				 0);
	ck_assert_int_eq(gmem_rebind(&a, at(&a, GIB(4)), PAGE, dma.fd, 0, 0), 0);
	ck_assert(gmem_is_rebound(&a, at(&a, 0), 2 * PAGE));
	ck_assert(gmem_is_rebound(&a, at(&a, 100), PAGE)); /* reaches into page 1 */
	ck_assert(!gmem_is_rebound(&a, at(&a, 0), PAGE));
	ck_assert(!gmem_is_rebound(&a, at(&a, 2 * PAGE), PAGE));
	ck_assert(gmem_is_rebound(&a, at(&a, 5 * PAGE + 7), 1));
	/* Only a part of a run. */
	ck_assert_int_eq(gmem_restore(&a, at(&a, 4 * PAGE), PAGE), 0);
	sees(&a, 4 * PAGE, PAGE, 'a');
	sees(&a, 3 * PAGE, PAGE, 'd');
	sees(&a, 5 * PAGE, PAGE, 'd');
	/* All of the region, not of the next. */
	ck_assert_int_eq(gmem_restore(&a, at(&a, 0), MIB(4)), 0);
	sees(&a, 0, MIB(4), 'a');
	ck_assert(!gmem_is_rebound(&a, at(&a, 0), MIB(4)));
	ck_assert(gmem_is_rebound(&a, at(&a, GIB(4)), MIB(2)));
	sees(&a, GIB(4), PAGE, 'd');
	ck_assert_int_eq(gmem_restore(&a, at(&a, GIB(4)), MIB(2)), 0);
	sees(&a, GIB(4), MIB(2), 'a');
	ck_assert_uint_eq(mappings_of(&a), 2);
}
END_TEST

START_TEST(bad_arguments)
{
	uint8_t *p = at(&a, PAGE), *end = a.region[0].hva + MIB(4);
	static uint8_t foreign[2 * PAGE];
	int fd;

	/* of the guest */
	ck_assert_int_eq(gmem_rebind(&a, p, 0, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE - 1, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p + 1, PAGE, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, end, PAGE, dma.fd, 0, 0), 0); /* the next region */
	ck_assert_int_eq(gmem_restore(&a, end, PAGE), 0);
	ck_assert_int_eq(gmem_rebind(&a, end - PAGE, 2 * PAGE, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, end + MIB(2), PAGE, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, a.map - PAGE, PAGE, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p, UINT64_MAX - PAGE + 1, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p, 1ull << 63, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, a.vcpu_map, PAGE, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, NULL, PAGE, dma.fd, 0, 0), -EINVAL);
	ck_assert_int_eq(
		gmem_rebind(&a, (void *)ALIGN_UP((uintptr_t)foreign, PAGE), PAGE, dma.fd, 0, 0),
		-EINVAL);
	/* of the file */
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE, dma.fd, 1, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE, dma.fd, MIB(2), 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p, 2 * PAGE, dma.fd, MIB(2) - PAGE, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE, dma.fd, UINT64_MAX - PAGE + 1, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE, dma.fd, 1ull << 63, 0), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE, -1, 0, 0), -EBADF);
	/* A file that can't be written can't be mapped so: mmap's own answer. */
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE, fd, 0, 0), -EACCES);
	close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE, fd, 0, 0), -EINVAL);
	close(fd);
	/* of the flags */
	ck_assert_int_eq(gmem_rebind(&a, p, PAGE, dma.fd, 0, 2), -EINVAL);
	ck_assert_int_eq(gmem_rebind(&b, at(&b, 0), PAGE, dma.fd, 0, GMEM_VCPU_READONLY), -EINVAL);
	/* twice */
	ck_assert_int_eq(gmem_rebind(&a, p + PAGE, PAGE, dma.fd, 0, 0), 0);
	ck_assert_int_eq(gmem_rebind(&a, p, 2 * PAGE, dma.fd, 0, 0), -EBUSY);
	sees(&a, PAGE, PAGE, 'a');
	ck_assert_int_eq(gmem_restore(&a, p + PAGE, PAGE), 0);

	ck_assert_int_eq(gmem_restore(&a, p, 0), -EINVAL);
	ck_assert_int_eq(gmem_restore(&a, p, 1), -EINVAL);
	ck_assert_int_eq(gmem_restore(&a, p + 1, PAGE), -EINVAL);
	ck_assert_int_eq(gmem_restore(&a, end - PAGE, 2 * PAGE), -EINVAL);
	ck_assert_int_eq(gmem_restore(&a, p, UINT64_MAX - PAGE + 1), -EINVAL);
	ck_assert_int_eq(gmem_restore(&a, NULL, PAGE), -EINVAL);
	ck_assert(!gmem_is_rebound(&a, NULL, PAGE));
	ck_assert(!gmem_is_rebound(&a, p, 0));
	ck_assert(!gmem_is_rebound(&a, p, UINT64_MAX));
	gmem_prefault(&a, NULL, PAGE);
	gmem_prefault(&a, p + 1, PAGE);
	sees(&a, 0, MIB(4), 'a');
	sees(&a, GIB(4), MIB(2), 'a');
	ck_assert_uint_eq(mappings_of(&a), 2);
}
END_TEST

START_TEST(huge_pages_cannot)
{
	/* What gmem_create() makes of a host without huge pages is not this test's matter. */
	a.page_bytes = MIB(2);
	ck_assert_int_eq(gmem_rebind(&a, a.map, MIB(2), dma.fd, 0, 0), -EOPNOTSUPP);
	ck_assert_int_eq(gmem_restore(&a, a.map, MIB(2)), -EOPNOTSUPP);
	ck_assert_int_eq(gmem_private_write(&a, a.map, "x", 1), -EOPNOTSUPP);
	ck_assert(!gmem_is_rebound(&a, a.map, MIB(2)));
	gmem_prefault(&a, a.map, MIB(2));
	a.page_bytes = PAGE;
	sees(&a, 0, MIB(4), 'a');
}
END_TEST

START_TEST(destroyed_while_rebound)
{
	struct gmem m;
	uint8_t *map, *vcpu_map;
	unsigned char vec;

	ck_assert_int_eq(gmem_create(&m, "m", two, 2, GMEM_VCPU_VIEW), 0);
	map = m.map;
	vcpu_map = m.vcpu_map;
	ck_assert_int_eq(gmem_rebind(&m, at(&m, PAGE), PAGE, dma.fd, 0, GMEM_VCPU_READONLY), 0);
	ck_assert_int_eq(gmem_rebind(&m, at(&m, GIB(4)), PAGE, dma.fd, PAGE, 0), 0);
	*at(&m, PAGE) = 'M';
	gmem_destroy(&m);
	ck_assert(mincore(map + PAGE, PAGE, &vec) && errno == ENOMEM);
	ck_assert(mincore(vcpu_map + PAGE, PAGE, &vec) && errno == ENOMEM);
	ck_assert(mincore(map, PAGE, &vec) && errno == ENOMEM);
	ck_assert_int_eq(dma.map[0], 'M'); /* the buffer stays */
	gmem_destroy(&m);		   /* nothing is left to destroy */

	/* The other way round: pages outlive their buffer. */
	ck_assert_int_eq(gmem_rebind(&b, at(&b, 0), PAGE, dma.fd, 0, 0), 0);
	dma_buf_destroy(&dma);
	ck_assert_int_eq(*at(&b, 0), 'M');
	ck_assert_int_eq(gmem_restore(&b, at(&b, 0), PAGE), 0);
	sees(&b, 0, PAGE, 'b');
}
END_TEST

/* Until there can be no more mappings but `free_nr`. Each is one that its neighbours can't join. */
static void use_up_mappings(unsigned free_nr)
{
	static void *last[64];
	unsigned n = 0;
	void *p;

	for (;; n++) {
		p = mmap(NULL, PAGE, n & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
		if (p == MAP_FAILED)
			break;
		last[n % 64] = p;
	}
	ck_assert_int_eq(errno, ENOMEM);
	while (free_nr--)
		munmap(last[--n % 64], PAGE);
}

/* Exits with: 0: done; 1: refused, and all is as before; 2: given up; else: wrong. */
static int rebind_with_few_mappings(unsigned free_nr)
{
	uint8_t *pa = a.map + 8 * PAGE, *va = a.vcpu_map + 8 * PAGE;
	int rc;

	use_up_mappings(free_nr);
	rc = gmem_rebind(&a, pa, 4 * PAGE, dma.fd, 0, GMEM_VCPU_READONLY);
	if (rc == -ENOTRECOVERABLE)
		return 2;
	if (rc && rc != -ENOMEM)
		return 3;
	if (gmem_is_rebound(&a, pa, 4 * PAGE) != !rc)
		return 4;
	if (pa[0] != (rc ? 'a' : 'd') || va[0] != pa[0] || pa[4 * PAGE - 1] != pa[0] ||
	    va[4 * PAGE - 1] != pa[0])
		return 5;
	if (rc)
		va[0] = 'x'; /* still writable, still the guest's own */
	if (rc && (pa[0] != 'x' || dma.map[0] != 'd'))
		return 6;
	if (!rc) {
		/* What was done in one piece needs nothing to be undone. */
		if (gmem_restore(&a, pa, 4 * PAGE) || pa[0] != 'a' || va[0] != 'a')
			return 7;
		va[0] = 'x';
	}
	return rc ? 1 : 0;
}

/* As above; from a run of four one is restored, which makes mappings. */
static int restore_with_few_mappings(unsigned free_nr)
{
	uint8_t *pa = a.map + 8 * PAGE, *va = a.vcpu_map + 8 * PAGE;
	int rc;

	if (gmem_rebind(&a, pa, 4 * PAGE, dma.fd, 0, GMEM_VCPU_READONLY))
		return 9;
	use_up_mappings(free_nr);
	rc = gmem_restore(&a, pa + PAGE, PAGE);
	if (rc == -ENOTRECOVERABLE)
		return 2;
	if (rc && rc != -ENOMEM)
		return 3;
	if (gmem_is_rebound(&a, pa + PAGE, PAGE) != !!rc || pa[PAGE] != (rc ? 'd' : 'a') ||
	    va[PAGE] != pa[PAGE])
		return 4;
	if (pa[0] != 'd' || va[0] != 'd' || pa[2 * PAGE] != 'd' || va[2 * PAGE] != 'd')
		return 5;
	if (rc && (gmem_restore(&a, pa, 4 * PAGE) || pa[PAGE] != 'a'))
		return 6;
	return rc ? 1 : 0;
}

static int in_child(int (*fn)(unsigned free_nr), unsigned free_nr)
{
	int status;
	pid_t pid;

	madvise(a.map, a.map_bytes, MADV_DOFORK);
	madvise(a.vcpu_map, a.map_bytes, MADV_DOFORK);
	madvise(dma.map, dma.bytes, MADV_DOFORK);
	fill(&a, 'a');
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		madvise(a.map, a.map_bytes, MADV_DONTFORK);
		madvise(a.vcpu_map, a.map_bytes, MADV_DONTFORK);
		_exit(fn(free_nr));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* The n-th mapping can't be had, for every n. */
START_TEST(mappings_run_out)
{
	unsigned seen[3] = { 0 };
	int result;

	if (SANITIZED) /* it needs mappings for itself */
		return;
	for (unsigned n = 0; n < 12; n++) {
		result = in_child(rebind_with_few_mappings, n);
		ck_assert_msg(result <= 1, "%u free: %d", n, result);
		seen[result]++;
	}
	ck_assert_uint_ge(seen[0], 1);
	ck_assert_uint_ge(seen[1], 3); /* in the first view, and in the second */
	memset(seen, 0, sizeof(seen));
	for (unsigned n = 0; n < 12; n++) {
		result = in_child(restore_with_few_mappings, n);
		ck_assert_msg(result <= 2, "%u free: %d", n, result);
		seen[result]++;
	}
	ck_assert_uint_ge(seen[0], 1);
	ck_assert_uint_ge(seen[1], 1);
	ck_assert_uint_ge(seen[2], 1);
}
END_TEST

/* -- The buffer -- */

START_TEST(dma_buffer)
{
	static const uint64_t sizes[] = { PAGE, MIB(2) - PAGE, MIB(2), MIB(6) + PAGE };
	static const uint64_t bad[] = { 0,
					1,
					PAGE - 1,
					PAGE + 1,
					UINT64_MAX,
					UINT64_MAX - PAGE + 1,
					(1ull << 63),
					(1ull << 63) - PAGE };
	struct dma_buf d, zero = { 0 };
	char line[512];

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		ck_assert_int_eq(dma_buf_create(&d, "element", sizes[i]), 0);
		ck_assert_uint_eq(d.bytes, sizes[i]);
		ck_assert_uint_eq((uintptr_t)d.map % MIB(2), 0);
		all_are(d.map, d.bytes, 0);
		ck_assert(fcntl(d.fd, F_GETFD) & FD_CLOEXEC);
		ck_assert(fcntl(d.fd, F_GET_SEALS) & F_SEAL_SHRINK);
		ck_assert(ftruncate(d.fd, 0) && errno == EPERM);
		ck_assert(has_flags(d.map, " dd", " dc"));
		ck_assert(has_flags(d.map + d.bytes - 1, " dd", " dc"));
		mapping("/proc/self/maps", d.map, "memfd:element", line, sizeof(line));
		ck_assert(line[0]);
		dma_buf_destroy(&d);
		ck_assert_int_eq(d.fd, -1);
		ck_assert_ptr_null(d.map);
		dma_buf_destroy(&d);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_lt(dma_buf_create(&d, "element", bad[i]), 0);
		ck_assert_int_eq(d.fd, -1);
		ck_assert_ptr_null(d.map);
		ck_assert_uint_eq(d.bytes, 0);
	}
	dma_buf_destroy(&zero); /* and not descriptor 0 */
	ck_assert_int_ge(fcntl(0, F_GETFD), 0);
}
END_TEST

/* Pages are taken when it is made, not when they are touched. */
START_TEST(dma_buffer_is_there)
{
	struct dma_buf d;
	unsigned char vec[512];

	ck_assert_int_eq(dma_buf_create(&d, "element", MIB(2)), 0);
	ck_assert_int_eq(mincore(d.map, MIB(2), vec), 0);
	for (unsigned i = 0; i < 512; i++)
		ck_assert(vec[i] & 1);
	dma_buf_destroy(&d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("gmem_rebind");
	TCase *tc = tcase_create("rebind");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, views);
	tcase_add_test(tc, two_guests_see_one_page);
	tcase_add_test(tc, private_pages_can_be_written_behind);
	tcase_add_test(tc, vcpus_can_be_refused_writes);
	tcase_add_test(tc, restore_finds_what_is_rebound);
	tcase_add_test(tc, bad_arguments);
	tcase_add_test(tc, huge_pages_cannot);
	tcase_add_test(tc, destroyed_while_rebound);
	tcase_add_test(tc, mappings_run_out);
	tcase_add_test(tc, dma_buffer);
	tcase_add_test(tc, dma_buffer_is_there);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
